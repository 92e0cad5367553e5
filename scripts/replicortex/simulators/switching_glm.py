"""Networks of spiking neurons whose connections switch with a hidden state: recordings in NWB with trials.

The synthetic data of Li et al. (2024, doi:10.48550/arXiv.2310.15263), and controls in which the networks that the paper
proposes are the wrong model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.hmm import forward_backward, sticky
from ..shared.nwb import write_nwb
from ..shared.sim_tables import describe_tables
from ..shared.switching import exponential_basis, history, log_emission, rate
from ..shared.words import count, digits, percent, text

TASK = "rest"
#: Time between trials, s.
PAUSE = 1.0

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Wiring:
    """The network of one subject.

    Parameters
    ----------
    prior : ndarray of shape (n_neurons, n_neurons, 3)
        Probability that a connection (to, from) is inhibitory, none or excitatory, in any state.
    adjacency : ndarray of int of shape (n_states, n_neurons, n_neurons)
        -1, 0 or 1.
    weights : ndarray of shape (n_states, n_neurons, n_neurons)
    bias : ndarray of shape (n_states, n_neurons)
    """

    prior: np.ndarray
    adjacency: np.ndarray
    weights: np.ndarray
    bias: np.ndarray


@component
class SwitchingGlm(Simulator):
    """Recordings of Poisson neurons that drive each other, by connections that depend on a hidden state.

    Each subject has a network of its own. Whether a connection is inhibitory, none or excitatory is drawn in each state
    anew, from probabilities that are the subject's own (Dirichlet); strengths are the log of one plus a uniform number.
    The state is a Markov chain. With the contrast ``coupling`` connections depend on the state and the bias does not;
    with ``single`` there is one state; with ``bias`` connections are the same in all states and the bias is not. If the
    truth is absent nothing depends on the state or on the past, and neurons fire as they would by their bias alone.

    Parameters
    ----------
    contrast : {"coupling", "single", "bias"}
        What depends on the state.
    n_subjects, n_trials, n_bins, n_neurons, n_states : int
        Number of people, of trials and bins in each, of neurons, and of states.
    bin_width : float
        Of a bin, s.
    link : {"sigmoid", "softplus"}
        Expected counts of what drives a neuron.
    connected, excitatory : float
        Share of connections that are there, and of these that excite.
    concentration : float
        Of the Dirichlet distribution: the smaller, the more alike are the connections of all states.
    strongest : float
        Greatest number of which, with one added, a strength is the logarithm.
    stay : float
        Probability that the state stays as it is for another bin.
    depth : float
        Greatest difference of the bias by the state, either way, with the contrast ``bias``.
    """

    datatype = "ephys"
    tiny = {"n_subjects": 2, "n_trials": 3, "n_bins": 50, "n_neurons": 4, "n_states": 2}

    contrast: Literal["coupling", "single", "bias"] = "coupling"
    n_subjects: Count = 10
    n_trials: Count = 50
    n_bins: Annotated[int, Field(ge=10)] = 2000
    n_neurons: Annotated[int, Field(ge=2)] = 20
    n_states: Count = 5
    bin_width: Positive = 0.05
    link: Literal["sigmoid", "softplus"] = "sigmoid"
    connected: Share = 0.2
    excitatory: Share = 0.5
    concentration: Positive = 2.0
    strongest: Positive = 3.0
    stay: Share = 0.98
    depth: Positive = 1.0

    @property
    def states(self) -> int:
        """Number of states that there are."""
        return 1 if self.contrast == "single" else self.n_states

    def wiring(self, subject: int, seed: int) -> Wiring:
        """Return the network of ``subject`` (1, 2, ...)."""
        rng = np.random.default_rng([seed, subject, 0])
        n, there = self.n_neurons, self.connected
        # A share of exactly nothing has no Dirichlet distribution.
        shares = np.array([there * (1 - self.excitatory), 1 - there, there * self.excitatory])
        prior = rng.dirichlet(np.maximum(shares * self.concentration, 1e-3), (n, n))
        drawn = rng.random((self.states, n, n, 1))
        adjacency = (drawn > np.cumsum(prior, axis=-1)[None, ..., :2]).sum(axis=-1) - 1
        strength = np.log1p(self.strongest * rng.random((self.states, n, n)))
        bias = np.tile(0.1 * (rng.random(n) - 0.5), (self.states, 1))
        if self.contrast == "bias":
            adjacency, strength = (np.repeat(values[:1], self.states, axis=0) for values in (adjacency, strength))
            bias = bias + self.depth * rng.uniform(-1, 1, bias.shape)
        return Wiring(prior, adjacency, adjacency * strength, bias)

    def session(self, subject: int, truth: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return counts ``(n_trials, n_bins, n_neurons)`` and states ``(n_trials, n_bins)``.

        States and networks are the same whatever the truth; counts depend on them if it is planted.
        """
        network, rng = self.wiring(subject, seed), np.random.default_rng([seed, subject, 1])
        shape = (self.n_trials, self.n_bins)
        goes, elsewhere = rng.random(shape) > self.stay, rng.integers(1, max(self.states, 2), shape)
        first = rng.integers(self.states, size=self.n_trials)
        steps = np.where(goes, elsewhere, 0) if self.states > 1 else np.zeros(shape, int)
        steps[:, 0] = 0
        states = (first[:, None] + np.cumsum(steps, axis=1)) % self.states
        basis = exponential_basis(5, 1.0)[::-1]
        counts = np.zeros((self.n_trials, self.n_bins + len(basis), self.n_neurons))
        for now in range(self.n_bins):
            past = np.einsum("w,nwi->ni", basis, counts[:, now : now + len(basis)])
            state = states[:, now]
            drive = network.bias[state] + np.einsum("nij,nj->ni", network.weights[state], past)
            if truth != "planted":
                drive = np.tile(network.bias.mean(axis=0), (self.n_trials, 1))
            counts[:, now + len(basis)] = rng.poisson(rate(drive, self.link))
        return counts[:, len(basis) :], states

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        import pandas as pd

        begins = np.arange(self.n_trials) * (self.n_bins * self.bin_width + PAUSE)
        trials = pd.DataFrame({"start_time": begins, "stop_time": begins + self.n_bins * self.bin_width})
        people, facts = [], {"states": {}, "weights": {}, "adjacency": {}, "prior": {}, "log_likelihood": {}}
        for subject in range(1, self.n_subjects + 1):
            label = f"{subject:02d}"
            network = self.wiring(subject, seed)
            counts, states = self.session(subject, truth, seed)
            spikes = self._spikes(counts, begins, np.random.default_rng([seed, subject, 2]))
            name = f"sub-{label}_task-{TASK}_ephys"
            path = root / f"sub-{label}" / "ephys" / f"{name}.nwb"
            write_nwb(path, spikes=spikes, trials=trials, identifier=f"simulated-{seed}-{label}")
            write_text(path.with_suffix(".json"), to_json({"TaskName": TASK}))
            people.append({"participant_id": f"sub-{label}"})
            # A trial's states as one string of letters: files of lists of numbers would be ten times as long.
            facts["states"][label] = ["".join(chr(ord("a") + int(state)) for state in trial) for trial in states]
            facts["weights"][label] = network.weights.round(4).tolist()
            facts["adjacency"][label] = network.adjacency.tolist()
            facts["prior"][label] = network.prior.round(4).tolist()
            facts["log_likelihood"][label] = self._likelihood(counts, network).round(3).tolist()
        describe_tables(root, "Simulated networks of spiking neurons", _README, people, "ephys", {})
        write_text(root / ".bidsignore", "ephys\n")
        return {"contrast": self.contrast, "n_states": self.states, "stay": self.stay, **facts}

    def _likelihood(self, counts: np.ndarray, network: Wiring) -> np.ndarray:
        """Return the log likelihood of each trial under the network itself, nats."""
        past = history(counts, exponential_basis(5, 1.0))
        emission = log_emission(counts, past, network.bias, network.weights, self.link)
        start = np.full(self.states, 1 / self.states)
        return forward_backward(emission, sticky(self.states, self.stay), start).log_likelihood.sum(axis=1)

    def _spikes(self, counts: np.ndarray, begins: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the spike times of each neuron, evenly within the bins."""
        starts = (begins[:, None] + self.bin_width * np.arange(self.n_bins)).ravel()
        trains = []
        for neuron in range(self.n_neurons):
            of_bin = np.repeat(starts, counts[..., neuron].astype(int).ravel())
            # Not at the very ends of a bin, which other bins begin and end with.
            trains.append(np.sort(of_bin + self.bin_width * rng.uniform(0.001, 0.999, len(of_bin))))
        return trains

    def described(self) -> str:
        """Return what it does, in words."""
        link = {"sigmoid": "a logistic", "softplus": "a softplus"}[self.link]
        form = {
            "coupling": "Connections depended on the state, the bias did not.",
            "single": "There was one state.",
            "bias": "Connections were the same in all states, and the bias was not, by up to"
            f" {digits(self.depth)} either way.",
        }[self.contrast]
        states = count(self.n_states, "hidden state")
        return text(
            f"Recordings of {count(self.n_subjects, 'participant')} were simulated, of"
            f" {count(self.n_trials, 'trial')} with {count(self.n_bins, 'bin')} of {digits(self.bin_width)} s each."
            f" Each had a network of {count(self.n_neurons, 'Poisson neuron')} of its own, whose expected counts were"
            f" {link} function of a bias and of the exponentially weighted counts of the last five bins [@li2024]; the"
            f" {states} followed a Markov chain that stayed where it was with probability {digits(self.stay)}.",
            f"Connections were there with a probability of {digits(self.connected)} on average (concentration"
            f" {digits(self.concentration)}), {percent(self.excitatory)} of them excitatory, with strengths of up to"
            f" {digits(round(float(np.log1p(self.strongest)), 3))}.",
            form,
        )


_README = """\
Simulated networks of spiking neurons
=====================================

No animal was recorded. Each file holds the spike times of a made-up network of neurons that excite and inhibit each
other, and the beginning and end of each trial.
"""
