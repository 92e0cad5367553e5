"""Accuracy that does not depend on how common the classes are."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class BalancedAccuracy(Metric):
    """Mean over the classes present of the share of a class's rows that are predicted rightly."""

    bounds = (0.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean share; ``nan`` where the rows have one class only."""
        classes, index = np.unique(target, return_inverse=True)
        if len(classes) < 2:
            return float("nan")
        named = np.asarray(predictions.axes["class"])[predictions["y_score"].argmax(axis=1)]
        return float(np.mean(np.bincount(index, named == target) / np.bincount(index)))

    def chance(self, target: np.ndarray) -> float:
        """Return one over the number of classes present."""
        return 1.0 / len(np.unique(target))

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Balanced accuracy is the mean over classes of the share of a class's held-out rows that were classified"
            " rightly [@brodersen2010]; its chance is one over the number of classes."
        )
