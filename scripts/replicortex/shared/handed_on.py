"""Metrics of arrays that a method hands on beside its predictions."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ..bundle import Bundle
from ..components import Metric


class HandedOn(Metric):
    """Scores held-out rows by arrays that a method hands on; ``nan`` for methods that do not."""

    #: Names of the arrays.
    arrays: ClassVar[tuple[str, ...]] = ()

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the value for these rows; ``nan`` where an array is missing."""
        if any(name not in predictions.arrays for name in self.arrays) or not len(predictions):
            return float("nan")
        return self.judge(predictions)

    @abstractmethod
    def judge(self, predictions: Bundle) -> float:
        """Return the value for rows that have the arrays."""
