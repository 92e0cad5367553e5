"""Tests and intervals over units: what turns scores into verdicts.

The paired comparison is that of MOABB (Chevallier et al. 2024, doi:10.48550/arXiv.2404.15319): sign-flip
permutation for few units, Wilcoxon's signed-rank test for many, Stouffer's combination over datasets weighted
by the root of the number of units. All tests are one-sided: does the mean of the differences exceed zero?
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

#: Up to this many units all sign flips are tried; below the second number, random ones; from there on, ranks.
EXACT, RANKED = 13, 20
N_PERMUTATIONS = 10_000
#: Below the first number of units a bootstrap has too few values to draw from, above the second it agrees
#: with the t interval, which is then given at no cost.
_FEW, _MANY = 5, 200


def cluster_sums(values: np.ndarray, clusters: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum and the number of values in each cluster; each value alone without ``clusters``."""
    values = np.asarray(values, dtype=float)
    if clusters is None:
        return values, np.ones(len(values))
    index = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return np.bincount(index, values), np.bincount(index).astype(float)


def paired_p(
    differences: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0, *, symmetric: bool = True
) -> float:
    """Return the one-sided p-value that the mean of ``differences`` exceeds zero.

    Parameters
    ----------
    differences : ndarray of shape (n_units,)
        One paired difference a unit, finite.
    clusters : ndarray of shape (n_units,), optional
        What the units are nested in (the subject of a session). Signs then flip cluster by cluster, because
        units of one cluster are not independent.
    seed : int
        Of the random sign flips.
    symmetric : bool
        Whether the differences would be symmetric about zero under the null, as those of two scores of one
        subject are. Pseudo-values are not, and for them signs and ranks would test something other than the
        mean: then it is the t test, which for the area under the curve is DeLong's (1988, doi:10.2307/2531595).

    Returns
    -------
    float
        In (0, 1): a p-value of one is drawn in by the smallest attainable one, as in MOABB, since Stouffer's
        combination turns it into minus infinity. ``nan`` without units.
    """
    sums = cluster_sums(differences, clusters)[0]
    n = len(sums)
    if n == 0:
        return math.nan
    if not symmetric:
        p = _t_p(sums)
    elif n >= RANKED:
        # Takes longer to import than most stages take for all else.
        from scipy import stats

        p = float(stats.wilcoxon(sums, alternative="greater").pvalue) if np.any(sums) else 1.0
    else:
        # Rounding must not break ties with the observed sum.
        flips, known = _signs(n, seed)
        reached = flips @ sums >= sums.sum() - 1e-12 * np.abs(sums).sum()
        p = (known + np.count_nonzero(reached)) / (known + len(flips))
    smallest = minimal_p(n)
    return float(min(max(p, smallest), 1 - smallest))


def _t_p(values: np.ndarray) -> float:
    """Return the one-sided p-value of the t test that the mean of ``values`` exceeds zero."""
    if len(values) < 2:
        return 1.0
    error = values.std(ddof=1) / math.sqrt(len(values))
    if error <= 1e-12 * max(abs(values.mean()), 1e-300):
        return 0.0 if values.mean() > 0 else 1.0
    return float(special.stdtr(len(values) - 1, -values.mean() / error))


@functools.lru_cache(maxsize=32)
def _signs(n: int, seed: int) -> tuple[np.ndarray, int]:
    """Return sign flips of shape (n_flips, n), and how many flips to count beside them (the observed one)."""
    if n <= EXACT:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1), 0
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(N_PERMUTATIONS, n)), 1


def minimal_p(n: int) -> float:
    """Return the smallest p-value that :func:`paired_p` can give for ``n`` independent units (1 for none)."""
    if EXACT < n < RANKED:
        return max(0.5**n, 1 / (1 + N_PERMUTATIONS))
    return 0.5 ** min(n, 1000)


def spread_p(p: float) -> float:
    """Return what the p-value of a cross-validated score is where there is nothing to learn.

    Tests on units take them as independent given the fitted models. Without any effect that is wrong by a factor that
    is known. A unit's score above chance is then a sum of terms s(i, j), how alike it is to each training unit j whose
    label it shares, and every pair counts twice, as (i, j) and as (j, i). With m pairs of variance v the variance of
    the mean goes with 4mv, where independent units would have 2mv: z is too large by the square root of two, and the
    test at level 0.01 rejects one time in twenty. The reason is that of Nadeau & Bengio (2003,
    doi:10.1023/A:1024068626366), whose factor is for the error of a method where there is something to learn.

    Parameters
    ----------
    p : float
        One-sided, of a test on units that train one another's folds
        (:attr:`replicortex.components.Splitter.crossed`).
    """
    return float(special.ndtr(special.ndtri(p) / math.sqrt(2)))


def standardised_mean_difference(differences: np.ndarray) -> float:
    """Return mean / standard deviation of the differences; infinite where they are constant and not zero."""
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2:
        return math.nan
    mean, spread = differences.mean(), differences.std(ddof=1)
    if spread <= 1e-12 * max(abs(mean), 1e-300):
        return 0.0 if mean == 0 else math.copysign(math.inf, mean)
    return float(mean / spread)


def equivalence_p(
    differences: np.ndarray,
    margin: float,
    clusters: np.ndarray | None = None,
    seed: int = 0,
    *,
    symmetric: bool = True,
) -> float:
    """Return the p-value that the mean difference lies within ``margin`` of zero.

    Two one-sided tests (Schuirmann 1987, doi:10.1007/BF01068419); the greater of the two p-values.
    """
    differences = np.asarray(differences, dtype=float)
    above = paired_p(differences + margin, clusters, seed, symmetric=symmetric)
    below = paired_p(margin - differences, clusters, seed, symmetric=symmetric)
    return max(above, below)


def stouffer(p: Sequence[float], n: Sequence[float]) -> float:
    """Combine one-sided p-values of independent datasets, weighted by the root of their numbers of units."""
    weights = np.sqrt(np.asarray(n, dtype=float))
    z = special.ndtri(1 - np.asarray(p, dtype=float))
    return float(special.ndtr(-(weights @ z) / np.linalg.norm(weights)))


def combined_effect(effects: Sequence[float], n: Sequence[float]) -> float:
    """Return the mean of effects, weighted as :func:`stouffer` weighs p-values."""
    return float(np.average(effects, weights=np.sqrt(np.asarray(n, dtype=float))))


def holm(p: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for their number (Holm 1979); ``nan`` stays ``nan`` and is not counted."""
    p = np.asarray(p, dtype=float)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def permutation_p(observed: float, null: np.ndarray, *, greater_is_better: bool = True) -> float:
    """Return ``(1 + #{null at least as good}) / (1 + K)`` (Phipson & Smyth 2010); ``nan`` without a null."""
    null = np.asarray(null, dtype=float)
    null = null[~np.isnan(null)]
    if not len(null) or math.isnan(observed):
        return math.nan
    as_good = null >= observed if greater_is_better else null <= observed
    return (1 + int(np.count_nonzero(as_good))) / (1 + len(null))


def bootstrap_mean(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    level: float = 0.95,
    n_resamples: int = 5000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of the mean over units.

    Efron (1987, doi:10.1080/01621459.1987.10478410), its quantiles taken further out for small samples as
    Hesterberg proposes (2015, doi:10.1080/00031305.2015.1089789): of six normal values the plain interval
    covers the mean in 86 % of cases instead of 95 %. For fewer than 5 and more than 200 units (clusters)
    it is the t interval. Deterministic.

    Parameters
    ----------
    values : ndarray of shape (n_units,)
        Finite.
    clusters : ndarray of shape (n_units,), optional
        What the units are nested in; whole clusters are drawn.

    Returns
    -------
    tuple of float
        ``(nan, nan)`` for fewer than two units (clusters).
    """
    sums, counts = cluster_sums(values, clusters)
    n = len(sums)
    if n < 2:
        return math.nan, math.nan
    mean = sums.sum() / counts.sum()
    residuals = sums - mean * counts
    if np.abs(residuals).max() <= 1e-12 * max(1.0, np.abs(sums).max()):
        return float(mean), float(mean)
    quantiles = special.stdtrit(n - 1, [(1 - level) / 2, (1 + level) / 2]) * math.sqrt(n / (n - 1))
    if not _FEW <= n <= _MANY:
        low, high = mean + quantiles * math.sqrt((residuals**2).sum()) / counts.sum()
        return float(low), float(high)
    drawn_sums, drawn_counts = np.stack([sums, counts]) @ _times_drawn(n, n_resamples, seed)
    resampled = drawn_sums / drawn_counts
    # As good as the mean but for rounding, as many samples of few or of discrete values are.
    tied = np.abs(resampled - mean) <= 1e-12 * np.abs(sums / counts).max()
    below = np.mean((resampled < mean) & ~tied) + np.mean(tied) / 2
    # A share of 0 or 1 would put the whole interval at infinity.
    bias = special.ndtri(np.clip(below, 1 / n_resamples, 1 - 1 / n_resamples))
    influence = mean - (sums.sum() - sums) / (counts.sum() - counts)
    influence = influence - influence.mean()
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    shifted = bias + quantiles
    low, high = np.quantile(resampled, special.ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)


@functools.lru_cache(maxsize=2)
def _times_drawn(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """Return how often each of n units was drawn, (n, n_resamples): many means are over as many units."""
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    flat = drawn + n * np.arange(n_resamples)[:, None]
    times = np.bincount(flat.ravel(), minlength=n * n_resamples).reshape(n_resamples, n)
    return np.ascontiguousarray(times.T, dtype=float)


def pseudo_values(statistic: Callable[[np.ndarray], float], groups: np.ndarray) -> np.ndarray:
    """Return the jackknife pseudo-value of each group of rows: its share in a statistic of all of them.

    ``n T - (n - 1) T_without``, T being the statistic and n the number of groups (Tukey 1958; Efron & Tibshirani
    1993, chapter 11). Their mean is the statistic (up to the jackknife's correction of its bias) and their
    spread gives its error, so that what is defined for a whole set of subjects only, such as the area under the
    curve or R2, can be compared subject by subject; for a mean over groups of one size it is the group's own value.

    Parameters
    ----------
    statistic : callable
        Takes the indices of rows, returns a number.
    groups : ndarray of shape (n_rows,)
        The group (subject) of each row.

    Returns
    -------
    ndarray of shape (n_groups,)
        In the order of ``np.unique(groups)``; ``nan`` where the statistic is not defined. Costs one evaluation a
        group, so the square of their number where one is linear.
    """
    names = np.unique(groups)
    n = len(names)
    whole = statistic(np.arange(len(groups)))
    if n < 2 or not math.isfinite(whole):
        return np.full(n, math.nan)
    return np.array([n * whole - (n - 1) * statistic(np.flatnonzero(groups != name)) for name in names])


def jackknife_error(statistic: Callable[[np.ndarray], float], n: int, n_groups: int = 100) -> float:
    """Return the standard error of a statistic of ``n`` rows by leaving out one group of rows at a time.

    Groups are single rows up to ``n_groups`` rows. For the area under the curve this is DeLong's error, for a
    proportion the binomial one, up to n / (n - 1).

    Parameters
    ----------
    statistic : callable
        Takes the indices of the rows that stay.
    """
    groups = np.arange(n) % min(n, n_groups)
    n_groups = min(n, n_groups)
    if n_groups < 2:
        return math.nan
    values = np.array([statistic(np.flatnonzero(groups != group)) for group in range(n_groups)])
    return float(np.sqrt((n_groups - 1) / n_groups * ((values - values.mean()) ** 2).sum()))
