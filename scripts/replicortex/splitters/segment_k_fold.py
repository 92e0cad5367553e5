"""Whole stretches of time held out within each session: neighbours in time are alike, and stay on one side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.sessions import sessions
from ..shared.words import count, text


@component
class SegmentKFold(Splitter):
    """Hold out one of ``folds`` parts of the segments of a session; train on its other segments.

    Parameters
    ----------
    folds : int
        Parts a session, of whole segments drawn at random; fewer where there are fewer segments.
    """

    held_out = "segment"
    columns = ("segment",)
    tiny = {"folds": 2}

    folds: Annotated[int, Field(ge=2)] = 5

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why no session can be split, or ``None``."""
        several = any(len(np.unique(rows["segment"][here])) > 1 for _, here in sessions(rows))
        return None if several else "no session has more than one segment"

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds of every session that has two segments."""
        for name, here in sessions(rows):
            segments = np.unique(rows["segment"][here].astype(str))
            if len(segments) < 2:
                continue
            order = np.random.default_rng(seed).permutation(segments)
            for number, held in enumerate(np.array_split(order, min(self.folds, len(order)))):
                test = np.isin(rows["segment"][here].astype(str), held)
                yield f"{name}_{number}", here[~test], here[test]

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"Within sessions, whole segments of time were drawn into {count(self.folds, 'fold')}; each was held out in"
            " turn, and models were trained on the other segments of the same session."
        )
