"""Nested selection of hyper-parameters: on training rows only, the same way for every method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..bundle import Bundle
from .folds import stratified_folds

Fold = tuple[np.ndarray, np.ndarray]


def inner_folds(train: Bundle, n_folds: int, seed: int) -> list[Fold]:
    """Return the inner folds: whole subjects are held out where there are enough of them, else trials.

    The inner question should be the outer one: a parameter that is to serve a new subject is chosen on subjects
    that the inner fit has not seen. Fewer than ``n_folds`` where a class has fewer rows; none where it has one.
    """
    target, subject = train.rows["target"], train.rows["subject"]
    n_folds = min(n_folds, np.unique(target, return_counts=True)[1].min())
    if n_folds < 2:
        return []
    if len(np.unique(subject)) >= n_folds:
        # Here and below: methods with one configuration choose nothing, and need not wait for scikit-learn.
        from sklearn.model_selection import StratifiedGroupKFold

        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        folds = list(splitter.split(target, target, groups=subject))
    else:
        folds = list(stratified_folds(train.rows, target, n_folds, seed))
    # A fold whose training part lost a class can not be fitted; permuted labels make such folds now and then.
    n_classes = len(np.unique(target))
    return [fold for fold in folds if len(np.unique(target[fold[0]])) == n_classes]


def selection_score(target: np.ndarray, y_score: np.ndarray, classes: np.ndarray) -> float:
    """Return ROC AUC for two classes, balanced accuracy for more; 0.5 where the rows have one class only.

    Parameters
    ----------
    target : ndarray of shape (n_rows,)
    y_score : ndarray of shape (n_rows, n_classes)
        Columns in the order of ``classes``.
    """
    if len(np.unique(target)) < 2:
        return 0.5
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    if len(classes) == 2:
        return float(roc_auc_score(target == classes[1], y_score[:, 1] - y_score[:, 0]))
    return float(balanced_accuracy_score(target, classes[y_score.argmax(axis=1)]))


def select(
    configurations: Iterable[dict[str, Any]],
    scores: Callable[[dict[str, Any]], Iterable[float]],
) -> tuple[dict[str, Any], float]:
    """Return the configuration of the greatest mean inner score; the first of equals, so list the simplest first.

    Parameters
    ----------
    configurations : iterable of dict
        What is tried.
    scores : callable
        Gives the score of one configuration in each inner fold; an empty answer counts as chance.
    """
    best: tuple[dict[str, Any], float] | None = None
    for configuration in configurations:
        values = list(scores(configuration))
        value = float(np.mean(values)) if values else 0.5
        if best is None or value > best[1] + 1e-12:
            best = (configuration, value)
    if best is None:
        raise ValueError("no configuration to choose from")
    return best
