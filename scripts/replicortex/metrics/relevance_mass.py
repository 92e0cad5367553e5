"""How much of a map's relevance lies in the region that the target is of."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import component
from ..shared.map_scores import Count, MapMetric, NotNegative
from ..shared.words import digits, text


@component
class RelevanceMass(MapMetric):
    """Relevance mass accuracy: the sum of a map within the region over its whole sum; 0 for an empty map.

    Arras et al. 2022, doi:10.1016/j.inffus.2021.11.008.

    Parameters
    ----------
    region : list of str
        Regions that the target is of.
    fwhm : float
        Width (voxels) of the Gaussian that smooths maps.
    kept : float
        Share of the voxels that are kept, the highest.
    dilation : int
        Voxels by which the region grows.
    expected_by_chance : float
        Share of the dilated region in the brain.
    """

    bounds = (0.0, 1.0)
    tiny = {"region": ["R1"], "expected_by_chance": 0.2}

    region: Annotated[list[str], Field(min_length=1)]
    fwhm: NotNegative = 2.0
    kept: Annotated[float, Field(gt=0, le=1)] = 0.01
    dilation: Count = 2
    expected_by_chance: Annotated[float, Field(ge=0, lt=1)]

    def of_map(self, heat: np.ndarray, inside: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of one map."""
        total = heat.sum()
        return float(heat[inside].sum() / total) if total > 0 else 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "Relevance mass accuracy is the share of a map's relevance in the region [@arras2022]"
            f" ({self.maps_in_words()}).",
            f"{digits(self.expected_by_chance)} is expected of a map that knows nothing.",
        )
