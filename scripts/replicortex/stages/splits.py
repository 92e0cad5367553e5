"""Who is held out when: written down before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import guard
from ..bundle import Bundle
from ..components import make
from ..errors import InputError
from ..files import read_tsv, to_tsv, write_text

TARGET_COLUMNS = ["row_id", "subject", "session", "run", "label", "target"]
SPLIT_COLUMNS = ["scheme", "fold", "row_id", "role"]


def read_rows(paths: Sequence[Path], columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the row columns of several bundles, stacked, without reading their arrays.

    Raises
    ------
    InputError
        If none of the bundles has a row.
    """
    tables = [Bundle.open(path).rows for path in paths]
    tables = [rows for rows in tables if len(rows["row_id"])]
    if not tables:
        raise InputError(
            paths[0] if paths else "features",
            "no recording gave any row",
            "read the reasons in the status tables beside the features",
        )
    return {
        name: np.concatenate([rows.get(name, np.full(len(rows["row_id"]), "n/a")) for rows in tables]).astype(str)
        for name in columns
    }


def read_folds(
    splits: Path, targets: Path
) -> tuple[dict[str, dict[str, str]], dict[tuple[str, str], dict[str, list[str]]]]:
    """Read what :func:`make_splits` wrote.

    Returns
    -------
    rows : dict
        The lines of ``targets`` by ``row_id``.
    folds : dict
        ``{(scheme, fold): {"train": [row_id, ...], "test": [...]}}``.

    Raises
    ------
    InputError
        If a table is cut off or lacks a column, or the two do not belong together.
    """
    rows = {row["row_id"]: row for row in _read_table(targets, TARGET_COLUMNS)}
    folds: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in _read_table(splits, SPLIT_COLUMNS):
        if row["role"] not in ("train", "test"):
            raise InputError(splits, f"role {row['role']!r} is neither train nor test", "delete it and run again")
        if row["row_id"] not in rows:
            raise InputError(splits, f"row {row['row_id']} is not in {targets.name}", "delete both and run again")
        sides = folds.setdefault((row["scheme"], row["fold"]), {"train": [], "test": []})
        sides[row["role"]].append(row["row_id"])
    return rows, folds


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    table = read_tsv(path)
    if not table or set(columns) - set(table[0]):
        raise InputError(path, "lacks rows or columns", "delete it and run again")
    # The last column is never n/a unless the line was cut off.
    if table[-1][columns[-1]] == "n/a":
        raise InputError(path, "its last line is cut off", "delete it and run again")
    return table


def permute_within(target: np.ndarray, blocks: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return ``target`` permuted among the rows of each exchangeability block.

    Labels are exchangeable only among rows that would have been drawn alike under the null: trials of one run
    of one subject. Permuting beyond would also destroy the subject and site differences that the null keeps.
    """
    generator = np.random.default_rng(seed)
    permuted = target.copy()
    for block in np.unique(blocks):
        here = np.flatnonzero(blocks == block)
        permuted[here] = target[generator.permutation(here)]
    return permuted


def make_splits(
    features: Sequence[Path],
    splits: Path,
    targets: Path,
    schemes: Mapping[str, Mapping[str, Any]],
    variant: str,
    classes: Sequence[str],
    seed: int,
    exchangeable: Sequence[str] = ("subject", "session", "run"),
) -> None:
    """Write the folds and the targets of one variant of a run.

    Parameters
    ----------
    features : sequence of Path
        The feature bundles; only their row tables are read.
    splits, targets : Path
        The tables to write.
    schemes : mapping of str to mapping
        Splitters and their parameters. A scheme that the dataset does not allow is left out with its reason
        printed; claims about it come out as undecided.
    variant : str
        ``observed``, ``absent``, or ``null-<k>``: targets permuted within exchangeability blocks.
    classes : sequence of str
        The labels that take part.
    seed : int
        Seed of the folds; a null variant permutes with a seed derived from its number.
    exchangeable : sequence of str
        Row columns that make an exchangeability block.

    Raises
    ------
    InputError
        If a class has no row, or no scheme is possible.
    LeakError
        If a splitter puts a held-out unit on both sides.
    """
    rows = read_rows(features, [*TARGET_COLUMNS[:-1], *(set(exchangeable) - set(TARGET_COLUMNS))])
    keep = np.isin(rows["label"], list(classes))
    rows = {name: column[keep] for name, column in rows.items()}
    missing = sorted(set(classes) - set(rows["label"]))
    if missing:
        raise InputError(
            features[0],
            f"no row of class {', '.join(missing)} in any recording",
            "check `classes` of the dataset card against the events",
        )
    target = rows["label"]
    if variant.startswith("null-"):
        blocks = np.array(["|".join(key) for key in zip(*(rows[c] for c in exchangeable), strict=True)])
        target = permute_within(target, blocks, seed=[seed, int(variant.removeprefix("null-"))])

    table, reasons = [], []
    for scheme, params in schemes.items():
        splitter = make("splitters", scheme, params)
        reason = splitter.unfit(rows)
        if reason:
            reasons.append(f"{scheme}: {reason}")
            print(f"scheme {scheme} left out: {reason}")
            continue
        for fold, train, test in splitter.split(rows, target, seed):
            guard.check_splits(scheme, fold, splitter.held_out, rows, train, test)
            table += [
                {"scheme": scheme, "fold": fold, "row_id": rows["row_id"][i], "role": role}
                for role, side in (("train", train), ("test", test))
                for i in side
            ]
    if not table:
        raise InputError(
            "splits", "no scheme is possible: " + "; ".join(reasons), "name other schemes in the study card"
        )
    listed = [
        {**{name: rows[name][i] for name in TARGET_COLUMNS[:-1]}, "target": target[i]} for i in range(len(target))
    ]
    write_text(targets, to_tsv(listed, TARGET_COLUMNS))
    write_text(splits, to_tsv(table, SPLIT_COLUMNS))
