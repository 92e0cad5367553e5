"""Measures of anatomy that another tool wrote into a table, such as thickness and volumes of FreeSurfer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.mri_files import header, number, rows_of, suffix
from ..shared.words import spelled


@component
class Morphometry(Extractor):
    """The values of a table of morphometry (``*_morph.tsv``): columns ``variable`` and ``value``.

    Parameters
    ----------
    variables : list of str or None
        Those to take, in that order; ``None`` takes all, in the order of the table.

    """

    datatypes = ("anat",)
    suffixes = ("morph",)
    family = "mri"
    tiny = {}

    variables: list[str] | None = None

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_variables), float32, in the units of the table, with axis ``variable``.

        Raises
        ------
        InputError
            If the file is another, a variable is lacking or named twice, or a value is no finite number.

        """
        name = recording["path"]
        if suffix(path) != "morph.tsv":
            raise InputError(name, "is no table of morphometry", "provide *_morph.tsv, or choose another feature")
        rows = read_tsv(path)
        lacking = [column for column in ("variable", "value") if column not in header(path)]
        if lacking or not rows:
            fault = f"lacks the column {' and '.join(lacking)}" if lacking else "has no line"
            raise InputError(name, fault, "write columns variable and value, separated by tabs")
        names = [row["variable"].strip() for row in rows]
        twice = next((entry for entry, times in Counter(names).items() if times > 1), None)
        if twice is not None:
            raise InputError(name, f"gives {twice!r} twice", "give each variable one line")
        found = dict(zip(names, (row["value"] for row in rows), strict=True))
        wanted = names if self.variables is None else self.variables
        absent = [entry for entry in wanted if entry not in found]
        if absent:
            raise InputError(name, f"lacks {', '.join(absent[:5])}", "correct variables in the feature card")
        values = []
        for entry in wanted:
            try:
                values.append(number(found[entry]))
            except ValueError:
                raise InputError(name, f"{entry} is {found[entry]!r}, no number", "correct the line") from None
        odd = [entry for entry, value in zip(wanted, values, strict=True) if not np.isfinite(value)]
        if odd:
            remedy = "leave it out by variables in the feature card, or exclude the recording"
            raise InputError(name, f"has no value of {', '.join(odd[:5])}", remedy)
        x = np.array([values], dtype=np.float32)
        return Bundle({"x": x}, rows_of(recording), {"variable": list(wanted)}, {"fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        taken = "All measures" if self.variables is None else f"{spelled(len(self.variables)).capitalize()} measures"
        return f"{taken} of the tables of morphometry that come with the dataset are the features."
