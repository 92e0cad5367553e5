"""HMM-GLM: a network of spiking neurons whose connections switch with a hidden state, each state for itself.

Escola, Fontanini, Katz & Paninski (2011), Hidden Markov models for the stimulus-response relationships of multistate
neural systems. doi:10.1162/NECO_a_00118

Reproduced: Poisson neurons driven by the exponentially weighted past of all neurons, with weights of their own in each
state and no prior; expectation maximisation. It is the baseline that Li et al. (2024, doi:10.48550/arXiv.2310.15263)
call naive. Differs: the M-step takes steps of Adam; a fit begins several times from networks about the one-state
network, with a Gaussian prior of mean zero, and goes on without a prior from the likeliest, so that all that this and
the networks with a learned prior differ in is the prior.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.switching import (
    Free,
    SpikeModel,
    exponential_basis,
    fitting_of,
    fitting_words,
    network_words,
    trials_of,
)
from ..shared.words import count, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class HmmGlm(SpikeModel):
    """Switching network of Poisson neurons without a prior.

    Parameters
    ----------
    n_states : int
        Hidden states.
    link : {"sigmoid", "softplus"}
        Expected counts of what drives a neuron; sigmoid keeps them below one a bin.
    window : int
        Bins of the past.
    decay : float
        By which a spike counts less with each bin, 1/bin.
    std : float
        Standard deviation of the Gaussian prior of the beginnings.
    state_bias, self_coupling : bool
        Whether each state has a bias of its own, and whether a neuron's own past has a weight.
    restarts, warm_up, iterations, steps : int
        Beginnings and their iterations; iterations then, and steps of Adam in each.
    learning_rate : float
        Of Adam.
    """

    tiny = {"n_states": 2, "link": "softplus", "restarts": 2, "warm_up": 5, "iterations": 10}

    n_states: PositiveInt = 5
    link: Literal["sigmoid", "softplus"] = "sigmoid"
    window: PositiveInt = 5
    decay: Positive = 1.0
    std: Positive = 1 / 3
    state_bias: bool = False
    self_coupling: bool = True
    restarts: PositiveInt = 5
    warm_up: PositiveInt = 30
    iterations: PositiveInt = 100
    steps: PositiveInt = 10
    learning_rate: Positive = 0.02

    def fit(self, train: Bundle, seed: int) -> None:
        """Fit by expectation maximisation.

        Cost: an iteration is O(steps x bins x neurons^2 x states), and one pass forward and backward.
        """
        trials = trials_of(train)
        self.basis_ = exponential_basis(self.window, self.decay)
        coupling = Free()
        network, one = fitting_of(self, self.basis_).fit(trials, coupling, seed)
        self.keep(trials, network, coupling.connected(), one)

    def described(self, task: str = "infer") -> str:
        """Return what it does, in words."""
        states = f"a mean that depended on one of {count(self.n_states, 'hidden state')}"
        prior = "Weights of the states had no prior and nothing in common."
        return text(network_words(self, states, "[@escola2011]"), prior, fitting_words(self))
