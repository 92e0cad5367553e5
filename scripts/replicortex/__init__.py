"""Replicortex: from BIDS datasets to the figures and verdicts of neuroimaging papers."""

__version__ = "0.1.0"
#: Of the code, by its SPDX identifier.
LICENCE = "BSD-3-Clause"
