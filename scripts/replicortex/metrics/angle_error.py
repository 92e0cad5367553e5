"""Error of the direction of decoded movement."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.words import percent, text


@component
class AngleError(Metric):
    """Mean angle between decoded and true vectors, degrees; all outputs together are one vector.

    Parameters
    ----------
    slowest : float
        Rows whose true vector is shorter than this quantile of all are left out: rest has no direction.
    """

    tasks = frozenset({"decode"})
    greater_is_better = False
    bounds = (0.0, 180.0)
    unit = "degrees"

    slowest: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean angle; ``nan`` where there is one output only, or nothing moves. A null vector is 90 off."""
        true = np.asarray(predictions["y_true"], dtype=np.float64)
        guess = np.asarray(predictions["y_pred"], dtype=np.float64)
        length = np.linalg.norm(true, axis=1)
        moving = (length > 0) & (length >= np.quantile(length, self.slowest)) if len(true) else np.zeros(0, dtype=bool)
        if true.shape[1] < 2 or not moving.any():
            return float("nan")
        norm = length[moving] * np.linalg.norm(guess[moving], axis=1)
        across = np.sum(true[moving] * guess[moving], axis=1)
        cosine = np.divide(across, norm, out=np.zeros_like(norm), where=norm > 0)
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())

    def chance(self, target: np.ndarray) -> float:
        """Return 90: half of all directions are nearer."""
        return 90.0

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "The error of direction is the mean angle between decoded and true vectors over held-out rows;"
            f" the slowest {percent(self.slowest)} of the rows were left out. Its chance is 90 degrees."
        )
