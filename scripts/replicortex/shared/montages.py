"""Rows of several montages in one bundle: which montage a row is of, and which of its channels are there."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle

#: Where there is no column of montages.
ANY = "any"


def montage_of(rows: Bundle) -> np.ndarray:
    """Return the montage of each row, as text; all have one where the rows do not say."""
    return rows.rows["montage"].astype(str) if "montage" in rows.rows else np.full(len(rows), ANY)


def present_channels(rows: Bundle) -> np.ndarray:
    """Return which channels are real and no padding, (n, n_channels); all where the features do not say."""
    told = "present" in rows.arrays
    return np.asarray(rows["present"]).astype(bool) if told else np.ones(rows["x"].shape[:2], dtype=bool)
