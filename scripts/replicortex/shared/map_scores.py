"""What metrics of maps share: maps made ready to be judged, and the region that each should show."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage

from ..bundle import Bundle
from ..components import Metric
from ..errors import InputError
from .words import count, digits, listed, percent, plain

Count = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Width of a Gaussian over its standard deviation.
_WIDTH = np.sqrt(8 * np.log(2))


class MapMetric(Metric):
    """Judges array ``attribution`` (n, X, Y, Z) by the labels ``regions`` of the same voxels; a mean over rows.

    Maps are taken without their sign, smoothed by ``fwhm`` voxels within the brain, and all but their highest values
    are set to 0. The region is dilated by ``dilation`` voxels.
    """

    tasks = frozenset({"classify", "regress"})
    averages = True
    arrays = ("attribution", "regions")

    region: list[str]
    fwhm: float
    kept: float
    dilation: int
    expected_by_chance: float

    @abstractmethod
    def of_map(self, heat: np.ndarray, inside: np.ndarray, labels: np.ndarray) -> float:
        """Return the value of one map.

        Parameters
        ----------
        heat : ndarray of shape (X, Y, Z)
            The map, ready: 0 outside of the brain.
        inside, labels : ndarray of shape (X, Y, Z)
            The dilated region, boolean, and the numbers of all regions, -1 outside of the brain.
        """

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean over rows; ``nan`` where there are no maps.

        Raises
        ------
        InputError
            If a region is not among those that the predictions name.
        """
        if not set(self.arrays) <= predictions.arrays.keys() or not len(predictions):
            return float("nan")
        numbers = self.numbers(predictions)
        values = []
        for heat, labels in zip(predictions["attribution"], predictions["regions"], strict=True):
            inside = np.isin(labels, numbers)
            if self.dilation:
                inside = ndimage.binary_dilation(inside, iterations=self.dilation) & (labels >= 0)
            values.append(self.of_map(self.ready(np.asarray(heat), labels), inside, np.asarray(labels)))
        return float(np.mean(values))

    def numbers(self, predictions: Bundle) -> list[int]:
        """Return the labels of the region."""
        names = [str(name) for name in predictions.axes["region"]]
        unknown = [name for name in self.region if name not in names]
        if unknown:
            fault = f"no region {unknown[0]!r} in the features"
            raise InputError("metrics", fault, f"choose among: {', '.join(names[:12])}")
        return [names.index(name) + 1 for name in self.region]

    def ready(self, heat: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return a map without its sign, smoothed, with its highest values alone."""
        heat = np.abs(heat.astype(np.float64)) * (labels >= 0)
        if self.fwhm:
            heat = ndimage.gaussian_filter(heat, self.fwhm / _WIDTH)
        heat = np.where(heat < quantile(heat.ravel(), 1 - self.kept), 0.0, heat)
        return heat * (labels >= 0)

    def chance(self, target: np.ndarray) -> float:
        """Return the chance that was stated in the card."""
        return self.expected_by_chance

    def maps_in_words(self) -> str:
        """Return how maps and regions were made ready, as the end of a sentence."""
        smoothed = f", smoothed by {digits(self.fwhm)} voxels" if self.fwhm else ""
        kept = f" and cut to the highest {percent(self.kept)} of their voxels" if self.kept < 1 else ""
        grown = f" dilated by {count(self.dilation, 'voxel')}" if self.dilation else ""
        region = listed(plain(name) for name in self.region)
        return f"maps without their sign{smoothed}{kept}; region: {region}{grown} [@siegel2025]"


def quantile(values: np.ndarray, q: float) -> float:
    """Return what :func:`numpy.quantile` does of one vector, without what that does for all other input."""
    place = (len(values) - 1) * q
    below = int(place)
    above = min(below + 1, len(values) - 1)
    low, high = np.partition(values, (below, above))[[below, above]]
    share = place - below
    # From the nearer side, as numpy does: the ends are met exactly.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def region_ranks(heat: np.ndarray, labels: np.ndarray, n_regions: int, q: float) -> np.ndarray:
    """Return the rank (0 is first) of each region by the quantile ``q`` of the map within it; empty ones come last.

    Regions of the same height share the worst of their ranks, so that a constant map finds nothing.
    """
    heights = np.full(n_regions, -np.inf)
    for number in range(n_regions):
        values = heat[labels == number + 1]
        if values.size:
            heights[number] = quantile(values, q)
    return np.array([np.count_nonzero(heights >= height) - 1 for height in heights])
