"""Metrics that judge what a fit found out, rather than what it predicts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import TASKS, Metric


class FitMetric(Metric):
    """Scores the record of one fold in ``fit.json``, against what was planted where that is known.

    Only scoring reads the truth: no method, extractor or splitter is ever given it.
    """

    tasks = frozenset(TASKS)
    whole = True

    @abstractmethod
    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the value of one fitted fold; ``nan`` where it is not defined.

        Parameters
        ----------
        fold : mapping
            The fold's record: ``chosen`` (what the nested search chose), ``found`` (nested lists of what the fit
            found out), ``n_train``, ``n_test``, ...
        truth : mapping or None
            What was planted: ``facts`` of the dataset's ``truth.json``; ``None`` for measured data.
        """

    @abstractmethod
    def chance_fit(self) -> float:
        """Return the value expected of a search that knows nothing."""

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return ``nan``: predictions do not say what a fit found out."""
        return float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return the chance of :meth:`chance_fit`."""
        return self.chance_fit()
