"""Poisson GLM: a network of spiking neurons with one state.

Pillow et al. (2008), Spatio-temporal correlations and visual signalling in a complete neuronal population.
doi:10.1038/nature07140

Reproduced: the count of each neuron is Poisson given the past of all neurons, own spikes included; maximum a
posteriori. Differs: one exponential of the past in place of several raised cosines; no stimulus; a Gaussian prior on
the weights, that of the networks with states which it is compared with; logistic or softplus in place of the
exponential.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.switching import (
    Network,
    SpikeModel,
    exponential_basis,
    fit_glm,
    history,
    log_emission,
    network_words,
    trials_of,
)
from ..shared.words import digits, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class PoissonGlm(SpikeModel):
    """Network of Poisson neurons with one state, fitted by Fisher scoring.

    Parameters
    ----------
    link : {"sigmoid", "softplus"}
        Expected counts of what drives a neuron; sigmoid keeps them below one a bin.
    window : int
        Bins of the past.
    decay : float
        By which a spike counts less with each bin, 1/bin.
    std : float
        Standard deviation of the Gaussian prior of the weights.
    self_coupling : bool
        Whether a neuron's own past has a weight.
    """

    tiny = {"link": "softplus"}

    link: Literal["sigmoid", "softplus"] = "sigmoid"
    window: PositiveInt = 5
    decay: Positive = 1.0
    std: Positive = 1 / 3
    self_coupling: bool = True

    def fit(self, train: Bundle, seed: int) -> None:
        """Fit each neuron. Cost: O(bins x neurons^3) an iteration, few iterations."""
        trials = trials_of(train)
        self.basis_ = exponential_basis(self.window, self.decay)
        past, inside = history(trials.counts, self.basis_), trials.inside
        bias, weights = fit_glm(past[inside], trials.counts[inside], self.link, self.std, itself=self.self_coupling)
        emission = log_emission(trials.counts, past, bias[None], weights[None], self.link)
        network = Network(bias[None], weights[None], np.ones((1, 1)), [float(emission[inside].sum())])
        self.keep(trials, network, np.abs(weights)[None], (bias, weights))

    def described(self, task: str = "infer") -> str:
        """Return what it does, in words."""
        prior = f"Weights had a normal prior of mean zero and standard deviation {digits(self.std)}."
        return text(network_words(self, "one state and a mean that was", "[@pillow2008]"), prior)
