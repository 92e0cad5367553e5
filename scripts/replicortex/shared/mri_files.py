"""Files beside the main file of an MRI derivative, and the rows that features of one recording have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import read_json, read_tsv

#: Entities that derivatives add to the name of the recording that they were made of.
_ADDED = {"space", "res", "den", "desc", "atlas", "seg", "stat", "label", "cohort"}
_EMPTY = {"", "n/a", "nan", "NaN"}


def entities(path: Path) -> dict[str, str]:
    """Return the entities in the name of a BIDS file, such as ``{"sub": "01", "space": "T1w"}``."""
    parts = path.name.split(".")[0].split("_")[:-1]
    return {key: value for key, _, value in (part.partition("-") for part in parts)}


def suffix(path: Path) -> str:
    """Return the suffix of a BIDS file with its extension, such as ``bold.nii.gz``."""
    return path.name.rpartition("_")[2]


def beside(path: Path, ending: str, *, keep: tuple[str, ...] = ()) -> Path:
    """Return the path of a file of the same recording: its entities, those of ``keep``, then ``ending``."""
    kept = [f"{key}-{value}" for key, value in entities(path).items() if key not in _ADDED or key in keep]
    return path.with_name("_".join([*kept, ending]))


def confounds_path(path: Path) -> Path | None:
    """Return the table of confounds of the run that ``path`` was made of, or ``None`` if there is none."""
    found = [beside(path, f"desc-confounds_{name}.tsv") for name in ("timeseries", "regressors")]
    return next((file for file in found if file.is_file()), None)


def is_confounds(path: Path) -> bool:
    """Return whether ``path`` is itself a table of confounds."""
    return entities(path).get("desc") == "confounds" and path.suffix == ".tsv"


def number(text: str) -> float:
    """Return the number that a cell holds, NaN for a missing one; ``ValueError`` if it is none."""
    return math.nan if text.strip() in _EMPTY else float(text)


def read_columns(path: Path, name: str) -> dict[str, np.ndarray]:
    """Return the columns of a table of numbers, each (n_rows,), NaN where a cell is missing.

    Raises
    ------
    InputError
        If the table is missing, has no row, repeats a column, or a cell is not a number.

    """
    try:
        rows = read_tsv(path)
        names = header(path)
        if len(set(names)) != len(names):
            twice = next(column for column in names if names.count(column) > 1)
            raise InputError(name, f"names the column {twice!r} twice", "give each column a name of its own")
        if not rows:
            raise InputError(name, "has no row of numbers", "restore the file")
        return {column: np.array([number(row[column]) for row in rows]) for column in names}
    except ValueError as error:
        raise InputError(name, f"a cell is not a number ({error})", "write numbers, or n/a") from None


def header(path: Path) -> list[str]:
    """Return the names in the first line of a tab-separated table."""
    with path.open(encoding="utf-8-sig") as stream:
        return stream.readline().rstrip("\r\n").split("\t")


def sidecar(path: Path) -> dict:
    """Return the content of the JSON file beside ``path``, empty if there is none."""
    file = path.with_name(path.name.split(".")[0] + ".json")
    content = read_json(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def repetition_time(path: Path, fallback: float = math.nan) -> float:
    """Return the seconds between volumes that the sidecar of ``path`` states, else ``fallback``; NaN if unknown."""
    for stated in (sidecar(path).get("RepetitionTime"), fallback):
        if isinstance(stated, int | float) and math.isfinite(stated) and stated > 0:
            return float(stated)
    return math.nan


def mean_fd(path: Path) -> float:
    """Return the mean framewise displacement (mm) of the run that ``path`` was made of, NaN if not stated."""
    table = path if is_confounds(path) else confounds_path(path)
    if table is None or "framewise_displacement" not in header(table):
        return math.nan
    moved = read_columns(table, table.name)["framewise_displacement"]
    return float(np.nanmean(moved)) if np.isfinite(moved).any() else math.nan


def rows_of(recording: Mapping[str, str], n: int = 1, **columns: float | list[float]) -> dict[str, np.ndarray]:
    """Return the row table of a bundle with ``n`` rows of one recording; ``columns`` are numbers.

    With more than one row, ``row_id`` ends in a number.
    """
    base = f"{recording['recording']}_{recording['suffix']}"
    names = [base] if n == 1 else [f"{base}_{index:04d}" for index in range(n)]
    rows = {"row_id": np.array(names)}
    rows |= {key: np.array([recording[key]] * n) for key in ("subject", "session", "run", "recording")}
    rows |= {key: np.broadcast_to(np.asarray(value, float), (n,)).copy() for key, value in columns.items()}
    return rows
