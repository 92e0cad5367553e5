"""Whether the effects that a fit found are too small, or too large, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.planted_coefficients import planted_and_found


@component
class FixedEffectBias(FitMetric):
    """Magnitude of the bias of the planted effects over their sum: what noise adds to one and takes of another is out.

    The found less the planted coefficients, each turned by the sign of the planted one, are summed over the planted
    variables. One if nothing was found, 0 if effects are right on average.
    """

    greater_is_better = False
    bounds = (0.0, None)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the bias; ``nan`` without a truth or without coefficients."""
        pair = planted_and_found(fold, truth)
        if pair is None:
            return float("nan")
        planted, found = pair
        return float(abs(np.sign(planted) @ (found - planted)) / np.abs(planted).sum())

    def chance_fit(self) -> float:
        """Return 1, the bias of no effects at all."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The bias of fixed effects is the magnitude of the sum of found less planted coefficients of the planted"
            " variables, each turned by the sign of the latter, over the sum of their magnitudes; finding nothing has"
            " the bias 1."
        )
