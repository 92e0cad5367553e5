"""How well a tokenizer rebuilds held-out signals."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn


@component
class ReconstructionPcc(HandedOn):
    """Mean correlation of rebuilt with measured windows, where all channels were given."""

    bounds = (-1.0, 1.0)
    arrays = ("pcc_all",)

    def judge(self, predictions: Bundle) -> float:
        """Return the mean over rows of ``pcc_all``."""
        return float(np.mean(predictions["pcc_all"]))

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Reconstruction was judged by Pearson's correlation of rebuilt with measured windows of held-out signals,"
            " averaged over channels and windows; its chance is 0."
        )
