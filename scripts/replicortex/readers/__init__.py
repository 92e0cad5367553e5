"""Readers of published files that are not BIDS: one file, one class."""
