"""How much likelier hidden states make held-out spikes than the same network with one state does."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.spike_scores import gain_per_spike


@component
class StatesGain(Metric):
    """Log likelihood beyond that of the network with one state, in bits a spike.

    Where there is but one state, further ones can only fit noise.
    """

    tasks = frozenset({"infer"})
    unit = "bits per spike"
    arrays = ("log_likelihood", "log_likelihood_one_state", "n_events")
    tiny = {}

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the gain; ``nan`` where the model hands on no likelihoods of spikes, or there is no spike."""
        return gain_per_spike(predictions, "log_likelihood_one_state")

    def chance(self, target: np.ndarray) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The gain by states is the log likelihood of the held-out counts, each bin given those before it, beyond"
            " that of the network with one state, in bits a spike."
        )
