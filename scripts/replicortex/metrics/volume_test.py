"""Whether regions of generated volumes are as large as those of real ones, as a distribution."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import ks_2samp

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.words import digits, listed, percent, plain


class Band(BaseModel):
    """A region by its intensity: from ``low`` to below ``high``, on the scale of the volumes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    low: float
    high: float


@component
class VolumeTest(Metric):
    """Mean over regions of the Kolmogorov-Smirnov statistic between generated and held-out regional volumes.

    A region is what has an intensity in its band, within the middle of the volume. Zero where the distributions agree,
    one where they have nothing in common.

    Parameters
    ----------
    regions : list of Band
        Name, lowest and highest intensity of each region.
    middle : float
        Share of each side about the centre that is searched.
    """

    greater_is_better = False
    bounds = (0.0, 1.0)
    tasks = frozenset({"generate"})
    whole = True
    tiny = {"regions": [{"name": "dark", "low": -1.0, "high": 0.0}, {"name": "bright", "low": 0.0, "high": 2.0}]}

    regions: Annotated[list[Band], Field(min_length=1)] = [
        Band(name="ventricles", low=-1.0, high=-0.35),
        Band(name="thalami", low=0.35, high=0.8),
        Band(name="putamina", low=0.8, high=1.1),
    ]
    middle: Annotated[float, Field(gt=0, le=1)] = 0.6

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean statistic; ``nan`` where there are no volumes."""
        if not {"y_generated", "real"} <= predictions.arrays.keys() or len(predictions) < 2:
            return float("nan")
        made, real = (self.volumes(np.asarray(predictions[name])) for name in ("y_generated", "real"))
        return float(np.mean([ks_2samp(made[:, i], real[:, i]).statistic for i in range(made.shape[1])]))

    def volumes(self, images: np.ndarray) -> np.ndarray:
        """Return the volumes of the regions of images (n, X, Y, Z), in voxels, (n, n_regions)."""
        cut = []
        for side in images.shape[1:]:
            margin = int(side * (1 - self.middle) / 2)
            cut.append(slice(margin, side - margin))
        inner = images[:, *cut]
        found = [(inner >= band.low) & (inner < band.high) for band in self.regions]
        return np.stack([within.sum(axis=(1, 2, 3)) for within in found], axis=1).astype(np.float64)

    def chance(self, target: np.ndarray) -> float:
        """Return one: nothing in common."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        bands = listed(f"{plain(band.name)} ({digits(band.low)} to {digits(band.high)})" for band in self.regions)
        return (
            "Regional volumes of generated and held-out images were compared by the Kolmogorov-Smirnov statistic,"
            f" averaged over regions; a region is what has an intensity of its band, {bands}, in the middle"
            f" {percent(self.middle)} of each side."
        )
