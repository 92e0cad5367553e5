"""Gaussian volumes: principal components of the training volumes, drawn anew.

Hotelling (1933), Analysis of a complex of statistical variables into principal components. doi:10.1037/h0071325

Reproduced: principal components; volumes are the mean plus components with Gaussian scores of the training variances.
Differs: as a generator it is the least that a diffusion model has to beat; what the components leave is added as noise
of its variance, the same in all voxels.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.generation import generated
from ..shared.words import percent


@component
class GeneratorPca(Method):
    """Draws from a Gaussian with the covariance of the training volumes.

    Parameters
    ----------
    explained : float
        Share of the variance that the components explain; the rest is white noise.
    """

    tasks = frozenset({"generate"})
    needs = ("x_mm", "y_mm", "z_mm")
    state = ("mean_", "components_", "rest_", "seed_")
    tiny = {}

    explained: Annotated[float, Field(gt=0, le=1)] = 0.95

    def fit(self, train: Bundle, seed: int) -> None:
        """Find mean and components. Cost: O(n^2 p) for n rows of p voxels."""
        x = np.asarray(train["x"], dtype=np.float64)
        self.seed_ = seed
        self.mean_ = x.mean(axis=0)
        left = (x - self.mean_).reshape(len(x), -1)
        _, lengths, directions = np.linalg.svd(left, full_matrices=False)
        share = np.cumsum(lengths**2) / max((lengths**2).sum(), 1e-300)
        kept = int(np.searchsorted(share, self.explained - 1e-12)) + 1
        degrees = max(len(x) - 1, 1)
        self.components_ = (lengths[:kept, None] / np.sqrt(degrees) * directions[:kept]).astype(np.float32)
        self.rest_ = float(np.sqrt((lengths[kept:] ** 2).sum() / degrees / left.shape[1]))

    def predict(self, test: Bundle) -> Bundle:
        """Return one volume drawn for each held-out row, which it does not depend on."""
        rng = np.random.default_rng([self.seed_, 1])
        scores = rng.standard_normal((len(test), len(self.components_)))
        drawn = self.mean_ + (scores @ self.components_).reshape(-1, *self.mean_.shape)
        drawn = drawn + self.rest_ * rng.standard_normal(drawn.shape)
        return generated(test, np.clip(drawn, -1, 1))

    def described(self, task: str = "generate") -> str:
        """Return what it does, in words."""
        return (
            "Volumes were drawn from a Gaussian along the principal components [@hotelling1933] of the training volumes"
            f" that explain {percent(self.explained)} of their variance, with white noise for the rest."
        )
