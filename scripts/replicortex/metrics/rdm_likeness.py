"""How alike predicted and measured matrices of dissimilarities are."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.rdm import Comparison, similarity


@component
class RdmLikeness(Metric):
    """Correlation over pairs of items of predicted with measured dissimilarities, averaged over matrices.

    Parameters
    ----------
    by : {"spearman", "kendall_a", "correlation", "cosine"}
        The comparison. Kendall's tau-a does not favour models that have few different values, such as categories;
        4,186 pairs take 2 ms.
    """

    bounds = (-1.0, 1.0)
    tasks = frozenset({"infer"})
    arrays = ("y_pred", "response")
    averages = True
    tiny = {}

    by: Comparison = "spearman"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean; ``nan`` without predictions of pairs."""
        if not set(self.arrays) <= predictions.arrays.keys() or not len(predictions):
            return float("nan")
        rows = zip(predictions["y_pred"], predictions["response"], strict=True)
        return float(np.mean([similarity(one[None], other[None], self.by)[0, 0] for one, other in rows]))

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        names = {
            "spearman": "Spearman's correlation",
            "kendall_a": "Kendall's tau-a",
            "correlation": "Pearson's correlation",
            "cosine": "the cosine",
        }
        return f"Predicted and measured dissimilarities were compared by {names[self.by]} over pairs [@nili2014]."
