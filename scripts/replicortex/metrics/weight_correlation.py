"""How far the weights that a fit found are those that were planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.spike_scores import found_states


@component
class WeightCorrelation(FitMetric):
    """Correlation of found and planted weights over all pairs and states, states being matched first."""

    tasks = frozenset({"infer"})
    bounds = (-1.0, 1.0)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the correlation; ``nan`` without a truth, without weights, or with fewer states than were planted."""
        pair = found_states(fold, truth)
        if pair is None:
            return float("nan")
        planted, state_of = pair
        found = np.asarray(fold["found"]["weights"], dtype=float)[state_of]
        return float(np.corrcoef(planted.ravel(), found.ravel())[0, 1]) if found.std() > 0 else float("nan")

    def chance_fit(self) -> float:
        """Return 0, which matching the states raises by less than the inverse root of the number of weights."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The correlation of weights is that of the found with the planted ones over all pairs of neurons and all"
            " states, which were matched so that the weights agreed most."
        )
