"""Whether decoded regions hold the truth as often as they say."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.words import percent, text


@component
class Coverage(Metric):
    """Share of the held-out rows whose true numbers lie inside the region that should hold ``level`` of them.

    The region is the ellipsoid of the covariance that the method hands on (``y_cov``). Its chance is ``level``: what
    an honest region reaches, however wide it is. A value above says that regions are too wide, one below too narrow.

    Parameters
    ----------
    level : float
        Share that the region should hold.
    """

    tasks = frozenset({"decode"})
    bounds = (0.0, 1.0)
    averages = True
    arrays = ("y_cov",)
    tiny = {}

    level: Annotated[float, Field(gt=0, lt=1)] = 0.9

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` where a method hands on no covariance."""
        from scipy.stats import chi2

        if "y_cov" not in predictions.arrays or not len(predictions):
            return float("nan")
        error = np.asarray(predictions["y_true"], dtype=np.float64) - predictions["y_pred"]
        cov = np.asarray(predictions["y_cov"], dtype=np.float64)
        distance = np.einsum("ni,ni->n", error, np.linalg.solve(cov, error[..., None])[..., 0])
        return float(np.mean(distance <= chi2.ppf(self.level, error.shape[1])))

    def chance(self, target: np.ndarray) -> float:
        """Return the level."""
        return self.level

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"Coverage is the share of held-out rows whose true numbers lie inside the region that should hold"
            f" {percent(self.level)} of them; honest regions have that share."
        )
