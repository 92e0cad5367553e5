"""Metrics that compare what a method hands on with what was planted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import TASKS, Metric


class TruthMetric(Metric):
    """Scores held-out rows against what was planted, where that is known.

    Only scoring reads the truth: no method, extractor or splitter is ever given it.
    """

    tasks = frozenset(TASKS)

    @abstractmethod
    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the value for these rows; ``nan`` where it is not defined.

        Parameters
        ----------
        target : ndarray of shape (n_rows,)
            Their targets.
        predictions : Bundle
            What the method handed on for them.
        truth : mapping or None
            What was planted: ``facts`` of the dataset's ``truth.json``; ``None`` for measured data.
        """

    def of_rows_in_truth(self, predictions: Bundle, truth: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
        """Return arrays that :meth:`score_truth` is made of, as :meth:`of_rows` does; these need the truth."""
        return {}

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return ``nan``: without the truth there is nothing to compare with."""
        return float("nan")
