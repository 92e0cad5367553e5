"""Dissimilarity matrices as features: a row a matrix, a column a pair of items."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.mri_files import entities, header, rows_of, sidecar, suffix
from ..shared.rdm import pairs
from ..shared.words import count, listed

#: What the rows of a matrix are called, in the header of its table.
_NODE = "Node"
#: Row columns by the entity of a file's name that they come from.
_COLUMN_OF = {"ses": "session", "run": "run"}


@component
class Rdms(Extractor):
    """The entries above the diagonal of tables of dissimilarities (``*_relmat.tsv``).

    Parameters
    ----------
    label : str
        Entity of the file's name whose value is what the matrix is of, such as a region or layer (``desc``), or the
        session (``ses``); that session or run is then no column of the rows, since it would be the answer. The study's
        classes say which values mean what.
    items : list of str or None
        Items to take, in that order; all in the order of the table if ``None``.
    """

    datatypes = ("func",)
    suffixes = ("relmat",)
    family = "mri"
    tiny = {}

    label: Annotated[str, Field(pattern=r"^[a-z]+$")] = "desc"
    items: list[str] | None = None

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_pairs), float32, with the axes ``item`` and ``pair`` (``a--b``).

        Where the table's sidecar lists ``Models``, a vector of pairs each by name, ``models`` has the shape (1,
        n_models, n_pairs), float32, and the axis ``model``.

        Raises
        ------
        InputError
            If the file is no matrix, an item is lacking, or a dissimilarity is not known.
        """
        name = recording["path"]
        if suffix(path) != "relmat.tsv" or header(path)[:1] != [_NODE]:
            raise InputError(name, "is no matrix of relations", "provide *_relmat.tsv, or choose another feature")
        known = header(path)[1:]
        wanted = known if self.items is None else self.items
        lacking = [item for item in wanted if item not in known]
        if lacking:
            raise InputError(name, f"lacks the item {listed(lacking[:5])}", "correct items in the feature card")
        if len(wanted) < 3:
            raise InputError(name, f"has pairs of {len(wanted)} items only", "take three items or more")
        matrix = _matrix(path, name, known)
        keep = [known.index(item) for item in wanted]
        vector = pairs(matrix[None][:, keep][:, :, keep])[0]
        if not np.isfinite(vector).all():
            n_lost = int(np.count_nonzero(~np.isfinite(vector)))
            fault = f"does not know {n_lost} of {len(vector)} dissimilarities"
            raise InputError(name, fault, "leave items out by the feature card, or exclude the recording")
        rows = rows_of(recording)
        stated = entities(path).get(self.label, "n/a")
        meaning = {value: label for label, values in classes.items() for value in values}
        rows["label"] = np.array([meaning.get(stated, "n/a")])
        if self.label in _COLUMN_OF:
            rows[_COLUMN_OF[self.label]] = np.array(["n/a"])
        row, column = np.triu_indices(len(wanted), 1)
        axes = {"item": list(wanted), "pair": [f"{wanted[a]}--{wanted[b]}" for a, b in zip(row, column, strict=True)]}
        arrays = {"x": vector[None].astype(np.float32)}
        models = sidecar(path).get("Models")
        if models:
            axes["model"], arrays["models"] = _models(models, known, keep, name)
        return Bundle(arrays, rows, axes, {"fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        items = "all items" if self.items is None else count(len(self.items), "item")
        what = {"desc": "region or layer", "ses": "session", "run": "run"}.get(self.label, f"entity {self.label}")
        return (
            f"The dissimilarities of the pairs of {items} were taken from tables; the {what} in a table's name says"
            " what it is of."
        )


def _matrix(path: Path, name: str, items: list[str]) -> np.ndarray:
    """Return a table of dissimilarities as a matrix, ``nan`` where unknown."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()[1:]
    cells = [line.split("\t") for line in lines if line]
    if len(cells) != len(items) or any(len(row) != len(items) + 1 for row in cells):
        raise InputError(name, "does not have a row an item", "restore the file")
    try:
        return np.array([[float("nan" if cell == "n/a" else cell) for cell in row[1:]] for row in cells])
    except ValueError as error:
        raise InputError(name, f"a cell is not a number ({error})", "write numbers, or n/a") from None


def _models(
    models: Mapping[str, list[float]], known: list[str], keep: list[int], name: str
) -> tuple[list[str], np.ndarray]:
    """Return the names of the candidate models of a sidecar, and their dissimilarities (1, n_models, n_pairs)."""
    matrix = np.zeros((len(known), len(known)))
    row, column = np.triu_indices(len(known), 1)
    found = []
    for model, values in models.items():
        try:
            vector = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            vector = np.empty(0)
        if vector.shape != row.shape or not np.isfinite(vector).all():
            fault = f"Models: {model!r} is not {len(row)} numbers"
            raise InputError(name, fault, "give the pairs above the diagonal, row by row, in the sidecar")
        matrix[row, column] = matrix[column, row] = vector
        found.append(pairs(matrix[None][:, keep][:, :, keep])[0])
    return list(models), np.array(found, dtype=np.float32)[None]
