"""Made-up pictures of one coloured shape: their embedding from the true factors, with their pixels beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..components import Provider, component
from ..errors import InputError
from ..shared import shape_pictures
from ..shared.pictures import read_picture


@component
class ProceduralPictures(Provider):
    """The embedding that follows from shape, hue, place and size of a picture, as the table of stimuli tells them.

    Where a network that was trained on pictures would look at them, here the truth is known: which factor a decoder
    recovers can be told exactly.
    """

    kinds = ("image",)

    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield embeddings, (n, 2, 16); see :class:`Provider`."""
        for start in range(0, len(stimuli), 256):
            rows = [_factors(stimulus) for stimulus in stimuli[start : start + 256]]
            factors = {name: np.array([row[name] for row in rows]) for name in shape_pictures.FACTORS}
            yield shape_pictures.embed(factors).astype(np.float32)

    def beside(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> dict[str, np.ndarray]:
        """Return ``pixels`` (n, 3, height, width), between 0 and 1."""
        pixels = [read_picture(root, stimulus["path"]).transpose(2, 0, 1) for stimulus in stimuli]
        odd = next((i for i, one in enumerate(pixels) if one.shape != pixels[0].shape), None)
        if odd is not None:
            fault = f"has another size ({pixels[odd].shape[1:]}) than the others ({pixels[0].shape[1:]})"
            raise InputError(stimuli[odd]["path"], fault, "bring the pictures to one size")
        return {"pixels": np.stack(pixels)}

    def positions(self) -> list[list[float]]:
        """Return the number of each token: it has no place in the picture."""
        return [[0.0, float(number)] for number in range(shape_pictures.N_TOKENS)]

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"The embedding of a picture followed from its true shape, hue, place and size"
            f" ({shape_pictures.N_TOKENS} tokens of {shape_pictures.WIDTH} values): a prototype of its shape and"
            " smooth random functions of the others. Its pixels were taken as they are."
        )


def _factors(stimulus: Mapping[str, str]) -> dict[str, object]:
    """Return the factors of a picture, checked."""
    told = json.loads(stimulus["factors"]) if stimulus.get("factors", "n/a") != "n/a" else {}
    try:
        made = {"shape": str(told["shape"]), **{name: float(told[name]) for name in shape_pictures.FACTORS[1:]}}
    except (KeyError, ValueError) as error:
        fault = f"its factor is not known ({error})"
        raise InputError(stimulus["stim_id"], fault, "name shape, hue, row, column and size under `factors`") from None
    if (
        made["shape"] not in shape_pictures.SHAPES
        or not np.isfinite([made[name] for name in made if name != "shape"]).all()
    ):
        raise InputError(stimulus["stim_id"], f"is no known shape ({made})", "use the pictures of the simulator")
    return made
