"""Pictures among the stimuli: read with care, since a dataset may hold anything under a name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import InputError

#: Pixels of a picture; more is no stimulus but an attempt on memory.
_MOST = 50_000_000


def inside(root: Path, path: str) -> Path:
    """Return the file of a stimulus, which may be a link within the dataset.

    Raises
    ------
    InputError
        If there is none, its content has not been fetched, or it lies outside of the dataset.
    """
    if path in ("", "n/a"):
        raise InputError(path or "stimulus", "has no file in the dataset", "provide the files, or a file of features")
    file, base = root / path, os.path.realpath(root)
    if not os.path.realpath(file).startswith(base + os.sep):
        raise InputError(path, "leads out of the dataset", "copy the file into the dataset")
    if not file.is_file():
        fault = "its content has not been fetched" if file.is_symlink() else "no such file"
        raise InputError(path, fault, "get the file, or correct `stimuli` of the dataset card")
    return file


def read_picture(root: Path, path: str) -> np.ndarray:
    """Return a picture as (height, width, 3), float32 between 0 and 1; transparency and further channels are dropped.

    Raises
    ------
    InputError
        If it is missing, damaged, of more than 50 million pixels, or of a depth that is not 8 or 16 bits.
    """
    from matplotlib import image

    file = inside(root, path)
    try:
        values = np.asarray(image.imread(file))
    except Exception as error:
        # Decoders fail in as many ways as files are damaged.
        raise InputError(path, f"not readable as a picture ({type(error).__name__})", "restore the file") from None
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[0] * values.shape[1] > _MOST:
        raise InputError(path, f"is no picture of colours (its shape is {values.shape})", "provide another file")
    if values.dtype.kind == "u":
        values = values / np.iinfo(values.dtype).max
    values = values[..., :3] if values.shape[2] >= 3 else np.repeat(values[..., :1], 3, axis=2)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(path, "has values that are no colours", "provide a picture of 8 or 16 bits")
    return values.astype(np.float32)
