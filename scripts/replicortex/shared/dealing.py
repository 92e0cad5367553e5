"""Subjects dealt out to folds that are alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np


class Subjects:
    """The subjects of some rows, with what folds are balanced by.

    Parameters
    ----------
    rows : mapping of str to ndarray
        Row columns, ``subject`` among them.
    target : ndarray of shape (n_rows,)
        Text is a class, numbers are binned.
    stratify : sequence of str
        Row columns to balance by beside the target, where the rows have them.
    n_folds : int
        Folds; fewer where there are fewer subjects.
    """

    def __init__(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, stratify: Sequence[str], n_folds: int
    ) -> None:
        self.target = np.asarray(target)
        subject = rows["subject"].astype(str)
        self.names, first, self.index = np.unique(subject, return_index=True, return_inverse=True)
        self.n_folds = min(n_folds, len(self.names))
        self.classes = self.target.dtype.kind not in "fiu"
        if self.classes:
            self.kind = _classes_of(self.target, self.index, len(self.names))
        else:
            self.kind = _bins_of(self.target, self.index, self.n_folds)
        self.keys = [rows[column].astype(str)[first] for column in reversed(stratify) if column in rows]

    def folds(self, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows on either side of each fold."""
        n = len(self.names)
        # The last key counts most: the target, then the columns in the order named, then chance.
        order = np.lexsort([generator.permutation(n), *self.keys, self.kind])
        fold_of = np.empty(n, dtype=int)
        fold_of[order] = (np.arange(n) + generator.integers(self.n_folds)) % self.n_folds
        for fold in range(self.n_folds):
            held = fold_of[self.index] == fold
            yield np.flatnonzero(~held), np.flatnonzero(held)

    def lacks_a_class(self, train: np.ndarray) -> bool:
        """Return whether there is a class that these rows have not."""
        return self.classes and len(np.unique(self.target[train])) < len(np.unique(self.target))


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
