"""Distance between generated and real volumes as distributions, by mean and covariance of features."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.generation import coarse
from ..shared.words import spelled


@component
class FrechetDistance(Metric):
    """Frechet distance of two Gaussians with the means and covariances of features of generated and real volumes.

    Features are local and need no network: the mean, the mean square and the mean magnitude of the gradient in each
    cell of a coarse grid, standardised by the real volumes. Values depend on the features and, by the error of
    covariances, on the number of volumes: compare those of one table only.

    It is smooth in the moments, so that a held-out person, with the volume generated beside, has a jackknife
    pseudo-value in it, which also takes most of the bias of few volumes away; there should be several times as many
    people as features.

    Parameters
    ----------
    cells : int
        Cells along each side.
    """

    greater_is_better = False
    bounds = (0.0, None)
    tasks = frozenset({"generate"})
    arrays = ("real",)
    tiny = {"cells": 1}

    cells: Annotated[int, Field(ge=1)] = 2

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the distance; ``nan`` where there are no volumes, or fewer than two."""
        if not {"y_generated", "real"} <= predictions.arrays.keys() or len(predictions) < 2:
            return float("nan")
        made, real = (self.features(np.asarray(predictions[name])) for name in ("y_generated", "real"))
        mean, scale = real.mean(axis=0), real.std(axis=0)
        # What is constant in the real volumes has no scale, and is left as it is.
        scale = np.where(scale > 1e-6, scale, 1.0)
        return frechet((made - mean) / scale, (real - mean) / scale)

    def features(self, volumes: np.ndarray) -> np.ndarray:
        """Return features (n, 3 cells^3)."""
        steps = (
            np.stack(np.gradient(volumes, axis=(1, 2, 3)))
            if min(volumes.shape[1:]) > 1
            else np.zeros((1, *volumes.shape))
        )
        slope = np.sqrt((steps**2).sum(axis=0))
        return np.hstack([coarse(values, self.cells) for values in (volumes, volumes**2, slope)]).astype(np.float64)

    def chance(self, target: np.ndarray) -> float:
        """Return that of features without any spread at the real mean: their number."""
        return 3.0 * self.cells**3

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The Frechet distance [@heusel2017] between generated and held-out volumes compares means and covariances"
            " of mean, mean square and gradient of the intensities in the cells of a grid with"
            f" {spelled(self.cells)} cells a side, standardised by the held-out volumes."
        )


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared distance of the Gaussians with the moments of two samples (n, p)."""
    a, b = (np.cov(sample, rowvar=False).reshape(sample.shape[1], -1) for sample in (first, second))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # The trace of the root of a product is that of the root of a symmetric one.
    between = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    shift = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return float(max(shift + np.trace(a) + np.trace(b) - 2 * between, 0.0))
