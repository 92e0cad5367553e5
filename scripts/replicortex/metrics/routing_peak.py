"""Does the attention of a region fall on the place that its responses were made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..shared.truth_metric import TruthMetric
from ..shared.words import digits


@component
class RoutingPeak(TruthMetric):
    """Share of held-out stimuli and regions whose greatest attention is at the planted place.

    Needs a method that hands on ``attention`` (n_rows, n_queries, n_tokens), a query a region. What was planted is the
    place of a region in each stimulus, or one for all stimuli by subject and region.

    Parameters
    ----------
    expected_by_chance : float
        One over the number of places: what attention at random arrives at.
    """

    tasks = frozenset({"encode"})
    bounds = (0.0, 1.0)
    tiny = {"expected_by_chance": 0.1}

    expected_by_chance: float = Field(ge=0, lt=1)

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where no attention is handed on or nothing is known to be planted."""
        planted = (truth or {}).get("planted_token")
        attention = predictions.arrays.get("attention")
        regions = predictions.axes.get("query", [])
        if not planted or attention is None or len(regions) != attention.shape[1]:
            return float("nan")
        peak = attention.argmax(axis=2)
        # Each stimulus once, however often it was shown: its attention is the same.
        subjects = predictions.rows["subject"].astype(str)
        _, first = np.unique(np.char.add(np.char.add(subjects, "|"), target.astype(str)), return_index=True)
        hits = []
        for number, region in enumerate(regions):
            for row in first:
                place = planted.get(region, {}).get(str(target[row]), planted.get(subjects[row], {}).get(region))
                if place is not None:
                    hits.append(peak[row, number] == place)
        return float(np.mean(hits)) if hits else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return the share that was stated in the card."""
        return self.expected_by_chance

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The routing peak is the share of held-out stimuli and regions whose greatest attention was at the place"
            " that"
            f" the responses of the region were made from, {digits(self.expected_by_chance)} by chance; it is known for"
            " simulated data only."
        )
