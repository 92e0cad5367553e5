"""Whether attributions of a person add up to what is explained."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn


@component
class EfficiencyError(HandedOn):
    """Root mean square of what attributions leave of the margin beyond its base, over that of the whole.

    Zero where they add up (the efficiency of Shapley values), one for attributions of zero.
    """

    greater_is_better = False
    bounds = (0.0, None)
    whole = True
    arrays = ("attribution", "margin", "base")

    def judge(self, predictions: Bundle) -> float:
        """Return the share; ``nan`` where all margins are that of the background."""
        whole = predictions["margin"] - predictions["base"]
        left = whole - predictions["attribution"].sum(axis=1)
        size = np.sqrt(np.mean(whole**2))
        return float(np.sqrt(np.mean(left**2)) / size) if size > 0 else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return one: what attributions of zero leave."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The error of efficiency is the root mean square of the part of a prediction, beyond its mean over the"
            " background, that its attributions do not add up to, relative to the whole; attributions of zero have 1."
        )
