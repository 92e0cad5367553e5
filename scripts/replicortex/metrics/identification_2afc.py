"""Two-way identification: how often the true stimulus is more like the embedding from the brain than another one is."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import Repeats, embeddings, likeness, n_ahead, repeats_in_words


@component
class Identification2afc(Metric):
    """Share of pairs of stimuli of which the true one is more like (by cosine) the embedding from the brain.

    Pairs share stimuli and are not independent: their number is no sample size.

    Parameters
    ----------
    repeats : {"average", "first"}
        Predictions for repeats of a stimulus are averaged, or that of one presentation is taken.
    """

    bounds = (0.0, 1.0)
    tasks = frozenset({"retrieve"})

    repeats: Repeats = "average"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` where there is one stimulus only."""
        found = embeddings(target, predictions, repeats=self.repeats)
        if found is None or len(found[0]) < 2:
            return float("nan")
        return float(1 - n_ahead(likeness(*found)).mean() / (len(found[0]) - 1))

    def chance(self, target: np.ndarray) -> float:
        """Return one half."""
        return 0.5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Two-way identification is the share of pairs of held-out stimuli of which the true one was more like the"
            f" embedding from the brain (by cosine); {repeats_in_words(self.repeats)}. Its chance is 0.5."
        )
