"""Whether regions of generated volumes are as large as those of real ones, as a distribution."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.words import digits, listed, plain

_AXES = ("x_mm", "y_mm", "z_mm")
Positive = Annotated[float, Field(gt=0)]


class Region(BaseModel):
    """A region on both sides: where it is looked for, and how bright it is.

    ``centre`` (mm from the centre of the grid, of the right one) and ``half``, half the sides of the box (mm);
    ``level`` is its intensity relative to that of the tissue around.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    centre: tuple[float, float, float]
    half: tuple[Positive, Positive, Positive]
    level: Annotated[float, Field(ge=0)]

    @field_validator("level")
    @classmethod
    def _told_apart(cls, level: float) -> float:
        if level == 1:
            raise ValueError("a region as bright as the tissue can not be told from it")
        return level


@component
class VolumeTest(Metric):
    """Mean over regions of the energy coefficient between generated and held-out regional volumes.

    A voxel belongs to a region by the share that its intensity is on the way from that of the tissue, the median of the
    middle half of the image, to that of the region, so that also what is smaller than a voxel has a volume. The
    coefficient (Székely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018) is zero where the distributions agree and one
    where each is a single value, and not the same. Unlike the Kolmogorov-Smirnov statistic it is smooth in the
    distributions, so that a held-out person, with the volume generated beside, has a jackknife pseudo-value in it.

    Parameters
    ----------
    regions : list of Region
        Name, place and relative intensity of each region; as a default those of the simulator ``head_ellipsoids``.
    """

    greater_is_better = False
    bounds = (0.0, 1.0)
    tasks = frozenset({"generate"})
    arrays = ("real",)
    tiny = {"regions": [{"name": "middle", "centre": [0, 0, 0], "half": [2, 2, 2], "level": 2.0}]}

    regions: Annotated[list[Region], Field(min_length=1)] = [
        Region(name="ventricles", centre=(14, -8, 14), half=(11, 26, 12), level=0.11),
        Region(name="thalami", centre=(14, -18, -14), half=(13, 16, 12), level=1.45),
        Region(name="putamina", centre=(30, 22, -8), half=(12, 18, 14), level=1.82),
    ]

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean coefficient; ``nan`` where there are no volumes with places, or fewer than two."""
        known = {"y_generated", "real"} <= predictions.arrays.keys() and {*_AXES} <= predictions.axes.keys()
        if not known or len(predictions) < 2:
            return float("nan")
        places = [np.asarray(predictions.axes[name], dtype=np.float64) for name in _AXES]
        made, real = (self.volumes(np.asarray(predictions[name]), places) for name in ("y_generated", "real"))
        return float(np.mean([energy_coefficient(made[:, i], real[:, i]) for i in range(made.shape[1])]))

    def volumes(self, images: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
        """Return the volumes of the regions (mL, both sides) of images (n, X, Y, Z) in [-1, 1], (n, n_regions).

        ``places`` are those of the voxels along each axis, mm.
        """
        signal = images.astype(np.float64) + 1
        middle = tuple(slice(side // 4, side - side // 4) for side in images.shape[1:])
        tissue = np.median(signal[:, *middle], axis=(1, 2, 3))
        relative = signal / np.maximum(tissue, 1e-6)[:, None, None, None]
        widths = [float(np.ptp(axis)) / max(len(axis) - 1, 1) for axis in places]
        found = []
        for region in self.regions:
            share = np.clip((relative - 1) / (region.level - 1), 0, 1)
            for axis, (place, width) in enumerate(zip(places, widths, strict=True)):
                # The share of a voxel that is in the box; by half a voxel the image spreads what is at its border.
                at = np.abs(place) if axis == 0 else place
                low, high = (region.centre[axis] + side * (region.half[axis] + width / 2) for side in (-1, 1))
                inside = np.minimum(at + width / 2, high) - np.maximum(at - width / 2, low)
                shape = [1, 1, 1, 1]
                shape[axis + 1] = len(place)
                share = share * np.clip(inside / max(width, 1e-6), 0, 1).reshape(shape)
            found.append(share.sum(axis=(1, 2, 3)) * np.prod(widths) / 1000)
        return np.stack(found, axis=1)

    def chance(self, target: np.ndarray) -> float:
        """Return one: nothing in common."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        regions = listed(
            f"{plain(region.name)} (about {' / '.join(digits(value) for value in region.centre)} mm, within"
            f" {' / '.join(digits(value) for value in region.half)} mm, {digits(region.level)} times the tissue)"
            for region in self.regions
        )
        return (
            "Regional volumes of generated and held-out images were compared by the energy coefficient [@szekely2013],"
            " which is zero for equal distributions, averaged over regions. A voxel belongs to a region by the share"
            f" that its intensity is on the way from that of the tissue to that of the region, in a box: {regions}."
        )


def energy_coefficient(first: np.ndarray, second: np.ndarray) -> float:
    """Return the energy distance of two samples of numbers, as a share of twice the mean distance between them."""
    between, *within = (np.abs(a[:, None] - b).mean() for a, b in ((first, second), (first, first), (second, second)))
    return float(max(1 - sum(within) / (2 * between), 0.0)) if between > 0 else 0.0
