"""Repeated stratified k-fold over subjects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from ..components import Splitter, component
from ..shared.dealing import Subjects
from ..shared.words import names, spelled


@component
class KFold(Splitter):
    """Hold out one of ``folds`` parts of the subjects; train on the others.

    All rows of a subject stay together. Subjects are ordered by what they are (class or size of the target, then
    the columns of ``stratify``) and dealt out in turn, so that any two folds have equally many of each class, and
    of each class at each site, to within one. Without it a fold that has fewer of a class than its share leaves more
    of it in training, and a model that knows nothing but frequencies is below chance.

    Parameters
    ----------
    folds : int
        Parts; fewer where there are fewer subjects.
    repeats : int
        How often the subjects are dealt anew. Each is then held out that often.
    stratify : list of str
        Row columns to balance the folds by beside the target, where the rows have them.
    """

    held_out = "subject"
    crossed = True
    tiny = {"folds": 2}

    folds: Annotated[int, Field(ge=2)] = 5
    repeats: PositiveInt = 1
    stratify: list[str] = ["site"]

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: there is one subject only."""
        return "there is only one subject" if len(set(rows["subject"])) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds of every repeat; one whose training side would lack a class is left out."""
        subjects = Subjects(rows, target, self.stratify, self.folds)
        for repeat in range(self.repeats):
            prefix = f"repeat-{repeat}_" if self.repeats > 1 else ""
            for fold, (train, test) in enumerate(subjects.folds(np.random.default_rng([seed, repeat]))):
                if not subjects.lacks_a_class(train):
                    yield f"{prefix}fold-{fold}", train, test

    def described(self) -> str:
        """Return what it does, in words."""
        again = {1: "", 2: ", done twice with different folds"}
        several = again.get(self.repeats, f", done {spelled(self.repeats)} times with different folds")
        balanced = names(["target", *self.stratify])
        return (
            f"In {spelled(self.folds)}-fold cross-validation{several}, whole participants were held out, so that nobody"
            f" stood on both sides of a split. Folds were balanced by {balanced}, where these are known."
        )
