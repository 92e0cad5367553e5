"""Whether more modalities are ever worse than the best of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.modalities import by_pattern, scored_patterns
from ..shared.truth_metric import TruthMetric


@component
class SingleShare(TruthMetric):
    """Area above one half of a pattern of modalities over that of its best single one; the worst of all patterns.

    The best single modality is used as well as can be, which is known of simulated data. One where a pattern is just
    as good as that, more where its modalities were combined to use, zero by chance.
    """

    tasks = frozenset({"classify"})
    whole = True

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the lowest ratio over patterns of two modalities or more; ``nan`` where nothing was planted."""
        best = by_pattern((truth or {}).get("attainable") or {})
        ratios = []
        for pattern, area in scored_patterns(target, predictions).items():
            single = max((best.get(frozenset([name]), 0.5) for name in pattern), default=0.5) - 0.5
            if len(pattern) > 1 and single > 0:
                ratios.append((area - 0.5) / single)
        return float(min(ratios)) if ratios else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return zero, which is the most that the worst of several patterns without knowledge comes to."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Each pattern of two modalities or more was compared with the best single one of it: area under the curve"
            " above 0.5 over that of the best possible decision on this modality. The lowest ratio of all patterns"
            " counts; one is as good as the single modality, zero is chance."
        )
