"""What a transformer over codes knows beyond which codes are frequent."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn


@component
class MaskedTokenGain(HandedOn):
    """Share of hidden codes that are filled in rightly, less that of the most frequent codes of the training rows."""

    bounds = (-1.0, 1.0)
    arrays = ("masked_right", "unigram_right")

    def judge(self, predictions: Bundle) -> float:
        """Return the mean over rows of ``masked_right - unigram_right``."""
        return float(np.mean(predictions["masked_right"] - predictions["unigram_right"]))

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Half of the tokens of held-out rows were hidden. The gain of the transformer is the share of their codes"
            " that it filled in rightly, less the share that were the most frequent code of their source and codebook"
            " in the training rows; its chance is 0."
        )
