"""Whether the low-level branch tells which colour something had, better than the semantic one does."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.image_scores import advantage, read_alike
from ..shared.shape_pictures import read_colour


@component
class LowLevelColour(Metric):
    """Correlation of the colour read from low-level pictures with the true one, less that of semantic pictures.

    Each presentation is judged by itself.
    """

    bounds = (-2.0, 2.0)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the difference; ``nan`` where predictions have no pictures."""
        return advantage(predictions, "low_level", read_alike(read_colour))

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of two branches which know the same."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the low-level branch in colour is the correlation, over presentations, of the mean"
            " colour of what its picture shows with that of the picture seen (mean of red, green and blue), less the"
            " same of the semantic branch."
        )
