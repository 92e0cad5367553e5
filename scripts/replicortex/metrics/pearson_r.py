"""Linear correlation between predicted and true numbers."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class PearsonR(Metric):
    """Product-moment correlation. Blind to offset and scale: stand it beside an error, never alone."""

    tasks = frozenset({"regress"})
    bounds = (-1.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the correlation.

        ``nan`` for fewer than three rows or targets that are all the same; 0 for predictions that are all the
        same, which know nothing of the rows.
        """
        x, y = np.asarray(target, dtype=np.float64), predictions["y_pred"]
        if len(x) < 3 or np.ptp(x) == 0:
            return float("nan")
        # The spread of equal numbers is not exactly zero once their mean is rounded.
        if np.ptp(y) <= 1e-12 * np.abs(y).max():
            return 0.0
        return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return "Pearson's correlation is that of predicted with true values [@pearson1895]; its chance is 0."
