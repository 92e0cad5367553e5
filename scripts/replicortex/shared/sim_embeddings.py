"""Made-up things that have an embedding and no look: values in the pixels of a small file, and what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Values of an embedding.
N_VALUES = 24
#: Rows and columns of the file; three colours a pixel.
SHAPE = (2, 4)
#: Grey of a value of 0, and steps of grey of 1.
_GREY, _STEP = 128, 32


def embedding_of(values: np.ndarray, exponent: float = 0.7) -> np.ndarray:
    """Return embeddings (n, N_VALUES) whose eigenvalues are ``number ** -exponent``, of values of variance 1."""
    return values * np.arange(1, N_VALUES + 1) ** (-exponent / 2)


def stored(values: np.ndarray) -> np.ndarray:
    """Return values as the pixels of a file hold them, in steps and within bounds."""
    return (np.clip(np.round(_GREY + _STEP * values), 0, 255) - _GREY) / _STEP


def write_values(path: Path, values: np.ndarray) -> None:
    """Write values (N_VALUES,) as a picture of 2 by 4 pixels."""
    from matplotlib import image

    grey = np.clip(np.round(_GREY + _STEP * values), 0, 255).astype(np.uint8)
    # Without a name of the software, which has a version.
    image.imsave(path, grey.reshape(*SHAPE, 3), format="png", metadata={"Software": None})


def values_of(picture: np.ndarray) -> np.ndarray:
    """Return the values (N_VALUES,) that a picture (2, 4, 3), between 0 and 1, holds."""
    return (np.round(255 * np.asarray(picture, dtype=np.float64)).reshape(-1) - _GREY) / _STEP
