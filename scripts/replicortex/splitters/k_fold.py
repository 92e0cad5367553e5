"""Repeated stratified k-fold over subjects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from ..components import Splitter, component
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
        target = np.asarray(target)
        names, first, index = np.unique(rows["subject"].astype(str), return_index=True, return_inverse=True)
        n_folds = min(self.folds, len(names))
        classes = target.dtype.kind not in "fiu"
        kind = _classes_of(target, index, len(names)) if classes else _bins_of(target, index, n_folds)
        keys = [rows[column].astype(str)[first] for column in reversed(self.stratify) if column in rows]
        for repeat in range(self.repeats):
            generator = np.random.default_rng([seed, repeat])
            # The last key counts most: the target, then the columns in the order named, then chance.
            order = np.lexsort([generator.permutation(len(names)), *keys, kind])
            fold_of = np.empty(len(names), dtype=int)
            fold_of[order] = (np.arange(len(names)) + generator.integers(n_folds)) % n_folds
            prefix = f"repeat-{repeat}_" if self.repeats > 1 else ""
            for fold in range(n_folds):
                held = fold_of[index] == fold
                if classes and len(np.unique(target[~held])) < len(np.unique(target)):
                    continue
                yield f"{prefix}fold-{fold}", np.flatnonzero(~held), np.flatnonzero(held)

    def described(self) -> str:
        """Return what it does, in words."""
        again = {1: "", 2: ", done twice with different folds"}
        several = again.get(self.repeats, f", done {spelled(self.repeats)} times with different folds")
        balanced = names(["target", *self.stratify])
        return (
            f"In {spelled(self.folds)}-fold cross-validation{several}, whole participants were held out, so that nobody"
            f" stood on both sides of a split. Folds were balanced by {balanced}, where these are known."
        )


def _classes_of(target: np.ndarray, index: np.ndarray, n_subjects: int) -> np.ndarray:
    """Return a code of the set of classes that each subject's rows have: one class, where it is the subject's."""
    classes, code = np.unique(target, return_inverse=True)
    has = np.zeros((n_subjects, len(classes)), dtype=bool)
    has[index, code] = True
    return np.unique(has, axis=0, return_inverse=True)[1].ravel()


def _bins_of(target: np.ndarray, index: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the quantile bin of each subject's mean: at least one subject a fold in each, ten bins at most."""
    mean = np.bincount(index, target.astype(np.float64)) / np.bincount(index)
    n_bins = int(np.clip(len(mean) // n_folds, 1, 10))
    return np.searchsorted(np.quantile(mean, np.linspace(0, 1, n_bins + 1)[1:-1]), mean)
