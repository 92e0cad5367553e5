"""Files between stages that are no longer what was written: found, set aside, made again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import DamagedError, InputError
from .files import read_json, read_tsv

#: Where a driver and its jobs leave notes for the next ones, below the working directory.
STATE = Path(".snakemake/replicortex")
#: Recordings that a rule made are not made again one by one: the index and the validator judge them.
RAW = re.compile(r"results/datasets/[^/]+/bids/")


def set_aside(path: str | Path) -> Path:
    """Rename a damaged file to ``<name>.damaged``, in place of an earlier one of that name; return the new path."""
    path = Path(path)
    kept = path.with_name(f"{path.name}.damaged")
    path.replace(kept)
    return kept


def take_out(error: DamagedError, folder: Path) -> list[str]:
    """Set aside the files that an error names, and note them for the driver; return those that were.

    Only results of the workflow are touched: never recordings, and nothing outside ``folder/results``.

    Parameters
    ----------
    error : DamagedError
        What a stage met.
    folder : Path
        The working directory.
    """
    done = []
    for path in map(Path, error.paths):
        inside = (folder / path).resolve()
        if not inside.is_relative_to((folder / "results").resolve()) or not inside.is_file():
            continue
        if RAW.match(inside.relative_to(folder.resolve()).as_posix()):
            continue
        with contextlib.suppress(OSError):
            set_aside(inside)
            done.append(path.as_posix())
    with contextlib.suppress(OSError), (folder / STATE / "damaged.txt").open("a", encoding="utf-8") as stream:
        stream.writelines(f"{path}\n" for path in done)
    return done


def read_record(path: str | Path, keys: Iterable[str]) -> dict[str, Any]:
    """Read a JSON object that an earlier stage wrote.

    Raises
    ------
    DamagedError
        If it is not JSON, or lacks one of ``keys``.
    InputError
        If there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such file", "run the stage that makes it")
    try:
        content = read_json(path)
    except InputError as error:
        raise DamagedError(path, error.fault) from None
    if not isinstance(content, dict):
        raise DamagedError(path, "is no JSON object")
    lacking = [key for key in keys if key not in content]
    if lacking:
        raise DamagedError(path, f"lacks {lacking[0]!r}")
    return content


def read_table(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a tab-separated table that an earlier stage wrote; it may have no rows.

    Raises
    ------
    DamagedError
        If it is no table, lacks one of ``columns``, or its last line is cut off.
    InputError
        If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "run the stage that makes it")
    try:
        table = read_tsv(path)
    except InputError as error:
        raise DamagedError(path, error.fault) from None
    with path.open("rb") as stream:
        header = stream.readline().decode(errors="replace").rstrip("\n").split("\t")
        stream.seek(-1, 2)
        whole = stream.read(1) == b"\n"
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise DamagedError(path, f"lacks the column {lacking[0]}")
    if not whole:
        raise DamagedError(path, "its last line is cut off")
    return table
