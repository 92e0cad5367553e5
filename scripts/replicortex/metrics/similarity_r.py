"""How well a fit found out which objects are alike."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..components import component
from ..files import digest_of
from ..shared.fit_metric import FitMetric
from ..shared.triplets import choice_similarity, upper


@component
class SimilarityR(FitMetric):
    """Correlation over pairs of objects of the similarities that a fit found with the true ones.

    The true similarity of two objects is how probable it is that they stay together, over all third objects. Needs a
    method that tells ``similarity`` of all pairs.
    """

    bounds = (-1.0, 1.0)
    tiny = {}

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the correlation; ``nan`` where it is not known what was planted, or similarities have no spread."""
        found, embedding = fold.get("found", {}).get("similarity"), (truth or {}).get("embedding")
        if found is None or embedding is None:
            return float("nan")
        found, true = np.asarray(found, dtype=np.float64), _true(digest_of(embedding), _Held(embedding))
        if found.shape != true.shape:
            return float("nan")
        # A fit that found nothing says that all are equally alike.
        return float(np.corrcoef(found, true)[0, 1]) if found.std() > 1e-12 else 0.0

    def chance_fit(self) -> float:
        """Return 0."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Similarities were compared by Pearson's correlation, over all pairs of objects, of how probable it is that"
            " two stay together by the fit and by the truth."
        )


class _Held:
    """What is looked up by its digest: equal to any other."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _true(digest: str, embedding: _Held) -> np.ndarray:
    """Return the true similarities: once, since every fold of every method asks for them."""
    return upper(choice_similarity(np.asarray(embedding.content, dtype=np.float64)))
