"""Mean and spread of columns, by which methods standardise."""

from __future__ import annotations

import numpy as np


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column over its finite values; 0 and infinity where it has no spread.

    Dividing by an infinite scale makes a constant column zero, in training and in held-out rows alike.
    """
    x = np.asarray(x, dtype=np.float64)
    finite = np.isfinite(x)
    if finite.all():
        mean, scale = x.mean(axis=0), x.std(axis=0)
    else:
        count = np.maximum(finite.sum(axis=0), 1)
        mean = np.where(finite, x, 0.0).sum(axis=0) / count
        scale = np.sqrt(np.where(finite, (x - mean) ** 2, 0.0).sum(axis=0) / count)
    # Rounding of a large constant is no spread.
    constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    return mean, np.where(constant, np.inf, scale)
