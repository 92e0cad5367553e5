"""The test behind claims ``beats_twins``: is what is shown of a network more than of those that learned nothing.

Explanations look plausible on any network (Meloux et al. 2025, The dead salmons of AI interpretability,
doi:10.48550/arXiv.2512.18792). So the statistic of an explanation is an estimate like any other, and is held against
its distribution over alternative computations: twins with random weights, and networks trained on permuted targets.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

#: Arrangements up to which all are tried; above, as many random ones.
EXACT = 20_000
N_PERMUTATIONS = 9_999
N_RESAMPLES = 2_000


@dataclass(frozen=True)
class TwinTest:
    """What the comparison of several statistics of one network with its twins gave.

    Parameters
    ----------
    effect : ndarray of shape (n_statistics,)
        Mean over strata of the network's value less the mean of its twins'.
    p, p_max : ndarray of shape (n_statistics,)
        One-sided p value of each statistic alone, and the same adjusted for all of them.
    smallest : float
        The smallest p that could have come out.
    """

    effect: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    smallest: float


def exchange_test(values: np.ndarray, seed: int = 0) -> TwinTest:
    """Exchange the network with its twins, stratum by stratum.

    Under the null hypothesis a stratum's networks, the trained one and its twins, are drawn alike, and those of
    different strata independently of each other: then each of the ``(1 + K) ** n_strata`` arrangements is as likely as
    the one observed, and the p value is exact (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585). One stratum gives
    the plain ``(1 + #{twin >= network}) / (1 + K)``. All statistics change places together, so that the greatest of
    their standardised values has the right distribution whatever their dependence (Westfall & Young 1993).

    Parameters
    ----------
    values : ndarray of shape (n_statistics, n_strata, 1 + K)
        Finite; greater speaks for the network, which comes first.
    seed : int
        Of the random arrangements, where there are more than are tried.
    """
    n_statistics, n_strata, n_networks = values.shape
    if n_networks < 2 or not n_strata:
        nothing = np.full(n_statistics, math.nan)
        return TwinTest(nothing, nothing, nothing, 1.0)
    n_twins = n_networks - 1
    # The network's value less its twins' mean, for each that could be the network.
    contrast = values - (values.sum(axis=2, keepdims=True) - values) / n_twins
    number = n_networks**n_strata
    if number <= EXACT:
        chosen = np.array(list(itertools.product(range(n_networks), repeat=n_strata)))
    else:
        drawn = np.random.default_rng(seed).integers(n_networks, size=(N_PERMUTATIONS, n_strata))
        # The arrangement that was observed counts as one of those drawn.
        chosen = np.concatenate([np.zeros((1, n_strata), int), drawn])
    all_effects = contrast[:, np.arange(n_strata), chosen].mean(axis=2)
    effect, spread = all_effects[:, 0], all_effects.std(axis=1)
    # Rounding must not break ties.
    slack = 1e-9 * np.maximum(spread, 1e-300)
    p = (all_effects >= (effect - slack)[:, None]).mean(axis=1)
    scaled = np.divide(all_effects, spread[:, None], out=np.zeros_like(all_effects), where=spread[:, None] > 0)
    p_max = (scaled.max(axis=0) >= scaled[:, :1] - 1e-9).mean(axis=1)
    return TwinTest(effect, p, p_max, 1 / len(chosen))


def prediction_test(values: np.ndarray) -> TwinTest:
    """Ask whether the network is one more draw from a normal distribution that its twins came from.

    Student's t of the difference over ``sd * sqrt(1 + 1 / K)``, for a few networks that cost a training each: ranks of
    fewer than 19 of them can not reach 0.05. The statistics are adjusted for by their number (Bonferroni), since a few
    twins do not tell how they depend on each other.

    Parameters
    ----------
    values : ndarray of shape (n_statistics, 1 + K)
        Finite; the network comes first.
    """
    n_twins = values.shape[1] - 1
    if n_twins < 2:
        nothing = np.full(len(values), math.nan)
        return TwinTest(nothing, nothing, nothing, 1.0)
    twins = values[:, 1:]
    effect, spread = values[:, 0] - twins.mean(axis=1), twins.std(axis=1, ddof=1) * math.sqrt(1 + 1 / n_twins)
    t = np.divide(effect, spread, out=np.copysign(np.full(len(effect), np.inf), effect), where=spread > 0)
    p = np.where((spread == 0) & (effect == 0), 1.0, special.stdtr(n_twins - 1, -t))
    return TwinTest(effect, p, np.minimum(len(values) * p, 1.0), 0.0)


def permuted_test(values: np.ndarray) -> TwinTest:
    """Return the rank test where there are enough twins to reach 0.05 by ranks, else :func:`prediction_test`.

    Parameters
    ----------
    values : ndarray of shape (n_statistics, 1 + K)
    """
    return exchange_test(values[:, None, :]) if values.shape[1] >= 20 else prediction_test(values)


def twin_interval(network: np.ndarray, twins: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of ``network`` less that of ``twins``, over subjects and twins.

    Subjects and twins are drawn with replacement, independently of each other, so that the interval is for other people
    and for other twins (Owen 2007, doi:10.1214/07-AOAS122).

    Parameters
    ----------
    network : ndarray of shape (n_subjects,)
    twins : ndarray of shape (n_subjects, K)

    Returns
    -------
    tuple of float
        ``(nan, nan)`` for fewer than two subjects or no twin.
    """
    n, k = twins.shape
    if n < 2 or not k:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    people = rng.multinomial(n, np.full(n, 1 / n), N_RESAMPLES) / n
    others = rng.multinomial(k, np.full(k, 1 / k), N_RESAMPLES) / k
    found = people @ network - ((people @ twins) * others).sum(axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
