"""MATLAB files of numbers (up to version 7), from sources that are not trusted."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

#: What a file may unpack to, bytes; nothing that is published as a table comes near.
MOST = 1 << 29
_HEADER, _TAG, _COMPRESSED = 128, 8, 15


def read_mat(path: Path, name: str) -> dict[str, Any]:
    """Return the variables of a MATLAB file: arrays of numbers or text, and structures of these.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What messages call it.

    Raises
    ------
    InputError
        If it is missing, damaged, of version 7.3, or unpacks to more than memory should hold.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque

    if not path.is_file():
        raise InputError(name, "no such file in the source folder", "download it again")
    try:
        unpacked = _unpacked(path)
        if unpacked > MOST:
            raise InputError(name, f"unpacks to more than {MOST >> 20} MB", "take it from where it was published")
        found = loadmat(path)
    except InputError:
        raise
    except Exception as error:
        # scipy and zlib fail in as many ways as files are damaged; version 7.3 is HDF5 and has its own message.
        raise InputError(name, f"not a readable MATLAB file ({error})", "download it again") from None
    odd = [
        key
        for key, value in found.items()
        if isinstance(value, MatlabFunction | MatlabObject | MatlabOpaque)
        or (isinstance(value, np.ndarray) and value.dtype.kind not in "biufcUVO")
    ]
    if odd:
        raise InputError(name, f"{odd[0]} is an object of a program", "provide arrays of numbers")
    return {key: value for key, value in found.items() if not key.startswith("__")}


def _unpacked(path: Path) -> int:
    """Return how many bytes the elements of a file unpack to, or any number above :data:`MOST`."""
    total = path.stat().st_size
    with path.open("rb") as stream:
        header = stream.read(_HEADER)
        order = "little" if header[126:128] == b"IM" else "big"
        while total <= MOST and len(tag := stream.read(_TAG)) == _TAG:
            kind, size = (int.from_bytes(part, order) for part in (tag[:4], tag[4:]))
            if kind != _COMPRESSED:
                stream.seek(size, 1)
                continue
            inflater, left = zlib.decompressobj(), size
            while left and total <= MOST:
                chunk = stream.read(min(left, 1 << 16))
                if not chunk:
                    return total
                left -= len(chunk)
                while chunk and total <= MOST:
                    total += len(inflater.decompress(chunk, 1 << 20))
                    chunk = inflater.unconsumed_tail
    return total
