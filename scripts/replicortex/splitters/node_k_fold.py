"""K-fold over the nodes of a graph: what a node does to others is predicted from what other nodes do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.node_folds import fold_of_nodes
from ..shared.words import spelled


@component
class NodeKFold(Splitter):
    """Hold out all ordered pairs whose source is one of a fold's nodes; train on pairs from other sources.

    A node of a name is held out in all subjects at once. Its pairs as a target stay in training.

    Parameters
    ----------
    folds : int
        Parts; fewer where there are fewer nodes.
    """

    held_out = "node"
    crossed = True
    columns = ("node_from", "node_to")
    tiny = {"folds": 2}

    folds: Annotated[int, Field(ge=2)] = 5

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: rows are no pairs of nodes, or have one source only."""
        if "node_from" not in rows or set(rows["node_from"].astype(str)) <= {"n/a"}:
            return "the rows are no pairs of nodes (no row column node_from)"
        return "there is only one source node" if len(np.unique(rows["node_from"])) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds; one whose training side would lack a class is left out."""
        target, nodes = np.asarray(target), rows["node_from"].astype(str)
        n_folds = min(self.folds, len(np.unique(nodes)))
        fold = fold_of_nodes(nodes, target, n_folds, np.random.default_rng(seed))
        classes = target.dtype.kind not in "fiu"
        for number in range(n_folds):
            held = fold == number
            if classes and len(np.unique(target[~held])) < len(np.unique(target)):
                continue
            yield f"fold-{number}", np.flatnonzero(~held), np.flatnonzero(held)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"In {spelled(self.folds)}-fold cross-validation, source neurons were held out with all of their pairs, in"
            " all animals at once. Folds were balanced by the number of pairs of the rarer class."
        )
