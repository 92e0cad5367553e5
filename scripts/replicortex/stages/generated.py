"""What the generators of a run made, as slices that a figure can show: one table, from their predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..damage import read_record
from ..errors import InputError
from ..files import to_tsv, write_text
from ..shared.slices import HELD_OUT, PLANES, slice_of

COLUMNS = ["method", "what", "number", "plane", "row", "column", "intensity", "value"]
#: Images of which each method shows examples, and people that a mean must be of.
_EXAMPLES, _FEWEST = 4, 5


def collect_generated(records: Sequence[Path], predictions: Sequence[Path], out: Path) -> None:
    """Write the slices of each method and of held-out images, a row a pixel.

    ``what`` is ``mean`` and ``spread`` (standard deviation) over all images, and ``subject`` for single ones: what a
    generator makes may be a copy of a person. ``value`` of a ``difference`` is the root mean square of that of the mean
    volume of a method from that of held-out people.

    Parameters
    ----------
    records, predictions : sequence of Path
        ``fit.json`` and ``predictions.npz`` of every part of every method, in the same order.
    out : Path
        The table to write.

    Raises
    ------
    InputError
        If predictions hold no volumes, or those of too few people.
    """
    parts: dict[str, list[Bundle]] = {}
    for record, path in zip(records, predictions, strict=True):
        bundle = Bundle.open(path)
        if len(bundle):
            if not {"y_generated", "real"} <= bundle.arrays.keys():
                raise InputError(path, "has no generated volumes", "choose methods that generate")
            parts.setdefault(read_record(record, ["name"])["name"], []).append(bundle)
    if not parts:
        raise InputError(out, "no method generated anything", "read the logs of the fits")
    first = next(iter(parts.values()))
    if len({name for bundle in first for name in bundle.rows["subject"].astype(str)}) < _FEWEST:
        raise InputError(out, f"fewer than {_FEWEST} people are held out", "choose a larger dataset")
    real = np.concatenate([np.asarray(bundle["real"]) for bundle in first])
    made = {HELD_OUT: real}
    made |= {name: np.concatenate([np.asarray(one["y_generated"]) for one in some]) for name, some in parts.items()}
    rows = [row for name, volumes in made.items() for row in _rows(name, volumes, real)]
    write_text(out, to_tsv(rows, COLUMNS))


def _rows(name: str, volumes: np.ndarray, real: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the rows of one method."""
    mean = volumes.mean(axis=0)
    if volumes is not real:
        difference = float(np.sqrt(((mean - real.mean(axis=0)) ** 2).mean()))
        yield {"method": name, "what": "difference", "value": f"{difference:.6f}"}
    # Spread over all, so that they are of several folds.
    chosen = np.unique(np.linspace(0, len(volumes) - 1, _EXAMPLES).round().astype(int))
    shown = [("mean", 1, mean), ("spread", 1, volumes.std(axis=0))]
    shown += [("subject", number, volumes[one]) for number, one in enumerate(chosen, start=1)]
    for what, number, volume in shown:
        for plane in PLANES:
            for place, value in np.ndenumerate(slice_of(volume, plane)):
                told = {"method": name, "what": what, "number": number, "plane": plane}
                yield {**told, "row": place[0], "column": place[1], "intensity": f"{value:.3f}"}
