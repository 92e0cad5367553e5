"""How much likelier a model makes held-out spikes than their mean rates do."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.spike_scores import gain_per_spike


@component
class BitsPerSpike(Metric):
    """Log likelihood beyond that of homogeneous Poisson neurons with the rates of training, in bits a spike.

    Zero for a model that knows the rates and nothing else; below for one that learned what is not so.
    """

    tasks = frozenset({"infer"})
    unit = "bits per spike"
    arrays = ("log_likelihood", "log_likelihood_reference", "n_events")
    tiny = {}

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the gain; ``nan`` where the model hands on no likelihoods of spikes, or there is no spike."""
        return gain_per_spike(predictions, "log_likelihood_reference")

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The gain in likelihood is the log likelihood of the held-out counts, each bin given those before it,"
            " beyond that of homogeneous Poisson neurons with the rates of the training trials, in bits a spike."
        )
