"""Accuracy of choices of the odd one out, over what the true embedding is expected to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.triplets import dot_scores, objects_of, softmax
from ..shared.truth_metric import TruthMetric

#: Share of choices that are right by chance.
_CHANCE = 1 / 3


@component
class AttainableAccuracy(TruthMetric):
    """Accuracy above chance over that expected of the embedding that choices were made by; 1 is as good as can be.

    Choices are drawn, so that even the true embedding does not tell all of them: it is right as often as its likeliest
    answer is probable. Needs a method that hands on the objects ``x`` of each row.
    """

    tasks = frozenset({"classify"})
    arrays = ("x",)
    tiny = {}

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where the embedding is not known or tells nothing."""
        found = predictions.arrays
        found = found if "attainable" in found else self.of_rows_in_truth(predictions, truth)
        if "attainable" not in found or not len(target):
            return float("nan")
        named = np.asarray(predictions.axes["class"])[predictions["y_score"].argmax(axis=1)]
        right, best = np.mean(named == target), np.mean(found["attainable"])
        return float((right - _CHANCE) / (best - _CHANCE)) if best > _CHANCE + 1e-9 else float("nan")

    def of_rows_in_truth(self, predictions: Bundle, truth: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
        """Return the probability of the likeliest choice, ``attainable`` (n,), where the embedding is known."""
        embedding = (truth or {}).get("embedding")
        if embedding is None or "x" not in predictions.arrays:
            return {}
        likely = softmax(dot_scores(np.asarray(embedding), objects_of(predictions)))
        return {"attainable": likely.max(axis=1)}

    def chance(self, target: np.ndarray) -> float:
        """Return 0: no better than chance."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The attainable accuracy is the accuracy above chance over that expected of the embedding which the"
            " simulated choices were made by."
        )
