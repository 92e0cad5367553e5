"""Several groups of a table of morphometry as modalities of their own, of which some may be missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.modalities import PRESENT
from ..shared.mri_files import header, number, rows_of, suffix
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
        arrays, axes = {}, {}
        for modality, variables in self._groups(names, name).items():
            values = np.array([[_value(found[entry], entry, name) for entry in variables]])
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
        patterns = {key: _several(wanted) for key, wanted in self.modalities.items()}
        groups: dict[str, list[str]] = {modality: [] for modality in self.modalities}
        for entry in names:
            fits = (key for key, wanted in patterns.items() if any(fnmatchcase(entry, one) for one in wanted))
            modality = next(fits, None)
            if modality is not None:
                groups[modality].append(entry)
        empty = next((modality for modality, variables in groups.items() if not variables), None)
        if empty is not None:
            fault = f"has no variable of modality {empty} ({', '.join(patterns[empty])})"
            raise InputError(where, fault, "correct modalities in the feature card")
        return groups

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        groups = listed(
            f"{plain(modality)} ({listed((_words(pattern) for pattern in _several(wanted)), 'or')})"
            for modality, wanted in self.modalities.items()
        )
        return (
            f"The tables of morphometry were taken as {count(len(self.modalities), 'modality', 'modalities')} by the"
            f" names of the variables: {groups}. A modality counted as missing in participants who lack a variable of"
            " it."
        )


def _several(wanted: str | list[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else wanted


def _words(pattern: str) -> str:
    """Return a pattern of names for people."""
    core = pattern.strip("*").strip("_").replace("_", " ")
    if not core:
        return "all that is left"
    if pattern.startswith("*") and pattern.endswith("*"):
        return f"names with {core} in them"
    return f"names that end in {core}" if pattern.startswith("*") else f"names that begin with {core}" \
        if pattern.endswith("*") else core  # fmt: skip


def _value(cell: str, entry: str, name: str) -> float:
    try:
        return number(cell)
    except ValueError:
        raise InputError(name, f"{entry} is {cell!r}, no number", "correct the line") from None
