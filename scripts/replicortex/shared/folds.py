"""Stratified folds of trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


def stratified_folds(
    rows: Mapping[str, np.ndarray], target: np.ndarray, n_folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (train, test) indices of folds that are balanced by class, and by class within each run if possible.

    Runs differ in ways that have nothing to do with the class. If a run has as many trials of each class, and a
    fold takes one trial of class A from it, then B is the commoner class of that run in the training rows, and a
    model that recognises runs is wrong about the held-out trial: accuracy below chance where there is no effect
    (Jamalabadi et al. 2016, doi:10.1002/hbm.23140). Balance within runs takes this away.

    Parameters
    ----------
    rows : mapping of str to ndarray of shape (n_rows,)
        The row table; ``subject``, ``session`` and ``run`` say which trials belong together, where they are there.
    target : ndarray of shape (n_rows,)
    n_folds : int
        Fewer are made where a class has fewer rows; none below two.
    seed : int
    """
    from sklearn.model_selection import StratifiedKFold

    n_folds = min(n_folds, np.unique(target, return_counts=True)[1].min())
    if n_folds < 2:
        return
    strata = target.astype(str)
    for column in ("subject", "session", "run"):
        if column in rows:
            strata = np.char.add(np.char.add(strata, "|"), rows[column].astype(str))
    if np.unique(strata, return_counts=True)[1].min() < n_folds:
        strata = target
    yield from StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(target, strata)
