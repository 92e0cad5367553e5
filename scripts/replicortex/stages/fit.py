"""Fit one method on its share of a run's folds and predict the held-out rows."""

from __future__ import annotations

import dataclasses
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import gpu, guard
from ..bundle import Bundle, concatenate
from ..components import Context, Method, make, parameters
from ..damage import read_record
from ..errors import DamagedError, InputError
from ..files import atomic, digest_file, digest_of, to_json, write_text
from ..origin import generated_by
from ..shared import weights as published
from ..shared.rows import Rows
from .splits import TARGET_COLUMNS, read_folds


def read_features(paths: Sequence[Path], rows: set[str], *, streams: bool = False) -> Bundle:
    """Return the named rows of several feature bundles; arrays are mapped, so only these rows are read.

    With ``streams`` not even these are, before somebody asks for them: memory does not grow with the dataset.
    """
    parts = [Bundle.open(path, whole=True) for path in paths]
    wanted = [np.isin(part.rows["row_id"].astype(str), list(rows)) for part in parts]
    try:
        if streams:
            return concatenate(parts, Rows).take(np.concatenate(wanted))
        return concatenate(part.take(here) for part, here in zip(parts, wanted, strict=True))
    except ValueError as error:
        raise InputError(
            paths[0],
            f"recordings do not fit together ({error})",
            "choose channels and sampling rate in the feature card",
        ) from None


def fit(
    features: Sequence[Path],
    splits: Path,
    targets: Path,
    predictions: Path,
    models: Path,
    record: Path,
    name: str,
    method: str,
    params: Mapping[str, Any],
    variant: str,
    part: str,
    seed: int,
    task: str = "classify",
    gpus: int = 0,
    dataset: str = "",
    parent: Sequence[Path] | None = None,
    untrained: bool = False,
    stimuli: Path | None = None,
    training: Path | None = None,
) -> None:
    """Fit and predict the folds of one part; write predictions, models and the record of what was seen.

    Parameters
    ----------
    features : sequence of Path
        Feature bundles.
    splits, targets : Path
        What :func:`replicortex.stages.splits.make_splits` wrote.
    predictions, models, record : Path
        Written: a bundle of the held-out rows' predictions, a zip with one model a fold, and ``fit.json``: per
        fold the rows and subjects that every fit saw, what the nested search chose, and the numbers of rows; and
        the model of the GPU that was computed on, or ``cpu``.
    name, method : str
        The method's name in the study, and the component.
    params : mapping
        Its parameters.
    variant, part : str
        Part of the identity; ``part`` is "0of4": every fourth fold.
    seed : int
        Seed of the fit; a variant with untrained networks (``random-<k>``) derives its own from it.
    task : str
        What the method is to do; targets to regress are numbers. A method that can ``pretrain`` and nothing else does
        that.
    gpus : int
        GPUs to hold while fitting; waits until they are free. The method sees these and no others.
    dataset : str
        Its name, for the model card.
    parent : (Path, Path), optional
        ``models.zip`` and ``fit.json`` of the method to start from. What it saw counts as seen by this fit.
    untrained : bool
        Whether the method's networks are left as they are initialised.
    stimuli : Path, optional
        Bundle of what was shown.
    training : Path, optional
        Folder for the logs of training, and for checkpoints, which are removed at the end: a job that was killed goes
        on from the last one.

    Raises
    ------
    InputError
        If the method can not do this task, features lack an axis that it needs or a row of the splits, or a table
        is damaged.
    """
    rows, folds = read_folds(splits, targets)
    target_of = {row_id: row["target"] for row_id, row in rows.items()}
    number, parts = map(int, part.split("of"))
    folds = {key: folds[key] for i, key in enumerate(sorted(folds)) if i % parts == number}
    wanted = {row for fold in folds.values() for side in fold.values() for row in side}
    described = make("methods", method, params)
    bundle = read_features(features, wanted, streams=described.streams)
    position = {row: i for i, row in enumerate(bundle.rows["row_id"].astype(str))}
    lost = sorted(wanted - position.keys())
    if lost:
        raise InputError(splits, f"row {lost[0]} is not in the features", "make the splits again")

    task = "pretrain" if described.tasks == {"pretrain"} else task
    if task not in described.tasks:
        can = ", ".join(sorted(described.tasks))
        raise InputError(f"method {name}", f"can not {task}, but {can}", "choose another method, or another task")
    lacking = [axis for axis in described.needs if axis not in bundle.axes]
    # An empty part has no rows, and may have no axes.
    if lacking and len(bundle):
        raise InputError(
            f"method {name}",
            f"needs features with the axis {', '.join(lacking)}, these have {', '.join(bundle.axes) or 'none'}",
            "choose another feature card",
        )

    started = _Parent(*parent) if parent else None
    twin = re.fullmatch(r"random-(\d+)", variant)
    fit_seed = int(np.random.SeedSequence([seed, int(twin[1])]).generate_state(1)[0]) if twin else seed
    shown = Bundle.open(stimuli, whole=True) if stimuli else None
    covariates = read_covariates(rows, bundle.rows["row_id"].astype(str))
    # A method never sees what it is to predict: the label column goes, and only training rows get a target.
    bundle = bundle.with_rows(label=None, **covariates)
    outputs, written, told = [], {}, {}
    with gpu.claimed(gpus if folds else 0):
        for number, ((scheme, fold), sides) in enumerate(folds.items(), start=1):
            train = bundle.take(np.array([position[row] for row in sides["train"]], dtype=int))
            test = bundle.take(np.array([position[row] for row in sides["test"]], dtype=int))
            target = np.array([target_of[row] for row in sides["train"]])
            train = train.with_rows(target=target.astype(float) if task == "regress" else target)
            key = f"{scheme}|{fold}"
            scratch = training / f"{number:04d}-{digest_of(key)[:8]}" if training else None
            model = make("methods", method, params)
            model.context = Context(name, dataset, untrained, started and started.model(key), shown, scratch)
            asked = np.array([target_of[row] for row in sides["test"]])
            with guard.ledger() as seen, published.ledger() as read:
                model.fit(train, fit_seed)
            predicted = _judged(model, model.predict(_asked(test, task, asked)), test, asked, task)
            seen += started.seen(key) if started else []
            outputs.append(_labelled(predicted, scheme, fold, seed, [target_of[row] for row in sides["test"]]))
            written[key] = model.dump()
            told[key] = {
                "chosen": model.chosen(),
                "n_train": len(train),
                "n_test": len(test),
                "train_rows": digest_of(sorted(sides["train"])),
                "seen": guard.summarise(seen),
                **({"weights": [report.told() for report in read]} if read else {}),
            }
            print(
                f"[{number}/{len(folds)}] {scheme} {fold}: {len(train)} rows fitted, {len(test)} predicted",
                file=sys.stderr,
            )
        device = gpu.in_use()

    if not outputs:
        # More parts than folds: an empty part is valid and says so.
        empty = {
            c: np.empty(0, "U1") for c in ("row", "subject", "session", "run", "scheme", "fold", "target", "row_id")
        }
        outputs = [Bundle({"y_score": np.empty((0, 0))}, {**empty, "seed": np.empty(0, int)})]
    concatenate(outputs).save(predictions)
    with atomic(models) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, content in sorted(written.items()):
            archive.writestr(zipfile.ZipInfo(key.replace("|", "/")), content)
    text = {
        "name": name,
        "method": method,
        "params": parameters(described),
        "n_configurations": described.n_configurations(),
        "variant": variant,
        "part": part,
        "seed": seed,
        "device": device,
        "generated_by": generated_by(f"method {method}"),
        "folds": told,
        "predictions": digest_file(predictions),
        "models": digest_file(models),
    }
    write_text(record, to_json(text))
    for taken in training.rglob("*.pt") if training else ():
        taken.unlink()


class _Parent:
    """The fitted method that another starts from: one model a fold, and what each has seen."""

    def __init__(self, models: Path, record: Path) -> None:
        self._models = models
        self._record = read_record(record, ["name", "method", "params", "folds", "models"])
        if self._record["models"] != digest_file(models):
            raise DamagedError(models, f"is not what {record.name} beside it records")

    def model(self, key: str) -> Method:
        """Return the model of a fold."""
        self._fold(key)
        found = make("methods", self._record["method"], self._record["params"])
        with zipfile.ZipFile(self._models) as archive:
            found.restore(archive.read(key.replace("|", "/")))
        return found

    def seen(self, key: str) -> Iterator[dict[str, Any]]:
        """Yield what it, and all that it started from itself, has seen."""
        for entry in self._fold(key)["seen"]:
            yield {**entry, "artefact": f"{self._record['name']}: {entry['artefact']}"}

    def _fold(self, key: str) -> dict[str, Any]:
        if key not in self._record["folds"]:
            raise InputError(f"method {self._record['name']}", f"has no fold {key}", "fit it again on these splits")
        return self._record["folds"][key]


def _asked(test: Bundle, task: str, target: np.ndarray) -> Bundle:
    """Return what a method is given of the held-out rows: to encode, which stimulus it was and not the response."""
    return dataclasses.replace(test.with_rows(target=target), arrays={}) if task == "encode" else test


def _judged(model: Method, predicted: Bundle, test: Bundle, target: np.ndarray, task: str) -> Bundle:
    """Return predictions with what scoring compares them with, where that is more than the target."""
    added = {}
    if task == "encode":
        added = {"response": np.asarray(test["x"])}
    elif task == "retrieve":
        position = {row: i for i, row in enumerate(model.context.stimuli.rows["row_id"].astype(str))}
        of_row = [position[stimulus] for stimulus in target]
        added = {f"stimulus_{name}": model.context.stimuli[name][of_row] for name in model.judged_on}
    return dataclasses.replace(predicted, arrays={**predicted.arrays, **added})


def read_covariates(rows: Mapping[str, Mapping[str, str]], row_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the covariates of the named rows: numbers (``nan`` where unknown) if all that is known are, else text."""
    first = next(iter(rows.values()), {})
    found = {}
    for name in sorted(first.keys() - set(TARGET_COLUMNS)):
        values = np.array([rows[row][name] for row in row_ids])
        try:
            found[name] = np.where(values == "n/a", "nan", values).astype(float)
        except ValueError:
            found[name] = values
    return found


def _labelled(predicted: Bundle, scheme: str, fold: str, seed: int, target: list[str]) -> Bundle:
    """Return predictions with the columns by which scoring groups them."""
    n = len(predicted)
    row = predicted.rows["row_id"].astype(str)
    rows = {name: predicted.rows[name].astype(str) for name in ("subject", "session", "run") if name in predicted.rows}
    rows |= {
        "row_id": np.array([f"{scheme}|{fold}|{seed}|{entry}" for entry in row]),
        "row": row,
        "scheme": np.full(n, scheme),
        "fold": np.full(n, fold),
        "seed": np.full(n, seed),
        "target": np.asarray(target, dtype=str),
    }
    return Bundle(predicted.arrays, rows, predicted.axes, {"fitted": []})
