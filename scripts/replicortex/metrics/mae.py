"""By how much predicted numbers are wrong."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class Mae(Metric):
    """Mean absolute error, in units of the target."""

    greater_is_better = False
    tasks = frozenset({"regress"})
    bounds = (0.0, None)
    unit = "unit of the target"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean absolute error; ``nan`` where there is no row."""
        if not len(target):
            return float("nan")
        return float(np.mean(np.abs(np.asarray(target, dtype=np.float64) - predictions["y_pred"])))

    def chance(self, target: np.ndarray) -> float:
        """Return the error of naming the median of these rows each time: no constant does better."""
        target = np.asarray(target, dtype=np.float64)
        return float(np.mean(np.abs(target - np.median(target))))

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The mean absolute error is in units of the target; its chance is that of always naming the median of the"
            " held-out rows."
        )
