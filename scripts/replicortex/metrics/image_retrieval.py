"""Image retrieval: how often the true stimulus is, of a gallery, the one most like the embedding from the brain."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.retrieval import Repeats, embeddings, likeness, n_ahead, repeats_in_words, top_1
from ..shared.words import digits


@component
class ImageRetrieval(Metric):
    """Expected share of hits at the first rank in galleries of a fixed size, stimuli being ranked by their cosine.

    The expectation is over all galleries of that size from the held-out stimuli, in closed form: no gallery is drawn.
    A stimulus that is as like as the true one is ahead of it.

    Parameters
    ----------
    gallery : int
        Stimuli in a gallery, the true one among them. Values of galleries of different sizes do not compare. With
        fewer held-out stimuli there is no value.
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
        return top_1(n_ahead(likeness(*found)), len(found[0]), self.gallery)

    def chance(self, target: np.ndarray) -> float:
        """Return one over the size of the gallery."""
        return 1 / self.gallery

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Image retrieval is the share of held-out stimuli whose true embedding was, of a gallery of"
            f" {digits(self.gallery)}, the most like that from the brain (top-1 by cosine [@scotti2023]), in"
            f" expectation over all such galleries of held-out stimuli; {repeats_in_words(self.repeats)}. Its chance"
            f" is one in {digits(self.gallery)}."
        )
