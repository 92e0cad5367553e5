"""Stochastic processes from which simulated electrophysiology is made."""

from __future__ import annotations

import numpy as np
from scipy import fft, signal


def ar2_coefficients(frequency: float, bandwidth: float, sfreq: float) -> list[float]:
    """Return ``[a1, a2]`` of the rhythm ``x[t] = a1 x[t-1] + a2 x[t-2] + e[t]``.

    Its pole pair stands at ``frequency``; ``bandwidth`` is its width at half power (both Hz).
    """
    radius = np.exp(-np.pi * bandwidth / sfreq)
    return [float(2 * radius * np.cos(2 * np.pi * frequency / sfreq)), float(-(radius**2))]


def ar2(
    rng: np.random.Generator, frequency: float, bandwidth: float, shape: tuple[int, int], sfreq: float
) -> np.ndarray:
    """Return stationary AR(2) rhythms of unit variance, of ``shape`` ``(n, n_times)``."""
    a1, a2 = ar2_coefficients(frequency, bandwidth, sfreq)
    # The start at zero is forgotten by a factor of exp(-pi) per 1 / bandwidth.
    warm_up = round(8 * sfreq / bandwidth)
    noise = rng.standard_normal((shape[0], warm_up + shape[1]))
    variance = (1 - a2) / ((1 + a2) * ((1 - a2) ** 2 - a1**2))
    return signal.lfilter([1], [1, -a1, -a2], noise, axis=-1)[:, warm_up:] / np.sqrt(variance)


def pink_noise(rng: np.random.Generator, shape: tuple[int, int], sfreq: float) -> np.ndarray:
    """Return noise of unit expected variance, power flat up to 1 Hz and 1/f from there, ``(n, n_times)``."""
    n = fft.next_fast_len(shape[1], real=True)
    amplitude = 1 / np.sqrt(np.maximum(fft.rfftfreq(n, 1 / sfreq), 1))
    amplitude[0] = 0
    spectrum = rng.standard_normal((shape[0], len(amplitude), 2)).view(complex)[..., 0] * amplitude
    return fft.irfft(spectrum, n)[:, : shape[1]] * n / np.sqrt(4 * (amplitude**2).sum())


def pink_share(band: tuple[float, float], sfreq: float) -> float:
    """Return the share of the variance of :func:`pink_noise` between two frequencies of 1 Hz or more."""
    return float(np.log(band[1] / band[0]) / (1 + np.log(sfreq / 2)))
