"""The rank of the true stimulus among all that were held out, as a share of their number."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import Repeats, embeddings, likeness, n_ahead, repeats_in_words


@component
class RetrievalRank(Metric):
    """Median over stimuli of the share of the others that are more like (by cosine) the embedding from the brain.

    Parameters
    ----------
    repeats : {"average", "first"}
        Predictions for repeats of a stimulus are averaged, or that of one presentation is taken.
    """

    greater_is_better = False
    bounds = (0.0, 1.0)
    tasks = frozenset({"retrieve"})

    repeats: Repeats = "average"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the median; ``nan`` where there is one stimulus only."""
        found = embeddings(target, predictions, repeats=self.repeats)
        if found is None or len(found[0]) < 2:
            return float("nan")
        return float(np.median(n_ahead(likeness(*found))) / (len(found[0]) - 1))

    def chance(self, target: np.ndarray) -> float:
        """Return one half."""
        return 0.5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The rank of retrieval is the median over held-out stimuli of the share of the others that were more like"
            f" the embedding from the brain than the true one (0 is best);"
            f" {repeats_in_words(self.repeats)}. Its chance is 0.5."
        )
