"""Representational dissimilarity matrices: ranks, geo-topological and geodesic transforms, comparison, noise ceilings.

A matrix of ``n`` items is kept as the vector of its ``n (n - 1) / 2`` pairs above the diagonal, row by row; a stack of
them is (n_rdms, n_pairs). Every transform is of one matrix alone: nothing here is fitted, and nothing is pooled over
matrices.

The transforms are those of topological representational similarity analysis (Lin & Kriegeskorte 2024,
doi:10.1073/pnas.2317881121). They are not taken from rsatoolbox 0.3.2, whose geo-topological transform sets what it
has already set and takes quantiles over all matrices together, and whose geodesic transform drops pairs at distance 0
(``benchmarks/rdm.py`` shows both on numbers).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.stats import rankdata

from ..errors import InputError

Comparison = Literal["spearman", "kendall_a", "correlation", "cosine"]
Measure = Literal["correlation", "euclidean"]

#: Items above which shortest paths would take minutes: their cost has the third power of the number of items.
_MOST_ITEMS = 2000
#: Entries of pairs of matrices that are compared at once.
_ENTRIES = 1 << 20


def n_items(n_pairs: int) -> int:
    """Return of how many items a vector has the pairs.

    Raises
    ------
    InputError
        If no number of items has so many pairs.
    """
    n = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    if n < 2 or n * (n - 1) // 2 != n_pairs:
        fault = f"{n_pairs} features are not the pairs of any number of items"
        raise InputError("features", fault, "choose a feature card of dissimilarities")
    return n


def square(rdms: np.ndarray) -> np.ndarray:
    """Return vectors of pairs (n_rdms, n_pairs) as symmetric matrices (n_rdms, n_items, n_items), 0 on the diagonal."""
    n = n_items(rdms.shape[1])
    matrices = np.zeros((len(rdms), n, n), dtype=np.float64)
    row, column = np.triu_indices(n, 1)
    matrices[:, row, column] = matrices[:, column, row] = rdms
    return matrices


def pairs(matrices: np.ndarray) -> np.ndarray:
    """Return the vectors of pairs (n_rdms, n_pairs) of matrices (n_rdms, n_items, n_items)."""
    row, column = np.triu_indices(matrices.shape[-1], 1)
    return matrices[..., row, column]


def dissimilarities(patterns: np.ndarray, measure: Measure = "correlation") -> np.ndarray:
    """Return how unlike each other the patterns of items are.

    Parameters
    ----------
    patterns : ndarray of shape (n_items, n_channels)
    measure : {"correlation", "euclidean"}
        One minus Pearson's correlation of two patterns, or the squared Euclidean distance over the number of channels.

    Returns
    -------
    ndarray of shape (n_pairs,)
        A pattern without any spread correlates with nothing: its correlation distances are 1.
    """
    patterns = np.asarray(patterns, dtype=np.float64)
    if measure == "euclidean":
        norms = np.einsum("ij,ij->i", patterns, patterns)
        distances = (norms[:, None] + norms - 2 * patterns @ patterns.T) / patterns.shape[1]
        return np.maximum(pairs(distances[None])[0], 0.0)
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return 1 - pairs((unit @ unit.T)[None])[0]


def ranked(rdms: np.ndarray) -> np.ndarray:
    """Return the ranks of the dissimilarities of each matrix, from 0 (least) to 1 (greatest); ties get their mean.

    Parameters
    ----------
    rdms : ndarray of shape (n_rdms, n_pairs)

    Returns
    -------
    ndarray of shape (n_rdms, n_pairs)
        All 0 for a matrix whose dissimilarities are all the same.
    """
    ranks = rankdata(np.asarray(rdms, dtype=np.float64), axis=1)
    low, high = ranks.min(axis=1, keepdims=True), ranks.max(axis=1, keepdims=True)
    return np.divide(ranks - low, high - low, out=np.zeros_like(ranks), where=high > low)


def geo_topological(rdms: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Return dissimilarities with what lies below ``lower`` at 0, what lies above ``upper`` at 1, and linear between.

    ``lower = 0`` and ``upper = 1`` leave values between 0 and 1 as they are: the geometry. ``lower = upper`` leaves an
    unweighted graph, whose edges join what is not more unlike than that: the topology.

    Parameters
    ----------
    rdms : ndarray of shape (n_rdms, n_pairs)
        Between 0 and 1, as :func:`ranked` gives them; then ``lower`` and ``upper`` are quantiles of each matrix.
    lower, upper : float
        ``0 <= lower <= upper <= 1``.
    """
    if not 0 <= lower <= upper <= 1:
        raise ValueError(f"not 0 <= {lower} <= {upper} <= 1")
    if lower == upper:
        return (rdms > lower).astype(np.float64)
    return np.clip((rdms - lower) / (upper - lower), 0.0, 1.0)


def geodesic(rdms: np.ndarray) -> np.ndarray:
    """Return the lengths of the shortest paths between items, over all others; an edge of length 0 is an edge.

    Parameters
    ----------
    rdms : ndarray of shape (n_rdms, n_pairs)
        Lengths of the edges, not negative.

    Returns
    -------
    ndarray of shape (n_rdms, n_pairs)
        Never longer than the edges. Cost: O(n_rdms n_items^3), memory O(n_rdms n_items^2) (Floyd & Warshall).

    Raises
    ------
    InputError
        If there are too many items for it.
    """
    if n_items(rdms.shape[1]) > _MOST_ITEMS:
        fault = f"shortest paths among {n_items(rdms.shape[1])} items take too long"
        raise InputError("features", fault, "choose fewer items, or the transform without paths")
    lengths = square(rdms)
    for over in range(lengths.shape[1]):
        np.minimum(lengths, lengths[:, :, over, None] + lengths[:, None, over, :], out=lengths)
    return pairs(lengths)


def similarity(one: np.ndarray, other: np.ndarray, by: Comparison = "correlation") -> np.ndarray:
    """Return how alike matrices are.

    Parameters
    ----------
    one, other : ndarray of shape (n, n_pairs) and (m, n_pairs)
    by : {"spearman", "kendall_a", "correlation", "cosine"}
        Spearman's rank correlation, Kendall's tau-a (which does not favour models with ties; Nili et al. 2014,
        doi:10.1371/journal.pcbi.1003553), Pearson's correlation or the cosine of the angle.

    Returns
    -------
    ndarray of shape (n, m)
        0 where a matrix has no spread.
    """
    if by not in get_args(Comparison):
        raise ValueError(f"no comparison {by!r}")
    one, other = (np.asarray(rdms, dtype=np.float64) for rdms in (one, other))
    if by == "kendall_a":
        return _tau_a(one, other)
    if by == "spearman":
        one, other = rankdata(one, axis=1), rankdata(other, axis=1)
    if by != "cosine":
        one, other = (rdms - rdms.mean(axis=1, keepdims=True) for rdms in (one, other))
    return _unit(one) @ _unit(other).T


def _unit(rdms: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rdms, axis=1, keepdims=True)
    # Rounding of a constant is no spread.
    tiny = 1e-12 * np.abs(rdms).max(initial=1.0) * np.sqrt(rdms.shape[1])
    return np.divide(rdms, norm, out=np.zeros_like(rdms), where=norm > tiny)


def _tau_a(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-a: pairs of pairs in the same order less those in the opposite one, of all.

    Cost: O(n_pairs log n_pairs) for each two matrices; some are compared at once, so that memory does not grow.
    """
    n_pairs = one.shape[1]
    all_pairs = n_pairs * (n_pairs - 1) // 2
    coded = [np.stack([np.unique(rdm, return_inverse=True)[1] for rdm in rdms]) for rdms in (one, other)]
    tied = [np.array([_n_tied(codes) for codes in rdms]) for rdms in coded]
    # Small whole numbers are sorted several times as fast.
    kind = np.int16 if n_pairs <= np.iinfo(np.int16).max else np.int64
    tau = np.zeros((len(one), len(other)))
    at_once = max(1, _ENTRIES // max(coded[1].size, 1))
    for start in range(0, len(one), at_once):
        rows = slice(start, start + at_once)
        # By the first matrix, and by the second where the first has ties: no such pair is then in the wrong order.
        both = (coded[0][rows, None] * n_pairs + coded[1]).reshape(-1, n_pairs)
        second = np.tile(coded[1].astype(kind), (len(coded[0][rows]), 1))
        second = np.take_along_axis(second, np.argsort(both, axis=1), axis=1)
        wrong = _inversions(np.argsort(second, axis=1, kind="stable"))
        in_both = np.zeros(len(both), dtype=np.int64)
        if tied[0][rows].any() and tied[1].any():
            in_both[:] = [_n_tied(np.unique(keys, return_inverse=True)[1]) for keys in both]
        ordered = all_pairs - tied[0][rows, None] - tied[1]
        tau[rows] = (ordered + (in_both - 2 * wrong).reshape(ordered.shape)) / max(all_pairs, 1)
    return tau


def _n_tied(codes: np.ndarray) -> int:
    """Return how many pairs of entries are equal."""
    counts = np.bincount(codes)
    return int((counts * (counts - 1) // 2).sum())


def _inversions(order: np.ndarray) -> np.ndarray:
    """Return how many pairs of each permutation (m, n) of the numbers below n stand in the wrong order: (m,).

    From the highest binary digit down: numbers that agree in all digits so far stand together in the order in which
    they came, half of them with a zero next, and each of these has stood behind some with a one.
    """
    m, n = order.shape
    smallest = 5
    levels = max(int(n - 1).bit_length(), smallest)
    kind = np.int16 if levels <= 14 else np.int32
    values = np.empty((m, 1 << levels), dtype=kind)
    # Numbers beyond stand at the end, in order.
    values[:, :n], values[:, n:] = order, np.arange(n, 1 << levels)
    total = np.zeros(m, dtype=np.int64)
    for level in range(levels - 1, smallest - 1, -1):
        together = values.reshape(-1, 2 << level)
        one = (together & kind(1 << level)) != 0
        zero = ~one
        total += np.cumsum(one, axis=1, dtype=kind)[zero].reshape(m, -1).sum(axis=1, dtype=np.int64)
        values = np.stack([together[zero].reshape(-1, 1 << level), together[one].reshape(-1, 1 << level)], axis=1)
    # In small groups each is compared with each.
    together = values.reshape(m, -1, 1 << smallest)
    for lag in range(1, 1 << smallest):
        total += np.count_nonzero(together[:, :, :-lag] > together[:, :, lag:], axis=(1, 2))
    return total


def pooled(rdms: np.ndarray, by: Comparison = "spearman") -> np.ndarray:
    """Return the one matrix that is most alike to all of them, by the comparison: (n_pairs,).

    Mean of ranks for rank correlations (for tau-a by convention), of standardised or normalised matrices else.
    """
    rdms = np.asarray(rdms, dtype=np.float64)
    if by in ("spearman", "kendall_a"):
        return rankdata(rdms, axis=1).mean(axis=0)
    if by == "correlation":
        rdms = rdms - rdms.mean(axis=1, keepdims=True)
    return _unit(rdms).mean(axis=0)


def noise_ceiling(rdms: np.ndarray, by: Comparison = "spearman") -> tuple[float, float]:
    """Return between which values the best possible model of several people's matrices lies (Nili et al. 2014).

    Parameters
    ----------
    rdms : ndarray of shape (n_people, n_pairs)
        One a person, two at least.

    Returns
    -------
    lower : float
        Mean likeness of each person's matrix to the pool of the others'.
    upper : float
        The same, to the pool of all: nothing that is one for everybody can be more alike.
    """
    if len(rdms) < 2:
        raise InputError("noise ceiling", f"needs two people, has {len(rdms)}", "add people, or leave it out")
    upper = similarity(rdms, pooled(rdms, by)[None], by).mean()
    others = np.stack([pooled(np.delete(rdms, person, axis=0), by) for person in range(len(rdms))])
    lower = np.mean([similarity(rdms[[i]], others[[i]], by)[0, 0] for i in range(len(rdms))])
    return float(lower), float(upper)
