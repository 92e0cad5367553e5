"""Whether the low-level branch tells where something was, better than the semantic one does."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.image_scores import advantage, read_alike
from ..shared.shape_pictures import read_place


@component
class LowLevelPosition(Metric):
    """Correlation of the place read from low-level pictures with the true one, less that of semantic pictures.

    Each presentation is judged by itself.
    """

    bounds = (-2.0, 2.0)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the difference; ``nan`` where predictions have no pictures."""
        return advantage(predictions, "low_level", read_alike(read_place))

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of two branches which know the same."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the low-level branch in position is the correlation, over presentations, of the centre"
            " of what its picture shows with that of the picture seen (mean of row and column), less the same of the"
            " semantic branch."
        )
