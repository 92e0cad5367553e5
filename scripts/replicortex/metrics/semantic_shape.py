"""Whether the semantic branch tells which shape something had, better than the low-level one does."""

from __future__ import annotations

import numpy as np

from ..components import component
from ..shared.image_scores import BranchAdvantage
from ..shared.shape_pictures import read_shape


@component
class SemanticShape(BranchAdvantage):
    """Share of semantic pictures whose shape, read from them, is the true one, less that of low-level pictures.

    Each presentation is judged by itself.
    """

    bounds = (-1.0, 1.0)
    better = "semantic"

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Return the number of the shape that pictures show."""
        return read_shape(pictures)

    def agreement(self, made: np.ndarray, seen: np.ndarray) -> float:
        """Return the share of pictures that show the same shape."""
        return float((made == seen).mean())

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the semantic branch in shape is the share of presentations in which the shape read from"
            " its picture was that of the picture seen, less the same of the low-level branch."
        )
