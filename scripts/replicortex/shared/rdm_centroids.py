"""Nearest mean matrix of each class, and the search of how matrices are transformed before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..bundle import Bundle
from .rdm import Comparison, ranked, similarity
from .search import Fold, select, selection_score

Transform = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]


def centroids(rdms: np.ndarray, target: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the mean matrix of each class: (n_classes, n_pairs)."""
    return np.stack([rdms[target == name].mean(axis=0) for name in classes])


def search_centroids(
    train: Bundle,
    configurations: Sequence[dict[str, Any]],
    transform: Transform,
    folds: Sequence[Fold],
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Choose a configuration on the training rows and return it, the mean matrix of each class, and the classes.

    Matrices are ranked first, each by itself.

    Parameters
    ----------
    train : Bundle
        ``x`` of shape (n_rows, n_pairs) and the row column ``target``.
    configurations : sequence of dict
        What is tried, the simplest first; ``compare`` is how matrices are compared.
    transform : callable
        Gives the transformed matrices of a configuration from their ranks, each row by itself.
    folds : sequence of (train, test) indices
        Inner folds. If empty, the first configuration is taken.

    Cost: a transform of all rows for each configuration, and O(n_rows n_classes n_pairs) for each inner fold.
    """
    rdms, target = ranked(train["x"]), train.rows["target"].astype(str)
    classes = np.unique(target)

    def scores(configuration: dict[str, Any]) -> list[float]:
        made, by = transform(rdms, configuration), configuration["compare"]
        return [_score(made, target, classes, fold, by) for fold in folds]

    if len(folds) and len(configurations) > 1:
        chosen, score = select(configurations, scores)
        found = {**chosen, "inner_score": score}
    else:
        found = dict(configurations[0])
    return found, centroids(transform(rdms, found), target, classes), classes


def _score(rdms: np.ndarray, target: np.ndarray, classes: np.ndarray, fold: Fold, by: Comparison) -> float:
    inner, held = fold
    near = similarity(rdms[held], centroids(rdms[inner], target[inner], classes), by)
    return selection_score(target[held], near, classes)
