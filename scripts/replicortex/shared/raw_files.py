"""The files of a raw recording: inside the dataset, there, and with their sidecars, for every modality alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import read_json


def inside(root: Path, name: str) -> Path:
    """Return ``root / name``, refusing a name that could lead out of the dataset.

    Raises
    ------
    InputError
        If ``name`` is absolute or has a ``..`` part.

    """
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(name, "leads out of the dataset", "name files relative to the dataset root")
    return root / name


def check_present(path: Path, name: str) -> None:
    """Refuse a data file that is missing or empty; ``name`` stands for it.

    Raises
    ------
    InputError
        If there is no such file, or nothing in it.

    """
    if not path.is_file():
        fetch = "fetch it (git annex get)" if path.is_symlink() else "restore the file"
        raise InputError(name, "data file is missing", fetch)
    if path.stat().st_size == 0:
        raise InputError(name, "data file is empty", "restore the file")


def merged_sidecars(recording: Mapping[str, str], root: Path) -> dict[str, Any]:
    """Return the merged sidecars of a recording (a row of ``recordings.tsv``), later ones over earlier ones.

    Raises
    ------
    InputError
        If one leads out of the dataset, is not readable or holds no object; the line has its name in the dataset.

    """
    merged: dict[str, Any] = {}
    names = recording.get("sidecars")
    for name in json.loads(names) if names not in (None, "", "n/a") else []:
        path = inside(root, name)
        try:
            content = read_json(path)
        except InputError as error:
            raise InputError(name, str(error).removeprefix(f"{path}: ").split("; ")[0], "repair it") from None
        if not isinstance(content, dict):
            raise InputError(name, "does not hold a JSON object", "repair or remove the file")
        merged |= content
    return merged
