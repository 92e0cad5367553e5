"""The structural similarity of pictures from the brain with the pictures seen."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.image_scores import Branch, pairs, structural_similarity


@component
class Ssim(Metric):
    """Mean structural similarity of two pictures in grey.

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
        return float("nan") if found is None else structural_similarity(*found)

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of pictures which have nothing in common."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Structural similarity [@wang2004] is the mean over presentations and places of that of the grey pictures"
            f" of the {self.branch.replace('_', '-')} branch and those seen; pictures that share their"
            " ground alone have more than 0."
        )
