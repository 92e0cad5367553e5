"""Rows of arrays that need not fit into memory: parts of mapped files, read as batches ask for them."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

#: Bytes read from mapped files after which their pages are let go: they would count as this process's memory, and the
#: kernel maps up to 2 MB around what was asked for.
_LET_GO = 8 << 20
#: Bytes of a row above which rows are copied one at a time, without a second copy to bring them into order.
_LARGE_ROW = 1 << 14
#: Bytes of arrays above which the next batch is read while the network computes; less is copied in no time.
_AHEAD = 64 << 20


class Rows:
    """Rows of several arrays one after the other, a selection of them: looks like one array, and is read by rows.

    Nothing is copied before rows are asked for. ``numpy.asarray`` of it reads all.

    Parameters
    ----------
    parts : sequence of ndarray
        Each of shape ``(n_rows, ...)`` with the same other axes; as a rule mapped files
        (:meth:`replicortex.bundle.Bundle.open`).
    indices : ndarray of int, optional
        Which rows, numbered through all parts, in this order; all if not given.

    Raises
    ------
    ValueError
        If the other axes of the parts differ.
    """

    def __init__(self, parts: Sequence[np.ndarray], indices: np.ndarray | None = None) -> None:
        self.parts = list(parts)
        if not self.parts or len({part.shape[1:] for part in self.parts}) > 1:
            raise ValueError(f"parts do not fit together: {[part.shape for part in self.parts]}")
        self._edges = np.cumsum([0, *(len(part) for part in self.parts)])
        self._indices = np.arange(self._edges[-1]) if indices is None else np.asarray(indices, dtype=np.int64)
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        self._n_read = 0

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (len(self), *self.parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        """As of an array."""
        return self.parts[0].ndim

    @property
    def nbytes(self) -> int:
        """Bytes that all of it would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def subset(self, indices: np.ndarray) -> Rows:
        """Return rows of it (integers or a boolean mask), still unread."""
        return Rows(self.parts, self._indices[np.asarray(indices)])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows at ``indices``, in that order; only these are read, in the order in which they lie."""
        wanted = self._indices[np.asarray(indices)]
        made = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        part_of = np.searchsorted(self._edges, wanted, side="right") - 1
        for number in np.unique(part_of):
            part, places = self.parts[number], np.flatnonzero(part_of == number)
            rows = wanted[places] - self._edges[number]
            order = np.argsort(rows, kind="stable")
            places, rows = places[order], rows[order]
            if made[:1].nbytes > _LARGE_ROW:
                for place, row in zip(places, rows, strict=True):
                    made[place] = part[row]
            else:
                made[places] = part[rows]
        self._let_go(made.nbytes)
        return made

    def _let_go(self, n_bytes: int) -> None:
        self._n_read += n_bytes
        if self._n_read < _LET_GO or not hasattr(mmap, "MADV_DONTNEED"):
            return
        self._n_read = 0
        for part in self.parts:
            mapped = getattr(part, "_mmap", None)
            # The kernel keeps the pages as long as nobody else needs the memory; writable maps may hold changes.
            if mapped is not None and not part.flags.writeable:
                mapped.madvise(mmap.MADV_DONTNEED)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            return self.take(np.array([key]))[0]
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        if isinstance(key, tuple):
            of_row = isinstance(key[0], int | np.integer)
            return self[key[0]][key[1:] if of_row else (slice(None), *key[1:])]
        return self.take(np.arange(len(self))[np.asarray(key)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        made = self.take(np.arange(len(self)))
        return made if dtype is None else made.astype(dtype, copy=False)


def take(values: Any, indices: np.ndarray) -> np.ndarray:
    """Return rows of an array, a mapped array or :class:`Rows`."""
    return values.take(indices) if isinstance(values, Rows) else np.asarray(values[indices])


def lazy(values: Any) -> Any:
    """Return a mapped array as :class:`Rows`, which lets go of what it has read; anything else as it is."""
    return Rows([values]) if isinstance(values, np.memmap) else values


def batches(
    arrays: Mapping[str, Any], chosen: Sequence[np.ndarray], prepare: Any = None
) -> Iterator[dict[str, np.ndarray]]:
    """Yield rows of ``arrays`` for each entry of ``chosen``; the next is read while the last is computed on.

    Parameters
    ----------
    arrays : mapping of str to array or Rows
        All with the same number of rows.
    chosen : sequence of ndarray of int
        Rows of each batch.
    prepare : callable, optional
        Called with each batch in the reading thread, such as to move it into pinned memory.
    """
    arrays = {name: lazy(values) for name, values in arrays.items()}

    def read(indices: np.ndarray) -> Any:
        batch = {name: take(values, indices) for name, values in arrays.items()}
        return batch if prepare is None else prepare(batch)

    ahead = any(isinstance(values, Rows) for values in arrays.values())
    if not ahead and sum(values.nbytes for values in arrays.values()) < _AHEAD:
        yield from map(read, chosen)
        return
    with contextlib.ExitStack() as stack:
        reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        # Whoever stops early does not wait for a batch that nobody wants.
        stack.callback(reader.shutdown, wait=True, cancel_futures=True)
        waiting = None
        for indices in chosen:
            following = reader.submit(read, indices)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
