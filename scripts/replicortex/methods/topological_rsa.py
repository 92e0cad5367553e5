"""Topological representational similarity analysis.

Lin & Kriegeskorte (2024), The topology and geometry of neural representations. doi:10.1073/pnas.2317881121

Reproduced: dissimilarities to ranks, to the range from 0 to 1, then the geo-topological transform with a lower and an
upper quantile (0 and 1: geometry; both equal: the topology of a graph), and the geodesic variant by shortest paths on
the transformed matrix; a held-out person's region or layer is that of the nearest mean matrix of the others. Differs:
the quantiles are chosen by nested search on training subjects, where the paper shows the accuracy of all; a pair at
distance 0 is joined by an edge of length 0 and one at the upper quantile or beyond by one of length 1, where the
authors' graphs have no edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.predictions import classified
from ..shared.rdm import Comparison, geo_topological, geodesic, ranked, similarity
from ..shared.rdm_centroids import search_centroids
from ..shared.search import inner_folds
from ..shared.words import among, listed, searched, text

Quantile = Annotated[float, Field(ge=0, le=1)]


@component
class TopologicalRsa(Method):
    """Nearest class mean of geo-topologically transformed dissimilarity matrices.

    Parameters
    ----------
    quantiles : list of (float, float)
        Lower and upper quantiles that the nested search tries, in this order; of equals the first is taken.
    paths : bool
        Whether shortest paths take the place of the transformed dissimilarities.
    compare : list of {"correlation", "cosine", "spearman", "kendall_a"}
        How a matrix is compared with the mean of a class; several are part of the search.
    n_inner : int
        Inner folds of the search, whole subjects.
    """

    tasks = frozenset({"classify"})
    needs = ("pair",)
    tiny = {"quantiles": [(0.0, 1.0), (0.2, 0.8)], "n_inner": 2}
    state = ("chosen_", "centroids_", "classes_")

    quantiles: list[tuple[Quantile, Quantile]] = [
        *((0.0, 1.0), (0.0, 0.2), (0.0, 0.4), (0.0, 0.6), (0.0, 0.8), (0.2, 0.4), (0.2, 0.6), (0.2, 0.8), (0.2, 1.0)),
        *((0.4, 0.6), (0.4, 0.8), (0.4, 1.0), (0.6, 0.8), (0.6, 1.0), (0.8, 1.0)),
        *((0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8)),
    ]
    paths: bool = False
    compare: Annotated[list[Comparison], Field(min_length=1)] = ["correlation"]
    n_inner: PositiveInt = 3

    def __post_init__(self) -> None:
        """Refuse quantiles that are no range."""
        if not self.quantiles or any(lower > upper for lower, upper in self.quantiles):
            raise InputError("methods/topological_rsa", "quantiles: a lower one above its upper", "exchange them")

    def _configurations(self) -> list[dict[str, Any]]:
        return [
            {"lower": lower, "upper": upper, "compare": by} for by in self.compare for lower, upper in self.quantiles
        ]

    def _transform(self, ranks: np.ndarray, chosen: Mapping[str, Any]) -> np.ndarray:
        made = geo_topological(ranks, chosen["lower"], chosen["upper"])
        return geodesic(made) if self.paths else made

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the quantiles on the training rows, then take the mean matrix of each class."""
        folds = inner_folds(train, self.n_inner, seed)
        found = search_centroids(train, self._configurations(), self._transform, folds)
        self.chosen_, self.centroids_, self.classes_ = found

    def predict(self, test: Bundle) -> Bundle:
        """Return the likeness of each matrix to the mean of each class."""
        rdms = self._transform(ranked(test["x"]), self.chosen_)
        return classified(test, similarity(rdms, self.centroids_, self.chosen_["compare"]), self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the quantiles, the comparison and the inner score."""
        return dict(self.chosen_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.quantiles) * len(self.compare)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        tried = [f"{lower:g} to {upper:g}" for lower, upper in self.quantiles]
        shown = tried if len(tried) <= 8 else [*tried[:3], f"{len(tried) - 3} more"]
        after = (
            " Shortest paths between items on the resulting graph then took the place of dissimilarities."
            if self.paths
            else ""
        )
        return text(
            "Dissimilarities were replaced by their ranks between 0 and 1 and transformed geo-topologically: to 0 below"
            f" a lower quantile, to 1 above an upper one, and linearly between [@lin2024].{after} Each matrix was given"
            " the class whose mean matrix in the training participants was most alike.",
            searched(
                self.n_inner,
                ("the pair of quantiles", len(self.quantiles), listed(shown, "or")),
                among("the comparison", [by.replace("_", " ") for by in self.compare]),
            ),
        )
