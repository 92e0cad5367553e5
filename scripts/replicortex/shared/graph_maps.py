"""Maps of large graphs without weights: exact counts of triangles and squares through each node.

A graph is held as one bit a pair of nodes: 12 MB for 10,000 nodes, 110 MB for 30,000. Common neighbours of two
nodes are then the bits that two rows have both, 64 of which are counted at once. For the graphs at hand, where a
node has a hundred neighbours and more, this is faster than sparse matrices and needs far less memory: the square
of their adjacency is nearly dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 1024
_BINS = 1 << 16


@dataclass(frozen=True)
class Graph:
    """An undirected graph without loops.

    Parameters
    ----------
    words : ndarray of shape (n_nodes, ceil(n_nodes / 64))
        Unsigned 64-bit: the adjacency, one bit a pair.
    n : int
        Number of nodes.

    """

    words: np.ndarray
    n: int

    @classmethod
    def of(cls, adjacency: np.ndarray) -> Graph:
        """Return the graph of a symmetric boolean matrix; its diagonal does not count."""
        packed = _empty(len(adjacency))
        adjacency = np.asarray(adjacency, dtype=bool) & ~np.eye(len(adjacency), dtype=bool)
        bits = np.packbits(adjacency, axis=1, bitorder="little")
        packed[:, : bits.shape[1]] = bits
        return cls(packed.view(np.uint64), len(adjacency))

    def neighbours(self, node: int) -> np.ndarray:
        """Return the numbers of the nodes that ``node`` is linked to."""
        bits = np.unpackbits(self.words[node].view(np.uint8), bitorder="little", count=self.n)
        return np.flatnonzero(bits)

    def degree(self) -> np.ndarray:
        """Return the number of neighbours of each node, (n_nodes,)."""
        return np.bitwise_count(self.words).sum(axis=1, dtype=np.int64)

    def triangles(self) -> np.ndarray:
        """Return the number of triangles through each node, ``diag(A^3) / 2``, (n_nodes,), exact.

        The cost grows as edges times nodes / 64.
        """
        counts = np.zeros(self.n, dtype=np.int64)
        for node in range(self.n):
            near = self.neighbours(node)
            for start in range(0, len(near), _BLOCK):
                both = self.words[near[start : start + _BLOCK]] & self.words[node]
                counts[node] += np.bitwise_count(both).sum(dtype=np.int64)
        return counts // 2

    def clustering(self) -> np.ndarray:
        """Return the share of pairs of neighbours that are linked, (n_nodes,); 0 with fewer than two neighbours."""
        return clustering(self.degree(), self.triangles())

    def squares(self) -> np.ndarray:
        """Return the number of cycles of length four through each node, (n_nodes,), exact; chords may be there.

        Each has one node opposite: they are the pairs of common neighbours, over all other nodes. The cost grows
        with the cube of the nodes.
        """
        counts = np.zeros(self.n, dtype=np.int64)
        for node in range(self.n):
            for start in range(0, self.n, _BLOCK):
                both = np.bitwise_count(self.words[start : start + _BLOCK] & self.words[node]).sum(
                    axis=1, dtype=np.int64
                )
                if start <= node < start + _BLOCK:
                    both[node - start] = 0
                counts[node] += (both * (both - 1) // 2).sum()
        return counts


def clustering(degree: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the clustering coefficient of each node from its degree and triangles."""
    pairs = degree * (degree - 1) / 2
    return np.where(pairs > 0, triangles / np.maximum(pairs, 1), 0.0)


def correlation_graph(series: np.ndarray, threshold: float | None = None, density: float | None = None) -> Graph:
    """Return the graph of the pairs of ``series`` whose correlation is high.

    Correlations are made block by block and not kept: memory is that of the series in float32, the graph, and
    two blocks. The cost is that of one product of the series with themselves for a threshold, of three for
    a density.

    Parameters
    ----------
    series : ndarray of shape (n_times, n_nodes)
        A constant series is linked to nothing.
    threshold : float or None
        Pairs with a correlation above it are linked.
    density : float or None
        This share of all pairs is linked: those with the highest correlations. Pairs that tie with the last one
        are linked too. Exactly one of the two must be given.

    """
    if (threshold is None) == (density is None):
        raise ValueError("give a threshold or a density")
    unit = _standardised(series)
    n = len(unit)
    if density is not None:
        wanted = round(density * n * (n - 1) / 2)
        if wanted == 0:
            return Graph(_empty(n).view(np.uint64), n)
        least = _quantile(unit, wanted)
        chosen = lambda values: values >= least  # noqa: E731
    else:
        chosen = lambda values: values > threshold  # noqa: E731
    packed = _empty(n)
    for i, j, values in _blocks(unit):
        linked = chosen(values)
        if i == j:
            linked = np.triu(linked, 1)
            linked |= linked.T
        _write(packed, i, j, linked)
        if i != j:
            _write(packed, j, i, linked.T)
    return Graph(packed.view(np.uint64), n)


def _empty(n: int) -> np.ndarray:
    return np.zeros((n, 8 * max(1, -(-n // 64))), dtype=np.uint8)


def _write(packed: np.ndarray, i: int, j: int, linked: np.ndarray) -> None:
    bits = np.packbits(linked, axis=1, bitorder="little")
    packed[i : i + len(linked), j // 8 : j // 8 + bits.shape[1]] = bits


def _standardised(series: np.ndarray) -> np.ndarray:
    """Return the series, (n_nodes, n_times), with mean 0 and norm 1, zeros where one is constant."""
    centred = np.asarray(series, dtype=np.float64) - np.mean(series, axis=0, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=0)
    varies = norm > 1e-12 * np.maximum(np.linalg.norm(series, axis=0), 1e-300)
    return np.ascontiguousarray((centred / np.where(varies, norm, np.inf)).T, dtype=np.float32)


def _blocks(unit: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the blocks of correlations on and above the diagonal, with their first row and column."""
    for i in range(0, len(unit), _BLOCK):
        for j in range(i, len(unit), _BLOCK):
            yield i, j, unit[i : i + _BLOCK] @ unit[j : j + _BLOCK].T


def _pairs(unit: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the correlation of each pair once, in parts."""
    for i, j, values in _blocks(unit):
        yield values[np.triu_indices(len(values), 1)] if i == j else values.ravel()


def _quantile(unit: np.ndarray, wanted: int) -> np.float32:
    """Return the correlation that ``wanted`` pairs reach: found in a histogram, then exactly within its bin."""
    counts = np.zeros(_BINS, dtype=np.int64)
    for values in _pairs(unit):
        counts += np.bincount(_bins(values), minlength=_BINS)
    above = np.cumsum(counts[::-1])[::-1]
    place = int(np.flatnonzero(above >= wanted)[-1])
    rank = wanted - (int(above[place + 1]) if place + 1 < _BINS else 0)
    inside = np.concatenate([values[_bins(values) == place] for values in _pairs(unit)])
    return np.partition(inside, len(inside) - rank)[len(inside) - rank]


def _bins(values: np.ndarray) -> np.ndarray:
    return np.clip((values + 1) * (_BINS / 2), 0, _BINS - 1).astype(np.int64)
