"""Compare what every fit of a run's variant has seen with what it predicted, and stop on a leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import guard
from ..components import make
from ..files import read_json, read_tsv, to_json, write_text


def check_leaks(
    records: Sequence[Path],
    splits: Path,
    targets: Path,
    report: Path,
    schemes: Mapping[str, Mapping[str, Any]],
) -> None:
    """Check every fold of every fit; write a report only if nothing leaked.

    Parameters
    ----------
    records : sequence of Path
        The ``fit.json`` of every method and part.
    splits, targets : Path
        The folds, and the table of rows they refer to.
    report : Path
        Written: the number of folds and fits checked.
    schemes : mapping of str to mapping
        Splitters and their parameters; each says what it holds out.

    Raises
    ------
    LeakError
        Naming method, scheme, fold and subject.
    """
    rows = read_tsv(targets)
    table = {name: np.array([row[name] for row in rows]) for name in ("row_id", "subject", "session")}
    position = {row: i for i, row in enumerate(table["row_id"])}
    sides: dict[str, dict[str, list[int]]] = {}
    for row in read_tsv(splits):
        key = f"{row['scheme']}|{row['fold']}"
        sides.setdefault(key, {"train": [], "test": []})[row["role"]].append(position[row["row_id"]])
    held_out = {scheme: make("splitters", scheme, params).held_out for scheme, params in schemes.items()}

    for key, side in sides.items():
        scheme, fold = key.split("|", 1)
        train, test = np.array(side["train"], dtype=int), np.array(side["test"], dtype=int)
        guard.check_splits(scheme, fold, held_out[scheme], table, train, test)

    fits = 0
    for path in records:
        record = read_json(path)
        for key, told in record["folds"].items():
            scheme, fold = key.split("|", 1)
            test = {name: column[sides[key]["test"]] for name, column in table.items()}
            what = f"{record['name']}, {record['variant']}, {scheme}, fold {fold}"
            guard.check_fit(what, held_out[scheme], told["seen"], test)
            fits += len(told["seen"])
    write_text(report, to_json({"folds": len(sides), "fits": fits, "records": len(records), "leaks": 0}))
