"""Measures of anatomy that another tool wrote into a table, such as thickness and volumes of FreeSurfer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.measures import measure, read_measures
from ..shared.mri_files import rows_of
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
        found = read_measures(path, name)
        wanted = list(found) if self.variables is None else self.variables
        absent = [entry for entry in wanted if entry not in found]
        if absent:
            raise InputError(name, f"lacks {', '.join(absent[:5])}", "correct variables in the feature card")
        values = [measure(found[entry], entry, name) for entry in wanted]
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
