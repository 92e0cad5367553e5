"""How often a map is highest in the region that the target is of."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import component
from ..shared.map_scores import Count, MapMetric, NotNegative, region_ranks
from ..shared.words import count, digits, percent, text


@component
class LocalisationHit(MapMetric):
    """Share of maps whose ``first`` regions, ranked by a quantile of the map within each, hold the right one.

    Regions other than the right ones are not dilated, which would make neighbours of it hits as well.

    Parameters
    ----------
    region : list of str
        Regions that the target is of; any of them counts.
    first : int
        Regions that are looked at: 1 for a strong and 3 for a weak hit.
    quantile : float
        Of the map's values within a region.
    fwhm : float
        Width (voxels) of the Gaussian that smooths maps.
    kept : float
        Share of the voxels that are kept, the highest.
    dilation : int
        Voxels by which the region grows.
    expected_by_chance : float
        ``first`` over the number of regions.
    """

    bounds = (0.0, 1.0)
    tiny = {"region": ["R1"], "expected_by_chance": 0.2, "kept": 0.2}

    region: Annotated[list[str], Field(min_length=1)]
    first: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.99
    fwhm: NotNegative = 2.0
    kept: Annotated[float, Field(gt=0, le=1)] = 0.01
    dilation: Count = 0
    expected_by_chance: Annotated[float, Field(ge=0, lt=1)]

    def of_map(self, heat: np.ndarray, inside: np.ndarray, labels: np.ndarray) -> float:
        """Return 1 for a hit, else 0."""
        right = set(np.unique(labels[inside & (labels > 0)]).tolist()) if not self.dilation else set()
        if self.dilation:
            # The dilated region takes the place of its own label.
            own = int(labels.max()) + 1
            labels, right = np.where(inside, own, labels), {own}
        ranks = region_ranks(heat, labels, int(labels.max()), self.quantile)
        return float(any(ranks[number - 1] < self.first for number in right))

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"Maps hit if the region is among the first {count(self.first, 'region')} by the"
            f" {percent(self.quantile)} quantile of the map within each ({self.maps_in_words()}).",
            f"{digits(self.expected_by_chance)} is expected of a map that knows nothing.",
        )
