"""Measures of spontaneous activity of voxels, as plain functions of their series."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import rankdata

_BLOCK = 4096


def amplitude(series: np.ndarray, tr: float, band: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return ALFF and fALFF, each (n_voxels,), of ``series`` (n_times, n_voxels).

    ALFF is the mean over the frequencies of ``band`` (Hz, both ends included, never 0) of the amplitude: that of
    a sinusoid at one of them is its height. fALFF is the sum of these amplitudes over that of all frequencies;
    0 for a series that does not vary.

    Parameters
    ----------
    series : ndarray of shape (n_times, n_voxels)
    tr : float
        Seconds between volumes.
    band : (float, float)

    """
    n = len(series)
    frequencies = np.fft.rfftfreq(n, tr)
    # A bound that a frequency equals must not be missed by rounding.
    slack = 1e-9 / tr
    inside = (frequencies >= band[0] - slack) & (frequencies <= band[1] + slack) & (frequencies > 0)
    centred = series - series.mean(axis=0)
    mean, share = np.empty(series.shape[1]), np.empty(series.shape[1])
    for start in range(0, series.shape[1], _BLOCK):
        part = slice(start, start + _BLOCK)
        height = 2 / n * np.abs(np.fft.rfft(centred[:, part], axis=0))
        if n % 2 == 0:
            # The highest frequency has no negative one beside it.
            height[-1] /= 2
        whole = height[1:].sum(axis=0)
        mean[part] = height[inside].mean(axis=0)
        share[part] = height[inside].sum(axis=0) / np.where(whole > 0, whole, 1)
    return mean, share


def reho(series: np.ndarray, mask: np.ndarray, neighbours: int = 27) -> np.ndarray:
    """Return Kendall's W, (n_voxels,), of each voxel's series with those of its neighbours in the mask.

    ``W = 12 S / (k^2 (n^3 - n) - k sum(t^3 - t))`` for k series of n times with t ties each, where S is the sum of
    squared deviations of the sums of ranks (Kendall and Gibbons 1990). A voxel without neighbours is 0.

    Parameters
    ----------
    series : ndarray of shape (n_times, n_voxels)
        Of the voxels in ``mask``, in C order.
    mask : ndarray of shape (x, y, z)
        Boolean.
    neighbours : {7, 19, 27}
        How many voxels, the one in the middle included: those that share faces, edges too, corners too.

    """
    n, n_voxels = series.shape
    reach = {7: 1, 19: 2, 27: 3}[neighbours]
    steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, step)) <= reach]
    place = np.full(tuple(size + 2 for size in mask.shape), n_voxels)
    core = tuple(slice(1, -1) for _ in range(3))
    place[core][mask] = np.arange(n_voxels)
    where = np.argwhere(mask) + 1
    ranks = np.zeros((n_voxels + 1, n), dtype=np.float32)
    ties = np.zeros(n_voxels + 1)
    for start in range(0, n_voxels, _BLOCK):
        part = slice(start, start + _BLOCK)
        found = rankdata(series[:, part], axis=0)
        ranks[:n_voxels][part] = found.T - (n + 1) / 2
        # Without ties the ranks have this sum of squares; each group of t ties takes (t^3 - t) / 12 away.
        ties[:n_voxels][part] = (n**3 - n) - 12 * ((found - (n + 1) / 2) ** 2).sum(axis=0)
    made = np.zeros(n_voxels)
    for start in range(0, n_voxels, _BLOCK):
        voxels = where[start : start + _BLOCK]
        sums, k, tied = np.zeros((len(voxels), n)), np.zeros(len(voxels)), np.zeros(len(voxels))
        for step in steps:
            near = place[tuple((voxels + step).T)]
            sums += ranks[near]
            tied += ties[near]
            k += near < n_voxels
        bottom = k**2 * (n**3 - n) - k * tied
        made[start : start + _BLOCK] = np.where(
            (k > 1) & (bottom > 0), 12 * (sums**2).sum(axis=1) / np.where(bottom > 0, bottom, 1), 0
        )
    return made
