"""How well the dimensions of an embedding are those that were planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.triplets import correlations


@component
class DimensionRecovery(FitMetric):
    """Correlation of each planted dimension with its best match, averaged over dimensions.

    The match is found on every second object and the correlation is that on the others, so that the choice of the best
    does not raise it. Needs a method that tells its ``embedding``.
    """

    bounds = (-1.0, 1.0)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the mean correlation; ``nan`` where nothing was planted or no embedding is told."""
        found, planted = fold.get("found", {}).get("embedding"), (truth or {}).get("embedding")
        if found is None or planted is None or len(found) != len(planted):
            return float("nan")
        found, planted = (np.asarray(values, dtype=np.float64) for values in (found, planted))
        match = correlations(planted[::2], found[::2]).argmax(axis=1)
        near = correlations(planted[1::2], found[1::2])[np.arange(planted.shape[1]), match]
        return float(near.mean())

    def chance_fit(self) -> float:
        """Return 0: a dimension matched by chance on some objects says nothing of the others."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Each planted dimension was matched with the dimension of the embedding that correlates most with it on"
            " every second object; the recovery is the mean correlation of matched dimensions on the others."
        )
