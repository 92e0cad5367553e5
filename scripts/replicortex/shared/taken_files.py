"""Files that are taken as they are: their cells, their sidecars, and their place among the derivatives."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json


def number(
    cell: str, where: str, name: str, remedy: str = "make it again", missing: Sequence[str] = ("n/a", "", "nan", "NaN")
) -> float:
    """Return the number in a cell of a table, ``nan`` for what stands for a missing one.

    Raises
    ------
    InputError
        If it is neither, or not finite; the message has ``where`` it stands in file ``name``.

    """
    if cell in missing:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(name, f"{where} holds {cell[:40]!r}", remedy)
    return value


def read_sidecar(path: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a sidecar, without the paths that hold in its dataset only.

    Raises
    ------
    InputError
        If it is not readable; ``name`` stands for it.

    """
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(name, str(error).removeprefix(f"{path}: "), "repair or remove the file") from None
    if not isinstance(content, dict):
        raise InputError(name, "does not hold a JSON object", "repair or remove the file")
    return {key: value for key, value in content.items() if key not in ("Sources", "RawSources")}


def link(source: Path, target: Path) -> None:
    """Make ``target`` another name of the file ``source``, or a copy where that can not be."""
    try:
        # Of the file itself: a link to an annexed file's link would break with the place.
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
