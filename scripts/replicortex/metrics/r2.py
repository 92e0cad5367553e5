"""Share of the variance of the held-out numbers that is predicted."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class R2(Metric):
    """Coefficient of determination: 1 - squared errors over squares about the mean *of the held-out rows*.

    That mean is one that no prediction can know, so that naming the training mean scores a little below 0. The
    other usual choice, the training mean itself, makes two folds of the same errors differ by their training rows.
    """

    tasks = frozenset({"regress"})
    bounds = (None, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the coefficient; ``nan`` for fewer than two rows or targets that are all the same."""
        target = np.asarray(target, dtype=np.float64)
        if len(target) < 2 or np.ptp(target) == 0:
            return float("nan")
        errors = np.sum((target - predictions["y_pred"]) ** 2)
        return float(1 - errors / np.sum((target - target.mean()) ** 2))

    def chance(self, target: np.ndarray) -> float:
        """Return 0: what naming the mean of the held-out rows reaches."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The coefficient of determination (R²) is one minus the squared errors over the squared deviations"
            " from the mean of the held-out rows; its chance is 0, and it is negative for predictions worse than that"
            " mean."
        )
