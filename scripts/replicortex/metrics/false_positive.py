"""How often a map is high outside of the region that the target is of."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import component
from ..shared.map_scores import Count, MapMetric, NotNegative, quantile
from ..shared.words import digits, percent, text


@component
class FalsePositive(MapMetric):
    """Share of maps with a voxel outside of the region that is higher than a quantile of those inside.

    Parameters
    ----------
    region : list of str
        Regions that the target is of.
    quantile : float
        Of the map's values within the region.
    fwhm : float
        Width (voxels) of the Gaussian that smooths maps.
    kept : float
        Share of the voxels that are kept, the highest.
    dilation : int
        Voxels by which the region grows: 20 of 2 mm in the authors' code.
    expected_by_chance : float
        Share of such maps among those that know nothing; nearly all.
    """

    greater_is_better = False
    bounds = (0.0, 1.0)
    tiny = {"region": ["R1"], "dilation": 0}

    region: Annotated[list[str], Field(min_length=1)]
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.99
    fwhm: NotNegative = 2.0
    kept: Annotated[float, Field(gt=0, le=1)] = 0.01
    dilation: Count = 20
    expected_by_chance: Annotated[float, Field(gt=0, le=1)] = 1.0

    def of_map(self, heat: np.ndarray, inside: np.ndarray, labels: np.ndarray) -> float:
        """Return 1 for a false positive, else 0; a map that is empty in the region is one if it is not outside."""
        outside = ~inside & (labels >= 0)
        if not inside.any() or not outside.any():
            return float(not inside.any())
        return float(heat[outside].max() > quantile(heat[inside], self.quantile))

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "The rate of false positives is the share of maps that are somewhere outside of the region higher than the"
            f" {percent(self.quantile)} quantile inside ({self.maps_in_words()}).",
            f"{digits(self.expected_by_chance)} is expected of a map that knows nothing.",
        )
