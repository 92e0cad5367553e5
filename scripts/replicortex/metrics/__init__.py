"""Metrics: one a file, each scores the predictions of held-out rows."""
