"""Shapley values of any model: exact over all coalitions, exact for linear models, or sampled with their errors.

The game is that of Strumbelj & Kononenko (2014, doi:10.1007/s10115-013-0679-x): a coalition is worth the mean
prediction over background rows that take the features of its players from the person. Players are features, or aspects:
groups of correlated features that are explained as one unit (Pekala, Wozniak & Biecek 2021, arXiv:2104.03403), since
a model is asked about people who do not exist where features that go together are taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

Model = Callable[[np.ndarray], np.ndarray]

#: Rows that a model is asked about at a time.
_AT_ONCE = 1 << 14


def _asked(model: Model, x: np.ndarray, background: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the worth of coalitions, (n_rows, n_coalitions), of features ``inside`` (n_coalitions, n_features)."""
    worth = np.empty((len(x), len(inside)))
    step = max(1, _AT_ONCE // (len(background) * max(1, len(inside))))
    small = max(1, _AT_ONCE // len(background))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        for first in range(0, len(inside), small):
            told = inside[first : first + small]
            mixed = np.where(told[None, :, None, :], x[rows, None, None, :], background[None, None, :, :])
            values = model(mixed.reshape(-1, x.shape[1]))
            worth[rows, first : first + small] = values.reshape(mixed.shape[:3]).mean(axis=2)
    return worth


def _players(players: np.ndarray | None, n_features: int) -> tuple[np.ndarray, int]:
    players = np.arange(n_features) if players is None else np.asarray(players)
    return players, int(players.max()) + 1


def exact_shapley(
    model: Model, x: np.ndarray, background: np.ndarray, players: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return Shapley values by enumeration of all coalitions.

    Parameters
    ----------
    model : callable
        Rows (n, n_features) to numbers (n,).
    x : ndarray of shape (n_rows, n_features)
    background : ndarray of shape (n_background, n_features)
    players : ndarray of int of shape (n_features,), optional
        Player that each feature belongs to, 0 .. n_players - 1; each is its own, if not given.

    Returns
    -------
    values : ndarray of shape (n_rows, n_players)
    base : float
        Mean prediction for the background, the worth of nobody.

    Notes
    -----
    2^n_players x n_rows x n_background predictions.
    """
    players, n = _players(players, x.shape[1])
    if n > 20:
        raise ValueError(f"2^{n} coalitions are too many")
    words = np.arange(1 << n)
    member = (words[:, None] >> np.arange(n) & 1).astype(bool)
    worth = np.empty((len(x), len(words)))
    # Nobody and everybody need no mixture.
    worth[:, 0], worth[:, -1] = model(background).mean(), model(x)
    worth[:, 1:-1] = _asked(model, x, background, member[1:-1, players])
    size = member.sum(axis=1)
    factorial = np.array([math.factorial(k) for k in range(n + 1)], dtype=np.float64)
    values = np.empty((len(x), n))
    for player in range(n):
        without = words[~member[:, player]]
        weight = factorial[size[without]] * factorial[n - 1 - size[without]] / factorial[n]
        values[:, player] = (worth[:, without | 1 << player] - worth[:, without]) @ weight
    return values, float(worth[0, 0])


def sampled_shapley(
    model: Model,
    x: np.ndarray,
    background: np.ndarray,
    players: np.ndarray | None = None,
    *,
    seed: int,
    rounds: int = 1,
) -> tuple[np.ndarray, float, np.ndarray]:
    """Return Shapley values from orders of the players drawn at random, each with its reverse (antithetic).

    Each background row gets ``rounds`` pairs of orders of its own, so that values add up exactly all the same. The
    orders are those of all rows: what is said of one does not depend on the others.

    Parameters
    ----------
    model, x, background, players
        As in :func:`exact_shapley`.
    seed : int
    rounds : int
        Pairs of orders for each background row.

    Returns
    -------
    values : ndarray of shape (n_rows, n_players)
    base : float
    error : ndarray of shape (n_rows, n_players)
        Standard error over pairs, infinite for one pair. It counts the spread over background rows too, which all
        take part, and is therefore an upper bound.

    Notes
    -----
    2 rounds (n_players + 1) n_rows n_background predictions.
    """
    players, n = _players(players, x.shape[1])
    generator = np.random.default_rng(seed)
    total, squares = np.zeros((len(x), n)), np.zeros((len(x), n))
    nobody = model(background)
    n_pairs = rounds * len(background)
    step = max(1, _AT_ONCE // (n + 1))
    for pair in range(n_pairs):
        z = background[pair % len(background)]
        order = generator.permutation(n)
        drawn = np.zeros((len(x), n))
        for one in (order, order[::-1]):
            # Whoever stands before a place of the order is in: players enter one by one.
            entered = np.argsort(one)[players][None, :] < np.arange(n + 1)[:, None]
            for start in range(0, len(x), step):
                rows = slice(start, start + step)
                mixed = np.where(entered[None], x[rows, None, :], z)
                worth = model(mixed.reshape(-1, x.shape[1])).reshape(-1, n + 1)
                drawn[rows, one] += np.diff(worth, axis=1) / 2
        total += drawn
        squares += drawn**2
    values = total / n_pairs
    if n_pairs < 2:
        return values, float(nobody.mean()), np.full_like(values, np.inf)
    variance = np.maximum(squares / n_pairs - values**2, 0.0) / (n_pairs - 1)
    return values, float(nobody.mean()), np.sqrt(variance)


def linear_shapley(
    weights: np.ndarray, x: np.ndarray, background: np.ndarray, players: np.ndarray | None = None
) -> np.ndarray:
    """Return the Shapley values of a linear model, (n_rows, n_players): weight times distance from the mean."""
    players, n = _players(players, x.shape[1])
    return (weights * (x - background.mean(axis=0))) @ np.eye(n)[players]


def aspects(x: np.ndarray, height: float) -> np.ndarray:
    """Return the aspect of each feature: clusters of features of which all correlate.

    Agglomerative clustering with complete linkage by 1 - |Spearman's rho|, cut at ``height``: any two features of an
    aspect have a correlation of at least 1 - height. Constant features stand alone.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Training rows.
    height : float
        Where the tree is cut; 0 leaves every feature alone.

    Returns
    -------
    ndarray of int of shape (n_features,)
        Numbered in the order of the features.
    """
    n = x.shape[1]
    if n < 2 or height <= 0:
        return np.arange(n)
    ranks = rankdata(x, axis=0)
    ranks -= ranks.mean(axis=0)
    length = np.linalg.norm(ranks, axis=0)
    rho = (ranks.T @ ranks) / np.where(length > 0, np.outer(length, length) + (np.outer(length, length) == 0), 1)
    distance = np.clip(1 - np.abs(rho), 0, 1)
    np.fill_diagonal(distance, 0)
    cluster = fcluster(linkage(squareform(distance, checks=False), "complete"), height, "distance")
    first = dict.fromkeys(cluster.tolist())
    number = {label: place for place, label in enumerate(first)}
    return np.array([number[label] for label in cluster.tolist()])
