"""Replicortex: from BIDS datasets to the figures and verdicts of neuroimaging papers."""

__version__ = "0.1.0"
