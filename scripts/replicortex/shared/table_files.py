"""Tables that are recordings themselves (time series, matrices, measures, behaviour): checked, and linked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_tsv
from .fmriprep_names import refuse_links_out
from .raw_files import inside
from .taken_files import link, number, read_sidecar


def deliver_table(recording: Mapping[str, str], root: Path, out: Path) -> dict[str, Any]:
    """Check a table that is a recording and link it into ``out``; return what its sidecars say.

    Time series need a rate. Matrices have a first column ``Node`` and are symmetric, unless their sidecar says
    ``"Directed": true``. Measures have the columns ``variable`` and ``value``.

    Raises
    ------
    InputError
        If the table is unreadable, lacks a cell, or is not what its suffix says.

    """
    name, suffix = recording["path"], recording["suffix"]
    path = root / name
    refuse_links_out([path], [root], {path: name})
    try:
        rows = read_tsv(path)
        header = path.read_text(encoding="utf-8-sig").split("\n", 1)[0].rstrip("\r").split("\t")
    except InputError as error:
        raise InputError(name, str(error).removeprefix(f"{path}: "), "repair the table") from None
    twice = next((column for column in header if header.count(column) > 1 or not column.strip()), None)
    if twice is not None:
        raise InputError(name, f"has the column {twice!r} twice or without a name", "give each column its own name")
    if not rows:
        raise InputError(name, "has no rows", "restore the file")
    lengths = path.read_text(encoding="utf-8-sig").splitlines()
    short = next((number for number, line in enumerate(lengths, 1) if line.count("\t") + 1 != len(header)), None)
    if short is not None:
        raise InputError(name, f"line {short} has another number of cells than the header", "repair the line")
    sidecar = _merged(recording, root)
    check = {"timeseries": _check_series, "relmat": _check_matrix, "morph": _check_variables}.get(suffix, _check_rows)
    quality = check(rows, header, sidecar, recording)
    link(path.resolve(), out / path.name)
    return {**sidecar, "MainFile": path.name, "TakenFrom": {path.name: name}, "Quality": quality}


def _merged(recording: Mapping[str, str], root: Path) -> dict[str, Any]:
    found = recording.get("sidecars", "n/a")
    merged: dict[str, Any] = {}
    for name in json.loads(found) if found not in ("", "n/a") else []:
        merged |= read_sidecar(inside(root, name), name)
    return merged


def _value(cell: str, where: str, name: str) -> float:
    # "nan" as text is no value of BIDS.
    return number(cell, where, name, "write a number or n/a", missing=("n/a",))


def _check_series(
    rows: Sequence[Mapping[str, str]], header: Sequence[str], sidecar: dict[str, Any], recording: Mapping[str, str]
) -> dict[str, float]:
    name = recording["path"]
    time, rate = sidecar.get("RepetitionTime"), sidecar.get("SamplingFrequency")
    if not _positive(time) and _positive(rate):
        # BIDS gives tabular time series a rate.
        time = 1 / rate
    if not _positive(time):
        raise InputError(name, "its sidecar has no RepetitionTime (s)", "add it to the JSON beside the table")
    sidecar["RepetitionTime"] = float(time)
    lost = sum(math.isnan(_value(row[column], column, name)) for row in rows for column in header)
    return {"n_volumes": float(len(rows)), "n_regions": float(len(header)), "missing": lost / len(rows) / len(header)}


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _check_matrix(
    rows: Sequence[Mapping[str, str]], header: Sequence[str], sidecar: dict[str, Any], recording: Mapping[str, str]
) -> dict[str, float]:
    name = recording["path"]
    if header[0] != "Node":
        raise InputError(name, f"its first column is {header[0][:40]!r}, not Node", "name the rows in a column Node")
    if [row["Node"] for row in rows] != list(header[1:]):
        raise InputError(name, "its rows and its columns are not the same regions in the same order", "order them")
    values = [[_value(row[column], column, name) for column in header[1:]] for row in rows]
    if sidecar.get("Directed") is True:
        cells = [value for row in values for value in row]
        return {"n_regions": float(len(values)), "missing": sum(map(math.isnan, cells)) / max(1, len(cells))}
    pairs = [(values[i][j], values[j][i]) for i in range(len(values)) for j in range(i)]
    known = [(one, other) for one, other in pairs if not (math.isnan(one) or math.isnan(other))]
    if any(not math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) for one, other in known):
        raise InputError(name, "is not symmetric", "provide undirected connections, or say Directed in its sidecar")
    return {"n_regions": float(len(values)), "missing": 1 - len(known) / max(1, len(pairs))}


def _check_variables(
    rows: Sequence[Mapping[str, str]], header: Sequence[str], sidecar: dict[str, Any], recording: Mapping[str, str]
) -> dict[str, float]:
    name = recording["path"]
    if list(header) != ["variable", "value"]:
        raise InputError(name, "its columns are not variable and value", "write one variable a line")
    names = [row["variable"] for row in rows]
    if len(set(names)) < len(names):
        raise InputError(name, "names a variable twice", "keep one line for each")
    lost = sum(math.isnan(_value(row["value"], row["variable"], name)) for row in rows)
    return {"n_variables": float(len(rows)), "missing": lost / len(rows)}


def _check_rows(
    rows: Sequence[Mapping[str, str]], header: Sequence[str], sidecar: dict[str, Any], recording: Mapping[str, str]
) -> dict[str, float]:
    return {"n_rows": float(len(rows)), "n_columns": float(len(header))}
