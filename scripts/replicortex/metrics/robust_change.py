"""How far robust coefficients are from those with Gaussian errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.planted_coefficients import planted_and_found


@component
class RobustChange(FitMetric):
    """Euclidean distance of robust coefficients from the same with Gaussian errors, over the length of planted ones.

    Needs a method that hands on ``gaussian``. Zero where robustness changes nothing.
    """

    greater_is_better = False
    bounds = (0.0, None)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the distance; ``nan`` without a truth or without both kinds of coefficients."""
        robust, other = (planted_and_found(fold, truth, name) for name in ("coefficients", "gaussian"))
        if robust is None or other is None:
            return float("nan")
        return float(np.linalg.norm(robust[1] - other[1]) / np.linalg.norm(robust[0]))

    def chance_fit(self) -> float:
        """Return zero, no change."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The change by robustness is the Euclidean distance of robust coefficients from those with Gaussian errors"
            " and the same share of the penalty, over the length of the planted coefficients."
        )
