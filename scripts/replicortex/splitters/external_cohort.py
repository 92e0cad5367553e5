"""External validation: what was learnt from one cohort is tried on people of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..components import Splitter, component
from ..files import MISSING
from ..shared.words import plain


@component
class ExternalCohort(Splitter):
    """Train on one cohort, hold out each of the others.

    Rows without a cohort are on neither side; people who are in both are held out of the training side.

    Parameters
    ----------
    column : str
        Row column of the cohorts; the study names it under ``covariates``.
    train : str or None
        Cohort to train on; the one with most rows where ``None`` (of equals the first by name).
    """

    held_out = "subject"
    tiny = {"column": "subject"}

    column: str = "site"
    train: str | None = None

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: no column of cohorts, or fewer than two of them."""
        if self.column not in rows:
            return f"the rows have no column {self.column!r}; name it under `covariates` of the evaluation"
        known = set(rows[self.column].astype(str)) - set(MISSING)
        if len(known) < 2:
            return f"there is only one {self.column}" if known else f"no row has a {self.column}"
        return f"no row is of {self.column} {self.train}" if self.train not in (None, *known) else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold for each cohort that is not trained on; none if the training side lacks a class."""
        target = np.asarray(target)
        cohort, subject = rows[self.column].astype(str), rows["subject"].astype(str)
        known = ~np.isin(cohort, MISSING)
        names, counts = np.unique(cohort[known], return_counts=True)
        trained = self.train or str(names[np.argmax(counts)])
        for number, name in enumerate(names):
            if name == trained:
                continue
            held = known & (cohort == name)
            side = known & (cohort == trained) & ~np.isin(subject, subject[held])
            lacks = target.dtype.kind not in "fiu" and set(target[known]) - set(target[side])
            if side.any() and not lacks:
                shown = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in str(name))
                yield f"{self.column}-{shown}-{number}", np.flatnonzero(side), np.flatnonzero(held)

    def described(self) -> str:
        """Return what it does, in words."""
        which = f"{plain(self.column)} {plain(self.train)}" if self.train else f"the largest {plain(self.column)}"
        return (
            f"For external validation models were trained on participants of {which} and tested on those of every other"
            f" {plain(self.column)} who were never in it."
        )
