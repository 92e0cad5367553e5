"""How much of its codebooks a tokenizer uses."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn


@component
class CodebookPerplexity(HandedOn):
    """Perplexity of the codes of held-out rows as a share of the size of a codebook, the mean over codebooks."""

    bounds = (0.0, 1.0)
    arrays = ("codes",)
    whole = True

    def judge(self, predictions: Bundle) -> float:
        """Return the mean over codebooks of the exponential of the entropy of ``codes`` (n, ..., books), by size."""
        size, codes = len(predictions.axes["code"]), predictions["codes"]
        found = []
        for book in range(codes.shape[-1]):
            share = np.bincount(codes[..., book].ravel(), minlength=size) / codes[..., book].size
            used = share[share > 0]
            found.append(np.exp(-(used * np.log(used)).sum()) / size)
        return float(np.mean(found))

    def chance(self, target: np.ndarray) -> float:
        """Return zero, which a tokenizer comes near that has a single code for everything."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The use of codebooks is the perplexity of the codes of held-out rows as a share of the size of a codebook,"
            " averaged over codebooks: 1 where all codes are used alike."
        )
