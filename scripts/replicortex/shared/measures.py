"""Tables of morphometry as extractors read them: a line a variable, taken one by one or by groups of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InputError
from ..files import read_tsv
from .mri_files import header, number, suffix


def read_measures(path: Path, name: str) -> dict[str, str]:
    """Return the cells of ``*_morph.tsv`` by variable, in the order of the table.

    Parameters
    ----------
    path : Path
    name : str
        What the table is called in messages.

    Raises
    ------
    InputError
        If the file is another, lacks a column or lines, or gives a variable twice.
    """
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
    return dict(zip(names, (row["value"] for row in rows), strict=True))


def measure(cell: str, variable: str, name: str) -> float:
    """Return the number in a cell, ``nan`` where it is missing.

    Raises
    ------
    InputError
        If it is no number.
    """
    try:
        return number(cell)
    except ValueError:
        raise InputError(name, f"{variable} is {cell!r}, no number", "correct the line") from None


def several(wanted: str | Sequence[str]) -> list[str]:
    """Return patterns as a list; one may be given alone."""
    return [wanted] if isinstance(wanted, str) else list(wanted)


def by_group(
    names: Sequence[str], groups: Mapping[str, str | Sequence[str]], name: str, noun: str, key: str
) -> Iterator[tuple[str, str]]:
    """Yield each variable that a group takes, with that group: the first whose pattern (``*`` for any text) it fits.

    Parameters
    ----------
    names : sequence of str
        Variables, in the order of the table.
    groups : mapping of str to str or sequence of str
        Patterns of each group.
    name : str
        What the table is called in messages.
    noun, key : str
        What a group is called there, and the parameter of the feature card that names them.

    Raises
    ------
    InputError
        If a group has no variable.
    """
    patterns = {group: several(wanted) for group, wanted in groups.items()}
    empty = dict.fromkeys(patterns)
    for entry in names:
        fits = (group for group, wanted in patterns.items() if any(fnmatchcase(entry, one) for one in wanted))
        group = next(fits, None)
        if group is not None:
            empty.pop(group, None)
            yield entry, group
    for group in empty:
        fault = f"has no variable of {noun} {group} ({', '.join(patterns[group])})"
        raise InputError(name, fault, f"correct {key} in the feature card")


def pattern_words(pattern: str) -> str:
    """Return a pattern of names for people."""
    core = pattern.strip("*").strip("_").replace("_", " ")
    if not core:
        return "all that is left"
    if pattern.startswith("*") and pattern.endswith("*"):
        return f"names with {core} in them"
    if pattern.startswith("*"):
        return f"names that end in {core}"
    return f"names that begin with {core}" if pattern.endswith("*") else core
