"""Recordings of units and traces of a dataset: how alike units are, and how long they remember."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..components import Audience, Display, component
from ..shared.binned import read_binned, segment_edges


@component
class EphysGroup(Display):
    """Numbers of each recording in bins; units have no names that would mean the same in two recordings.

    Parameters
    ----------
    most_units : int
        Units that are looked at, evenly among all of a recording.
    """

    most_units: int = 100

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Return the mean absolute correlation of two units, and the time (s) that a unit remembers.

        That is the first lag at which the mean autocorrelation is below 1/e; of a whole stretch if it never is.
        """
        binned = read_binned(path, recording)
        chosen = np.unique(np.linspace(0, max(0, binned.inputs.shape[1] - 1), self.most_units).astype(int))
        x = np.nan_to_num(binned.inputs[:, chosen]) if binned.inputs.shape[1] else np.empty((len(binned.onset), 0))
        x = x[:, x.std(axis=0) > 0]
        if x.shape[1] < 2:
            return {}
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        alike = np.abs(z.T @ z / len(z))[np.triu_indices(z.shape[1], 1)].mean()
        edges = segment_edges(binned.segment)
        longest = max(last - first for first, last in edges)
        lag = 1
        while lag < longest:
            pairs = [(z[first : last - lag], z[first + lag : last]) for first, last in edges if last - first > lag]
            n = sum(len(now) for now, _ in pairs)
            if sum(np.sum(now * later) for now, later in pairs) / (n * z.shape[1]) < np.exp(-1):
                break
            lag += 1
        return {"correlation_of_units": float(alike), "memory_s": lag * binned.width}

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Return nothing of its own: the numbers are shown with those that preprocessing stated."""
        return []
