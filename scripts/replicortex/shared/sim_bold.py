"""Simulated fMRI: slow signals of regions, responses to events, movement of the head, physiology.

Signals are sums of sinusoids, so that they can be read at the very time at which each slice is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .sim_anatomy import rigid

#: Regions of four networks in template space (mm).
REGIONS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "PCC": ("default", (0, -52, 26)),
    "MPFC": ("default", (0, 52, 4)),
    "lAG": ("default", (-46, -66, 30)),
    "rAG": ("default", (46, -66, 30)),
    "lM1": ("motor", (-40, -22, 54)),
    "rM1": ("motor", (40, -22, 54)),
    "SMA": ("motor", (0, -8, 58)),
    "lV1": ("visual", (-12, -88, 2)),
    "rV1": ("visual", (12, -88, 2)),
    "ACC": ("salience", (0, 20, 36)),
    "lINS": ("salience", (-38, 16, 0)),
    "rINS": ("salience", (38, 16, 0)),
}


def network_matrix(
    within: float, between: float, changes: Mapping[tuple[str, str], float] | None = None, amount: float = 1.0
) -> np.ndarray:
    """Return the correlation matrix of :data:`REGIONS`, ``(12, 12)``.

    Parameters
    ----------
    within, between : float
        Correlation of two regions of one network, and of two networks.
    changes : mapping of (str, str) to float, optional
        What is added to the correlation of every pair of regions of these two networks.
    amount : float
        Times ``changes``.

    Raises
    ------
    ValueError
        If no signals can have these correlations.

    """
    networks = np.array([network for network, _ in REGIONS.values()])
    made = np.where(networks[:, None] == networks, within, between)
    for (first, second), change in (changes or {}).items():
        pair = (networks[:, None] == first) & (networks == second)
        made = made + amount * change * (pair | pair.T)
    np.fill_diagonal(made, 1.0)
    if np.linalg.eigvalsh(made)[0] < 1e-6:
        raise ValueError("no signals can have these correlations")
    return made


@dataclass(frozen=True)
class Oscillations:
    """Signals ``sum_f a_f cos(2 pi f t) + b_f sin(2 pi f t)`` of unit variance."""

    frequencies: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, correlation: np.ndarray, band: tuple[float, float], duration: float
    ) -> Oscillations:
        """Draw Gaussian signals within ``band`` (Hz) with this ``correlation``; they repeat after ``duration`` (s)."""
        n = max(int(np.floor(band[1] * duration)) - int(np.ceil(band[0] * duration)) + 1, 1)
        frequencies = (np.ceil(band[0] * duration) + np.arange(n)) / duration
        draws = rng.standard_normal((2 * n, len(correlation))) / np.sqrt(n)
        return cls(frequencies, draws @ np.linalg.cholesky(correlation).T)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the signals at ``times`` (s), ``(*times.shape, n_signals)``."""
        angle = 2 * np.pi * np.asarray(times)[..., None] * self.frequencies
        return np.concatenate([np.cos(angle), np.sin(angle)], axis=-1) @ self.coefficients

    def correlation(self) -> np.ndarray:
        """Return how these signals are correlated over ``duration``: not quite as planted, since they are finite."""
        product = self.coefficients.T @ self.coefficients
        scale = np.sqrt(np.diag(product))
        return product / scale[:, None] / scale


def double_gamma(times: np.ndarray) -> np.ndarray:
    """Return the canonical response to a short event, of height one.

    Two gamma densities, of 6 and 16 s, the second a sixth (Friston et al. 1998, doi:10.1006/nimg.1997.0306).
    """
    from scipy import stats

    fine = np.linspace(0, 32, 3201)
    height = (stats.gamma.pdf(fine, 6) - stats.gamma.pdf(fine, 16) / 6).max()
    return np.where(times > 0, stats.gamma.pdf(times, 6) - stats.gamma.pdf(times, 16) / 6, 0.0) / height


def responses(times: np.ndarray, onsets: Sequence[float], duration: float, step: float = 0.1) -> np.ndarray:
    """Return the response to blocks of ``duration`` (s) at ``onsets`` (s), at ``times`` (s); a long block gives one."""
    last = float(np.max(times)) + step
    fine = np.arange(0, max(last, max(onsets, default=0.0) + duration) + 33, step)
    neural = np.zeros(len(fine))
    for onset in onsets:
        neural[(fine >= onset - step / 2) & (fine < onset + duration - step / 2)] = 1
    kernel = double_gamma(np.arange(0, 32, step))
    course = np.convolve(neural, kernel / kernel.sum())[: len(fine)]
    return np.interp(times, fine, course)


def movement(rng: np.random.Generator, n: int, scale: float, spikes: float) -> np.ndarray:
    """Return where the head is in each volume, ``(n, 6)``: mm and rad as :func:`~.sim_anatomy.rigid` takes them.

    A random walk, and jerks that are gone in the next volume. The first volume is where the head is at rest.

    Parameters
    ----------
    rng : Generator
    n : int
    scale : float
        Standard deviation of a step: ``0.05 * scale`` mm, ``0.0008 * scale`` rad. Jerks are 15 times as large.
    spikes : float
        The share of volumes with a jerk.

    """
    unit = scale * np.array([0.05] * 3 + [0.0008] * 3)
    walk = np.cumsum(rng.standard_normal((n, 6)) * unit, axis=0)
    jerks = rng.standard_normal((n, 6)) * 15 * unit * (rng.random((n, 1)) < spikes)
    made = walk + jerks
    return made - made[0]


def framewise_displacement(parameters: np.ndarray, radius: float = 50.0) -> np.ndarray:
    """Return the movement since the volume before, mm; the first is nan.

    Sum of the absolute changes, rotations as arcs of ``radius`` mm (Power et al. 2012,
    doi:10.1016/j.neuroimage.2011.10.018).
    """
    change = np.abs(np.diff(parameters, axis=0)) @ np.array([1.0] * 3 + [radius] * 3)
    return np.concatenate([[np.nan], change])


def moved(volume: np.ndarray, affine: np.ndarray, parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return ``volume`` as it is seen when the head has moved by ``parameters`` about ``centre`` (mm)."""
    from scipy import ndimage

    if not np.any(parameters):
        return volume
    # What is now at p was at M^-1 p.
    pull = np.linalg.inv(affine) @ np.linalg.inv(rigid(parameters, centre)) @ affine
    return ndimage.affine_transform(
        volume, pull[:3, :3], pull[:3, 3], order=3, mode="nearest", output=np.float32, prefilter=True
    )


def slice_times(n: int, repetition_time: float) -> np.ndarray:
    """Return when each slice is taken within a volume (s): every other one first, bottom up."""
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)])
    times = np.empty(n)
    times[order] = np.arange(n) * repetition_time / n
    return times


def centre_of(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Return the middle of a grid, mm."""
    return affine[:3, :3] @ ((np.array(shape[:3]) - 1) / 2) + affine[:3, 3]
