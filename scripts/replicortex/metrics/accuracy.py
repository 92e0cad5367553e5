"""Share of rows whose class is predicted rightly."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class Accuracy(Metric):
    """Share of rows whose likeliest class is theirs. Depends on how common the classes are."""

    bounds = (0.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` for rows of one class only: naming it each time would be perfect."""
        if len(np.unique(target)) < 2:
            return float("nan")
        named = np.asarray(predictions.axes["class"])[predictions["y_score"].argmax(axis=1)]
        return float(np.mean(named == target))

    def chance(self, target: np.ndarray) -> float:
        """Return the share of the commonest class: what naming it every time reaches."""
        return float(np.unique(target, return_counts=True)[1].max() / len(target))

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Accuracy is the share of held-out rows that were given their own class; its chance is the share of the"
            " commonest class."
        )
