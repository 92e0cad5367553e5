"""Folds of ordered pairs of nodes that hold out whole source nodes, for evaluation and for nested searches alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def fold_of_nodes(nodes: np.ndarray, target: np.ndarray, n_folds: int, generator: np.random.Generator) -> np.ndarray:
    """Return the fold of each row; all rows of a node have the same.

    Nodes are dealt out in turn by how many of their pairs are of the rarest class, so that each fold has some; that of
    a number as target is dealt out by chance.
    """
    names, index = np.unique(nodes.astype(str), return_inverse=True)
    rare = np.zeros(len(names))
    if np.asarray(target).dtype.kind not in "fiu":
        classes, code, counts = np.unique(target, return_inverse=True, return_counts=True)
        if len(classes) > 1:
            rare = np.bincount(index[code == np.argmin(counts)], minlength=len(names))
    order = np.lexsort([generator.permutation(len(names)), rare])
    fold = np.empty(len(names), dtype=int)
    fold[order] = (np.arange(len(names)) + generator.integers(n_folds)) % n_folds
    return fold[index]


def folds_of_nodes(
    rows: Mapping[str, np.ndarray], target: np.ndarray, n_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return folds of whole source nodes (row column ``node_from``); of rows where there is no such column.

    Folds of which a side lacks a class are left out.
    """
    nodes = rows["node_from"] if "node_from" in rows else rows["row_id"]
    n_folds = min(n_folds, len(np.unique(nodes)))
    if n_folds < 2:
        return []
    fold = fold_of_nodes(nodes, target, n_folds, np.random.default_rng(seed))
    folds = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(n_folds)]
    n_classes = len(np.unique(target))
    return [pair for pair in folds if all(len(np.unique(target[side])) == n_classes for side in pair)]
