"""A picture as it is: its patches are the tokens, their pixels the channels. For made-up pictures, and as a control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from ..components import Provider, component
from ..errors import InputError
from ..shared.pictures import read_picture
from ..shared.words import count


@component
class ProceduralTokens(Provider):
    """Cut a picture into square patches and take their pixels, scaled to mean 0.5 and half range 1 for 8 bits.

    Nothing is learnt and nothing is known of how the picture was made: what a network that was trained on pictures
    adds, it must add to this.

    Parameters
    ----------
    patch : int
        Side of a patch in pixels. Pictures whose sides it does not divide are refused.
    """

    kinds = ("image",)
    tiny = {"patch": 2}

    patch: PositiveInt = 16

    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield patches, rows of the picture first, with channels row, column, colour; see :class:`Provider`."""
        self._grid = (0, 0)
        for stimulus in stimuli:
            picture = read_picture(root, stimulus["path"])
            height, width = (side // self.patch for side in picture.shape[:2])
            if picture.shape[0] % self.patch or picture.shape[1] % self.patch:
                fault = f"is of {picture.shape[0]} x {picture.shape[1]} pixels, which {self.patch} does not divide"
                raise InputError(stimulus["path"], fault, "choose another patch in the stimulus card")
            if self._grid not in ((0, 0), (height, width)):
                fault = f"has {height} x {width} patches, others {self._grid[0]} x {self._grid[1]}"
                raise InputError(stimulus["path"], fault, "bring the pictures to one size")
            self._grid = (height, width)
            parts = picture.reshape(height, self.patch, width, self.patch, 3).transpose(0, 2, 1, 3, 4)
            yield 4 * parts.reshape(1, height * width, -1) - 2

    def positions(self) -> list[list[float]]:
        """Return row and column of each patch."""
        return [[float(row), float(column)] for row in range(self._grid[0]) for column in range(self._grid[1])]

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Each picture was cut into patches of {count(self.patch, 'pixel')} by {self.patch}, and the values of"
            " their"
            " pixels were taken as they are."
        )
