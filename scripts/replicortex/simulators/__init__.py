"""Simulators: one a file, each writes a BIDS dataset and the truth that was planted in it."""
