"""Hidden Markov chains of spike counts beside hmmlearn and dynamax: are the answers equal, and how long do they take.

Trials of the paper's size (``--trials`` of 2,000 bins, 20 Poisson neurons, 5 states) with the same parameters for all:
the log likelihood of each trial, the posterior probabilities of the states, the most likely path, and what ten
iterations of expectation maximisation make of the rates. Differences are to what the peer gives; seconds are the best
of three (of dynamax after compilation, which is told apart). The packages are installed into an environment that is
made in ``--environment`` (``pip install hmmlearn dynamax``; BSD-3-Clause and MIT), or name its Python by
``--peer-python``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import environment, timed

from replicortex.shared.hmm import forward_backward, sticky, viterbi
from replicortex.shared.switching import log_emission_of_rates

PACKAGES = ("hmmlearn==0.3.3", "dynamax==1.0.3")
ITERATIONS = 10
#: Runs in the environment of the packages.
PEER = """
import sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
folder = sys.argv[1]
given = np.load(folder + "/given.npz", allow_pickle=False)
counts, rates, transition, initial = (given[name] for name in ("counts", "rates", "transition", "initial"))
n, n_bins, n_neurons = counts.shape
found, iterations = {}, int(given["iterations"])

def timed(function, repeats=3):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result

def keep(name, seconds, **values):
    found[name + "|seconds"] = np.array(seconds)
    found.update({f"{name}|{key}": np.asarray(value) for key, value in values.items()})

from hmmlearn.hmm import PoissonHMM
rows, lengths = counts.reshape(-1, n_neurons), [n_bins] * n
for implementation in ("log", "scaling"):
    def model():
        made = PoissonHMM(len(initial), init_params="", params="tl", implementation=implementation, n_iter=iterations,
                          tol=-np.inf, lambdas_prior=0.0, lambdas_weight=0.0, transmat_prior=1.0)
        made.startprob_, made.transmat_, made.lambdas_ = initial, transition.copy(), rates.copy()
        made.n_features = n_neurons
        return made
    one = model()
    name = "hmmlearn, " + implementation
    seconds, states = timed(lambda: one.predict_proba(rows, lengths))
    keep(name + "|posterior", seconds, value=states.reshape(n, n_bins, -1))
    found[name + "|posterior|likelihood"] = np.array([one.score(trial) for trial in counts])
    seconds, path = timed(lambda: one.predict(rows, lengths))
    keep(name + "|path", seconds, value=path.reshape(n, n_bins))
    seconds, fitted = timed(lambda: model().fit(rows, lengths), 1)
    keep(name + "|fit", seconds, value=fitted.lambdas_)

try:
    import jax
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_posterior_mode, hmm_smoother
    from jax.scipy.stats import poisson
except ImportError:
    jax = None
if jax:
    def emission(trial):
        return poisson.logpmf(trial[:, None], rates[None]).sum(axis=2)
    smooth = jax.jit(jax.vmap(lambda trial: hmm_smoother(initial, transition, emission(trial))))
    mode = jax.jit(jax.vmap(lambda trial: hmm_posterior_mode(initial, transition, emission(trial))))
    data = jnp.asarray(counts)
    for name, function in (("posterior", smooth), ("path", mode)):
        start = time.perf_counter()
        jax.block_until_ready(function(data))
        found[f"dynamax|{name}|compilation"] = np.array(time.perf_counter() - start)
        seconds, result = timed(lambda: jax.block_until_ready(function(data)))
        value = result.smoothed_probs if name == "posterior" else result
        keep(f"dynamax|{name}", seconds, value=value)
        if name == "posterior":
            found["dynamax|posterior|likelihood"] = np.asarray(result.marginal_loglik)
np.savez(folder + "/found.npz", **found)
"""


def drawn(n_trials: int, n_bins: int = 2000, n_neurons: int = 20, n_states: int = 5) -> dict[str, np.ndarray]:
    """Return trials of Poisson neurons whose rates switch, and parameters about those that they were drawn with."""
    generator = np.random.default_rng(0)
    rates = generator.gamma(2.0, 0.25, (n_states, n_neurons))
    moves = generator.random((n_trials, n_bins)) > 0.98
    states = np.cumsum(moves * generator.integers(1, n_states, moves.shape), axis=1) % n_states
    counts = generator.poisson(rates[states]).astype(float)
    about = rates * generator.uniform(0.7, 1.4, rates.shape)
    return {
        "counts": counts,
        "rates": about,
        "transition": sticky(n_states, 0.95),
        "initial": np.full(n_states, 1 / n_states),
        "iterations": np.array(ITERATIONS),
    }


def maximised(given: dict[str, np.ndarray]) -> np.ndarray:
    """Return the rates after some iterations of expectation maximisation."""
    rates, transition, counts = given["rates"], given["transition"], given["counts"]
    rows = counts.reshape(-1, counts.shape[2])
    for _ in range(ITERATIONS):
        found = forward_backward(log_emission_of_rates(counts, rates), transition, given["initial"])
        states = found.states.reshape(-1, len(rates))
        rates = states.T @ rows / states.sum(axis=0)[:, None]
        transition = found.pairs / found.pairs.sum(axis=1, keepdims=True)
    return rates


def main() -> None:
    """Run all three on the same trials and print differences and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--peer-python", help="Python of an environment with the packages")
    parser.add_argument("--environment", type=Path, help="where that environment is, or is to be made")
    options = parser.parse_args()
    given = drawn(options.trials)
    counts, initial, transition = given["counts"], given["initial"], given["transition"]

    def posterior() -> object:
        return forward_backward(log_emission_of_rates(counts, given["rates"]), transition, initial)

    ours = {
        "posterior": timed(posterior),
        "path": timed(lambda: viterbi(log_emission_of_rates(counts, given["rates"]), transition, initial)),
        "fit": timed(lambda: maximised(given), 1),
    }
    print(f"{options.trials} trials of {counts.shape[1]} bins, {counts.shape[2]} neurons, {len(initial)} states")
    print("ours: " + ", ".join(f"{name} {seconds:.3f} s" for name, (seconds, _) in ours.items()))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "given.npz"), **given)
        python = options.peer_python or environment(options.environment or Path(folder, "environment"), PACKAGES)
        subprocess.run([python, "-c", PEER, folder], check=True)
        peer = dict(np.load(Path(folder, "found.npz"), allow_pickle=False))
    print(f"{'peer':18} {'what':10} {'s peer':>8} {'times ours':>11} {'difference':>11}")
    for key in [name for name in peer if name.endswith("|seconds")]:
        name, what, _ = key.split("|")
        seconds, result = ours[what]
        value = peer[f"{name}|{what}|value"]
        if what == "posterior":
            likelihood = np.abs(result.log_likelihood.sum(axis=1) - peer[f"{name}|{what}|likelihood"]).max()
            told = f"{np.abs(result.states - value).max():11.1e}  log likelihood of a trial {likelihood:.1e} nats"
        elif what == "path":
            told = f"{np.mean(result != value):11.1e}  share of bins"
        else:
            told = f"{np.abs(result - value).max():11.1e}  rates, {ITERATIONS} iterations"
        compiled = peer.get(f"{name}|{what}|compilation")
        told += "" if compiled is None else f"; {float(compiled):.1f} s to compile"
        print(f"{name:18} {what:10} {float(peer[key]):8.3f} {float(peer[key]) / seconds:11.1f} {told}")


if __name__ == "__main__":
    main()
