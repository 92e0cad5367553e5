"""Choosing few windows of many so that they rank operators of connectivity as all of them do, and judging it.

An operator's performance is how well it identifies subjects (Finn et al. 2015, doi:10.1038/nn.4135). It is taken
twice, within the whole pool and within the chosen windows alone, and the two rankings of operators are compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ..bundle import Bundle
from ..errors import InputError

#: Similarity of a pair that must not be compared, below any correlation.
_NEVER = -2.0


# Choosing.


def draw_seed(train: Bundle, seed: int) -> list[int]:
    """Return a seed of its own for every training set, so that draws of several folds are independent."""
    text = "\n".join(sorted(train.rows["row_id"].astype(str)))
    return [int(seed), zlib.crc32(text.encode())]


def row_numbers(rows: Mapping[str, np.ndarray], seed: Sequence[int]) -> np.ndarray:
    """Return a uniform number in (0, 1) for every row that depends on its ``row_id`` and ``seed`` alone."""
    keys = [zlib.crc32(str(row).encode()) for row in rows["row_id"]]
    drawn = np.array([np.random.default_rng([*seed, key]).random() for key in keys])
    return np.clip(drawn, np.finfo(float).tiny, None)


def by_order(order: np.ndarray) -> np.ndarray:
    """Return preferences, greater is earlier, of rows that are to be taken in ``order``."""
    preference = np.empty(len(order))
    preference[order] = -np.arange(len(order), dtype=float)
    return preference


def correlations(series: np.ndarray) -> np.ndarray:
    """Return Fisher-transformed correlations above the diagonal, ``(n, n_edges)``, of ``series`` (n, R, T).

    What is known of a window before any operator is run: the inputs of selections by geometry.
    """
    series = np.asarray(series, dtype=np.float64)
    centred = series - series.mean(axis=2, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=2, keepdims=True)
    edges = np.triu_indices(series.shape[1], 1)
    found = np.matmul(unit, unit.swapaxes(1, 2))[:, edges[0], edges[1]]
    return np.arctanh(np.clip(found, -1 + 1e-7, 1 - 1e-7))


def k_center_order(x: np.ndarray) -> np.ndarray:
    """Return the farthest-first order of the rows of ``x`` (n, d), from the row nearest to the mean.

    The greedy 2-approximation of the k-center problem for every k at once. Time in ``n^2 d``.
    """
    distance = _squared_distances(x, x.mean(axis=0))
    order = [int(distance.argmin())]
    nearest = np.full(len(x), np.inf)
    left = np.ones(len(x), dtype=bool)
    for _ in range(len(x) - 1):
        left[order[-1]] = False
        nearest = np.minimum(nearest, _squared_distances(x, x[order[-1]]))
        order.append(int(np.where(left, nearest, -1.0).argmax()))
    return np.array(order)


def herding_order(x: np.ndarray) -> np.ndarray:
    """Return the order in which herding takes the rows of ``x`` (n, d): the mean of the taken follows that of all.

    Each row is the one with which the mean of those taken comes nearest to the mean of all. Time in ``n^2 d``.
    """
    mean, left, order = x.mean(axis=0), np.ones(len(x), dtype=bool), []
    wanted = np.zeros_like(mean)
    for _ in range(len(x)):
        # What the sum of the taken still lacks.
        wanted = wanted + mean
        best = int(np.where(left, _squared_distances(x, wanted), np.inf).argmin())
        order.append(best)
        left[best] = False
        wanted = wanted - x[best]
    return np.array(order)


def stratified_order(strata: np.ndarray, numbers: np.ndarray, together: int) -> np.ndarray:
    """Return an order that takes ``together`` random rows of one stratum, then of the next, and so on in rounds.

    Parameters
    ----------
    strata : ndarray of shape (n,)
        Name of each row's stratum.
    numbers : ndarray of shape (n,)
        Uniform random numbers: they order rows within strata, and strata within a round.
    """
    place = np.empty(len(strata), dtype=int)
    first = np.empty(len(strata))
    for name in np.unique(strata):
        here = np.flatnonzero(strata == name)
        ranked = here[np.argsort(numbers[here], kind="stable")]
        place[ranked] = np.arange(len(ranked)) // together
        # All rows that one stratum gives in a round come together, at the place of its first number.
        for turn in range(place[ranked[-1]] + 1):
            members = ranked[turn * together : (turn + 1) * together]
            first[members] = numbers[members[0]]
    return np.lexsort((numbers, first, place))


def density_order(scores: np.ndarray, numbers: np.ndarray, dropped: float) -> np.ndarray:
    """Return the rows in the order of a draw without replacement, likelier where scores are rare.

    The highest ``dropped`` share of the scores comes last, lowest first. The others are drawn with probabilities
    inverse to a Gaussian kernel density estimate of their scores; sorting ``log(u) / w`` is such a draw of any size
    (Efraimidis & Spirakis 2006, doi:10.1016/j.ipl.2005.11.003). Time and memory in ``n^2``, for the density.
    """
    from scipy.stats import gaussian_kde

    kept = scores <= np.quantile(scores, 1 - dropped)
    weights = np.ones(int(kept.sum()))
    if len(np.unique(scores[kept])) > 1:
        weights = 1 / (gaussian_kde(scores[kept])(scores[kept]) + 1e-8)
    keys = np.log(numbers[kept]) / (weights / weights.max())
    order, rest = np.flatnonzero(kept)[np.argsort(-keys, kind="stable")], np.flatnonzero(~kept)
    return np.concatenate([order, rest[np.argsort(scores[rest], kind="stable")]])


def _squared_distances(x: np.ndarray, point: np.ndarray) -> np.ndarray:
    difference = x - point
    return np.einsum("nd,nd->n", difference, difference)


# Judging.


def judged_by(test: Bundle) -> dict[str, np.ndarray]:
    """Return the arrays of ``test`` that a selection is judged by, for the predictions.

    Raises
    ------
    InputError
        If the features are not a bank of operators.
    """
    for name in ("x", "span"):
        if name not in test.arrays:
            raise InputError("features", f"have no array {name!r}", "choose a feature card of fc_operators")
    return {name: np.asarray(test[name]) for name in ("x", "span")}


def taken(predictions: Bundle, fraction: float) -> np.ndarray:
    """Return the indices of the preferred ``fraction`` of the rows, at least two; ties go by ``row_id``."""
    n = min(len(predictions), max(2, round(fraction * len(predictions))))
    return np.lexsort((predictions.rows["row_id"], -predictions["y_selected"]))[:n]


def identification(predictions: Bundle, identity: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray | None:
    """Return how well each operator identifies, of shape (n_operators,), or ``None`` where nobody can be identified.

    A window is identified if the most similar other window (Pearson correlation of their edges) has its identity.
    Windows that overlap in time are not compared: they share data, and any operator would find them. Only those
    windows count that have another of the same identity to be found.

    Parameters
    ----------
    predictions : Bundle
        With ``x`` (n, n_operators, n_edges) and ``span`` (n, 2).
    identity : ndarray of shape (n,)
        Whose window it is.
    chosen : ndarray of int, optional
        Windows to take part; all by default. Time in ``n^2 n_operators n_edges``, memory in ``n^2``.
    """
    chosen = np.arange(len(predictions)) if chosen is None else np.asarray(chosen)
    allowed = _comparable(predictions, chosen)
    identity = np.asarray(identity)[chosen]
    same = identity[:, None] == identity[None, :]
    asked = (same & allowed).any(axis=1)
    if not asked.any():
        return None
    found = []
    for operator in range(predictions["x"].shape[1]):
        edges = np.asarray(predictions["x"][chosen, operator], dtype=np.float64)
        edges = edges - edges.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(edges, axis=1, keepdims=True)
        # Edges that are all alike (a covariance that was shrunk to the identity) are like no others.
        flat = norm[:, 0] <= 1e-6 * np.sqrt(edges.shape[1])
        unit = edges / np.where(norm > 0, norm, 1)
        usable = allowed & ~flat[:, None] & ~flat[None, :]
        similar = np.where(usable, unit @ unit.T, _NEVER)
        best = similar.argmax(axis=1)
        hit = same[np.arange(len(chosen)), best] & (similar[np.arange(len(chosen)), best] > _NEVER)
        found.append(hit[asked].mean())
    return np.array(found)


def _comparable(predictions: Bundle, chosen: np.ndarray) -> np.ndarray:
    """Return which pairs of windows share no volume."""
    columns = [predictions.rows[name][chosen] for name in ("subject", "session", "run") if name in predictions.rows]
    code = np.unique(np.stack([column.astype(str) for column in columns]), axis=1, return_inverse=True)[1].ravel()
    start, stop = np.asarray(predictions["span"])[chosen].T
    overlap = (start[:, None] < stop[None, :]) & (start[None, :] < stop[:, None])
    return ~(overlap & (code[:, None] == code[None, :]))


def compare(predictions: Bundle, identity: np.ndarray, fraction: float) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the performance of the operators in the whole pool and in the preferred ``fraction`` of it."""
    for name in ("y_selected", "x", "span"):
        if name not in predictions.arrays:
            raise InputError("predictions", f"have no array {name!r}", "use this metric for the task select")
    whole = identification(predictions, identity)
    return whole, identification(predictions, identity, taken(predictions, fraction))


def top_gains(performance: np.ndarray, k: int) -> np.ndarray:
    """Return the relevance of each item: k for the best, k - 1 for the next, ..., 0 beyond the k-th; ties share."""
    n = len(performance)
    by_rank = np.clip(k - np.arange(n), 0, None).astype(float)
    cumulated = np.concatenate([[0.0], by_rank.cumsum()])
    first, last = _shared_places(performance)
    return (cumulated[last] - cumulated[first]) / (last - first)


def ndcg(gains: np.ndarray, performance: np.ndarray, k: int) -> float:
    """Return the normalised discounted cumulative gain of the first ``k`` when ranked by ``performance``.

    Items that perform alike share their places: the expectation over their orders (McSherry & Najork 2008,
    doi:10.1007/978-3-540-78646-7_38). The ideal is k, k - 1, ..., 1 even where tied gains can not reach it, so
    that a random order always has the same expectation.
    """
    discount = _discount(len(gains), k)
    cumulated = np.concatenate([[0.0], discount.cumsum()])
    first, last = _shared_places(performance)
    return float((gains * (cumulated[last] - cumulated[first]) / (last - first)).sum() / _ideal(len(gains), k))


def _shared_places(performance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of the places that each item shares with its equals, best first from 0, and that after them."""
    _, which, n_equal = np.unique(-performance, return_inverse=True, return_counts=True)
    last = n_equal.cumsum()[which]
    return last - n_equal[which], last


def ndcg_chance(n: int, k: int) -> float:
    """Return the expectation of :func:`ndcg` of a random order of ``n`` items."""
    total = np.clip(k - np.arange(n), 0, None).sum()
    return float(total / n * _discount(n, k).sum() / _ideal(n, k))


def _discount(n: int, k: int) -> np.ndarray:
    return np.where(np.arange(n) < k, 1 / np.log2(np.arange(n) + 2), 0.0)


def _ideal(n: int, k: int) -> float:
    return float((np.clip(k - np.arange(n), 0, None) * _discount(n, k)).sum())
