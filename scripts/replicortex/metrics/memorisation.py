"""How many generated volumes are copies of training volumes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.words import percent


@component
class Memorisation(Metric):
    """Share of generated volumes that are nearer to a training volume than nearly all held-out people are.

    Parameters
    ----------
    quantile : float
        Of the distances of held-out volumes to the nearest training volume; generated ones below it count.
    """

    greater_is_better = False
    bounds = (0.0, 1.0)
    tasks = frozenset({"generate"})
    whole = True
    arrays = ("nearest", "nearest_real")

    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` where the distances are not there."""
        if not {"nearest", "nearest_real"} <= predictions.arrays.keys():
            return float("nan")
        least = np.quantile(predictions["nearest_real"], self.quantile)
        return float((np.asarray(predictions["nearest"]) < least).mean())

    def chance(self, target: np.ndarray) -> float:
        """Return one: who only knows the training volumes returns them."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Memorisation is the share of generated volumes whose distance to the nearest training volume is below the"
            f" {percent(self.quantile)} quantile of the distances of held-out participants."
        )
