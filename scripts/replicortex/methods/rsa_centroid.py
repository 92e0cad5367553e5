"""Representational similarity analysis by the nearest mean matrix, on the geometry.

Kriegeskorte, Mur & Bandettini (2008), Representational similarity analysis - connecting the branches of systems
neuroscience. doi:10.3389/neuro.06.004.2008

Reproduced: matrices of dissimilarities are compared by their ranks (Spearman's correlation with the mean of ranks).
Differs: so that it is tuned as much as the topological transforms that it is compared with, powers of the ranks (which
weigh great or small dissimilarities more, and leave their order) and the comparison are chosen by nested search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.rdm import Comparison, ranked, similarity
from ..shared.rdm_centroids import search_centroids
from ..shared.search import inner_folds
from ..shared.words import among, searched, text


@component
class RsaCentroid(Method):
    """Nearest class mean of ranked dissimilarity matrices.

    Parameters
    ----------
    powers : list of float
        Powers of the ranks (between 0 and 1) that the nested search tries; 1 leaves them.
    compare : list of {"correlation", "cosine", "spearman", "kendall_a"}
        How a matrix is compared with the mean of a class.
    n_inner : int
        Inner folds of the search, whole subjects.
    """

    tasks = frozenset({"classify"})
    needs = ("pair",)
    tiny = {"powers": [1.0, 2.0], "n_inner": 2}
    state = ("chosen_", "centroids_", "classes_")

    powers: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [1.0]
    compare: Annotated[list[Comparison], Field(min_length=1)] = ["correlation"]
    n_inner: PositiveInt = 3

    def _configurations(self) -> list[dict[str, Any]]:
        return [{"power": power, "compare": by} for by in self.compare for power in self.powers]

    def _transform(self, ranks: np.ndarray, chosen: Mapping[str, Any]) -> np.ndarray:
        return ranks ** chosen["power"]

    def fit(self, train: Bundle, seed: int) -> None:
        """Search power and comparison on the training rows, then take the mean matrix of each class."""
        folds = inner_folds(train, self.n_inner, seed)
        found = search_centroids(train, self._configurations(), self._transform, folds)
        self.chosen_, self.centroids_, self.classes_ = found

    def predict(self, test: Bundle) -> Bundle:
        """Return the likeness of each matrix to the mean of each class."""
        rdms = self._transform(ranked(test["x"]), self.chosen_)
        return classified(test, similarity(rdms, self.centroids_, self.chosen_["compare"]), self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the power, the comparison and the inner score."""
        return dict(self.chosen_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.powers) * len(self.compare)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            "Each matrix of ranked dissimilarities was given the class whose mean matrix in the training participants"
            " was most alike [@kriegeskorte2008].",
            searched(
                self.n_inner,
                among("the power of the ranks", self.powers),
                among("the comparison", [by.replace("_", " ") for by in self.compare]),
            ),
        )
