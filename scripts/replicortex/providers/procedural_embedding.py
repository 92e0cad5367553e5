"""Things that have an embedding and no look: what the pixels of their small files stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Provider, component
from ..errors import InputError
from ..shared.pictures import read_picture
from ..shared.sim_embeddings import N_VALUES, SHAPE, embedding_of, values_of
from ..shared.words import digits


@component
class ProceduralEmbedding(Provider):
    """The 24 values of a made-up thing, scaled so that their variances fall as those of embeddings of pictures do.

    Parameters
    ----------
    exponent : float
        The variance of value ``i`` (1, 2, ...) is ``i ** -exponent``.
    """

    kinds = ("image",)
    tiny = {"exponent": 0.5}

    exponent: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7

    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield embeddings, (1, 1, 24); see :class:`Provider`."""
        for stimulus in stimuli:
            picture = read_picture(root, stimulus["path"])
            if picture.shape != (*SHAPE, 3):
                fault = f"is of {picture.shape[0]} x {picture.shape[1]} pixels, not of {SHAPE[0]} x {SHAPE[1]}"
                raise InputError(stimulus["path"], fault, "choose another provider in the stimulus card")
            yield embedding_of(values_of(picture)[None], self.exponent)[:, None].astype(np.float32)

    def positions(self) -> list[list[float]]:
        """Return the one place."""
        return [[0.0, 0.0]]

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Each thing shown stood for an embedding of {N_VALUES} values, with eigenvalues that fell with the power"
            f" -{digits(self.exponent)} of their number."
        )
