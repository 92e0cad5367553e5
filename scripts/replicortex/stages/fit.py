"""Fit one method on its share of a run's folds and predict the held-out rows."""

from __future__ import annotations

import dataclasses
import hashlib
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
from ..shared.generation import beside_real
from ..shared.rows import Rows
from .splits import TARGET_COLUMNS, UNIT_COLUMNS, UNLABELLED, read_folds

#: Row columns of predictions that scores are taken by.
_KEPT = ("subject", "session", "run", "segment")


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
    observed: Sequence[Path] | None = None,
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
        What the method is to do; targets to regress are numbers, to decode the array ``y`` of the features. A method
        that can ``pretrain`` and nothing else does that.
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
    observed : (Path, Path), optional
        ``models.zip`` and ``fit.json`` of the same method on the targets as they are. Where it can only ``pretrain``,
        and was fitted there on the same rows and started from the same model, it is not fitted again: it sees no
        targets.

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
    # To decode, a null variant may ask for the numbers of a moment that is on neither side.
    wanted |= {target_of[row] for row in wanted} if task == "decode" else set()
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

    started = _Fitted(*parent) if parent else None
    # Targets are all that a null variant changes.
    alike = _Fitted(*observed) if observed and task == "pretrain" else None
    twin = re.fullmatch(r"random-(\d+)", variant)
    fit_seed = int(np.random.SeedSequence([seed, int(twin[1])]).generate_state(1)[0]) if twin else seed
    shown = Bundle.open(stimuli, whole=True) if stimuli else None
    if task == "decode" and len(bundle) and "y" not in bundle.arrays:
        raise InputError(features[0], "has no array y to decode", "choose a feature that gives one")
    covariates = read_covariates(rows, bundle.rows["row_id"].astype(str))
    # A method never sees what it is to predict: the label column goes, and only training rows get a target.
    bundle = bundle.with_rows(label=None, **covariates)
    outputs, written, told = [], {}, {}
    with gpu.claimed(gpus if folds else 0):
        for number, ((scheme, fold), sides) in enumerate(folds.items(), start=1):
            train = bundle.take(np.array([position[row] for row in sides["train"]], dtype=int))
            test = bundle.take(np.array([position[row] for row in sides["test"]], dtype=int))
            target = np.array([target_of[row] for row in sides["train"]])
            asked = np.array([target_of[row] for row in sides["test"]])
            hidden = None
            if task == "decode":
                shown_y, hidden = (_rows_of(bundle.arrays["y"], position, names) for names in (target, asked))
                train, test = _with_y(train, shown_y), _with_y(test, None)
            elif task not in (*UNLABELLED, "pretrain"):
                train = train.with_rows(target=target.astype(float) if task == "regress" else target)
            key = f"{scheme}|{fold}"
            scratch = training / f"{number:04d}-{digest_of(key)[:8]}" if training else None
            lineage = {
                "train_rows": digest_of(sorted(sides["train"])),
                **({"started_from": started.digest(key)} if started else {}),
            }
            known = alike.entry(key, lineage) if alike else None
            model = make("methods", method, params)
            # What is taken over needs no other model: all that it started from is in it.
            parent_model = started.model(key) if started and known is None else None
            model.context = Context(name, dataset, untrained, parent_model, shown, scratch)
            with guard.ledger() as seen, published.ledger() as read:
                if known is None:
                    model.fit(train, fit_seed)
                else:
                    model.restore(alike.content(key))
            predicted = _judged(model, model.predict(_asked(test, task, asked)), test, asked, task, hidden)
            if task == "generate":
                predicted = beside_real(predicted, train, test)
            seen += started.seen(key) if started and known is None else []
            outputs.append(_labelled(predicted, scheme, fold, seed, [target_of[row] for row in sides["test"]]))
            if known is None:
                written[key], found = model.dump(), model.found()
                told[key] = {
                    "chosen": model.chosen(),
                    **({"found": {key: np.asarray(value).tolist() for key, value in found.items()}} if found else {}),
                    "n_train": len(train),
                    "n_test": len(test),
                    **lineage,
                    "seen": guard.summarise(seen),
                    **({"weights": [report.told() for report in read]} if read else {}),
                }
            else:
                written[key], told[key] = alike.content(key), {**known, "n_test": len(test), "taken_over": True}
            print(
                f"[{number}/{len(folds)}] {scheme} {fold}: {len(train)} rows"
                f" {'fitted' if known is None else 'fitted before'}, {len(test)} predicted",
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


class _Fitted:
    """A method that was fitted by another job: one model a fold, and what each has seen."""

    def __init__(self, models: Path, record: Path) -> None:
        self._models = models
        self._record = read_record(record, ["name", "method", "params", "folds", "models"])
        if self._record["models"] != digest_file(models):
            raise DamagedError(models, f"is not what {record.name} beside it records")

    def model(self, key: str) -> Method:
        """Return the model of a fold."""
        self._fold(key)
        found = make("methods", self._record["method"], self._record["params"])
        found.restore(self.content(key))
        return found

    def content(self, key: str) -> bytes:
        """Return the model of a fold as it was written."""
        with zipfile.ZipFile(self._models) as archive:
            return archive.read(key.replace("|", "/"))

    def digest(self, key: str) -> str:
        """Return the digest of that."""
        self._fold(key)
        return hashlib.sha256(self.content(key)).hexdigest()

    def entry(self, key: str, lineage: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what is recorded of a fold; nothing if it is not there, or of another lineage."""
        found = self._record["folds"].get(key, {})
        return found if found and all(found.get(name) == value for name, value in lineage.items()) else None

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


def _rows_of(values: np.ndarray, position: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    return np.asarray(values[np.array([position[name] for name in names], dtype=int)])


def _with_y(rows: Bundle, y: np.ndarray | None) -> Bundle:
    """Return rows with these numbers to decode, or without any."""
    kept = {name: values for name, values in rows.arrays.items() if name != "y"}
    return dataclasses.replace(rows, arrays=kept if y is None else {**kept, "y": y})


def _judged(
    model: Method, predicted: Bundle, test: Bundle, target: np.ndarray, task: str, hidden: np.ndarray | None
) -> Bundle:
    """Return predictions with what scoring compares them with, where that is more than the target."""
    added = {}
    if task == "decode":
        added = {"y_true": hidden}
    elif task == "encode":
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
    for name in sorted(first.keys() - {*TARGET_COLUMNS, *UNIT_COLUMNS}):
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
    rows = {name: predicted.rows[name].astype(str) for name in _KEPT if name in predicted.rows}
    rows |= {
        "row_id": np.array([f"{scheme}|{fold}|{seed}|{entry}" for entry in row]),
        "row": row,
        "scheme": np.full(n, scheme),
        "fold": np.full(n, fold),
        "seed": np.full(n, seed),
        "target": np.asarray(target, dtype=str),
    }
    return Bundle(predicted.arrays, rows, predicted.axes, {"fitted": []})
