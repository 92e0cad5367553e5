"""Who is held out when: written down before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import guard
from ..bundle import Bundle
from ..components import make
from ..damage import read_table
from ..errors import DamagedError, InputError
from ..files import read_tsv, to_tsv, write_text

TARGET_COLUMNS = ["row_id", "subject", "session", "run", "label", "target"]
#: Tasks whose rows are presentations of stimuli, which are their labels.
SHOWN = ("encode", "retrieve")
#: Tasks whose rows have no label: to decode, a row's own numbers are its target; the others have none.
UNLABELLED = ("decode", "infer", "generate")
#: Row columns of the units that a scheme may hold out; the leak guard reads them in the table of targets.
UNIT_COLUMNS = frozenset(column for columns in guard.UNITS.values() for column in columns)
_NODES = ["node_from", "node_to"]
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
            raise DamagedError(splits, f"role {row['role']!r} is neither train nor test")
        if row["row_id"] not in rows:
            raise DamagedError(splits, f"row {row['row_id']} is not in {targets.name}", made_with=targets)
        sides = folds.setdefault((row["scheme"], row["fold"]), {"train": [], "test": []})
        sides[row["role"]].append(row["row_id"])
    return rows, folds


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    table = read_table(path, columns)
    if not table:
        raise DamagedError(path, "lacks rows")
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


def permute_subjects(
    target: np.ndarray, subjects: np.ndarray, blocks: np.ndarray, seed: int | Sequence[int]
) -> np.ndarray:
    """Return ``target`` permuted among subjects of each exchangeability block; rows of a subject stay together.

    Raises
    ------
    InputError
        If a subject has two targets or lies in two blocks: the rows, not the subjects, would be the units.
    """
    _, first, index = np.unique(subjects, return_index=True, return_inverse=True)
    for values, what in ((target, "target"), (blocks, "exchangeability block")):
        odd = values != values[first][index]
        if odd.any():
            raise InputError(f"subject {subjects[odd][0]}", f"has more than one {what}", "correct participants.tsv")
    return permute_within(target[first], blocks[first], seed)[index]


def permute_stimuli(target: np.ndarray, blocks: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return ``target`` with the stimuli of each block exchanged as a whole: a row's repeats stay its repeats.

    It is one exchange for all rows: what was shown on both sides of a split still is, and what was not is not.

    Raises
    ------
    InputError
        If a stimulus lies in two blocks.
    """
    names, first, index = np.unique(target, return_index=True, return_inverse=True)
    odd = blocks != blocks[first][index]
    if odd.any():
        raise InputError(
            f"stimulus {target[odd][0]}", "has more than one exchangeability block", "leave the column out"
        )
    return permute_within(names, blocks[first], seed)[index]


def shift_in_time(target: np.ndarray, blocks: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return ``target`` shifted within each block, as on a circle, by at least a tenth of its rows.

    Rows of a block are in the order of time. Each series keeps how it goes on from moment to moment; only its relation
    to the data is gone, which permuted moments would not show: they are easier to tell from any smooth series.
    """
    generator = np.random.default_rng(seed)
    shifted = target.copy()
    for block in np.unique(blocks):
        here = np.flatnonzero(blocks == block)
        least = max(1, len(here) // 10)
        by = int(generator.integers(least, max(least, len(here) - least) + 1))
        shifted[here] = np.roll(target[here], by)
    return shifted


def permute_nodes(
    target: np.ndarray, sources: np.ndarray, sinks: np.ndarray, blocks: np.ndarray, seed: int | Sequence[int]
) -> np.ndarray:
    """Return the label of another pair for each ordered pair of nodes: that of the pair's nodes after a permutation.

    It is one permutation of all nodes, so that the labels keep the structure of a graph, such as hubs. A pair whose
    label was not measured gives ``n/a``.
    """
    names = np.unique(np.concatenate([sources, sinks]))
    other = dict(zip(names, np.random.default_rng(seed).permutation(names), strict=True))
    known = {pair: label for *pair, label in zip(blocks, sources, sinks, target, strict=True) for pair in [tuple(pair)]}
    pairs = zip(blocks, sources, sinks, strict=True)
    return np.array([known.get((block, other[one], other[two]), "n/a") for block, one, two in pairs])


def read_variable(participants: Path, name: str, variables: Mapping[str, Mapping[str, Any]]) -> dict[str, str] | None:
    """Return the value of a variable of each subject, ``None`` if the table has no such column.

    Parameters
    ----------
    participants : Path
        ``participants.tsv``.
    name : str
        Name of the variable.
    variables : mapping
        For each variable its ``column``, and perhaps ``values``: the column's values that mean each class.
    """
    entry = variables.get(name, {"column": name})
    table = read_tsv(participants)
    if not table or entry["column"] not in table[0]:
        return None
    if "participant_id" not in table[0]:
        raise InputError(participants, "has no column participant_id", "add it, with values such as sub-01")
    meaning = {str(value): label for label, values in entry.get("values", {}).items() for value in values}
    told = {row["participant_id"].removeprefix("sub-"): row[entry["column"]] for row in table}
    return {subject: meaning.get(value, "n/a") for subject, value in told.items()} if meaning else told


def make_splits(
    features: Sequence[Path],
    splits: Path,
    targets: Path,
    schemes: Mapping[str, Mapping[str, Any]],
    variant: str,
    classes: Sequence[str],
    seed: int,
    exchangeable: Sequence[str] = ("subject", "session", "run"),
    task: str = "classify",
    target: str | None = None,
    covariates: Sequence[str] = (),
    participants: Path | None = None,
    variables: Mapping[str, Mapping[str, Any]] | None = None,
    exchange: str = "rows",
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
        The labels that take part; not used to regress and to select.
    seed : int
        Seed of the folds; a null variant permutes with a seed derived from its number.
    exchangeable : sequence of str
        Row columns that make an exchangeability block.
    task : str
        One of :data:`replicortex.components.TASKS`. To select, a row's target is its subject. To decode it is the row
        whose numbers are to be found: its own, and in a null variant that of another moment.
    target : str, optional
        Variable of the participants to predict; without it the label of each row.
    covariates : sequence of str
        Row columns or variables of the participants to hand to the methods.
    participants : Path, optional
        ``participants.tsv`` of the dataset.
    variables : mapping, optional
        What its columns mean; see :func:`read_variable`.
    exchange : {"rows", "nodes"}
        What a null variant exchanges: rows, or the nodes of the graph whose ordered pairs are the rows.

    Raises
    ------
    InputError
        If a class has no row, a variable is not there, or no scheme is possible.
    LeakError
        If a splitter puts a held-out unit on both sides.
    """
    variables = variables or {}
    if target in covariates:
        raise InputError("evaluation", f"the target {target} is also a covariate", "take it out of the covariates")
    columns = [*TARGET_COLUMNS[:-1], *(set(exchangeable) - {*TARGET_COLUMNS, *covariates})]
    splitters = {scheme: make("splitters", scheme, params) for scheme, params in schemes.items()}
    columns += _NODES if exchange == "nodes" else []
    columns += [column for one in splitters.values() for column in (*one.columns, *guard.UNITS[one.held_out])]
    rows = read_rows(features, list(dict.fromkeys([*columns, *covariates])))
    for name in covariates:
        rows[name] = _covariate(name, rows, participants, variables)
    if task == "select":
        rows["label"] = rows["subject"]
    elif target is not None:
        rows["label"] = _of_subjects(target, rows["subject"], participants, variables)
    elif task in UNLABELLED:
        rows["label"] = rows["row_id"]
    n_rows = len(rows["row_id"])
    rows = _take_part(rows, task, classes, features[0])
    print(f"{len(rows['row_id'])} of {n_rows} rows take part")

    permuted = rows["label"]
    if variant.startswith("null-"):
        keys = zip(*(rows[column] for column in exchangeable), strict=True) if exchangeable else [()] * len(permuted)
        blocks = np.array(["|".join(key) for key in keys])
        seeds = [seed, int(variant.removeprefix("null-"))]
        if exchange == "nodes":
            permuted = permute_nodes(permuted, *(rows[name] for name in _NODES), blocks, seeds)
            known = permuted != "n/a"
            rows, permuted = {name: column[known] for name, column in rows.items()}, permuted[known]
        elif task == "decode":
            permuted = shift_in_time(permuted, blocks, seeds)
        elif task in SHOWN:
            permuted = permute_stimuli(permuted, blocks, seeds)
        elif target is None:
            permuted = permute_within(permuted, blocks, seeds)
        else:
            permuted = permute_subjects(permuted, rows["subject"], blocks, seeds)
    seen = permuted.astype(float) if task == "regress" else permuted
    if task in ("select", *SHOWN) or (task in UNLABELLED and target is None):
        # There is nothing to balance: the subject, what was shown, or the row itself is the target.
        seen = np.zeros(len(permuted))

    table, reasons = [], []
    for scheme, splitter in splitters.items():
        reason = splitter.unfit(rows)
        if reason:
            reasons.append(f"{scheme}: {reason}")
            print(f"scheme {scheme} left out: {reason}")
            continue
        n_lines = len(table)
        for fold, train, test in splitter.split(rows, seen, seed):
            guard.check_splits(scheme, fold, splitter.held_out, rows, train, test)
            table += [
                {"scheme": scheme, "fold": fold, "row_id": rows["row_id"][i], "role": role}
                for role, side in (("train", train), ("test", test))
                for i in side
            ]
        if len(table) == n_lines:
            reasons.append(f"{scheme}: it makes no fold of these rows, each class would have to be in every one")
    if not table:
        raise InputError(
            "splits", "no scheme is possible: " + "; ".join(reasons), "name other schemes in the study card"
        )
    held = sorted({column for one in splitters.values() for column in guard.UNITS[one.held_out]})
    told = list(dict.fromkeys([*TARGET_COLUMNS[:-1], *held, *covariates]))
    listed = [{**{name: rows[name][i] for name in told}, "target": permuted[i]} for i in range(len(permuted))]
    write_text(targets, to_tsv(listed, [*told, "target"]))
    write_text(splits, to_tsv(table, SPLIT_COLUMNS))


def _of_subjects(
    name: str, subjects: np.ndarray, participants: Path | None, variables: Mapping[str, Mapping[str, Any]]
) -> np.ndarray:
    """Return a variable of the participants for each row, ``n/a`` where it is not known."""
    values = read_variable(participants, name, variables) if participants else None
    if values is None:
        column = variables.get(name, {"column": name})["column"]
        raise InputError(
            "participants.tsv", f"has no column {column!r}, for {name}", "name it under `variables` of the dataset card"
        )
    return np.array([values.get(subject, "n/a") for subject in subjects])


def _covariate(
    name: str,
    rows: Mapping[str, np.ndarray],
    participants: Path | None,
    variables: Mapping[str, Mapping[str, Any]],
) -> np.ndarray:
    """Return a covariate of each row: what the features measured, else what the participants' table says."""
    measured = rows[name]
    if np.isin(measured, ["n/a", "nan"]).all():
        return _of_subjects(name, rows["subject"], participants, variables)
    return np.where(measured == "nan", "n/a", measured)


def _take_part(rows: dict[str, np.ndarray], task: str, classes: Sequence[str], where: Path) -> dict[str, np.ndarray]:
    """Return the rows whose label is known and of the study."""
    label = rows["label"]
    if task == "classify":
        keep = np.isin(label, list(classes))
    elif task == "regress":
        keep = np.array([_is_number(value) for value in label])
    else:
        keep = label != "n/a"
    missing = sorted(set(classes) - set(label)) if task == "classify" else []
    if missing or not keep.any():
        fault = f"no row of class {', '.join(missing)} in any recording" if missing else "no row has a known target"
        raise InputError(where, fault, "check the dataset card against the events and participants.tsv")
    return {name: column[keep] for name, column in rows.items()}


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
