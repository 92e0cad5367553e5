"""One-hot HMM-GLM: a network of spiking neurons whose connections switch with a hidden state, confined by one prior.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching brain state discovery, ICLR.
doi:10.48550/arXiv.2310.15263

Reproduced: Poisson neurons driven by the exponentially weighted past of all neurons; in each state a connection is the
excitatory minus the inhibitory part of a relaxed one-hot choice (inhibitory, none, excitatory) times a strength that
softplus keeps positive; choices of all states are drawn from one learned prior, by the density of the Gumbel-softmax
distribution at temperature 0.2; expectation maximisation, in which the M-step takes steps of Adam along the expected
log likelihood plus the log prior and the transition matrix has a closed form; the hard choice predicts. With ``prior:
gaussian`` the paper's other method: weights of all states from one normal distribution, whose mean is learned and whose
standard deviation is one third. Differs: the density takes log probabilities of the prior (the released code hands it
probabilities, which do not sum as logarithms do); logits are kept within bounds, where the released code halves them,
since the density has no limit towards the corners; a fit begins several times from networks about the one-state
network, with a Gaussian prior of mean zero, and goes on from the likeliest, which is the same for this method and the
one without a prior; gradients are written out rather than traced.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt
from scipy.special import expit, softmax

from ..bundle import Bundle
from ..components import component
from ..shared.switching import (
    Coupling,
    SpikeModel,
    exponential_basis,
    fitting_of,
    fitting_words,
    network_words,
    trials_of,
)
from ..shared.words import count, digits, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Logits of choices and of the prior lie no further below the greatest than this: e^-12 is 6 in a million.
_LOWEST = np.float32(-12.0)
#: As a fit with the prior begins: logits by standard error of a weight, and from how many standard errors on a
#: connection is likelier than none.
_STEEP, _CLEAR = np.float32(2.0), np.float32(1.5)
#: No strength begins below this, or its gradient would vanish.
_WEAKEST = np.float32(0.2)


class GaussianPrior(Coupling):
    """Weights of all states from one normal distribution with learned mean."""

    def __init__(self, std: float) -> None:
        self.variance = np.float32(std**2)

    def start(self, weights: np.ndarray, error: np.ndarray) -> None:
        """Take the weights as they are."""
        self.values = {"weights": weights.astype(np.float32)}

    def weights(self) -> np.ndarray:
        """Return the weights."""
        return self.values["weights"]

    def update(self) -> None:
        """Set the mean to that over states, which maximises the prior."""
        self.mean = self.values["weights"].mean(axis=0)

    def gradient(self, by_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient of log likelihood and log prior."""
        return {"weights": by_weights - (self.values["weights"] - self.mean) / self.variance}


class OneHotPrior(Coupling):
    """Weights as choices times strengths; choices of all states from one learned prior.

    ``values``: ``choice`` (n_states, to, from, 3) and ``prior`` (to, from, 3), logits of inhibitory, none and
    excitatory; ``strength`` (n_states, to, from), before softplus.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = np.float32(temperature)

    def start(self, weights: np.ndarray, error: np.ndarray) -> None:
        """Choose by sign and size of the weights; the prior begins without preference."""
        weights = weights.astype(np.float32)
        sizes = weights / error.astype(np.float32)
        choice = np.stack([-sizes - _CLEAR, 0 * sizes, sizes - _CLEAR], axis=-1) * _STEEP
        strength = np.log(np.expm1(np.maximum(np.abs(weights), _WEAKEST)))
        prior = np.zeros((*weights.shape[1:], 3), np.float32)
        self.values = {"choice": choice, "strength": strength, "prior": prior}
        self.settle()

    def settle(self) -> None:
        """Keep logits within bounds."""
        for name in ("choice", "prior"):
            logits = self.values[name]
            self.values[name] = np.maximum(logits - logits.max(axis=-1, keepdims=True), _LOWEST)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        chosen = softmax(self.values["choice"], axis=-1)
        return chosen, np.logaddexp(np.float32(0), self.values["strength"])

    def weights(self) -> np.ndarray:
        """Return the weights of the relaxed choices."""
        chosen, strength = self._parts()
        return (chosen[..., 2] - chosen[..., 0]) * strength

    def final(self) -> np.ndarray:
        """Return the weights of the hard choices."""
        sign = self.values["choice"].argmax(axis=-1) - 1
        return sign * self._parts()[1]

    def connected(self) -> np.ndarray:
        """Return the size of the weights that are chosen; below these how likely the prior has a pair connected."""
        likely = 1 - np.exp(_log_softmax(self.values["prior"]))[..., 1]
        return np.abs(self.final()) + 1e-3 * likely

    def log_prior(self) -> float:
        """Return the log density of the choices under the prior (Maddison et al. 2017), without its constant."""
        return float(_log_gumbel_softmax(*self._logs(), self.temperature).sum())

    def _logs(self) -> tuple[np.ndarray, np.ndarray]:
        return _log_softmax(self.values["choice"]), _log_softmax(self.values["prior"])

    def gradient(self, by_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient of log likelihood and log prior."""
        chosen, strength = self._parts()
        sign = chosen[..., 2] - chosen[..., 0]
        by_chosen = np.stack([-by_weights * strength, np.zeros_like(strength), by_weights * strength], axis=-1)
        by_choice = chosen * (by_chosen - (chosen * by_chosen).sum(axis=-1, keepdims=True))
        log_chosen, log_prior = self._logs()
        share = softmax(log_prior - self.temperature * log_chosen, axis=-1)
        # Of sum_k (log p_k - (tau + 1) log a_k) - 3 log sum_k p_k a_k^-tau, by log a and by log p.
        by_log_chosen = 3 * self.temperature * share - (self.temperature + 1)
        by_log_prior = (1 - 3 * share).sum(axis=0)
        return {
            "choice": by_choice + _through_softmax(by_log_chosen, chosen),
            "strength": by_weights * sign * expit(self.values["strength"]),
            "prior": _through_softmax(by_log_prior, np.exp(log_prior)),
        }


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _through_softmax(by_log: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return a gradient by logits of one by log probabilities."""
    return by_log - probability * by_log.sum(axis=-1, keepdims=True)


def _log_gumbel_softmax(log_chosen: np.ndarray, log_prior: np.ndarray, temperature: float) -> np.ndarray:
    """Return log densities of relaxed choices (..., 3), without what depends on the temperature alone."""
    sums = np.log(np.exp(log_prior - temperature * log_chosen).sum(axis=-1))
    return (log_prior - (temperature + 1) * log_chosen).sum(axis=-1) - 3 * sums


@component
class OnehotHmmGlm(SpikeModel):
    """Switching network of Poisson neurons with a learned prior over the connections of all states.

    Parameters
    ----------
    prior : {"onehot", "gaussian"}
        What the connections of all states have in common: how likely they are inhibitory, none or excitatory; or their
        mean weight.
    n_states : int
        Hidden states.
    link : {"sigmoid", "softplus"}
        Expected counts of what drives a neuron; sigmoid keeps them below one a bin.
    window : int
        Bins of the past.
    decay : float
        By which a spike counts less with each bin, 1/bin.
    temperature : float
        Of the Gumbel-softmax density.
    std : float
        Standard deviation of weights about the mean of the Gaussian prior; also of the beginnings.
    state_bias, self_coupling : bool
        Whether each state has a bias of its own, and whether a neuron's own past has a weight.
    restarts, warm_up, iterations, steps : int
        Beginnings and their iterations; iterations then, and steps of Adam in each.
    learning_rate : float
        Of Adam.
    """

    tiny = {"n_states": 2, "link": "softplus", "restarts": 2, "warm_up": 5, "iterations": 10}

    prior: Literal["onehot", "gaussian"] = "onehot"
    n_states: PositiveInt = 5
    link: Literal["sigmoid", "softplus"] = "sigmoid"
    window: PositiveInt = 5
    decay: Positive = 1.0
    temperature: Positive = 0.2
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
        coupling = OneHotPrior(self.temperature) if self.prior == "onehot" else GaussianPrior(self.std)
        network, one = fitting_of(self, self.basis_).fit(trials, coupling, seed)
        self.keep(trials, network, coupling.connected(), one)

    def described(self, task: str = "infer") -> str:
        """Return what it does, in words."""
        prior = {
            "onehot": "In each state a connection was the excitatory minus the inhibitory part of a relaxed one-hot"
            " choice, times a positive strength; the choices of all states had one learned prior, with the density of"
            f" the Gumbel-softmax distribution at temperature {digits(self.temperature)} [@maddison2017].",
            "gaussian": "Weights of all states had one normal prior with a learned mean and a standard deviation of"
            f" {digits(self.std)}.",
        }[self.prior]
        states = f"a mean that depended on one of {count(self.n_states, 'hidden state')}"
        return text(network_words(self, states, "[@li2024]"), prior, fitting_words(self))
