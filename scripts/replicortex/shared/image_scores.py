"""How like the pictures from the brain are to those that were seen, and which of their factors they tell."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, get_args

import numpy as np

from ..bundle import Bundle
from ..components import Metric
from .ceilings import correlations

Branch = Literal["low_level", "semantic"]


def pairs(predictions: Bundle, branch: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the pictures of a branch and those seen, a row a presentation, ``None`` where they were not handed on."""
    if f"y_{branch}" not in predictions.arrays or "stimulus_pixels" not in predictions.arrays:
        return None
    made, seen = (np.asarray(predictions[name], dtype=np.float64) for name in (f"y_{branch}", "stimulus_pixels"))
    return (made, seen) if made.shape == seen.shape and len(made) else None


class BranchAdvantage(Metric):
    """By how much what is read from the pictures of one branch agrees more with the pictures seen than the other's."""

    tasks = frozenset({"retrieve"})
    #: The branch that should be better.
    better: ClassVar[Branch] = "low_level"

    @abstractmethod
    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Return what is read from pictures (n, 3, rows, columns): (n, ...)."""

    def agreement(self, made: np.ndarray, seen: np.ndarray) -> float:
        """Return the mean correlation over rows of the numbers that were read; 0 where one is constant."""
        return float(correlations(made, seen).mean()) if len(made) > 1 else float("nan")

    def of_rows(self, predictions: Bundle) -> dict[str, np.ndarray]:
        """Return what is read from the pictures of both branches and from those seen; nothing without pictures."""
        found = {branch: pairs(predictions, branch) for branch in get_args(Branch)}
        if None in found.values():
            return {}
        made = {branch: self.read(pictures) for branch, (pictures, _) in found.items()}
        return {**made, "seen": self.read(found[self.better][1])}

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the difference; ``nan`` where predictions have no pictures."""
        read = predictions.arrays if "seen" in predictions.arrays else self.of_rows(predictions)
        if "seen" not in read:
            return float("nan")
        other = next(branch for branch in get_args(Branch) if branch != self.better)
        own, others = (self.agreement(read[branch], read["seen"]) for branch in (self.better, other))
        return float(own - others)

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of two branches which know the same."""
        return 0.0


class PictureLikeness(Metric):
    """Mean over presentations of how like a picture of a branch is to the one seen."""

    bounds = (-1.0, 1.0)
    tasks = frozenset({"retrieve"})
    tiny = {"branch": "semantic"}

    branch: Branch = "low_level"

    @abstractmethod
    def alike(self, made: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return how like each two pictures are, (n,)."""

    def of_rows(self, predictions: Bundle) -> dict[str, np.ndarray]:
        """Return how like the pictures of each presentation are; nothing without pictures."""
        found = pairs(predictions, self.branch)
        return {} if found is None else {"alike": self.alike(*found)}

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean; ``nan`` where predictions have no pictures."""
        read = predictions.arrays if "alike" in predictions.arrays else self.of_rows(predictions)
        return float(np.mean(read["alike"])) if "alike" in read else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of pictures which have nothing in common."""
        return 0.0


def pixel_correlation(made: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the correlation of all values of each two pictures, (n,)."""
    flat = [values.reshape(len(values), -1).T for values in (made, seen)]
    return correlations(*flat)


def structural_similarity(made: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each two grey pictures (Wang et al. 2004, doi:10.1109/TIP.2003.819861), (n,).

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
    return alike[:, edge:-edge, edge:-edge].mean(axis=(1, 2))
