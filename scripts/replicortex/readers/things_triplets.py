"""Choices of the odd one among three of the 1,854 objects of THINGS, by people and by two language models.

Du C. et al. 2025, doi:10.1038/s42256-025-01049-z, published 2,171 trials each; the embedding of 66 dimensions is that
of Hebart et al. 2020, doi:10.1038/s41562-020-00951-3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..components import Reader, component
from ..errors import InputError
from ..files import write_text
from ..shared.triplets import POSITIONS
from ..shared.triplets_bids import TASK, describe
from ..shared.words import count

#: Who chose, by the name of the subject here: the file, and what the subject is.
_WHO = {
    "sub-humans": ("2171trials_humans.txt", "people"),
    "sub-gpt4": ("2171trials_GPT_4.txt", "language model"),
    "sub-gpt35": ("2171trials_ChatGPT_3.5.txt", "language model"),
}
_OBJECTS, _EMBEDDING = "unique_id.txt", "spose_embedding_66d_sorted.txt"
_MOST_BYTES = 1 << 26


@component
class ThingsTriplets(Reader):
    """A table of trials for each of the three, in the order of the files; the published embedding stands beside.

    In the files the third object is the odd one and numbers count from 0. Objects are put in an order drawn by
    ``seed``, since the place of the odd one would otherwise be the answer.

    Parameters
    ----------
    seed : int
        Of the order of the objects in a trial; the same for all who chose.
    decimals : int
        Digits after the point of the embedding.
    """

    seed: int = 0
    decimals: int = 5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Choices of the odd one among three of the objects of THINGS, by people and by two language models"
            " [@du2025], were taken from published files, the objects of a trial in an order drawn at random (seed"
            f" {self.seed}); beside them stands the published embedding of the objects [@hebart2020], to"
            f" {count(self.decimals, 'decimal')}."
        )

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write the tables; see :class:`~replicortex.components.Reader`."""
        objects = _lines(source, _OBJECTS)
        embedding = _numbers(source, _EMBEDDING)
        if len(set(objects)) != len(objects) or len(embedding) != len(objects):
            fault = f"has {len(embedding)} lines for {len(set(objects))} different objects of {_OBJECTS}"
            raise InputError(_EMBEDDING, fault, "download both files again")
        rows = []
        for number, (subject, (file, kind)) in enumerate(_WHO.items()):
            trials = _numbers(source, file)
            whole = trials.shape[1:] == (3,) and (trials == np.round(trials)).all()
            if not whole or trials.min() < 0 or trials.max() >= len(objects):
                raise InputError(file, f"is not three numbers of {len(objects)} objects a line", "download it again")
            trials = trials.astype(int)
            if any(len(set(trial)) < 3 for trial in trials.tolist()):
                raise InputError(file, "shows an object twice in one trial", "download it again")
            generator = np.random.default_rng([self.seed, number])
            order = generator.random(trials.shape).argsort(axis=1)
            shown, odd = np.take_along_axis(trials, order, axis=1), (order == 2).argmax(axis=1)
            lines = ["\t".join(["object_1", "object_2", "object_3", "response"])]
            lines += [
                "\t".join([*(objects[i] for i in trial), POSITIONS[position]])
                for trial, position in zip(shown, odd, strict=True)
            ]
            write_text(root / subject / "beh" / f"{subject}_task-{TASK}_beh.tsv", "\n".join(lines) + "\n")
            rows.append({"participant_id": subject, "kind": kind, "n_trials": len(trials)})
        values = np.round(embedding, self.decimals).tolist()
        describe(root, objects, values, "the published embedding of 66 dimensions, from 1.46 million choices of people")
        return rows


def _lines(source: Path, file: str) -> list[str]:
    path = source / file
    if not path.is_file():
        raise InputError(file, "no such file in the source folder", "download it again")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(file, f"is larger than {_MOST_BYTES >> 20} MB", "take the file that was published")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise InputError(file, "is no text", "download it again") from None
    found = [line.strip() for line in lines if line.strip()]
    odd = next((line for line in found if "\t" in line and file == _OBJECTS), None)
    if odd is not None or not found:
        raise InputError(file, "is not one name a line" if found else "is empty", "download it again")
    return found


def _numbers(source: Path, file: str) -> np.ndarray:
    """Return a table of numbers separated by blanks: (n_lines, n_columns)."""
    try:
        values = np.array([[float(cell) for cell in line.split()] for line in _lines(source, file)])
    except ValueError:
        raise InputError(file, "is no table of numbers", "download it again") from None
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(file, "is no table of numbers", "download it again")
    return values
