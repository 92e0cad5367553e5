"""Networks of Poisson neurons whose couplings switch with a hidden state: what methods and simulator share.

The expected count of neuron ``i`` in bin ``t`` and state ``s`` is ``f(bias_i + sum_j weights_s[i, j] h_j(t))``, where
``h_j`` sums the counts of neuron ``j`` in the bins before under an exponential, and ``f`` is a link. States are a
Markov chain. Counts of trials are arrays ``(n_trials, n_bins, n_neurons)`` filled up with zeros where trials are
shorter; ``lengths`` says how many bins count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import expit, gammaln

from ..bundle import Bundle
from ..components import Method
from ..errors import InputError
from .hmm import forward_backward, sticky, transitions_of, viterbi
from .words import count, digits

Link = Literal["sigmoid", "softplus", "exp"]
#: Expected counts are never below: a bin in which a neuron fires is not impossible.
LEAST = 1e-8
#: Counts added to each transition, so that none becomes impossible that was not seen.
_UNSEEN = 1e-2
#: Probability of staying in a state from one bin to the next, as a fit begins.
_STAY = 0.98
#: Spread of the weights about those of the one-state network, by which states differ as a fit begins.
_APART = 0.1


# ---- counts


@dataclass(frozen=True)
class Trials:
    """Counts of a recording by trial.

    Parameters
    ----------
    counts : ndarray of shape (n_trials, n_bins, n_neurons)
        Zero beyond the end of a trial.
    lengths : ndarray of int of shape (n_trials,)
        Bins of each trial.
    trial, bin : ndarray of int of shape (n_rows,)
        Where each row of the bundle stands.
    """

    counts: np.ndarray
    lengths: np.ndarray
    trial: np.ndarray
    bin: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """Which bins of each trial count, (n_trials, n_bins)."""
        return np.arange(self.counts.shape[1]) < self.lengths[:, None]

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Return values of bins ``(n_trials, n_bins, ...)`` as values of the bundle's rows."""
        return values[self.trial, self.bin]


def trials_of(bundle: Bundle) -> Trials:
    """Return the counts of a bundle's rows by segment.

    Raises
    ------
    InputError
        If rows are of several recordings, whose neurons are not the same, or ``x`` holds what is no count.
    """
    counts = np.asarray(bundle["x"], dtype=float)
    if counts.ndim != 2 or np.any(counts < 0) or np.any(counts != np.round(counts)):
        raise InputError("features", "are no counts of spikes", "choose a feature card with spikes in bins, unsmoothed")
    places = set(zip(bundle.rows["subject"].astype(str), bundle.rows["session"].astype(str), strict=True))
    if len(places) > 1:
        fault = f"rows are of {len(places)} sessions, whose neurons are not the same"
        raise InputError("features", fault, "choose a scheme within sessions, such as segment_k_fold")
    run = bundle.rows["run"].astype(str) if "run" in bundle.rows else np.full(len(bundle), "n/a")
    keys = np.char.add(np.char.add(run, "|"), bundle.rows["segment"].astype(str))
    _, trial = np.unique(keys, return_inverse=True)
    order = np.lexsort((np.arange(len(bundle)), np.asarray(bundle.rows["onset"], dtype=float), trial))
    lengths = np.bincount(trial)
    position = np.empty(len(bundle), dtype=int)
    position[order] = np.arange(len(bundle)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    padded = np.zeros((len(lengths), lengths.max(), counts.shape[1]))
    padded[trial, position] = counts
    return Trials(padded, lengths, trial, position)


def exponential_basis(window: int, decay: float) -> np.ndarray:
    """Return the weight of a spike 1 to ``window`` bins ago, (window,); their sum is 1."""
    basis = np.exp(-decay * np.arange(1, window + 1))
    return basis / basis.sum()


def history(counts: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return what each neuron fired before each bin of the same trial, in the shape of ``counts``."""
    found = np.zeros_like(counts)
    for ago, weight in enumerate(basis[: counts.shape[1] - 1], start=1):
        found[:, ago:] += weight * counts[:, :-ago]
    return found


# ---- links


def rate(drive: np.ndarray, link: Link) -> np.ndarray:
    """Return expected counts of what drives the neurons."""
    if link == "sigmoid":
        found = expit(drive)
    elif link == "softplus":
        found = np.logaddexp(drive.dtype.type(0), drive)
    else:
        found = np.exp(drive)
    return np.maximum(found, found.dtype.type(LEAST))


def slope(drive: np.ndarray, expected: np.ndarray, link: Link) -> np.ndarray:
    """Return the derivative of expected counts by the drive."""
    if link == "sigmoid":
        return expected * (1 - expected)
    return expit(drive) if link == "softplus" else expected


def drive_of(expected: np.ndarray, link: Link) -> np.ndarray:
    """Return the drive that gives these expected counts; those that no drive gives are brought into reach."""
    if link == "sigmoid":
        expected = np.clip(expected, 1e-4, 1 - 1e-3)
        return np.log(expected / (1 - expected))
    expected = np.maximum(expected, 1e-4)
    return np.log(expected) if link == "exp" else expected + np.log(-np.expm1(-expected))


def log_poisson(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return log probabilities of counts, nats."""
    return counts * np.log(expected) - expected - gammaln(counts + 1)


def _log_factorials(counts: np.ndarray) -> np.ndarray:
    """Return the sum over neurons of the log of each count's factorial."""
    whole = counts.astype(np.int64)
    return gammaln(np.arange(whole.max(initial=0) + 1) + 1.0)[whole].sum(axis=-1)


def log_emission_of_rates(counts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the same as :func:`log_emission` of neurons with these ``rates`` (n_states, n_neurons) and no past."""
    return counts @ np.log(rates).T - rates.sum(axis=1) - _log_factorials(counts)[..., None]


def log_emission(counts: np.ndarray, past: np.ndarray, bias: np.ndarray, weights: np.ndarray, link: Link) -> np.ndarray:
    """Return the log probability of all neurons' counts in each state, (n_trials, n_bins, n_states), nats.

    ``bias`` is ``(n_states, n_neurons)``, ``weights`` (n_states, to, from).
    """
    constant = _log_factorials(counts)
    found = [
        (counts * np.log(expected) - expected).sum(axis=2) - constant
        for expected in (rate(past @ w.T + b, link) for b, w in zip(bias, weights, strict=True))
    ]
    return np.stack(found, axis=2)


# ---- one state


def fit_glm(
    past: np.ndarray, counts: np.ndarray, link: Link, std: float, *, itself: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a network with one state by Fisher scoring, weights with a Gaussian prior of mean zero.

    Parameters
    ----------
    past, counts : ndarray of shape (n_bins, n_neurons)
    link : {"sigmoid", "softplus", "exp"}
    std : float
        Of the prior.
    itself : bool
        Whether a neuron's own past has a weight.

    Returns
    -------
    bias : ndarray of shape (n_neurons,)
    weights : ndarray of shape (n_neurons, n_neurons), to and from
    """
    design = np.column_stack([np.ones(len(past)), past])
    few = np.r_[0.0, np.full(past.shape[1], std**-2)]
    found = np.zeros((counts.shape[1], design.shape[1]))
    found[:, 0] = drive_of(counts.mean(axis=0), link)
    for neuron, observed in enumerate(counts.T):
        value, precision = found[neuron].copy(), few.copy()
        # A prior as narrow as that leaves the weight at zero.
        precision[1 + neuron] = precision[1 + neuron] if itself else 1e12

        def objective(value: np.ndarray, observed: np.ndarray = observed, precision: np.ndarray = precision) -> float:
            expected = rate(design @ value, link)
            return float(observed @ np.log(expected) - expected.sum() - precision @ value**2 / 2)

        best = objective(value)
        for _ in range(50):
            drive = design @ value
            expected = rate(drive, link)
            change = slope(drive, expected, link)
            gradient = design.T @ ((observed / expected - 1) * change) - precision * value
            information = (design * (change**2 / expected)[:, None]).T @ design + np.diag(precision + 1e-9)
            step = np.linalg.solve(information, gradient)
            # Scoring may overshoot where the link saturates.
            reached = next(
                (new for new in ((objective(value + step / 2**k), k) for k in range(12)) if new[0] >= best), None
            )
            if reached is None:
                break
            value, gained, best = value + step / 2 ** reached[1], reached[0] - best, reached[0]
            if gained < 1e-12 * max(1.0, abs(best)):
                break
        found[neuron] = value
    return found[:, 0], found[:, 1:]


# ---- several states


class Coupling(ABC):
    """The weights of all states as a function of numbers that are fitted, and what is known of these before.

    ``values`` are these numbers; the prior's own numbers may be among them.
    """

    values: dict[str, np.ndarray]

    @abstractmethod
    def start(self, weights: np.ndarray, error: np.ndarray) -> None:
        """Set ``values`` so that the weights are about these.

        Parameters
        ----------
        weights : ndarray of shape (n_states, n_neurons, n_neurons)
        error : ndarray of shape (n_neurons, n_neurons)
            Standard error of a weight, if the bins were shared out among the states alike.
        """

    @abstractmethod
    def weights(self) -> np.ndarray:
        """Return the weights, (n_states, to, from)."""

    @abstractmethod
    def gradient(self, by_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient of the log posterior by ``values``, given that of the log likelihood by the weights."""

    def settle(self) -> None:  # noqa: B027
        """Bring ``values`` back to where they are allowed, after each step; nothing to do if not said otherwise."""

    def update(self) -> None:  # noqa: B027
        """Set what has a closed form, before each M-step; nothing to do if not said otherwise."""

    def final(self) -> np.ndarray:
        """Return the weights that a fitted network predicts with."""
        return self.weights()

    def connected(self) -> np.ndarray:
        """Return how clearly each pair is connected in each state, in the shape of the weights; greater is clearer."""
        return np.abs(self.final())


class Free(Coupling):
    """Weights without any prior, or with a Gaussian one of mean zero and standard deviation ``std``."""

    def __init__(self, std: float | None = None) -> None:
        self.std = std

    def start(self, weights: np.ndarray, error: np.ndarray) -> None:
        """Take the weights as they are."""
        self.values = {"weights": weights.astype(np.float32)}

    def weights(self) -> np.ndarray:
        """Return the weights."""
        return self.values["weights"]

    def gradient(self, by_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradient."""
        if self.std is None:
            return {"weights": by_weights}
        return {"weights": by_weights - self.values["weights"] / np.float32(self.std**2)}


@dataclass
class Network:
    """A fitted network.

    Parameters
    ----------
    bias : ndarray of shape (n_states, n_neurons)
    weights : ndarray of shape (n_states, n_neurons, n_neurons), to and from
    transition : ndarray of shape (n_states, n_states)
    log_likelihood : list of float
        Of the training trials, at each iteration, nats.
    """

    bias: np.ndarray
    weights: np.ndarray
    transition: np.ndarray
    log_likelihood: list[float]

    @property
    def initial(self) -> np.ndarray:
        """Probability of each state in the first bin."""
        return np.full(len(self.transition), 1 / len(self.transition))


class Adam:
    """Adam (Kingma & Ba 2015), upwards, with the usual decays."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._mean: dict[str, np.ndarray] = {}
        self._square: dict[str, np.ndarray] = {}
        self._steps = 0

    def step(self, values: dict[str, np.ndarray], gradient: dict[str, np.ndarray]) -> None:
        """Move ``values`` in place along the gradient."""
        self._steps += 1
        size = self.learning_rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        for name, slope_ in gradient.items():
            self._mean[name] = 0.9 * self._mean.get(name, 0.0) + np.float32(0.1) * slope_
            self._square[name] = 0.999 * self._square.get(name, 0.0) + np.float32(0.001) * slope_**2
            values[name] = values[name] + np.float32(size) * self._mean[name] / (np.sqrt(self._square[name]) + 1e-8)


@dataclass(frozen=True)
class Fitting:
    """How a network is fitted by expectation maximisation.

    Parameters
    ----------
    n_states : int
    link : {"sigmoid", "softplus"}
    basis : ndarray of shape (window,)
    state_bias : bool
        Whether each state has a bias of its own.
    self_coupling : bool
        Whether a neuron's own past has a weight.
    restarts, warm_up : int
        Beginnings, and iterations of each, with a Gaussian prior of mean zero; the likeliest goes on.
    iterations, steps : int
        Iterations then, and steps of Adam in each.
    learning_rate : float
    std : float
        Of the Gaussian prior of the beginnings.
    """

    n_states: int
    link: Link
    basis: np.ndarray
    state_bias: bool
    self_coupling: bool
    restarts: int
    warm_up: int
    iterations: int
    steps: int
    learning_rate: float
    std: float

    def fit(self, trials: Trials, coupling: Coupling, seed: int) -> tuple[Network, tuple[np.ndarray, np.ndarray]]:
        """Fit ``coupling`` and the rest of the network to ``trials``; return it, and bias and weights of one state."""
        run = _Run(self, trials)
        begun = []
        for number in range(self.restarts):
            generator = np.random.default_rng([seed, number])
            spread = _APART * generator.standard_normal((self.n_states, *run.one_weights.shape))
            begin = Network(
                np.tile(run.one_bias, (self.n_states, 1)),
                run.allowed * (run.one_weights + spread),
                sticky(self.n_states, _STAY),
                [],
            )
            begun.append(run.go(begin, Free(self.std), self.warm_up))
        best = max(begun, key=lambda network: network.log_likelihood[-1])
        return run.go(best, coupling, self.iterations), (run.one_bias, run.one_weights)


class _Run:
    """The counts of a fit, in the forms that its steps want."""

    def __init__(self, plan: Fitting, trials: Trials) -> None:
        self.plan, self.trials = plan, trials
        self.past = history(trials.counts, plan.basis)
        inside = trials.inside
        # Rows of bins in single precision: gradients need no more, and take half the time.
        self.rows_past = self.past[inside].astype(np.float32)
        self.rows_counts = trials.counts[inside].astype(np.float32)
        n_neurons = trials.counts.shape[2]
        self.allowed = np.ones((n_neurons, n_neurons)) - (0 if plan.self_coupling else np.eye(n_neurons))
        rows = self.past[inside], trials.counts[inside]
        self.one_bias, self.one_weights = fit_glm(*rows, plan.link, plan.std, itself=plan.self_coupling)
        drive = rows[0] @ self.one_weights.T + self.one_bias
        expected = rate(drive, plan.link)
        known = slope(drive, expected, plan.link) ** 2 / expected
        information = known.T @ (rows[0] - rows[0].mean(axis=0)) ** 2 / plan.n_states
        # With the prior of the beginnings no weight is less certain than that.
        self.error = 1 / np.sqrt(information + plan.std**-2)

    def expect(self, network: Network) -> tuple[np.ndarray, np.ndarray, float]:
        """Return probabilities of states in each row of bins, expected transitions, and the log likelihood."""
        emission = log_emission(self.trials.counts, self.past, network.bias, network.weights, self.plan.link)
        found = forward_backward(emission, network.transition, network.initial, self.trials.lengths)
        return found.states[self.trials.inside], found.pairs, float(found.log_likelihood.sum())

    def go(self, network: Network, coupling: Coupling, iterations: int) -> Network:
        """Go on from ``network`` with the weights that ``coupling`` gives."""
        plan, transition, traced = self.plan, network.transition, list(network.log_likelihood)
        coupling.start(network.weights, self.error)
        bias = {"bias": (network.bias if plan.state_bias else network.bias[:1]).astype(np.float32)}
        adam = Adam(plan.learning_rate)
        for _ in range(iterations):
            weights = coupling.weights().astype(float) * self.allowed
            now = Network(np.tile(bias["bias"], (plan.n_states // len(bias["bias"]), 1)), weights, transition, traced)
            states, pairs, reached = self.expect(now)
            traced.append(reached)
            transition = transitions_of(pairs, _UNSEEN)
            states = np.ascontiguousarray(states.T, dtype=np.float32)[:, :, None]
            coupling.update()
            for _ in range(plan.steps):
                by_bias, by_weights = self.gradient(bias["bias"], coupling.weights(), states)
                adam.step(bias, {"bias": by_bias})
                adam.step(coupling.values, coupling.gradient(by_weights * self.allowed.astype(np.float32)))
                coupling.settle()
        weights = coupling.final().astype(float) * self.allowed
        last = Network(
            np.tile(bias["bias"].astype(float), (plan.n_states // len(bias["bias"]), 1)), weights, transition, traced
        )
        traced.append(self.expect(last)[2])
        return last

    def gradient(self, bias: np.ndarray, weights: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient of the expected log likelihood by bias and weights."""
        by_bias, by_weights = np.zeros((len(weights), bias.shape[1]), np.float32), np.empty_like(weights)
        for state, weight in enumerate(weights):
            drive = self.rows_past @ weight.T
            drive += bias[min(state, len(bias) - 1)]
            expected = rate(drive, self.plan.link)
            if self.plan.link == "sigmoid":
                # (y / f - 1) f (1 - f), without dividing by what may be next to nothing.
                error = (self.rows_counts - expected) * (1 - expected)
            else:
                error = (self.rows_counts / expected - 1) * slope(drive, expected, self.plan.link)
            error *= states[state]
            by_weights[state] = error.T @ self.rows_past
            by_bias[state] = error.sum(axis=0)
        return by_bias if len(bias) > 1 else by_bias.sum(axis=0, keepdims=True), by_weights


# ---- methods


class SpikeModel(Method):
    """A model of spike counts in bins: what it says of held-out trials, and what it compares itself with.

    ``fit`` of a subclass calls :meth:`keep` with the network that it fitted.
    """

    tasks = frozenset({"infer"})
    needs = ("neuron", "bin_s")
    state = (
        *("bias_", "weights_", "transition_", "connected_", "basis_"),
        *("rate_", "one_bias_", "one_weights_", "chosen_"),
    )

    def keep(self, trials: Trials, network: Network, connected: np.ndarray, one: tuple[np.ndarray, np.ndarray]) -> None:
        """Keep a fitted ``network`` and the one with a single state, ``one``."""
        self.bias_, self.weights_, self.transition_ = network.bias, network.weights, network.transition
        self.connected_ = connected
        self.rate_ = np.maximum(trials.counts[trials.inside].mean(axis=0), LEAST)
        self.one_bias_, self.one_weights_ = one
        self.chosen_ = {"log_likelihood_of_training": network.log_likelihood[-1]}

    def link_of(self) -> Link:
        """Return the link of the neurons."""
        return getattr(self, "link", "exp")

    def predict(self, test: Bundle) -> Bundle:
        """Return what each bin of the held-out trials tells, given the bins before it; each trial for itself.

        Arrays ``(n_rows,)``: ``log_likelihood`` of all neurons' counts (nats), the same of homogeneous Poisson neurons
        (``log_likelihood_reference``) and of the network with one state (``log_likelihood_one_state``), ``n_events``
        (spikes), ``states`` (the most likely path), and ``bin`` (number of the bin in its trial).

        Raises
        ------
        InputError
            If the held-out rows are of other neurons than those that were fitted.
        """
        trials = trials_of(test)
        if trials.counts.shape[2] != len(self.rate_):
            fault = f"{trials.counts.shape[2]} neurons are held out, {len(self.rate_)} were fitted"
            raise InputError("features", fault, "choose a scheme within sessions, such as segment_k_fold")
        past, link = history(trials.counts, self.basis_), self.link_of()
        emission = log_emission(trials.counts, past, self.bias_, self.weights_, link)
        initial = np.full(len(self.bias_), 1 / len(self.bias_))
        posterior = forward_backward(emission, self.transition_, initial, trials.lengths)
        one = log_emission(trials.counts, past, self.one_bias_[None], self.one_weights_[None], link)[..., 0]
        values = {
            "log_likelihood": posterior.log_likelihood,
            "log_likelihood_one_state": one,
            "log_likelihood_reference": log_poisson(trials.counts, self.rate_).sum(axis=2),
            "n_events": trials.counts.sum(axis=2),
            "states": viterbi(emission, self.transition_, initial, trials.lengths),
        }
        arrays = {name: trials.rows(value) for name, value in values.items()}
        return Bundle({**arrays, "bin": trials.bin}, test.rows)

    def chosen(self) -> dict[str, float]:
        """Return the log likelihood of the training trials, nats."""
        return self.chosen_

    def found(self) -> dict[str, np.ndarray]:
        """Return weights and chain, and how clearly each pair of neurons is connected in each state."""
        return {
            "weights": self.weights_.round(5),
            "connected": self.connected_.round(5),
            "bias": self.bias_.round(5),
            "transition": self.transition_.round(6),
        }


def fitting_of(model: Any, basis: np.ndarray) -> Fitting:
    """Return how a method with parameters of these names fits its network."""
    return Fitting(
        model.n_states, model.link, basis, model.state_bias, model.self_coupling, model.restarts, model.warm_up,
        model.iterations, model.steps, model.learning_rate, model.std,
    )  # fmt: skip


def network_words(model: Any, states: str, source: str) -> str:
    """Return in words what networks of Poisson neurons have in common; ``states`` says how many they have."""
    link = {"sigmoid": "a logistic", "softplus": "a softplus"}[model.link]
    own = "" if model.self_coupling else " other"
    return (
        f"Spike counts were Poisson with {states}, {link} function of a bias and the weighted past of all{own} neurons:"
        f" spikes of the {count(model.window, 'bin')} before, counting less by {digits(model.decay)} a bin in the"
        f" exponent {source}."
    )


def fitting_words(model: Any) -> str:
    """Return in words how networks with several states are fitted."""
    bias = "Each state had a bias of its own. " if model.state_bias else "The bias was the same in all states. "
    return (
        f"{bias}Networks were fitted by expectation maximisation [@dempster1977]: {count(model.restarts, 'beginning')}"
        f" of {count(model.warm_up, 'iteration')} with a normal prior of mean zero and standard deviation"
        f" {digits(model.std)}, of which the likeliest went on for {count(model.iterations, 'iteration')}; in each the"
        f" weights took {count(model.steps, 'step')} of Adam [@kingma2015] with a learning rate of"
        f" {digits(model.learning_rate)}."
    )
