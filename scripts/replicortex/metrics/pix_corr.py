"""The correlation of pixels of pictures from the brain with those of the pictures seen."""

from __future__ import annotations

import numpy as np

from ..components import component
from ..shared.image_scores import Branch, PictureLikeness, pixel_correlation


@component
class PixCorr(PictureLikeness):
    """Mean over presentations of the correlation of all values of two pictures.

    Each presentation is judged by itself.

    Parameters
    ----------
    branch : {"low_level", "semantic"}
        Whose pictures are judged.
    """

    branch: Branch = "low_level"

    def alike(self, made: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return that of each two pictures."""
        return pixel_correlation(made, seen)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Pixel correlation is the mean over presentations of the correlation of all values of the pictures of"
            f" the {self.branch.replace('_', '-')} branch and those seen."
        )
