"""Whether the variables that a fit selected are those that were planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.planted_coefficients import planted_and_found
from ..shared.words import digits


@component
class SupportF1(FitMetric):
    """Harmonic mean of precision and recall of the selected variables, those whose coefficient is not zero.

    One for the planted variables and nothing else. Unlike ``support_recall`` it looks at how many were selected.

    Parameters
    ----------
    expected_by_chance : float
        What selecting all variables arrives at, 2 k / (p + k) for k planted ones of p; no blind selection of a size
        that does not depend on them has more.
    """

    bounds = (0.0, 1.0)
    tiny = {"expected_by_chance": 0.02}

    expected_by_chance: float = Field(ge=0, lt=1)

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the value; ``nan`` without a truth or without coefficients."""
        pair = planted_and_found(fold, truth)
        if pair is None:
            return float("nan")
        planted, found = (values != 0 for values in pair)
        return float(2 * np.sum(planted & found) / (planted.sum() + found.sum()))

    def chance_fit(self) -> float:
        """Return the value that was stated in the card."""
        return self.expected_by_chance

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The agreement of the support is the harmonic mean of precision and recall of the variables selected,"
            f" against those planted; selecting all of them arrives at {digits(self.expected_by_chance)}."
        )
