"""Odd-one-out choices among three objects: probabilities from an embedding, similarities, dimensions of several fits.

The model is that of SPoSE (Zheng et al. 2019, arXiv:1901.02915; Hebart et al. 2020, doi:10.1038/s41562-020-00951-3): of
three objects the two that are most alike by the dot product of their vectors stay together, with the probability of a
softmax over the three pairs, and the third is the odd one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bundle import Bundle

#: Names of the positions of an object in a triplet, which are the classes of odd-one-out choices.
POSITIONS = ("first", "second", "third")
#: The pair that stays together where the first, the second, the third object is the odd one.
KEPT = ((1, 2), (0, 2), (0, 1))
#: Objects at once for similarities from choices: 40 of 1,854 take 1.1 GB.
_CHUNK = 40
#: Objects up to which what was found out of pairs of them stands in the record of a fit.
MOST_TOLD = 300


def objects_of(bundle: Bundle) -> np.ndarray:
    """Return the numbers of the three objects of each row: (n_rows, 3), int64."""
    return np.rint(np.asarray(bundle["x"])).astype(np.int64)


def odd_one(bundle: Bundle) -> np.ndarray:
    """Return the position of the odd one in each training row, 0 to 2: (n_rows,)."""
    return np.array([POSITIONS.index(name) for name in bundle.rows["target"].astype(str)], dtype=np.int64)


def pair_scores(values: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Return the similarity of the pair that stays, for each odd one.

    Parameters
    ----------
    values : ndarray of shape (n_objects, n_objects)
        Similarities.
    triplets : ndarray of int of shape (n_rows, 3)

    Returns
    -------
    ndarray of shape (n_rows, 3)
    """
    return np.stack([values[triplets[:, a], triplets[:, b]] for a, b in KEPT], axis=1)


def dot_scores(embedding: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Return what :func:`pair_scores` does of an embedding (n_objects, n_dims), without all pairs: (n_rows, 3)."""
    parts = embedding[triplets]
    return np.stack([np.einsum("ij,ij->i", parts[:, a], parts[:, b]) for a, b in KEPT], axis=1)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities of scores along the last axis."""
    exponent = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponent / exponent.sum(axis=-1, keepdims=True)


def likelihood(scores: np.ndarray, odd: np.ndarray) -> float:
    """Return the mean log-likelihood of the choices, nats."""
    return float(np.mean(np.log(np.maximum(softmax(scores)[np.arange(len(odd)), odd], 1e-300))))


def choice_similarity(embedding: np.ndarray) -> np.ndarray:
    """Return how probable it is that two objects stay together, over all third ones: (n_objects, n_objects).

    Cost: O(n_objects^3); 150 objects take 0.1 s, 1,854 about two minutes. The diagonal is 1.
    """
    n = len(embedding)
    dots = embedding @ embedding.T
    similar = np.eye(n)
    for start in range(0, n, _CHUNK):
        i = np.arange(start, min(start + _CHUNK, n))
        # exp(s_ij) / (exp(s_ij) + exp(s_ik) + exp(s_jk)), for every third object k.
        s_ij, s_ik, s_jk = dots[i][:, :, None], dots[i][:, None, :], dots[None]
        kept = 1 / (1 + np.exp(np.minimum(s_ik - s_ij, 700)) + np.exp(np.minimum(s_jk - s_ij, 700)))
        kept[np.arange(len(i)), :, i] = 0
        kept[:, np.arange(n), np.arange(n)] = 0
        similar[i] = kept.sum(axis=2) / (n - 2)
    similar[np.arange(n), np.arange(n)] = 1
    return similar


def upper(similar: np.ndarray) -> np.ndarray:
    """Return the similarities of the pairs of objects, row by row: (n_pairs,)."""
    return similar[np.triu_indices(len(similar), 1)]


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of the columns of two matrices, 0 where a column has no spread: (n_one, n_other)."""
    units = []
    for values in (one, other):
        centred = values - values.mean(axis=0)
        norm = np.linalg.norm(centred, axis=0)
        units.append(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12))
    return units[0].T @ units[1]


def merged(embeddings: Sequence[np.ndarray], alike: float, least: float) -> np.ndarray:
    """Return the dimensions of several fits, those that repeat an earlier one left out, the largest first.

    Parameters
    ----------
    embeddings : sequence of ndarray of shape (n_objects, n_dims)
        Not negative.
    alike : float
        Correlation with an earlier dimension above which one is left out.
    least : float
        Dimensions that reach this for no object are left out.

    Returns
    -------
    ndarray of shape (n_objects, n_kept)
        In the order of their sums; one column at least.
    """
    columns = np.concatenate(embeddings, axis=1)
    columns = columns[:, np.argsort(-columns.sum(axis=0), kind="stable")]
    columns = columns[:, np.concatenate([[0], 1 + np.flatnonzero(columns[:, 1:].max(axis=0) >= least)])]
    near = correlations(columns, columns)
    kept: list[int] = []
    for number in range(columns.shape[1]):
        if not kept or near[number, kept].max() <= alike:
            kept.append(number)
    return columns[:, kept]


def reproducibility(embeddings: Sequence[np.ndarray], least: float) -> np.ndarray:
    """Return how well each dimension of a fit is found again by the other fits, by split halves of the objects.

    The best match in another fit is found on every second object, and correlated on the others, which did not choose it
    (Hebart et al. 2020). Averaged over the other fits; dimensions of all fits that reach ``least`` follow each other.
    """
    used = [values[:, values.max(axis=0) >= least] for values in embeddings]
    found = []
    for one, values in enumerate(used):
        of_fit = []
        for other, others in enumerate(used):
            if other == one or not values.shape[1] or not others.shape[1]:
                continue
            match = correlations(values[::2], others[::2]).argmax(axis=1)
            of_fit.append(correlations(values[1::2], others[1::2])[np.arange(values.shape[1]), match])
        if of_fit:
            found.append(np.mean(of_fit, axis=0))
    return np.concatenate(found) if found else np.empty(0)
