"""The bundle: what stages exchange. Named arrays that share a row axis, with a table of the rows.

A bundle file is an uncompressed ``.npz``: numpy alone opens it, equal content gives equal bytes, and because
its members are stored rather than deflated, :meth:`Bundle.open` maps them into memory, so that reading a block
of rows costs that block and not the file.
"""

from __future__ import annotations

import json
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DamagedError, InputError
from .files import atomic

#: What numpy and zipfile raise on bytes that are no bundle; a flipped bit can be taken for any feature of a zip file.
_NO_BUNDLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError),
    *(KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, SyntaxError, tokenize.TokenError),
)
_ARRAY, _ROW, _HEADER = "array/", "row/", "header"


@dataclass(frozen=True)
class Bundle:
    """Named arrays with one row axis.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Each of shape ``(n_rows, ...)``; ``x`` is what a method learns from, ``y`` what else shares the rows.
    rows : mapping of str to ndarray of shape (n_rows,)
        One entry a row property: at least ``row_id`` (unique) and ``subject``; usually ``session``, ``run``,
        ``onset`` (s), ``label``, ``site``. Text or numbers, never objects.
    axes : mapping of str to list
        Names or coordinates of the other axes, such as ``channel`` and ``time``; plain JSON values.
    meta : mapping
        Where the rows came from; plain JSON values. ``meta["fitted"]`` lists every fit whose result entered
        the values (see :mod:`replicortex.guard`), and is empty for features, where nothing may be fitted.

    Raises
    ------
    ValueError
        If lengths differ, ``row_id`` repeats, or a column holds objects.
    """

    arrays: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    axes: Mapping[str, Sequence] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = {name: np.asarray(column) for name, column in self.rows.items()}
        for required in ("row_id", "subject"):
            if required not in rows:
                raise ValueError(f"a bundle needs the row column {required!r}")
        object.__setattr__(self, "rows", rows)
        lengths = {name: len(values) for name, values in {**rows, **self.arrays}.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays and row columns differ in length: {lengths}")
        if any(values.dtype == object for values in [*rows.values(), *self.arrays.values()]):
            raise ValueError("a bundle holds numbers and text, not objects")
        if len(np.unique(rows["row_id"])) != len(self):
            raise ValueError("row_id repeats")

    def __len__(self) -> int:
        return len(self.rows["row_id"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def take(self, indices: np.ndarray) -> Bundle:
        """Return the rows at ``indices`` (integers or a boolean mask), in that order: copies, of unread rows a view."""
        indices = np.asarray(indices)
        if not indices.size:
            indices = np.empty(0, dtype=int)
        arrays = {name: _taken(values, indices) for name, values in self.arrays.items()}
        rows = {name: column[indices] for name, column in self.rows.items()}
        rising = indices.dtype == bool or (indices.size and indices[0] >= 0 and bool(np.all(np.diff(indices) > 0)))
        if not rising:
            return Bundle(arrays, rows, self.axes, self.meta)
        # Some rows of a bundle, each once, are one: looking whether names repeat takes longer than all the rest.
        taken = object.__new__(Bundle)
        for name, value in {"arrays": arrays, "rows": rows, "axes": self.axes, "meta": self.meta}.items():
            object.__setattr__(taken, name, value)
        return taken

    def with_rows(self, **columns: np.ndarray) -> Bundle:
        """Return the same bundle with row columns added or replaced; ``None`` removes a column."""
        rows = {**self.rows, **columns}
        return Bundle(self.arrays, {k: v for k, v in rows.items() if v is not None}, self.axes, self.meta)

    def with_meta(self, **entries: Any) -> Bundle:
        """Return the same bundle with ``meta`` entries added or replaced."""
        return Bundle(self.arrays, self.rows, self.axes, {**self.meta, **entries})

    def save(self, path: str | os.PathLike) -> None:
        """Write the bundle atomically to ``path`` (``.npz``); equal content gives equal bytes."""
        header = json.dumps({"axes": _plain(self.axes), "meta": _plain(self.meta)}, sort_keys=True, allow_nan=False)
        members = {_HEADER: np.frombuffer(header.encode(), dtype=np.uint8)}
        members |= {_ARRAY + name: np.ascontiguousarray(values) for name, values in sorted(self.arrays.items())}
        members |= {_ROW + name: column for name, column in sorted(self.rows.items())}
        # Not np.savez: how the headers of its members look depends on the release of Python.
        with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, values in members.items():
                large = values.nbytes > zipfile.ZIP64_LIMIT // 2
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=large) as stream:
                    np.lib.format.write_array(stream, np.asanyarray(values), allow_pickle=False)

    @classmethod
    def open(cls, path: str | os.PathLike, *, whole: bool = False) -> Bundle:
        """Open a bundle file; its arrays are mapped read-only, its row table is read.

        Parameters
        ----------
        path : str or PathLike
            The file.
        whole : bool
            Whether to read all of it once and compare it with its checksums, as whoever uses most of it should:
            mapped arrays are not checked otherwise.

        Raises
        ------
        DamagedError
            If the file is truncated, fails its checksums, or is not a bundle.
        InputError
            If it is missing or can not be read.
        """
        try:
            if whole:
                with zipfile.ZipFile(path) as archive:
                    wrong = archive.testzip()
                if wrong is not None:
                    raise ValueError(f"{wrong} fails its checksum")
            with np.load(path, allow_pickle=False) as archive:
                header = json.loads(bytes(archive[_HEADER]))
                rows = {n.removeprefix(_ROW): archive[n] for n in archive.files if n.startswith(_ROW)}
                names = [n for n in archive.files if n.startswith(_ARRAY)]
            arrays = {name.removeprefix(_ARRAY): _map_member(Path(path), name + ".npy") for name in names}
            return cls(arrays, rows, header["axes"], header["meta"])
        except FileNotFoundError:
            raise InputError(path, "no such file", "run the stage that makes it") from None
        except PermissionError as error:
            raise InputError(path, error.strerror, "give the right to read it") from None
        except _NO_BUNDLE as error:
            raise DamagedError(path, f"not a readable bundle ({error})") from None


def _taken(values: Any, indices: np.ndarray) -> Any:
    """Return rows of an array; of what is read only when asked for (:class:`replicortex.shared.rows.Rows`) a subset."""
    return values.subset(indices) if hasattr(values, "subset") else np.asarray(values[indices])


def concatenate(bundles: Iterable[Bundle], join: Callable[[Sequence[np.ndarray]], Any] = np.concatenate) -> Bundle:
    """Stack bundles by rows. Empty ones are passed over; axes must agree.

    Parameters
    ----------
    bundles : iterable of Bundle
        What to stack.
    join : callable
        What makes one array of several: a copy, or :class:`replicortex.shared.rows.Rows`, which reads nothing yet.

    Raises
    ------
    ValueError
        If there is nothing to stack, or axes, arrays or row columns differ.
    """
    bundles = list(bundles)
    parts = [bundle for bundle in bundles if len(bundle)]
    if not parts:
        if bundles:
            return bundles[0]
        raise ValueError("no bundle to stack")
    first = parts[0]
    for part in parts[1:]:
        if _plain(part.axes) != _plain(first.axes):
            raise ValueError(f"axes differ: {_difference(first.axes, part.axes)}")
        if set(part.arrays) != set(first.arrays) or set(part.rows) != set(first.rows):
            raise ValueError("arrays or row columns differ between bundles")
    fitted = [entry for part in parts for entry in part.meta.get("fitted", [])]
    return Bundle(
        {name: join([part[name] for part in parts]) for name in first.arrays},
        {name: np.concatenate([part.rows[name] for part in parts]) for name in first.rows},
        first.axes,
        {**first.meta, "fitted": fitted},
    )


def _difference(a: Mapping, b: Mapping) -> str:
    for name in sorted(set(a) | set(b)):
        if _plain(a.get(name)) != _plain(b.get(name)):
            return f"{name} is {str(a.get(name))[:120]} in one and {str(b.get(name))[:120]} in another"
    return "none"


def _plain(value: Any) -> Any:
    """Return ``value`` with numpy scalars and arrays as plain JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _map_member(path: Path, name: str) -> np.ndarray:
    """Map one stored ``.npy`` member of an uncompressed zip file."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        local = stream.read(30)
        # Local file header: the lengths of name and extra field stand at bytes 26 and 28.
        skip = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        stream.seek(info.header_offset + 30 + skip)
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = read_header[version](stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
