"""Within-session evaluation: stratified k-fold inside each session of each subject.

The protocol of MOABB's ``WithinSessionEvaluation`` (Jayaram & Barachant 2018, doi:10.1088/1741-2552/aadea0), with
folds that are also balanced within runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import PositiveInt

from ..components import Splitter, component
from ..shared.folds import stratified_folds
from ..shared.words import count, text


@component
class WithinSession(Splitter):
    """Hold out one of ``folds`` parts of a session; train on the rest of the same session.

    Parameters
    ----------
    folds : int
        Parts a session; fewer where a class has fewer rows.
    """

    held_out = "row"
    tiny = {"folds": 2}

    folds: PositiveInt = 5

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds of every session; one that has a class with fewer than two rows, or one class, has none."""
        place = np.char.add(np.char.add(rows["subject"].astype(str), "|"), rows["session"].astype(str))
        for name in np.unique(place):
            here = np.flatnonzero(place == name)
            if len(np.unique(target[here])) < 2:
                continue
            subject, session = name.split("|")
            inside = {column: values[here] for column, values in rows.items()}
            for number, (train, test) in enumerate(stratified_folds(inside, target[here], self.folds, seed)):
                yield f"sub-{subject}_ses-{session}_{number}", here[train], here[test]

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "Within sessions, the rows of each session of each participant were split into"
            f" {count(self.folds, 'fold')}, or fewer where a class had fewer rows. Folds were stratified by class and,"
            " where the numbers allowed, by class within each run, since imbalance within runs biases scores below"
            " chance [@jamalabadi2016].",
            "Each fold was held out in turn, and models were trained on the rest of the same session [@jayaram2018].",
        )
