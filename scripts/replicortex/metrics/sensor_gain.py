"""What it is worth to a tokenizer to know where the sensors are."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn


@component
class SensorGain(HandedOn):
    """Correlation of withheld channels with what was rebuilt at their place, less that where sensors swapped places."""

    bounds = (-2.0, 2.0)
    arrays = ("pcc_withheld", "pcc_permuted")

    def judge(self, predictions: Bundle) -> float:
        """Return the mean over rows of ``pcc_withheld - pcc_permuted``."""
        return float(np.mean(predictions["pcc_withheld"] - predictions["pcc_permuted"]))

    def chance(self, target: np.ndarray) -> float:
        """Return zero: whoever does not know places rebuilds as well at wrong ones."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "A quarter of the channels of held-out signals was withheld and rebuilt from the others. The gain by the"
            " sensors is Pearson's correlation of rebuilt with measured windows of these channels, less the same where"
            " sensors of one type had swapped places and directions; its chance is 0."
        )
