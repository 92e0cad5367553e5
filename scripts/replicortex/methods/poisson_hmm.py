"""Poisson HMM: neurons whose rates switch with a hidden state, and that are independent given it.

Rabiner (1989), A tutorial on hidden Markov models and selected applications in speech recognition. doi:10.1109/5.18626

Reproduced: expectation maximisation with closed forms for rates and transitions; the most likely path. Differs:
observations are vectors of Poisson counts; the first state is any of them alike; a fit begins several times.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.hmm import forward_backward, sticky, transitions_of
from ..shared.switching import LEAST, Network, SpikeModel, Trials, exponential_basis, log_emission_of_rates, trials_of
from ..shared.words import count, text

#: Probability of staying in a state, and spread of log rates about those of all bins, as a fit begins.
_STAY, _APART = 0.98, 0.3
#: Counts and bins added to each rate and transition, so that nothing becomes impossible that was not seen.
_UNSEEN = 1e-2


@component
class PoissonHmm(SpikeModel):
    """Independent Poisson neurons with rates by hidden state.

    Parameters
    ----------
    n_states : int
        Hidden states.
    restarts, warm_up, iterations : int
        Beginnings and their iterations; iterations of the likeliest then.
    """

    tiny = {"n_states": 2, "restarts": 2, "warm_up": 5, "iterations": 10}

    n_states: PositiveInt = 5
    restarts: PositiveInt = 5
    warm_up: PositiveInt = 30
    iterations: Annotated[int, Field(ge=1)] = 100

    def fit(self, train: Bundle, seed: int) -> None:
        """Fit by expectation maximisation. Cost: O(bins x neurons x states) an iteration."""
        trials = trials_of(train)
        overall = np.maximum(trials.counts[trials.inside].mean(axis=0), LEAST)
        begun = []
        for number in range(self.restarts):
            generator = np.random.default_rng([seed, number])
            log_rates = np.log(overall) + _APART * generator.standard_normal((self.n_states, len(overall)))
            nothing = np.zeros((self.n_states, len(overall), len(overall)))
            begin = Network(log_rates, nothing, sticky(self.n_states, _STAY), [])
            begun.append(self._go(begin, trials, self.warm_up))
        best = self._go(max(begun, key=lambda one: one.log_likelihood[-1]), trials, self.iterations)
        # No spike has any effect on those that follow.
        self.basis_ = np.zeros_like(exponential_basis(1, 1.0))
        self.keep(trials, best, np.zeros_like(best.weights), (np.log(overall), np.zeros_like(best.weights[0])))

    def _go(self, network: Network, trials: Trials, iterations: int) -> Network:
        inside, counts = trials.inside, trials.counts[trials.inside]
        log_rates, transition, traced = network.bias, network.transition, list(network.log_likelihood)
        for _ in range(iterations):
            emission = log_emission_of_rates(trials.counts, np.exp(log_rates))
            found = forward_backward(emission, transition, network.initial, trials.lengths)
            traced.append(float(found.log_likelihood.sum()))
            states = found.states[inside]
            bins = states.sum(axis=0)[:, None] + _UNSEEN
            log_rates = np.log(np.maximum((states.T @ counts + _UNSEEN * counts.mean(axis=0)) / bins, LEAST))
            transition = transitions_of(found.pairs, _UNSEEN)
        return Network(log_rates, network.weights, transition, traced)

    def described(self, task: str = "infer") -> str:
        """Return what it does, in words."""
        return text(
            "Spike counts were Poisson, independent of each other and of the past given one of"
            f" {count(self.n_states, 'hidden state')}, which were a Markov chain [@rabiner1989].",
            f"It was fitted by expectation maximisation [@dempster1977]: {count(self.restarts, 'beginning')} of"
            f" {count(self.warm_up, 'iteration')}, of which the likeliest went on for"
            f" {count(self.iterations, 'iteration')}.",
        )
