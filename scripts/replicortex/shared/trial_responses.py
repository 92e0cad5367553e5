"""The response of every trial of a run of BOLD series: a linear model with a regressor a trial."""

from __future__ import annotations

import numpy as np
from scipy.stats import gamma

#: Points a second on which responses are convolved.
_RATE = 20


def canonical_response(times: np.ndarray) -> np.ndarray:
    """Return the canonical haemodynamic response at ``times`` (s), of peak 1.

    The difference of two gamma densities (peaks at 5 and 15 s, ratio 6), as SPM has it.
    """
    shape = gamma.pdf(times, 6) - gamma.pdf(times, 16) / 6
    fine = np.arange(0, 20, 1e-3)
    return shape / (gamma.pdf(fine, 6) - gamma.pdf(fine, 16) / 6).max()


def regressors(onsets: np.ndarray, durations: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the expected response of each trial at ``times`` (s), of shape (n_times, n_trials).

    The canonical response to a box as long as the trial, to an instant where its duration is 0.
    """
    grid = np.arange(0, 40, 1 / _RATE)
    shape = canonical_response(grid)
    total = np.concatenate([[0.0], np.cumsum((shape[1:] + shape[:-1]) / 2) / _RATE])
    made = np.empty((len(times), len(onsets)))
    for number, (onset, duration) in enumerate(zip(onsets, durations, strict=True)):
        since = times - onset
        if duration <= 0:
            made[:, number] = np.interp(since, grid, shape, left=0.0, right=0.0)
        else:
            # The integral over the box is a difference of two values of the integral of the response.
            made[:, number] = np.interp(since, grid, total, left=0.0) - np.interp(since - duration, grid, total, left=0)
    return made


def drifts(n: int, seconds: float, slowest: float) -> np.ndarray:
    """Return a constant and the discrete cosines slower than ``slowest`` (s), of shape (n, n_drifts)."""
    n_cosines = int(np.floor(2 * seconds / slowest)) if np.isfinite(slowest) else 0
    steps = np.arange(n_cosines + 1)
    return np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * steps)


def least_squares_all(series: np.ndarray, trials: np.ndarray, nuisance: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """Return the responses of all trials from one model, of shape (n_trials, n_regions).

    Parameters
    ----------
    series : ndarray of shape (n_times, n_regions)
    trials : ndarray of shape (n_times, n_trials)
        Regressors of the trials.
    nuisance : ndarray of shape (n_times, n_nuisance)
        Taken out of series and regressors first.
    ridge : float
        Penalty on the squared responses, in units of the mean squared length of the regressors.
    """
    basis = np.linalg.qr(nuisance)[0]
    clean = [x - basis @ (basis.T @ x) for x in (np.asarray(series, float), trials)]
    gram = clean[1].T @ clean[1]
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    return np.linalg.lstsq(gram, clean[1].T @ clean[0], rcond=None)[0]


def least_squares_separate(series: np.ndarray, trials: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Return the response of each trial from a model of its own, in which all others share one regressor.

    For trials that follow each other closely: of a higher bias, and a much smaller variance. Shapes as in
    :func:`least_squares_all`.
    """
    basis = np.linalg.qr(nuisance)[0]
    y, x = (v - basis @ (basis.T @ v) for v in (np.asarray(series, float), trials))
    total = x.sum(axis=1)
    found = np.empty((trials.shape[1], y.shape[1]))
    for number, own in enumerate(x.T):
        others = total - own
        pair = np.column_stack([own, others])
        found[number] = np.linalg.lstsq(pair, y, rcond=None)[0][0]
    return found
