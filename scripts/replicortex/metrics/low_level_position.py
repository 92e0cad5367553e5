"""Whether the low-level branch tells where something was, better than the semantic one does."""

from __future__ import annotations

import numpy as np

from ..components import component
from ..shared.image_scores import BranchAdvantage
from ..shared.shape_pictures import read_place


@component
class LowLevelPosition(BranchAdvantage):
    """Correlation of the place read from low-level pictures with the true one, less that of semantic pictures.

    Each presentation is judged by itself.
    """

    bounds = (-2.0, 2.0)

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Return row and column of the centre of what pictures show."""
        return read_place(pictures)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The advantage of the low-level branch in position is the correlation, over presentations, of the centre"
            " of what its picture shows with that of the picture seen (mean of row and column), less the same of the"
            " semantic branch."
        )
