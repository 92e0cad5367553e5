"""Whether the low-level branch tells which colour something had, better than the semantic one does."""

from __future__ import annotations

import numpy as np

from ..components import component
from ..shared.image_scores import BranchAdvantage
from ..shared.shape_pictures import read_colour


@component
class LowLevelColour(BranchAdvantage):
    """Correlation of the colour read from low-level pictures with the true one, less that of semantic pictures.

    Each presentation is judged by itself.
    """

    bounds = (-2.0, 2.0)

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Return the mean colour of what pictures show."""
        return read_colour(pictures)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the low-level branch in colour is the correlation, over presentations, of the mean"
            " colour of what its picture shows with that of the picture seen (mean of red, green and blue), less the"
            " same of the semantic branch."
        )
