"""Share of what can be explained that is explained: squared correlation over the noise ceiling."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.ceilings import by_stimulus, correlations, explainable_share
from ..shared.words import digits, text


@component
class NoiseNormalised(Metric):
    """Mean over responses of explained variance over that which the stimulus can explain at all.

    Explained is the squared correlation, over held-out stimuli, of the prediction with the mean response over
    presentations, less what such a square is by chance; what can be explained comes from the repeats of the same
    stimuli. A correlation below 0 explains nothing, whose square would count in its favour. The ceiling is an estimate,
    so that values can pass 1.

    Parameters
    ----------
    floor : float
        Responses of which the stimulus explains less than this share are left out: there is nothing to predict, and
        the ratio would be that of two noises.
    """

    tasks = frozenset({"encode"})

    floor: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean; ``nan`` without repeats, with fewer than ten stimuli, or if no response has a ceiling."""
        response = predictions["response"]
        names, measured, counts = by_stimulus(response, target)
        if len(names) < 10:
            return float("nan")
        ceiling = explainable_share(response, target, counts)
        there = np.isfinite(ceiling) & (ceiling >= self.floor)
        if not there.any():
            return float("nan")
        r = correlations(by_stimulus(predictions["y_pred"], target)[1], measured)[there]
        by_chance = 1 / (len(names) - 1)
        explained = np.where(r > 0, (r**2 - by_chance) / (1 - by_chance), -by_chance / (1 - by_chance))
        return float((explained / ceiling[there]).mean())

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "Noise-normalised explained variance is the squared correlation of predicted with mean responses over"
            " held-out"
            " stimuli, corrected for what is expected by chance, over the share of variance that the stimulus can"
            " explain"
            " [@schoppe2016], averaged over responses; its chance is 0.",
            "That share was estimated from repeated presentations by an analysis of variance. Responses with less than"
            f" {digits(self.floor)} of it were left out.",
        )
