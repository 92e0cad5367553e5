"""Similarities of pairs counted from choices, smoothed and of low rank: what choices say without a model of objects.

Torgerson (1952), Multidimensional scaling: I. Theory and method. doi:10.1007/BF02288916

Reproduced: objects are placed by the leading eigenvectors of a centred matrix of similarities. Differs: the matrix is
how often two objects stayed together when both were shown, drawn towards a third where they were shown together
seldom; how far, and how many eigenvectors, is chosen on choices kept back.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.triplets import KEPT, MOST_TOLD, POSITIONS, objects_of, odd_one, pair_scores, upper
from ..shared.words import among, percent, searched, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class PairSimilarities(Method):
    """The pair that stayed together most often is kept; the third object is the odd one.

    Parameters
    ----------
    pseudo_counts : list of float
        Trials without knowledge that are added to each pair; chosen.
    ranks : list of int
        Eigenvectors that are kept; chosen.
    validation : float
        Share of the training choices on which both are chosen.
    """

    tasks = frozenset({"classify"})
    needs = ("object",)
    tiny = {"pseudo_counts": [1.0, 10.0], "ranks": [4]}
    state = ("similarity_", "chosen_")

    pseudo_counts: Annotated[list[Positive], Field(min_length=1)] = [1.0, 3.0, 10.0, 30.0]
    ranks: Annotated[list[PositiveInt], Field(min_length=1)] = [10, 20, 40, 80]
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1

    def fit(self, train: Bundle, seed: int) -> None:
        """Count, and choose smoothing and rank."""
        triplets, odd = objects_of(train), odd_one(train)
        n_objects = len(train.axes["object"])
        held = np.zeros(len(odd), dtype=bool)
        grid = [(pseudo, rank) for pseudo in self.pseudo_counts for rank in self.ranks]
        if len(grid) > 1:
            held[np.random.default_rng(seed).permutation(len(odd))[: round(self.validation * len(odd))]] = True
        counts = _counts(triplets[~held], odd[~held], n_objects)
        best = (-np.inf, *grid[0])
        for pseudo in self.pseudo_counts:
            spectrum = _spectrum(counts, pseudo)
            for rank in self.ranks:
                scores = pair_scores(_of_rank(*spectrum, rank), triplets[held])
                right = float(np.mean(scores.argmax(axis=1) == odd[held])) if held.any() else 0.0
                best = max(best, (right, pseudo, rank), key=lambda entry: entry[0])
        right, pseudo, rank = best
        # Counting is nothing that can be overdone: the choices kept back are counted too.
        self.similarity_ = _of_rank(*_spectrum(_counts(triplets, odd, n_objects), pseudo), rank)
        self.chosen_ = {"pseudo_count": pseudo, "rank": rank, **({"inner_score": right} if held.any() else {})}

    def predict(self, test: Bundle) -> Bundle:
        """Return the score of each position to be the odd one, and the objects ``x`` for metrics of the truth."""
        told = classified(test, pair_scores(self.similarity_, objects_of(test)), np.array(POSITIONS))
        axes = {**told.axes, "object": test.axes["object"]}
        return Bundle({**told.arrays, "x": np.asarray(test["x"])}, told.rows, axes, told.meta)

    def chosen(self) -> dict[str, Any]:
        """Return smoothing, rank and inner score."""
        return dict(self.chosen_)

    def found(self) -> dict[str, np.ndarray]:
        """Return the similarities of pairs, of few objects."""
        return {"similarity": upper(self.similarity_)} if len(self.similarity_) <= MOST_TOLD else {}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.pseudo_counts) * len(self.ranks)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        tuned = searched(1, among("the number of added trials", self.pseudo_counts), among("the rank", self.ranks))
        return text(
            "The similarity of two objects was how often they stayed together of the times that both were shown, with"
            " trials without knowledge added; the leading eigenvectors of the centred matrix were kept"
            " [@torgerson1952].",
            tuned.replace(
                "nested search over one inner fold", f"{percent(self.validation)} of the training choices, kept back"
            ),
        )


def _counts(triplets: np.ndarray, odd: np.ndarray, n_objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each two objects stayed together, and were shown together: (n_objects, n_objects) each."""
    kept, shown = np.zeros((2, n_objects, n_objects))
    for position, (a, b) in enumerate(KEPT):
        np.add.at(shown, (triplets[:, a], triplets[:, b]), 1)
        np.add.at(kept, (triplets[:, a], triplets[:, b]), odd == position)
    return kept + kept.T, shown + shown.T


def _spectrum(counts: tuple[np.ndarray, np.ndarray], pseudo: float) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of the smoothed similarities about a third, which is what chance gives.

    Cost: O(n_objects^3).
    """
    kept, shown = counts
    smooth = (kept + pseudo / 3) / (shown + pseudo) - 1 / 3
    np.fill_diagonal(smooth, 0.0)
    return np.linalg.eigh(smooth)


def _of_rank(values: np.ndarray, vectors: np.ndarray, rank: int) -> np.ndarray:
    """Return the matrix of the eigenvectors with the greatest eigenvalues."""
    keep = slice(max(0, len(values) - rank), None)
    return (vectors[:, keep] * values[keep]) @ vectors[:, keep].T
