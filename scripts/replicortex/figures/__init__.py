"""Figures: one a file, each draws one table."""
