"""Within-session evaluation: stratified k-fold inside each session of each subject.

The protocol of MOABB's ``WithinSessionEvaluation`` (Jayaram & Barachant 2018, doi:10.1088/1741-2552/aadea0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import PositiveInt
from sklearn.model_selection import StratifiedKFold

from ..components import Splitter, component


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
        """Yield the folds of every session; a session with fewer than two rows of a class has none."""
        place = np.char.add(np.char.add(rows["subject"].astype(str), "|"), rows["session"].astype(str))
        for name in np.unique(place):
            here = np.flatnonzero(place == name)
            counts = np.unique(target[here], return_counts=True)[1]
            folds = min(self.folds, counts.min()) if len(counts) > 1 else 0
            if folds < 2:
                continue
            inner = StratifiedKFold(folds, shuffle=True, random_state=seed)
            subject, session = name.split("|")
            for number, (train, test) in enumerate(inner.split(here, target[here])):
                yield f"sub-{subject}_ses-{session}_{number}", here[train], here[test]
