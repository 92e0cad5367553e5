"""How like the pictures from the brain are to those that were seen, and which of their factors they tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ..bundle import Bundle
from .ceilings import correlations

Branch = Literal["low_level", "semantic"]


def pairs(predictions: Bundle, branch: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the pictures of a branch and those seen, a row a presentation, ``None`` where they were not handed on."""
    if f"y_{branch}" not in predictions.arrays or "stimulus_pixels" not in predictions.arrays:
        return None
    made, seen = (np.asarray(predictions[name], dtype=np.float64) for name in (f"y_{branch}", "stimulus_pixels"))
    return (made, seen) if made.shape == seen.shape and len(made) else None


def advantage(predictions: Bundle, branch: Branch, agreement: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Return by how much the pictures of one branch agree more with those seen than the pictures of the other do."""
    other = "semantic" if branch == "low_level" else "low_level"
    found = [pairs(predictions, name) for name in (branch, other)]
    if None in found:
        return float("nan")
    own, others = (agreement(*pair) for pair in found)
    return float(own - others)


def read_alike(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the mean correlation over rows of the numbers that ``read`` finds in pictures; 0 where one is constant."""

    def agreement(made: np.ndarray, seen: np.ndarray) -> float:
        return float(correlations(read(made), read(seen)).mean()) if len(made) > 1 else float("nan")

    return agreement


def pixel_correlation(made: np.ndarray, seen: np.ndarray) -> float:
    """Return the mean over pictures of the correlation of all values of two pictures."""
    flat = [values.reshape(len(values), -1).T for values in (made, seen)]
    return float(correlations(*flat).mean())


def structural_similarity(made: np.ndarray, seen: np.ndarray) -> float:
    """Return the mean structural similarity of grey pictures (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Windows are Gaussian with standard deviation 1.5 up to 3.5 of it; values lie between 0 and 1; places nearer to the
    edge than half a window are left out.
    """
    from scipy.ndimage import gaussian_filter

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (0, 1.5, 1.5), truncate=3.5)

    a, b = (values @ np.array([0.2125, 0.7154, 0.0721]) for values in (np.moveaxis(x, 1, -1) for x in (made, seen)))
    mean_a, mean_b = smooth(a), smooth(b)
    # With the correction of a sample of the size of the window.
    n = (2 * int(3.5 * 1.5 + 0.5) + 1) ** 2
    correct = n / (n - 1)
    spread_a, spread_b = (correct * (smooth(x * x) - mean * mean) for x, mean in ((a, mean_a), (b, mean_b)))
    both = correct * (smooth(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    alike /= (mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2)
    edge = int(3.5 * 1.5 + 0.5)
    return float(alike[:, edge:-edge, edge:-edge].mean())
