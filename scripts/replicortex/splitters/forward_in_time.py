"""Train on the beginning of each session and test on the rest: what a decoder that is calibrated once has to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.sessions import sessions
from ..shared.words import digits, percent, text


@component
class ForwardInTime(Splitter):
    """Hold out the end of each session; train on what came before it.

    Parameters
    ----------
    share : float
        Share of the rows of a session to train on. Where it has several segments the cut is between two of them.
    gap : float
        Rows of this time before the cut are left out (s): what follows each other is alike.
    """

    held_out = "row"
    columns = ("segment", "onset")
    tiny = {}

    share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    gap: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold a session; one that is too short for two sides has none."""
        for name, here in sessions(rows):
            # Onsets of another run begin anew: runs follow each other.
            onset = np.asarray(rows["onset"][here], dtype=float)
            run = rows["run"][here].astype(str)
            order = here[np.lexsort((onset, run))]
            segment = np.char.add(np.char.add(rows["run"][order].astype(str), "|"), rows["segment"][order].astype(str))
            cut = round(self.share * len(order))
            edges = np.flatnonzero(segment[1:] != segment[:-1]) + 1
            if len(edges):
                cut = int(edges[np.argmin(np.abs(edges - self.share * len(order)))])
            train, test = order[:cut], order[cut:]
            if not len(test):
                continue
            clock = np.asarray(rows["onset"][train], dtype=float)
            first, same = float(rows["onset"][test[0]]), rows["run"][train] == rows["run"][test[0]]
            # A row less than the gap away goes; rounded, so that ten steps of 0.1 s are one second.
            train = train[~(same & (np.round(first - clock, 6) < self.gap))] if self.gap else train
            if len(train):
                yield name, np.sort(train), np.sort(test)

    def described(self) -> str:
        """Return what it does, in words."""
        gap = f"; rows of the {digits(self.gap)} s before were left out" if self.gap else ""
        return text(
            f"Models were trained on the first {percent(self.share)} of each session, up to the end of a segment where"
            f" it has several, and tested on the rest{gap}."
        )
