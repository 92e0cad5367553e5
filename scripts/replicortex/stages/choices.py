"""What the nested searches chose in every fold of a run: one table, from the records of its fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..damage import read_record
from ..files import to_tsv, write_text

COLUMNS = ["method", "scheme", "fold", "seed", "n_train", "n_test", "n_configurations", "parameter", "value"]


def collect_choices(records: Sequence[Path], out: Path) -> None:
    """Write a row per method, scheme, fold, seed and parameter that was chosen.

    Folds are numbered, since their names are often those of subjects. A fold of a method that chooses nothing has one
    row without a parameter; lists, such as the names of selected variables, are left out.

    Parameters
    ----------
    records : sequence of Path
        The ``fit.json`` of every part of every method.
    out : Path
        The table to write.

    Raises
    ------
    DamagedError
        If a record is damaged.
    """
    read = [read_record(path, ["name", "seed", "n_configurations", "folds"]) for path in records]
    numbers = _numbered(key for record in read for key in record["folds"])
    rows = [row for record in read for row in _rows(record, numbers)]
    order = list(dict.fromkeys(record["name"] for record in read))
    rows.sort(key=lambda row: (order.index(row["method"]), row["scheme"], row["seed"], row["fold"]))
    write_text(out, to_tsv(rows, COLUMNS))


def _numbered(keys: Iterator[str]) -> dict[str, int]:
    """Return the number of each fold in its scheme, from 1; all methods and parts have the same folds."""
    numbers: dict[str, int] = {}
    counts: dict[str, int] = {}
    for key in sorted(set(keys)):
        scheme = key.partition("|")[0]
        numbers[key] = counts[scheme] = counts.get(scheme, 0) + 1
    return numbers


def _rows(record: Mapping[str, Any], numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for key, fold in record["folds"].items():
        told = {"method": record["name"], "scheme": key.partition("|")[0], "fold": numbers[key], "seed": record["seed"]}
        told |= {"n_train": fold["n_train"], "n_test": fold["n_test"], "n_configurations": record["n_configurations"]}
        chosen = {name: value for name, value in fold["chosen"].items() if isinstance(value, bool | int | float | str)}
        if not chosen:
            yield told
        for name, value in sorted(chosen.items()):
            yield {**told, "parameter": name, "value": value}
