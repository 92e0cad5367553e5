"""Error of decoded numbers relative to their spread."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component


@component
class Nrmse(Metric):
    """Root mean squared error over the root mean square of the held-out numbers about their mean, all outputs together.

    What names the mean of the held-out rows has 1, and no error is 0.
    """

    tasks = frozenset({"decode"})
    greater_is_better = False
    bounds = (0.0, None)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the relative error; ``nan`` for fewer than two rows or numbers that are all the same."""
        true = np.asarray(predictions["y_true"], dtype=np.float64)
        if len(true) < 2:
            return float("nan")
        spread = np.sum((true - true.mean(axis=0)) ** 2)
        errors = np.sum((true - predictions["y_pred"]) ** 2)
        return float(np.sqrt(errors / spread)) if spread > 0 else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return 1: what naming the mean of the held-out rows reaches."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The normalised error (nRMSE) is the root mean squared error of all decoded numbers over their root mean"
            " square about the mean of the held-out rows; naming that mean gives 1."
        )
