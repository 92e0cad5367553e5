"""Predictions of held-out rows to scores, a row per fold, subject, session and metric."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle, concatenate
from ..components import Metric, make
from ..damage import read_record
from ..errors import DamagedError, InputError
from ..files import digest_file, read_tsv, to_tsv, write_text
from ..shared.fit_metric import FitMetric
from ..shared.statistics import jackknife_error, pseudo_values
from ..shared.truth_metric import TruthMetric
from .splits import SHOWN

#: What is used of the record of a fit.
FIT = ["name", "seed", "folds", "predictions"]
COLUMNS = [
    "run", "method", "variant", "scheme", "fold", "seed", "subject", "session", "metric", "better", "lowest", "highest",
    "per", "value", "error", "n", "chance", "reason",
]  # fmt: skip
_CELL = ("scheme", "fold", "seed", "subject", "session")
_FOLD = _CELL[:3]
#: Groups of rows that are left out in turn for the error of a value; with as many responses as rows, fewer.
_MOST_LEFT_OUT, _MOST_STIMULI_LEFT_OUT = 50, 20


def score_predictions(
    fits: Sequence[str | os.PathLike],
    predictions: Sequence[str | os.PathLike],
    targets: str | os.PathLike,
    out: str | os.PathLike,
    metrics: Mapping[str, Mapping[str, Any]],
    run: str,
    variant: str,
    truth: str | os.PathLike | None = None,
    task: str = "classify",
    group: bool = False,
) -> None:
    """Score what every method predicted in one variant of a run.

    Parameters
    ----------
    fits, predictions : sequence of path
        ``fit.json`` and ``predictions.npz`` of every part of every method, in the same order.
    targets : path
        ``targets.tsv`` of the variant. Scoring takes the targets from here; those in the predictions only
        serve to notice that the two do not belong together.
    out : path
        The table to write: ``value``; ``error`` (standard error over the fold's held-out rows by the
        jackknife, given the fitted model); ``n`` held-out rows; ``chance``; ``better`` (``greater`` or
        ``smaller``); ``reason`` where the value is not defined; ``per`` says what the value is of: ``subject``
        (the subject's own held-out rows), ``pseudo`` (the subject's jackknife pseudo-value in the score of all
        subjects held out together) or ``fold`` (all of them; the fold then stands for a subject).
    metrics : mapping of str to mapping
        Metrics and their parameters.
    run, variant : str
        Written into every row, as is the method's name, which ``fit.json`` has.
    truth : path, optional
        ``truth.json`` of a simulated dataset, for metrics of what a fit found out.
    task : str
        One of :data:`replicortex.components.TASKS`; targets to regress are numbers.
    group : bool
        Whether targets are of subjects rather than of rows, so that subjects are scored together.

    Raises
    ------
    InputError
        If parts do not belong together, targets differ from those that were predicted, or a prediction is not
        finite: the message names the method, the fold and the first row.
    """
    made = {name: make("metrics", name, params) for name, params in metrics.items()}
    planted = None if truth is None else read_record(truth, ["facts"])["facts"]
    rows = []
    for method, files in _by_method(fits, predictions).items():
        scored = _score_method(method, *zip(*files, strict=True), targets, made, planted, task, group=group)
        rows += [{"run": run, "method": method, "variant": variant, **row} for row in scored]
    write_text(out, to_tsv(rows, COLUMNS))


def _by_method(
    fits: Sequence[str | os.PathLike], predictions: Sequence[str | os.PathLike]
) -> dict[str, list[tuple[str | os.PathLike, str | os.PathLike]]]:
    """Return the pairs of files of each method, in the order of the study card."""
    if len(fits) != len(predictions) or not fits:
        raise InputError(
            "score", f"{len(fits)} fit record(s) for {len(predictions)} predictions file(s)", "name both of every part"
        )
    found: dict[str, list[tuple[str | os.PathLike, str | os.PathLike]]] = {}
    for pair in zip(fits, predictions, strict=True):
        found.setdefault(read_record(pair[0], FIT)["name"], []).append(pair)
    return found


def _score_method(
    method: str,
    fits: Sequence[str | os.PathLike],
    predictions: Sequence[str | os.PathLike],
    targets: str | os.PathLike,
    metrics: Mapping[str, Metric],
    truth: Mapping[str, Any] | None,
    task: str,
    *,
    group: bool,
) -> list[dict[str, Any]]:
    """Return the rows of one method, a row per cell and metric."""
    folds = _read_fits(fits, predictions)
    bundle = _read_predictions(predictions, method)
    if len(bundle):
        _check_predictions(bundle, method)
        target = _targets(bundle, targets, method)
        target = target.astype(float) if task == "regress" else target
    rows = []
    # What was shown in several sessions is scored together: its repeats tell how much can be predicted at all.
    by = _FOLD if group else (*_FOLD, "subject") if task in SHOWN else _CELL
    people = {tuple(fold.values()): set(bundle.rows["subject"][here]) for fold, here in _cells(bundle, _FOLD[:2])}
    told: set[tuple[str, ...]] = set()
    for cell, here in _cells(bundle, by):
        part = bundle.take(here)
        record = folds.get((cell["seed"], f"{cell['scheme']}|{cell['fold']}"))
        if record is None:
            raise InputError(fits[0], f"has no fold {cell['scheme']}|{cell['fold']}", "fit the method again")
        for name, metric in metrics.items():
            if not group and isinstance(metric, FitMetric) and len(people[cell["scheme"], cell["fold"]]) > 1:
                # What one fit found out is one value, however many people it is tried on.
                first = (name, cell["scheme"], cell["fold"], cell["seed"])
                if first in told:
                    continue
                told.add(first)
                whole = {"per": "fold", "subject": cell["fold"], "session": None}
                entries = [{**whole, **_score(metric, target[here], part, record, truth, error=False)}]
            elif not group:
                groups = target[here] if task in SHOWN else _segments(part)
                place = {"session": None} if task in SHOWN else {}
                entries = [{"per": "subject", **place, **_score(metric, target[here], part, record, truth, groups)}]
            elif metric.whole or task == "select":
                whole = {"per": "fold", "subject": cell["fold"], "session": None}
                entries = [{**whole, **_score(metric, target[here], part, record, truth, error=False)}]
            else:
                entries = _shares(metric, target[here], part, truth)
            rows += [{**cell, "metric": name, **entry} for entry in entries]
    return rows


def _segments(part: Bundle) -> np.ndarray | None:
    """Return the segment of each row, where rows of several follow each other in time: moments are not independent."""
    segments = part.rows["segment"].astype(str) if "segment" in part.rows else np.empty(0)
    return segments if len(np.unique(segments)) > 1 else None


def _shares(metric: Metric, target: np.ndarray, part: Bundle, truth: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return value, n, chance and reason of each subject: its pseudo-value in the score of all."""
    subjects = part.rows["subject"].astype(str)
    names, counts = np.unique(subjects, return_counts=True)
    take = _taker(_read(metric, part, truth))
    if metric.averages:
        of_each = [subjects == name for name in names]
        values = np.array([_value(metric, target[rows], take(rows), truth) for rows in of_each])
    else:
        values = pseudo_values(lambda rows: _value(metric, target[rows], take(rows), truth), subjects)
    reason = "the metric is not defined for the subjects held out, or not without this one"
    return [
        {
            **_properties(metric, target),
            "per": "pseudo",
            "subject": str(name),
            "session": None,
            "n": int(n),
            "value": value if np.isfinite(value) else float("nan"),
            "error": float("nan"),
            "reason": None if np.isfinite(value) else reason,
        }
        for name, n, value in zip(names, counts, values.tolist(), strict=True)
    ]


class _Taken(Mapping):
    """Rows of arrays, each copied when somebody asks for it."""

    def __init__(self, arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
        self._arrays, self._rows, self._found = arrays, rows, {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._found:
            self._found[name] = np.asarray(self._arrays[name][self._rows])
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def _read(metric: Metric, part: Bundle, truth: Mapping[str, Any] | None) -> Bundle:
    """Return the rows with what the metric reads of each."""
    found = metric.of_rows(part)
    if isinstance(metric, TruthMetric):
        found |= metric.of_rows_in_truth(part, truth)
    return dataclasses.replace(part, arrays={**part.arrays, **found}) if found else part


def _taker(part: Bundle) -> Callable[[np.ndarray], Bundle]:
    """Return what takes some rows; maps that a metric does not read are not copied for each that is left out."""
    rows_alone = dataclasses.replace(part, arrays={})

    def take(rows: np.ndarray) -> Bundle:
        found = rows_alone.take(rows)
        object.__setattr__(found, "arrays", _Taken(part.arrays, rows))
        return found

    return take


def _properties(metric: Metric, target: np.ndarray) -> dict[str, Any]:
    """Return what is said of a metric in every row."""
    bounds = dict(zip(("lowest", "highest"), metric.bounds, strict=True))
    better = "greater" if metric.greater_is_better else "smaller"
    return {"better": better, **bounds, "chance": float(metric.chance(target))}


def _score(
    metric: Metric,
    target: np.ndarray,
    part: Bundle,
    record: Mapping[str, Any],
    truth: Mapping[str, Any] | None,
    groups: np.ndarray | None = None,
    *,
    error: bool = True,
) -> dict[str, Any]:
    """Return value, error, n, chance and reason of one metric on the rows of one cell.

    The error is that over rows, or over ``groups`` of rows that belong together.
    """
    scored = {**_properties(metric, target), "n": len(target), "reason": None}
    if isinstance(metric, FitMetric):
        value, spread = float(metric.score_fit(record, truth)), float("nan")
        reason = "the fit or the truth does not have what the metric compares"
    else:
        part = _read(metric, part, truth)
        value = _value(metric, target, part, truth)
        reason = "the metric is not defined for these rows"
        if len(np.unique(target)) == 1:
            reason = f"held-out rows have one class only ({target[0]})"
        spread = float("nan")
        if error and np.isfinite(value):
            most = _MOST_LEFT_OUT if groups is None else _MOST_STIMULI_LEFT_OUT
            units = np.arange(len(target)) if groups is None else np.unique(groups, return_inverse=True)[1]
            # Names of rows are checked in each bundle, which takes a fraction of the time where they are numbers.
            take = _taker(part.with_rows(row_id=np.arange(len(part))) if groups is None else part)

            def without(kept: np.ndarray) -> float:
                rows = kept if groups is None else np.flatnonzero(np.isin(units, kept))
                return _value(metric, target[rows], take(rows), truth)

            spread = jackknife_error(without, int(units.max()) + 1, most)
    if not np.isfinite(value):
        scored["reason"], value = reason, float("nan")
    return {**scored, "value": value, "error": spread}


def _value(metric: Metric, target: np.ndarray, part: Bundle, truth: Mapping[str, Any] | None) -> float:
    """Return a metric of some rows."""
    if isinstance(metric, TruthMetric):
        return float(metric.score_truth(target, part, truth))
    return float(metric.score(target, part))


def _read_fits(
    fits: Sequence[str | os.PathLike], predictions: Sequence[str | os.PathLike]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the record of every fold by (seed, "scheme|fold"), checked against its predictions file."""
    folds = {}
    for fit, prediction in zip(fits, predictions, strict=True):
        record = read_record(fit, FIT)
        if Path(prediction).is_file() and record["predictions"] != digest_file(prediction):
            raise DamagedError(prediction, f"is not what {Path(fit).name} beside it records")
        folds.update({(str(record["seed"]), fold): entry for fold, entry in record["folds"].items()})
    return folds


def _read_predictions(predictions: Sequence[str | os.PathLike], method: str) -> Bundle:
    try:
        return concatenate(Bundle.open(path) for path in predictions)
    except ValueError as error:
        raise InputError(
            f"predictions of {method}", f"parts do not fit together ({error})", "fit the method again"
        ) from None


def _check_predictions(bundle: Bundle, method: str) -> None:
    for name, values in bundle.arrays.items():
        finite = np.isfinite(values).reshape(len(bundle), -1).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            fold = f"{bundle.rows['scheme'][first]}|{bundle.rows['fold'][first]}"
            raise InputError(
                f"predictions of {method}, fold {fold}",
                f"{name} of row {bundle.rows['row'][first]} is not finite ({np.sum(~finite)} such rows)",
                "correct the method or its input",
            )


def _targets(bundle: Bundle, targets: str | os.PathLike, method: str) -> np.ndarray:
    """Return the target of every predicted row, from the table of targets."""
    target_of = {row["row_id"]: row["target"] for row in read_tsv(targets)}
    row_ids, predicted = bundle.rows["row"].astype(str), bundle.rows["target"].astype(str)
    for row_id, value in zip(row_ids, predicted, strict=True):
        stated = target_of.get(row_id, "missing")
        if stated != value:
            raise InputError(
                targets,
                f"target of row {row_id} is {stated}, {method} was held against {value}",
                "fit the method again on these targets",
            )
    return predicted


def _cells(bundle: Bundle, by: Sequence[str]) -> list[tuple[dict[str, str], np.ndarray]]:
    """Return the rows of each value of the columns ``by``, in sorted order."""
    if not len(bundle):
        return []
    columns = [bundle.rows[name].astype(str) for name in by]
    order = np.lexsort(columns[::-1])
    changes = np.any([column[order][1:] != column[order][:-1] for column in columns], axis=0)
    return [
        (dict(zip(by, (str(column[here[0]]) for column in columns), strict=True)), np.sort(here))
        for here in np.split(order, np.flatnonzero(changes) + 1)
    ]
