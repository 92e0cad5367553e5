"""Whether the semantic branch tells which shape something had, better than the low-level one does."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.image_scores import advantage
from ..shared.shape_pictures import read_shape


@component
class SemanticShape(Metric):
    """Share of semantic pictures whose shape, read from them, is the true one, less that of low-level pictures.

    Each presentation is judged by itself.
    """

    bounds = (-1.0, 1.0)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the difference; ``nan`` where predictions have no pictures."""
        return advantage(predictions, "semantic", _same_shape)

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of two branches which know the same."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the semantic branch in shape is the share of presentations in which the shape read from"
            " its picture was that of the picture seen, less the same of the low-level branch."
        )


def _same_shape(made: np.ndarray, seen: np.ndarray) -> float:
    """Return the share of pictures that show the same shape."""
    return float((read_shape(made) == read_shape(seen)).mean())
