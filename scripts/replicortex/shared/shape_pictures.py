"""Made-up pictures of one coloured shape: drawn from factors, described by an embedding, and read back.

A picture has a shape, a hue, a place and a size. The embedding tells shapes apart first and the rest less, as that of
a network that was trained on captions would; the pixels tell place and colour first.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Mapping

import numpy as np

#: Pixels a side.
SIDE = 32
SHAPES = ("disc", "square", "triangle", "cross", "ring", "bar")
FACTORS = ("shape", "hue", "row", "column", "size")
#: Grey around the shape.
_GREY = 0.5
#: Points a side of a pixel at which the shape is asked for.
_FINE = 4
#: Tokens and channels of the embedding.
N_TOKENS, WIDTH = 2, 16
#: How much of the embedding's variance tells the shape.
_SHAPE = 0.6


def draw_factors(n: int, seed: int | list[int]) -> dict[str, np.ndarray]:
    """Draw factors of ``n`` pictures: ``shape`` (text), ``hue`` (0 to 1), ``row``, ``column``, ``size`` (pixels).

    Rounded as they stand in tables, so that what is read is what was drawn.
    """
    generator = np.random.default_rng(seed)
    places = generator.uniform(9, SIDE - 9, (n, 2)).round(2)
    return {
        "shape": np.array(SHAPES)[generator.integers(len(SHAPES), size=n)],
        "hue": generator.uniform(0, 1, n).round(3),
        "row": places[:, 0],
        "column": places[:, 1],
        "size": generator.uniform(4.5, 8, n).round(2),
    }


def colour(hue: float) -> np.ndarray:
    """Return red, green and blue (between 0 and 1) of a hue."""
    return np.array(colorsys.hsv_to_rgb(float(hue), 0.9, 0.95))


def caption(factors: Mapping[str, object]) -> str:
    """Return what a picture shows, in words."""
    names = ("red", "yellow", "green", "turquoise", "blue", "violet")
    where = "top" if float(factors["row"]) < SIDE / 2 else "bottom"
    side = "left" if float(factors["column"]) < SIDE / 2 else "right"
    size = "small" if float(factors["size"]) < 6.25 else "large"
    return f"a {size} {names[round(float(factors['hue']) * 6) % 6]} {factors['shape']} at the {where} {side}"


def outline(shape: str, row: float, column: float, size: float) -> np.ndarray:
    """Return how much of each pixel the shape covers, (SIDE, SIDE), between 0 and 1."""
    points = (np.arange(SIDE * _FINE) + 0.5) / _FINE
    y, x = (points[:, None] - row) / size, (points[None, :] - column) / size
    far = np.hypot(y, x)
    inside = {
        "disc": far <= 0.9,
        "square": np.maximum(abs(y), abs(x)) <= 0.8,
        "triangle": (y <= 0.7) & (y >= 2 * abs(x) - 1.1),
        "cross": (np.minimum(abs(y), abs(x)) <= 0.28) & (np.maximum(abs(y), abs(x)) <= 1),
        "ring": (far <= 1) & (far >= 0.6),
        "bar": (abs(y) <= 0.4) & (abs(x) <= 1.2),
    }[shape]
    return inside.reshape(SIDE, _FINE, SIDE, _FINE).mean(axis=(1, 3))


def render(shape: str, hue: float, row: float, column: float, size: float) -> np.ndarray:
    """Return the picture, (SIDE, SIDE, 3), between 0 and 1, in steps of 8 bits."""
    covered = outline(shape, float(row), float(column), float(size))[..., None]
    return np.round(255 * (_GREY + covered * (colour(hue) - _GREY))) / 255


def embed(factors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the embeddings of pictures, (n, N_TOKENS, WIDTH), float64, of about unit variance.

    A prototype of the shape, and smooth random functions (cosines) of hue, place and size; the same ones always.
    """
    generator = np.random.default_rng(20230529)
    n_values = N_TOKENS * WIDTH
    prototypes = generator.standard_normal((len(SHAPES), n_values))
    prototypes -= prototypes.mean(axis=0)
    prototypes /= np.sqrt(np.mean(prototypes**2))
    angle = 2 * np.pi * np.asarray(factors["hue"], dtype=float)
    places = [(np.asarray(factors[name], dtype=float) - SIDE / 2) / 4 for name in ("row", "column")]
    size = (np.asarray(factors["size"], dtype=float) - 6.25) / 1
    details = np.stack([np.cos(angle), np.sin(angle), *places, size], axis=1)
    weights, phase = (
        0.7 * generator.standard_normal((details.shape[1], n_values)),
        generator.uniform(0, 2 * np.pi, n_values),
    )
    number = np.searchsorted(np.sort(SHAPES), np.asarray(factors["shape"], dtype=str))
    number = np.argsort(SHAPES)[number]
    values = np.sqrt(_SHAPE) * prototypes[number]
    values = values + np.sqrt(2 * (1 - _SHAPE)) * np.cos(details @ weights + phase)
    return values.reshape(-1, N_TOKENS, WIDTH)


# ---- reading pictures


def covered(pictures: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the grey around, (n, SIDE, SIDE), what is near it counted as none.

    ``pictures`` are (n, 3, SIDE, SIDE). The grey is the median of the outer pixels.
    """
    pictures = np.asarray(pictures, dtype=np.float64)
    edge = np.ones(pictures.shape[2:], dtype=bool)
    edge[2:-2, 2:-2] = False
    around = np.median(pictures[:, :, edge], axis=2)[:, :, None, None]
    far = np.sqrt(((pictures - around) ** 2).mean(axis=1))
    highest = far.reshape(len(far), -1).max(axis=1)[:, None, None]
    return np.maximum(far - 0.25 * highest, 0.0)


def read_place(pictures: np.ndarray) -> np.ndarray:
    """Return row and column (pixels) of the centre of what a picture shows, (n, 2); its middle where nothing is."""
    weight = covered(pictures)
    total = weight.sum(axis=(1, 2))
    points = np.arange(weight.shape[1]) + 0.5
    found = np.stack([weight.sum(axis=2) @ points, weight.sum(axis=1) @ points], axis=1)
    middle = np.full_like(found, weight.shape[1] / 2)
    return np.divide(found, total[:, None], out=middle, where=total[:, None] > 0)


def read_colour(pictures: np.ndarray) -> np.ndarray:
    """Return the mean colour of what a picture shows, (n, 3)."""
    weight = covered(pictures)
    total = weight.sum(axis=(1, 2))
    found = np.einsum("ncij,nij->nc", np.asarray(pictures, dtype=np.float64), weight)
    return np.divide(found, total[:, None], out=np.full_like(found, _GREY), where=total[:, None] > 0)


def read_shape(pictures: np.ndarray) -> np.ndarray:
    """Return the number in :data:`SHAPES` of the outline that is most like what a picture shows, (n,)."""
    weight = covered(pictures)
    offset = np.rint(read_place(pictures) - weight.shape[1] / 2).astype(int)
    centred = np.stack([np.roll(one, -shift, axis=(0, 1)) for one, shift in zip(weight, offset, strict=True)])
    flat = centred.reshape(len(centred), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    bank, number = _outlines()
    return number[(flat @ bank.T).argmax(axis=1)]


@functools.cache
def _outlines() -> tuple[np.ndarray, np.ndarray]:
    """Return outlines around the middle as unit vectors (n, SIDE^2), and the number of the shape of each."""
    found, numbers = [], []
    for number, shape in enumerate(SHAPES):
        for size in np.arange(4.5, 8.1, 0.5):
            one = outline(shape, SIDE / 2, SIDE / 2, size)
            # By its centre of mass, as pictures are.
            points = np.arange(SIDE) + 0.5
            shift = [one.sum(axis=1 - axis) @ points / one.sum() - SIDE / 2 for axis in (0, 1)]
            one = outline(shape, SIDE / 2 - shift[0], SIDE / 2 - shift[1], size).reshape(-1)
            one = one - one.mean()
            found.append(one / np.linalg.norm(one))
            numbers.append(number)
    return np.array(found), np.array(numbers)
