"""Rows of a session: what splitters of time share, without the libraries that other splitters need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


def sessions(rows: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and rows of each session of each subject."""
    place = np.char.add(np.char.add(rows["subject"].astype(str), "|"), rows["session"].astype(str))
    for name in np.unique(place):
        subject, session = name.split("|")
        yield f"sub-{subject}_ses-{session}", np.flatnonzero(place == name)
