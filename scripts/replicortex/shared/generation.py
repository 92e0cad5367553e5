"""What generated volumes are judged by: beside held-out ones, and beside those that the generator has seen."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..bundle import Bundle

#: Cells along each side of the coarse copies in which volumes are compared with the training volumes.
_CELLS = 6


def coarse(volumes: np.ndarray, cells: int = _CELLS) -> np.ndarray:
    """Return means of volumes (n, X, Y, Z) over about ``cells`` cells a side, as vectors (n, p), float32."""
    made = np.asarray(volumes, dtype=np.float32)
    for axis in (1, 2, 3):
        parts = np.array_split(np.arange(made.shape[axis]), min(cells, made.shape[axis]))
        made = np.stack([made.take(part, axis=axis).mean(axis=axis) for part in parts], axis=axis)
    return made.reshape(len(made), -1)


def nearest(vectors: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the distance of each vector (n, p) to the nearest of those ``seen``, root mean square, (n,)."""
    squares = (vectors**2).sum(axis=1)[:, None] + (seen**2).sum(axis=1) - 2 * vectors @ seen.T
    return np.sqrt(np.maximum(squares, 0).min(axis=1) / vectors.shape[1]).astype(np.float64)


def generated(test: Bundle, volumes: np.ndarray) -> Bundle:
    """Return generated volumes (n_rows, X, Y, Z), one for each held-out row, as predictions: ``y_generated``."""
    return Bundle({"y_generated": np.asarray(volumes, dtype=np.float32)}, test.rows, test.axes, {"fitted": []})


def beside_real(predicted: Bundle, train: Bundle, test: Bundle) -> Bundle:
    """Return predictions with what generated volumes are judged by.

    The stage does so, which has the training rows at hand: a model need not keep copies of people for it.

    Parameters
    ----------
    predicted : Bundle
        ``y_generated`` (n_rows, X, Y, Z); predictions without it, and rows without volumes, stay as they are.
    train, test : Bundle
        Rows that the generator has seen, and held-out rows, with ``x`` (n, X, Y, Z).

    Returns
    -------
    Bundle
        Also ``real``, the held-out volumes, and ``nearest`` and ``nearest_real``, the distances of generated and of
        held-out volumes to the nearest training volume, as coarse copies, root mean square.
    """
    real = np.asarray(test["x"], dtype=np.float32)
    made = predicted.arrays.get("y_generated")
    if made is None or np.shape(made) != real.shape or real.ndim != 4 or not len(train):
        return predicted
    seen = coarse(np.asarray(train["x"]))
    added = {"real": real, "nearest": nearest(coarse(made), seen), "nearest_real": nearest(coarse(real), seen)}
    return dataclasses.replace(predicted, arrays={**predicted.arrays, **added})
