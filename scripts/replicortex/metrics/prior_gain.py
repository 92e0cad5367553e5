"""What the prior adds: by how much its output is nearer to the true embedding than its input."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import embeddings, relative_error


@component
class PriorGain(Metric):
    """Share of the squared error of the prior's input that its output is without.

    Predictions for repeats of a stimulus are averaged.
    """

    bounds = (None, 1.0)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` where there is no prior, or one stimulus only."""
        found = [embeddings(target, predictions, name) for name in ("y_backbone", "y_prior")]
        if None in found:
            return float("nan")
        before, after = (relative_error(*pair) for pair in found)
        return float(1 - after / before)

    def chance(self, target: np.ndarray) -> float:
        """Return zero: that of a prior that leaves its input as it is."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The gain by the prior is the share of the squared error of its input (distance from the true embedding,"
            " repeats averaged) that its output was without; a prior that changes nothing has 0."
        )
