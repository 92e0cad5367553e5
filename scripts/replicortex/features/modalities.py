"""Several groups of a table of morphometry as modalities of their own, of which some may be missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.measures import by_group, measure, pattern_words, read_measures, several
from ..shared.modalities import PRESENT
from ..shared.mri_files import rows_of
from ..shared.words import count, listed, plain


@component
class Modalities(Extractor):
    """Groups of the variables of ``*_morph.tsv``, each an array of its own with a flag that says whether it is there.

    A group is there if all of its variables have a value; ``n/a`` stands for what was not measured. The lines of
    the variables themselves have to be there in every table, so that all tables have the same form.

    Parameters
    ----------
    modalities : dict of str to str or list of str
        Names of the modalities, and patterns (``*`` for any text) of the variables of each, taken in the order of the
        table. A variable belongs to the first modality that it fits.

    """

    datatypes = ("anat",)
    suffixes = ("morph",)
    family = "mri"
    tiny = {"modalities": {"all": ["*"]}}

    modalities: dict[str, str | list[str]]

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return an array (1, n_variables) a modality, float32, and ``present_<modality>`` (1,), boolean.

        What is missing is zero in its own array. ``x`` is all of them side by side, NaN where one is missing. Axes
        named ``<modality>_variable`` name the variables.

        Raises
        ------
        InputError
            If the file is another, a variable stands twice, a value is no number, a modality has no variable, or
            the person has none of the modalities.

        """
        name = recording["path"]
        found = read_measures(path, name)
        arrays, axes = {}, {}
        for modality, variables in self._groups(list(found), name).items():
            values = np.array([[measure(found[entry], entry, name) for entry in variables]])
            arrays[PRESENT + modality] = np.isfinite(values).all(axis=1)
            arrays[modality] = np.where(arrays[PRESENT + modality], values, 0.0).astype(np.float32)
            axes[f"{modality}_variable"] = variables
        if not any(arrays[PRESENT + modality].any() for modality in self.modalities):
            raise InputError(name, "has none of the modalities whole", "exclude the recording, or correct the patterns")
        seen = [np.where(arrays[PRESENT + entry], arrays[entry], np.nan) for entry in self.modalities]
        arrays["x"] = np.hstack(seen).astype(np.float32)
        return Bundle(arrays, rows_of(recording), axes, {"fitted": []})

    def _groups(self, names: list[str], where: str) -> dict[str, list[str]]:
        """Return the variables of each modality."""
        groups: dict[str, list[str]] = {modality: [] for modality in self.modalities}
        for entry, modality in by_group(names, self.modalities, where, "modality", "modalities"):
            groups[modality].append(entry)
        return groups

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        groups = listed(
            f"{plain(modality)} ({listed((pattern_words(pattern) for pattern in several(wanted)), 'or')})"
            for modality, wanted in self.modalities.items()
        )
        return (
            f"The tables of morphometry were taken as {count(len(self.modalities), 'modality', 'modalities')} by the"
            f" names of the variables: {groups}. A modality counted as missing in participants who lack a variable of"
            " it."
        )
