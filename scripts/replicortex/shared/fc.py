"""Measures of connectivity between the regions of one recording, as plain functions of its series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from sklearn.covariance import ledoit_wolf

Kind = Literal["correlation", "partial", "covariance"]

#: Correlations are kept this far from one, where the transform of Fisher has no value.
_MARGIN = 1e-7


def correlation(series: np.ndarray) -> np.ndarray:
    """Return Pearson correlations, of shape (n_regions, n_regions), of ``series`` (n_times, n_regions).

    A constant series correlates 0 with the others, and 1 with itself.
    """
    centred = series - series.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    # What remains of a constant after its mean is taken away is rounding, not signal.
    varies = norm > 1e-12 * np.maximum(np.linalg.norm(series, axis=0), 1e-300)
    unit = np.where(varies, centred / np.where(varies, norm, 1), 0)
    found = np.clip(unit.T @ unit, -1, 1)
    np.fill_diagonal(found, 1)
    return found


def covariance(series: np.ndarray, *, shrunk: bool = True) -> np.ndarray:
    """Return covariances, of shape (n_regions, n_regions), of ``series`` (n_times, n_regions).

    Parameters
    ----------
    series : ndarray of shape (n_times, n_regions)
    shrunk : bool
        Shrink towards a multiple of the identity (Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4), so
        that the matrix is positive definite with fewer times than regions too. Else the maximum-likelihood
        estimate, divided by the number of times.
    """
    if shrunk:
        return ledoit_wolf(series)[0]
    centred = series - series.mean(axis=0)
    return centred.T @ centred / len(series)


def precision(series: np.ndarray) -> np.ndarray:
    """Return the inverse, of shape (n_regions, n_regions), of the shrunk covariance of ``series``."""
    return np.linalg.inv(covariance(series))


def partial(series: np.ndarray) -> np.ndarray:
    """Return partial correlations, given all other regions, of ``series`` (n_times, n_regions).

    They come from the precision of the Ledoit-Wolf covariance: ``-p_ij / sqrt(p_ii p_jj)``. Series should have
    equal variances, since the shrinkage is towards equal ones. The cost grows with the cube of the regions.
    """
    inverse = precision(series)
    scale = np.sqrt(np.diag(inverse))
    found = np.clip(-inverse / np.outer(scale, scale), -1, 1)
    found = (found + found.T) / 2
    np.fill_diagonal(found, 1)
    return found


def connectivity(series: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the measure ``kind``, of shape (n_regions, n_regions), of ``series`` (n_times, n_regions)."""
    return {"correlation": correlation, "partial": partial, "covariance": covariance}[kind](series)


def fisher_z(values: np.ndarray) -> np.ndarray:
    """Return the inverse hyperbolic tangent of correlations; those of one become about 8.4."""
    return np.arctanh(np.clip(values, -1 + _MARGIN, 1 - _MARGIN))


def upper(matrices: np.ndarray) -> np.ndarray:
    """Return the entries above the diagonal, row by row: (..., n, n) becomes (..., n (n - 1) / 2)."""
    return matrices[(..., *np.triu_indices(matrices.shape[-1], k=1))]


def edge_names(regions: Sequence[str]) -> list[str]:
    """Return ``A--B`` for each pair of regions, in the order of :func:`upper`."""
    return [f"{regions[i]}--{regions[j]}" for i, j in zip(*np.triu_indices(len(regions), k=1), strict=True)]
