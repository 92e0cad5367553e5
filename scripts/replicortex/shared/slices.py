"""Middle slices of volumes, as tables of their pixels and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Name in the column ``method`` of held-out images.
HELD_OUT = "held_out"
#: Axis that a slice goes through the middle of.
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
#: Pixels along a side, at most.
_SIDE = 64


def slice_of(volume: np.ndarray, plane: str) -> np.ndarray:
    """Return the middle slice of a volume (X, Y, Z), upright: up, or to the front, is the first row.

    Slices with many pixels are averaged over squares of them.
    """
    axis = PLANES[plane]
    made = volume.take(volume.shape[axis] // 2, axis=axis).T[::-1]
    by = -(-max(made.shape) // _SIDE)
    kept = tuple(side - side % by for side in made.shape)
    made = made[: kept[0], : kept[1]]
    return made.reshape(kept[0] // by, by, kept[1] // by, by).mean(axis=(1, 3))


def slices(table: Sequence[Mapping[str, str]], plane: str) -> dict[tuple[str, str, int], np.ndarray]:
    """Return the slices of a table in a plane, by method, what they show, and number."""
    found: dict[tuple[str, str, int], dict[tuple[int, int], float]] = {}
    for row in table:
        if row["plane"] == plane:
            here = found.setdefault((row["method"], row["what"], int(row["number"])), {})
            here[int(row["row"]), int(row["column"])] = float(row["intensity"])
    made = {}
    for key, pixels in found.items():
        image = np.full([max(place[axis] for place in pixels) + 1 for axis in (0, 1)], np.nan)
        image[tuple(np.array(list(pixels)).T)] = list(pixels.values())
        made[key] = image
    return made
