"""Providers: one kind of stimulus features a file."""
