"""How well a fit tells which neurons are connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.spike_scores import found_states, of_subject


@component
class AdjacencyAuc(FitMetric):
    """Area under the curve by which the found connections rank the planted ones before pairs that have none.

    In each state for itself, states being matched first; the mean over states.
    """

    tasks = frozenset({"infer"})
    bounds = (0.0, 1.0)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the area; ``nan`` without a truth or connections, or where a state has all pairs or none connected."""
        pair, planted = found_states(fold, truth), of_subject(fold, truth, "adjacency")
        if pair is None or planted is None or "connected" not in fold["found"]:
            return float("nan")
        found = np.asarray(fold["found"]["connected"], dtype=float)[pair[1]]
        return float(np.mean([_auc(there != 0, clear) for there, clear in zip(planted, found, strict=True)]))

    def chance_fit(self) -> float:
        """Return one half, which matching the states raises a little."""
        return 0.5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "How well connections were told is the area under the curve by which their found size ranks the planted"
            " connections of a state before the pairs that have none, averaged over states, which were matched so that"
            " the weights agreed most."
        )


def _auc(there: np.ndarray, clear: np.ndarray) -> float:
    """Return the probability that a connected pair is clearer than another; ties count half."""
    there, ranks = there.ravel(), rankdata(clear.ravel())
    n, m = there.sum(), (~there).sum()
    return float((ranks[there].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")
