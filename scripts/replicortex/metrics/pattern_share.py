"""How much of what the modalities at hand can tell was told: the area above chance over the best that there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.modalities import by_pattern, scored_patterns
from ..shared.truth_metric import TruthMetric


@component
class PatternShare(TruthMetric):
    """Area under the curve above one half, summed over all patterns of modalities, over that of the best decision.

    One where each pattern is used as well as can be, zero by chance. The sum keeps patterns that tell little, and
    whose own share is noise, from deciding.
    """

    tasks = frozenset({"classify"})
    bounds = (None, None)
    whole = True

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where nothing was planted or predictions have no patterns."""
        best = by_pattern((truth or {}).get("attainable") or {})
        areas = scored_patterns(target, predictions)
        known = [pattern for pattern in areas if frozenset(pattern) in best]
        there = sum(best[frozenset(pattern)] - 0.5 for pattern in known)
        if not known or there <= 0:
            return float("nan")
        return float(sum(areas[pattern] - 0.5 for pattern in known) / there)

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The share of what is attainable is the area under the curve above 0.5, summed over all patterns of"
            " modalities, divided by that of the best possible decision on the simulated modalities; zero is expected"
            " by chance."
        )
