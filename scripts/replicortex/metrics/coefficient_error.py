"""How far the coefficients that a fit found are from those that were planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.planted_coefficients import planted_and_found


@component
class CoefficientError(FitMetric):
    """Euclidean distance of found and planted coefficients, over the length of the planted ones.

    One if all that was found is zero; below, something was found out.
    """

    greater_is_better = False
    bounds = (0.0, None)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the distance; ``nan`` without a truth or without coefficients."""
        pair = planted_and_found(fold, truth)
        if pair is None:
            return float("nan")
        planted, found = pair
        return float(np.linalg.norm(found - planted) / np.linalg.norm(planted))

    def chance_fit(self) -> float:
        """Return 1, the distance of no coefficients at all."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The error of coefficients is the Euclidean distance of those found from those planted, over the length of"
            " the latter; finding nothing has the error 1."
        )
