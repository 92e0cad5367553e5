"""Extract the features of a block's preprocessed recordings into one bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle, concatenate
from ..damage import read_table
from ..errors import InputError
from ..files import digest_of, to_tsv, write_text
from ..origin import generated_by
from .blocks import IDENTITY, Store, name_of, over_recordings, with_files

COLUMNS = ["n_rows", "digest"]
#: What is used of the table that preprocessing writes.
MANIFEST = ["recording", "subject", "datatype", "suffix", "status", "reason", "path", "digest"]


def extract_block(
    manifest: Path,
    derivatives: Path,
    bundle: Path,
    status: Path,
    feature: str,
    params: Mapping[str, Any],
    classes: Mapping[str, Sequence[str]],
    code: str,
    block: str,
    files: Mapping[str, str] | None = None,
    presentations: Path | None = None,
) -> None:
    """Extract the features of the recordings of ``manifest``; write ``bundle`` and ``status``.

    A recording whose derivative, feature, parameters, classes and code have not changed comes from the
    store beside ``bundle``. One that fails, or whose axes are not those of the block's other recordings, is
    recorded in ``status`` and left out.

    Parameters
    ----------
    manifest : Path
        What preprocessing wrote.
    derivatives : Path
        The derivative dataset.
    bundle, status : Path
        The files to write.
    feature, params
        Name and parameters of the extractor.
    classes : mapping of str to list of str
        The study's name of each class, and the ``trial_type`` values that mean it.
    code : str
        Digest of the extractor's code.
    block : str
        ``"0of4"``: number of the block, and how many there are.
    files : mapping of str to str, optional
        Parameters that are paths of the user's files: part of the identity is their content.
    presentations : Path, optional
        When which stimulus was shown, for extractors whose rows are presentations; see
        :func:`replicortex.stages.stimuli.make_stimuli`.

    Raises
    ------
    InputError
        If a parameter is refused or the disk is full; a fault of a recording is only recorded.

    """
    extractor, identity = with_files("features", feature, params, files or {})
    identity += [{name: list(kinds) for name, kinds in classes.items()}, code]
    _check_classes(identity[2])
    rows = [row for row in read_table(manifest, MANIFEST) if row["datatype"] in extractor.datatypes]
    raw, store = Store(derivatives), Store(bundle.parent / "store")
    store.prune((name_of(row) for row in rows), block)
    made: dict[str, Bundle] = {}
    shown = _presented(presentations) if extractor.needs_stimuli else {}

    def key(row: Mapping[str, str]) -> str:
        seen = [shown.get(row["recording"], [])] if extractor.needs_stimuli else []
        return digest_of(name_of(row), row["digest"], *identity, *seen)

    def known(row: Mapping[str, str]) -> dict[str, Any] | None:
        if row["status"] != "ok":
            raise InputError("preprocessing", row["reason"], "see the manifest")
        record = store.find(name_of(row), key(row))
        return None if record is None else entry(row, record)

    def process(row: Mapping[str, str]) -> dict[str, Any]:
        raw.verify(name_of(row), row["digest"], manifest)

        def write(folder: Path) -> None:
            if extractor.needs_stimuli:
                extractor.presentations = shown.get(row["recording"], [])
            made_now = extractor.extract(row, derivatives / row["path"], identity[2])
            # What the extractor says was fitted stays: the leak guard has to see it.
            made_now.with_meta(**{"fitted": [], **made_now.meta, **_origin(feature, identity[1])}).save(
                folder / f"{name_of(row)}.npz"
            )

        return entry(row, store.make(name_of(row), key(row), f"sub-{row['subject']}", write))

    def entry(row: Mapping[str, str], record: Mapping[str, Any]) -> dict[str, Any]:
        part = Bundle.open(store.base / f"sub-{row['subject']}" / f"{name_of(row)}.npz")
        made[name_of(row)] = part
        # A recording with one row is of one class: the others are not amiss.
        several = "label" in part.rows and len(part) > 1
        absent = sorted(classes.keys() - set(part.rows["label"].tolist())) if several else []
        reason = f"no trial of {', '.join(absent)}" if absent else None
        return {"n_rows": len(part), "digest": record["digest"], "reason": reason}

    table = over_recordings(rows, COLUMNS, known, process, hide=[derivatives, store.base])
    _drop_odd_channels(table, made)
    for line in table:
        if line["status"] == "failed":
            store.drop(name_of(line))
    write_text(status, to_tsv(table, [*IDENTITY, "status", "reason", *COLUMNS]))
    parts = [made[name_of(line)] for line in table if line["status"] == "ok"]
    (concatenate(parts) if parts else _empty(feature, identity[1])).save(bundle)


def _presented(path: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Return what was shown during each recording."""
    if path is None:
        fault = (
            "takes presentations of stimuli, and the dataset card does not say which column of the events names them"
        )
        raise InputError("feature", fault, "add `stimuli` to the dataset card")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(path, ["recording", "stim_id", "onset", "duration"]):
        numbers = {name: float(row[name]) for name in ("onset", "duration")}
        found.setdefault(row["recording"], []).append({"stim_id": row["stim_id"], **numbers})
    return found


def _origin(feature: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a bundle says of what made it."""
    return {"feature": feature, "params": params, "generated_by": generated_by(f"feature {feature}")}


def _check_classes(classes: Mapping[str, list[str]]) -> None:
    uses = Counter(kind for kinds in classes.values() for kind in kinds)
    twice = [kind for kind, count in uses.items() if count > 1]
    if twice:
        raise InputError("classes", f"trial_type {twice[0]!r} stands in two classes", "name it in one class")


def _drop_odd_channels(table: list[dict[str, Any]], made: Mapping[str, Bundle]) -> None:
    """Record as failed the recordings whose axes are not those of most: their rows can not be stacked."""
    axes = {name_of(line): dict(made[name_of(line)].axes) for line in table if line["status"] == "ok"}
    shape = {recording: digest_of(value) for recording, value in axes.items()}
    if len(set(shape.values())) < 2:
        return
    usual, _ = Counter(shape.values()).most_common(1)[0]
    expected = next(axes[recording] for recording in axes if shape[recording] == usual)
    for line in table:
        if line["status"] == "ok" and shape[name_of(line)] != usual:
            fault = _difference(axes[name_of(line)], expected)
            reason = InputError(name_of(line), fault, "choose channels and resample in the feature card")
            line |= {"status": "failed", "reason": str(reason), "n_rows": None, "digest": None}


def _difference(axes: Mapping[str, Sequence], expected: Mapping[str, Sequence]) -> str:
    # The shortest axis that differs says most plainly why: a sampling rate before all times.
    name = min((name for name in expected if axes.get(name) != expected[name]), key=lambda name: len(expected[name]))
    values, wanted = axes.get(name, []), expected[name]
    lacking = [str(value) for value in wanted if value not in values]
    extra = [str(value) for value in values if value not in wanted]
    parts = [f"lacks {name} {', '.join(lacking[:5])}"] if lacking else []
    parts += [f"has {name} {', '.join(extra[:5])}"] if extra else []
    return f"{' and '.join(parts) or f'orders {name} otherwise'}, unlike the other recordings"


def _empty(feature: str, params: Mapping[str, Any]) -> Bundle:
    """Return the bundle of a block without recordings."""
    text = np.array([], dtype=str)
    rows = dict.fromkeys(("row_id", "subject", "session", "run", "label", "recording"), text)
    meta = {**_origin(feature, params), "fitted": []}
    rows["onset"] = np.array([], dtype=float)
    return Bundle({"x": np.zeros((0, 0, 0), np.float32)}, rows, {}, meta)
