"""Compare what every fit of a run's variant has seen with what it predicted, and stop on a leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import guard
from ..components import make
from ..damage import read_record
from ..errors import InputError
from ..files import digest_of, to_json, write_text
from .splits import UNIT_COLUMNS, read_folds


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
    InputError
        If a table is damaged, or a fit has a fold that the splits have not.
    """
    rows, folds = read_folds(splits, targets)
    known = UNIT_COLUMNS & next(iter(rows.values()), {}).keys()
    table = {name: np.array([row[name] for row in rows.values()]) for name in sorted(known)}
    position = {row: i for i, row in enumerate(rows)}
    sides = {
        key: {role: np.array([position[row] for row in side[role]], dtype=int) for role in side}
        for key, side in folds.items()
    }
    held_out = {scheme: make("splitters", scheme, params).held_out for scheme, params in schemes.items()}

    for (scheme, fold), side in sides.items():
        guard.check_splits(scheme, fold, held_out[scheme], table, side["train"], side["test"])

    fits = 0
    for path in records:
        record = read_record(path, ["name", "variant", "folds"])
        for key, told in record["folds"].items():
            scheme, fold = key.split("|", 1)
            if (scheme, fold) not in sides:
                raise InputError(path, f"has the fold {key}, which {splits.name} has not", "fit the method again")
            test = {name: column[sides[scheme, fold]["test"]] for name, column in table.items()}
            what = f"{record['name']}, {record['variant']}, {scheme}, fold {fold}"
            training = sorted(table["row_id"][sides[scheme, fold]["train"]].tolist())
            if told["train_rows"] != digest_of(training):
                raise guard.LeakError(what, "was not fitted on the training rows of the splits", "fit the method again")
            guard.check_fit(what, held_out[scheme], told["seen"], test, table)
            fits += len(told["seen"])
    write_text(report, to_json({"folds": len(sides), "fits": fits, "records": len(records), "leaks": 0}))
