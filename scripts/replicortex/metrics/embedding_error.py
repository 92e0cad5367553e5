"""The error of predicted embeddings beside that of a prediction without content: their mean."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import embeddings, relative_error


@component
class EmbeddingError(Metric):
    """Squared error of the embedding from the brain over that of the mean embedding of the other held-out stimuli.

    Of the prior's output where there is one, else of what retrieval uses. Embeddings share much: without the mean
    beside it an error or a cosine tells nothing. Predictions for repeats of a stimulus are averaged.
    """

    greater_is_better = False
    bounds = (0.0, None)
    tasks = frozenset({"retrieve"})

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the ratio; ``nan`` where there is one stimulus only."""
        array = "y_prior" if "y_prior" in predictions.arrays else "y_embedding"
        found = embeddings(target, predictions, array)
        return float("nan") if found is None else relative_error(*found)

    def chance(self, target: np.ndarray) -> float:
        """Return one: that of the mean."""
        return 1.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The error of embeddings is the squared distance of the embedding from the brain (the prior's output,"
            " where there was one; repeats averaged) from the true one, over that of the mean embedding of the other"
            " held-out stimuli; a prediction without content reaches 1."
        )
