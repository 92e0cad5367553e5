"""Correlation of what a method adds to an expectation with what the truth adds to it."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class ResidualR(Metric):
    """Pearson's correlation of target and prediction, each less ``y_expected``; ``nan`` where a method hands on none.

    ``y_expected`` (n,) is what other variables tell of the target, by a model of the training rows.
    """

    tasks = frozenset({"regress"})
    bounds = (-1.0, 1.0)
    arrays = ("y_expected",)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the correlation; 0 for predictions that add the same to all."""
        if "y_expected" not in predictions.arrays or len(target) < 3:
            return float("nan")
        x = np.asarray(target, dtype=np.float64) - predictions["y_expected"]
        y = predictions["y_pred"] - predictions["y_expected"]
        if np.ptp(x) == 0:
            return float("nan")
        if np.ptp(y) <= 1e-12 * np.abs(predictions["y_pred"]).max():
            return 0.0
        return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The correlation of residuals is Pearson's correlation [@pearson1895] of predicted with true values, each"
            " less what other variables tell of the target; its chance is 0."
        )
