"""The structural similarity of pictures from the brain with the pictures seen."""

from __future__ import annotations

import numpy as np

from ..components import component
from ..shared.image_scores import Branch, PictureLikeness, structural_similarity


@component
class Ssim(PictureLikeness):
    """Mean structural similarity of two pictures in grey.

    Each presentation is judged by itself.

    Parameters
    ----------
    branch : {"low_level", "semantic"}
        Whose pictures are judged.
    """

    branch: Branch = "low_level"

    def alike(self, made: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return that of each two pictures."""
        return structural_similarity(made, seen)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Structural similarity [@wang2004] is the mean over presentations and places of that of the grey pictures"
            f" of the {self.branch.replace('_', '-')} branch and those seen; pictures that share their"
            " ground alone have more than 0."
        )
