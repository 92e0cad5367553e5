"""One part of the subjects is held out, once: for methods that take too long to be fitted several times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.dealing import Subjects
from ..shared.words import names, spelled


@component
class HoldOut(Splitter):
    """Hold out one of ``parts`` parts of the subjects; train on the others, once.

    It is as the first fold of k-fold cross-validation: all rows of a subject stay together, and both sides are
    balanced by the target and the columns of ``stratify``. What one training gives by luck is not seen.

    Parameters
    ----------
    parts : int
        Parts of equal size; fewer where there are fewer subjects.
    stratify : list of str
        Row columns to balance by beside the target, where the rows have them.
    """

    held_out = "subject"
    tiny = {"parts": 2}

    parts: Annotated[int, Field(ge=2)] = 5
    stratify: list[str] = ["site"]

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: there is one subject only."""
        return "there is only one subject" if len(set(rows["subject"])) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the one fold; none if its training side would lack a class."""
        subjects = Subjects(rows, target, self.stratify, self.parts)
        train, test = next(subjects.folds(np.random.default_rng([seed, 0])))
        if not subjects.lacks_a_class(train):
            yield "part", train, test

    def described(self) -> str:
        """Return what it does, in words."""
        balanced = names(["target", *self.stratify])
        return (
            f"One of {spelled(self.parts)} parts of the participants was held out, once, so that nobody stood on both"
            f" sides of the split. Both sides were balanced by {balanced}, where these are known."
        )
