"""What generated volumes are judged by: beside held-out ones, and beside those that the generator has seen."""

from __future__ import annotations

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


def generated(test: Bundle, volumes: np.ndarray, seen: np.ndarray) -> Bundle:
    """Return generated volumes, one for each held-out row, and what they are judged by.

    Parameters
    ----------
    test : Bundle
        Held-out rows, whose ``x`` they are compared with.
    volumes : ndarray of shape (n_rows, X, Y, Z)
    seen : ndarray of shape (n_train, p)
        Coarse copies of the training volumes.

    Returns
    -------
    Bundle
        ``y_generated``; ``real``, the held-out volumes; ``nearest`` and ``nearest_real``, their distances to the
        nearest training volume.
    """
    real = np.asarray(test["x"], dtype=np.float32)
    volumes = np.asarray(volumes, dtype=np.float32)
    arrays = {
        "y_generated": volumes,
        "real": real,
        "nearest": nearest(coarse(volumes), seen),
        "nearest_real": nearest(coarse(real), seen),
    }
    return Bundle(arrays, test.rows, test.axes, {"fitted": []})
