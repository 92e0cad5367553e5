"""The files of a raw recording: inside the dataset, there, and with their sidecars, for every modality alike."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import FAULTS, read_json

#: Where git-annex keeps content that the files of a dataset are links to.
_OBJECTS = "/.git/annex/objects/"


def inside(root: Path, name: str) -> Path:
    """Return ``root / name``, refusing a name that leads out of the dataset, and what is no file.

    Raises
    ------
    InputError
        If ``name`` is absolute or has a ``..`` part, a link on its way leads elsewhere, or it is a pipe, a socket
        or a device. Links to the content that git-annex keeps are the dataset's own.

    """
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        raise InputError(name, "leads out of the dataset", "name files relative to the dataset root")
    path = Path(root) / name
    place, real = os.path.realpath(root), os.path.realpath(path)
    if not real.startswith(place.rstrip("/") + "/") and real != place and not _is_annexed(path, place, real):
        raise InputError(name, *FAULTS["leaves"])
    try:
        mode = os.stat(real).st_mode  # noqa: PTH116 - of the resolved path
    except OSError:
        return path  # not there: said by whoever reads it
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(name, *FAULTS["special"])
    return path


def _is_annexed(path: Path, root: str, real: str) -> bool:
    """Return whether ``path`` is a link to an object of the dataset's own annex, wherever that is kept.

    ``.git`` of a subdataset is a link to its parent's; the object itself, and the folders below ``objects``, are not.
    """
    if not path.is_symlink():
        return False
    target = os.path.normpath(os.path.join(os.path.realpath(path.parent), os.readlink(path)))  # noqa: PTH115, PTH118
    below = target.partition(_OBJECTS)[2]
    return target.startswith(root.rstrip("/") + "/") and bool(below) and real.endswith(f"/annex/objects/{below}")


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
            raise InputError(name, error.fault, "repair it") from None
        if not isinstance(content, dict):
            raise InputError(name, "does not hold a JSON object", "repair or remove the file")
        merged |= content
    return merged
