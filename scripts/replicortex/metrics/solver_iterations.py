"""How many iterations a fit's solver took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric


@component
class SolverIterations(FitMetric):
    """Iterations over the whole path of solutions, of a method that hands on ``iterations``; the inner folds are out.

    To be compared between methods that end by the same rule and have the same path. There is no chance: what is stated
    as one, no iteration, can not be reached.
    """

    greater_is_better = False
    bounds = (0.0, None)
    unit = "iterations"
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the number; ``nan`` if the fit does not tell it."""
        told = fold.get("found", {}).get("iterations")
        return float(np.sum(told)) if told is not None else float("nan")

    def chance_fit(self) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return "Iterations of the solver were counted over the whole path of solutions on the training rows of a fold."
