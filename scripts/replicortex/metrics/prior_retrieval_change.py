"""What the prior does to retrieval: two-way identification with its output less that with its input."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import embeddings, likeness, n_ahead


@component
class PriorRetrievalChange(Metric):
    """Two-way identification by the prior's output less that by its input; repeats are averaged."""

    bounds = (-1.0, 1.0)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the difference; ``nan`` where there is no prior, or one stimulus only."""
        found = [embeddings(target, predictions, name) for name in ("y_backbone", "y_prior")]
        if None in found or len(found[0][0]) < 2:
            return float("nan")
        before, after = (n_ahead(likeness(*pair)).mean() / (len(pair[0]) - 1) for pair in found)
        return float(before - after)

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The change of retrieval by the prior is two-way identification of held-out stimuli by its output less"
            " that by its input, repeats averaged; it is 0 where the prior changes nothing."
        )
