"""Preprocessing engines: one a file, each turns one raw recording into one BIDS derivative."""
