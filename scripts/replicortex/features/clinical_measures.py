"""Groups of measures of a table of morphometry, such as cognition and volumes, some of whose values may be missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.measures import by_group, measure, pattern_words, read_measures, several
from ..shared.mri_files import rows_of
from ..shared.words import count, listed, plain


@component
class ClinicalMeasures(Extractor):
    """The values of ``*_morph.tsv`` by groups of variables; what is missing (``n/a``) stays missing.

    A score that the diagnosis is made of must not be among them: what stands under ``defining`` is refused if a group
    takes it, and left out by name if only a pattern of the catch-all kind would.

    Parameters
    ----------
    groups : dict of str to str or list of str
        Names of groups, and patterns (``*`` for any text) of the variables of each, in the order of the table. A
        variable belongs to the first group that it fits; those of none are left out.
    defining : list of str
        Patterns of variables that define the diagnosis, such as ``CDR``.
    """

    datatypes = ("anat",)
    suffixes = ("morph",)
    family = "mri"
    tiny = {"groups": {"all": ["*"]}}

    groups: dict[str, str | list[str]]
    defining: list[str] = []

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (1, n_variables), float32, NaN where missing, with axes ``variable`` and ``group``.

        Raises
        ------
        InputError
            If the file is another, a variable stands twice, a value is no finite number, a group has no variable, or a
            group takes what defines the diagnosis.
        """
        name = recording["path"]
        found = read_measures(path, name)
        group_of = self._group_of(list(found), name)
        values = [_value(found[entry], entry, name) for entry in group_of]
        if not np.isfinite(values).any():
            raise InputError(name, "has no value of any variable", "exclude the recording")
        x = np.array([values], dtype=np.float32)
        return Bundle({"x": x}, rows_of(recording), {"variable": list(group_of), "group": list(group_of.values())},
                      {"fitted": []})  # fmt: skip

    def _group_of(self, names: list[str], where: str) -> dict[str, str]:
        """Return the group of each variable that is taken."""
        group_of = {}
        for entry, group in by_group(names, self.groups, where, "group", "groups"):
            if any(fnmatchcase(entry, one) for one in self.defining):
                fault = f"{entry} defines the diagnosis, and group {group} takes it"
                raise InputError(where, fault, "take it out of groups in the feature card")
            group_of[entry] = group
        return group_of

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        groups = listed(
            f"{plain(key)} ({listed((pattern_words(one) for one in several(wanted)), 'or')})"
            for key, wanted in self.groups.items()
        )
        refused = (
            f" What defines the diagnosis ({listed(dict.fromkeys(map(pattern_words, self.defining)))}) was refused."
            if self.defining
            else ""
        )
        return (
            f"The tables of morphometry were taken as {count(len(self.groups), 'group')} of variables: {groups};"
            f" missing values were kept as such.{refused}"
        )


def _value(cell: str, entry: str, name: str) -> float:
    value = measure(cell, entry, name)
    if abs(value) > float(np.finfo(np.float32).max):
        raise InputError(name, f"{entry} is {cell!r}, not finite", "correct the line, or write n/a")
    return value
