"""The correlation of pixels of pictures from the brain with those of the pictures seen."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.image_scores import Branch, pairs, pixel_correlation


@component
class PixCorr(Metric):
    """Mean over presentations of the correlation of all values of two pictures.

    Each presentation is judged by itself.

    Parameters
    ----------
    branch : {"low_level", "semantic"}
        Whose pictures are judged.
    """

    bounds = (-1.0, 1.0)
    tasks = frozenset({"retrieve"})
    tiny = {"branch": "semantic"}

    branch: Branch = "low_level"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean; ``nan`` where predictions have no pictures."""
        found = pairs(predictions, self.branch)
        return float("nan") if found is None else pixel_correlation(*found)

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of pictures which have nothing in common."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Pixel correlation is the mean over presentations of the correlation of all values of the pictures of"
            f" the {self.branch.replace('_', '-')} branch and those seen."
        )
