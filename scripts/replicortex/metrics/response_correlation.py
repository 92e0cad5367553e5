"""Correlation of predicted with measured responses to single presentations."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.ceilings import correlations


@component
class ResponseCorrelation(Metric):
    """Mean over responses of the correlation, over held-out presentations, of prediction and measurement.

    With noise in the responses its greatest value is far below 1: stand it beside a ceiling.
    """

    tasks = frozenset({"encode"})
    bounds = (-1.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean correlation; ``nan`` for fewer than three stimuli. A constant prediction counts as 0."""
        if len(np.unique(target)) < 3:
            return float("nan")
        return float(correlations(predictions["y_pred"], predictions["response"]).mean())

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Pearson's correlation of predicted with measured responses [@pearson1895] was taken over held-out"
            " presentations and averaged over responses; its chance is 0."
        )
