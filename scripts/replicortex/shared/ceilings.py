"""Noise ceilings: how well the response to a stimulus can be predicted at all, from repeated presentations.

The responses of a target to stimulus ``s`` are ``signal(s) + noise``, the noise independent between presentations. Two
estimates of the same thing: from the variance within stimuli, and from the correlation of halves.
"""

from __future__ import annotations

import numpy as np


def by_stimulus(values: np.ndarray, stimuli: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean response to each stimulus.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_targets)
    stimuli : ndarray of shape (n_rows,)

    Returns
    -------
    names : ndarray of shape (n_stimuli,)
        Sorted.
    means : ndarray of shape (n_stimuli, n_targets)
        Float64.
    counts : ndarray of shape (n_stimuli,)
    """
    names, index, counts = np.unique(stimuli, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, np.asarray(values, dtype=np.float64))
    return names, sums / counts[:, None], counts


def variances(values: np.ndarray, stimuli: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances of signal and of noise of each target, each of shape (n_targets,), without bias.

    One-way analysis of variance with random effects; numbers of presentations may differ. An estimate of the signal's
    variance below 0 is given as 0. ``nan`` where no stimulus was repeated, or there is one stimulus only.
    """
    values = np.asarray(values, dtype=np.float64)
    _, means, counts = by_stimulus(values, stimuli)
    n, k = counts.sum(), len(counts)
    if n == k or k < 2:
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing.copy()
    index = np.unique(stimuli, return_inverse=True)[1]
    within = ((values - means[index]) ** 2).sum(axis=0) / (n - k)
    between = (counts[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0) / (k - 1)
    # Presentations that a stimulus has, on the average that makes the estimate unbiased.
    usual = (n - (counts**2).sum() / n) / (k - 1)
    return np.maximum((between - within) / usual, 0.0), within


def explainable_share(values: np.ndarray, stimuli: np.ndarray, n_averaged: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the share of variance that the stimulus explains, of the mean of ``n_averaged`` responses, (n_targets,).

    The square of the greatest correlation that any prediction from the stimulus can reach. With numbers that differ
    between stimuli, the noise of their means is averaged.
    """
    signal, noise = variances(values, stimuli)
    left = noise * np.mean(1.0 / np.asarray(n_averaged, dtype=np.float64))
    total = signal + left
    return np.divide(signal, total, out=np.full(len(signal), np.nan), where=total > 0)


def split_half(values: np.ndarray, stimuli: np.ndarray, n_splits: int = 20, seed: int = 0) -> np.ndarray:
    """Return the reliability of the mean over all presentations, (n_targets,): halves, with Spearman-Brown's formula.

    Presentations of each stimulus are dealt to two halves at random, of an odd number all but one; the correlations of
    the halves over stimuli are averaged over ``n_splits``, and extended from the halves to the usual number of
    presentations. Stimuli that were shown once take no part.
    """
    generator = np.random.default_rng(seed)
    values = np.asarray(values, dtype=np.float64)
    groups = [np.flatnonzero(stimuli == name) for name in np.unique(stimuli)]
    groups = [rows for rows in groups if len(rows) > 1]
    if len(groups) < 3:
        return np.full(values.shape[1], np.nan)
    found = []
    for _ in range(n_splits):
        orders = [generator.permutation(rows) for rows in groups]
        first = np.stack([values[rows[: len(rows) // 2]].mean(axis=0) for rows in orders])
        second = np.stack([values[rows[len(rows) // 2 : 2 * (len(rows) // 2)]].mean(axis=0) for rows in orders])
        found.append(correlations(first, second))
    half = np.mean(found, axis=0)
    longer = np.mean([len(rows) for rows in groups]) / np.mean([len(rows) // 2 for rows in groups])
    return longer * half / (1 + (longer - 1) * half)


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of each column of ``a`` with that of ``b``, (n_columns,); 0 where one has no spread.

    What differs by rounding alone, of numbers of this size, is no spread.
    """
    given = [np.asarray(x, dtype=np.float64) for x in (a, b)]
    centred = [x - x.mean(axis=0) for x in given]
    norms = [np.sqrt((x**2).sum(axis=0)) for x in centred]
    least = [1e-12 * np.sqrt(len(x)) * np.abs(x).max(axis=0, initial=0) for x in given]
    spread = (norms[0] > least[0]) & (norms[1] > least[1])
    both = (centred[0] * centred[1]).sum(axis=0)
    return np.divide(both, norms[0] * norms[1], out=np.zeros(both.shape), where=spread)
