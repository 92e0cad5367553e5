"""How well the dimensions of an embedding are found again from another random beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..shared.fit_metric import FitMetric


@component
class DimensionReproducibility(FitMetric):
    """Mean over dimensions of their correlation with the best match of other beginnings, by split halves of objects.

    Needs a method that tells ``reproducibility`` of each dimension; see
    :func:`replicortex.shared.triplets.reproducibility`.
    """

    bounds = (-1.0, 1.0)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the mean; ``nan`` where it is not told, 0 where a fit has no dimension left."""
        told = fold.get("found", {}).get("reproducibility")
        if told is None:
            return float("nan")
        return float(np.mean(told)) if len(told) else 0.0

    def chance_fit(self) -> float:
        """Return 0: a dimension matched by chance on some objects says nothing of the others."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Dimensions are reproducible as far as they correlate with those of other random beginnings: each was"
            " matched on every second object, and the correlation is that on the others [@hebart2020]."
        )
