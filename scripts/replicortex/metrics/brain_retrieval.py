"""Brain retrieval: how often the true response is, of a gallery of responses, the one most like a stimulus."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import Repeats, embeddings, likeness, n_ahead, repeats_in_words, top_1
from ..shared.words import digits


@component
class BrainRetrieval(Metric):
    """Expected share of hits at the first rank in galleries of a fixed size, responses being ranked by their cosine.

    As ``image_retrieval`` with both sides exchanged: a stimulus is given, its response is looked for.

    Parameters
    ----------
    gallery : int
        Responses in a gallery, the true one among them. With fewer held-out stimuli there is no value.
    repeats : {"average", "first"}
        Predictions for repeats of a stimulus are averaged, or that of one presentation is taken.
    """

    bounds = (0.0, 1.0)
    tasks = frozenset({"retrieve"})
    tiny = {"gallery": 5}

    gallery: Annotated[int, Field(ge=2)] = 300
    repeats: Repeats = "average"

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the share; ``nan`` where there are fewer stimuli than the gallery has."""
        found = embeddings(target, predictions, repeats=self.repeats)
        if found is None:
            return float("nan")
        return top_1(n_ahead(likeness(*found).T), len(found[0]), self.gallery)

    def chance(self, target: np.ndarray) -> float:
        """Return one over the size of the gallery."""
        return 1 / self.gallery

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Brain retrieval is the share of held-out stimuli for which the embedding from the brain was, of a"
            f" gallery of {digits(self.gallery)} of them, the most like the true one (top-1 by cosine [@scotti2023]),"
            f" over all such galleries; {repeats_in_words(self.repeats)}. Its chance is one in"
            f" {digits(self.gallery)}."
        )
