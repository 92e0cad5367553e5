"""What was shown: a table of the stimuli of a dataset, when each was presented, and what they are in numbers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..bids import read_recordings
from ..bundle import Bundle
from ..components import make, parameters
from ..damage import read_table
from ..errors import InputError
from ..files import digest_file, read_tsv, to_tsv, write_text
from ..origin import generated_by
from ..shared.stimuli import StimulusRule, kind_of, presented

COLUMNS = [
    "stim_id", "path", "kind", "split", "repeat_group", "caption", "factors", "n_presentations", "n_subjects", "digest",
]  # fmt: skip
SHOWN = ["recording", "subject", "stim_id", "onset", "duration"]


def make_stimuli(recordings: Path, root: Path, table: Path, presentations: Path, rule: Mapping[str, Any]) -> None:
    """Write which stimuli a dataset shows and when, from the events of its recordings.

    Stimuli whose files have the same content are one: the presentations of all go by the name of the first, which is
    their ``repeat_group``. Else the same picture could stand on both sides of a split.

    Parameters
    ----------
    recordings : Path
        ``recordings.tsv`` of the dataset.
    root : Path
        The dataset.
    table, presentations : Path
        Written: a row a stimulus (``stim_id, path, kind, split, repeat_group, caption, factors``, how often and to how
        many subjects it was presented, and the digest of its file); and a row a presentation (``recording``,
        ``subject``, ``stim_id``, ``onset`` and ``duration`` in s).
    rule : mapping
        The entry ``stimuli`` of the dataset card; see :class:`replicortex.shared.stimuli.StimulusRule`.

    Raises
    ------
    InputError
        If the rule does not fit the events, no event names a stimulus, or events do not agree on what a stimulus is.
    """
    made = stimulus_rule(rule)
    known: dict[str, dict[str, Any]] = {}
    shown: list[dict[str, Any]] = []
    for row in read_recordings(recordings):
        if row["events"] in ("", "n/a") or row.get("problem", "n/a") not in ("", "n/a"):
            continue
        for entry in presented(read_tsv(root / row["events"]), made, row["events"]):
            first = known.setdefault(entry["stim_id"], entry)
            for key in ("split", "caption", "factors"):
                if entry[key] != first[key]:
                    fault = f"{entry['stim_id']} has the {key} {entry[key]!r} here and {first[key]!r} elsewhere"
                    raise InputError(row["events"], fault, "correct the events, or leave the column out of the card")
            place = {"recording": row["recording"], "subject": row["subject"]}
            shown.append({**place, **{key: entry[key] for key in SHOWN[2:]}})
    if not shown:
        raise InputError(recordings, "no event of any recording names a stimulus", "see `stimuli` of the dataset card")
    files = {name: _file(root, made.folder, name) for name in known}
    digests = {name: digest_file(root / path) if path else "n/a" for name, path in files.items()}
    first_of: dict[str, str] = {}
    group = {name: first_of.setdefault(digests[name], name) if files[name] else name for name in sorted(known)}
    for entry in shown:
        entry["stim_id"] = group[entry["stim_id"]]
    people: dict[str, list[str]] = {}
    for entry in shown:
        people.setdefault(entry["stim_id"], []).append(entry["subject"])
    lines = [
        {
            "stim_id": name,
            "path": files[name] or "n/a",
            "kind": kind_of(name),
            "split": known[name]["split"],
            "repeat_group": group[name],
            "caption": known[name]["caption"],
            "factors": json.dumps(known[name]["factors"], sort_keys=True, ensure_ascii=False),
            "n_presentations": len(people.get(name, [])),
            "n_subjects": len(set(people.get(name, []))),
            "digest": digests[name],
        }
        for name in sorted(known)
    ]
    write_text(table, to_tsv(lines, COLUMNS))
    write_text(presentations, to_tsv(shown, SHOWN))
    n_lost = sum(not path for path in files.values())
    print(f"{len(lines)} stimuli, {len(shown)} presentations, {n_lost} without a file")


def stimulus_rule(rule: Mapping[str, Any]) -> StimulusRule:
    """Return the entry ``stimuli`` of a dataset card, checked.

    Raises
    ------
    InputError
        Naming the key.
    """
    try:
        return StimulusRule(**rule)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "stimuli"
        raise InputError("dataset card", f"stimuli.{place}: {first['msg']}", "correct it in the card") from None


def _file(root: Path, folder: str, name: str) -> str | None:
    """Return the path of a stimulus relative to the dataset, ``None`` if its content is not there."""
    path = f"{folder.strip('/')}/{name}"
    inside = os.path.realpath(root / path).startswith(os.path.realpath(root) + os.sep)
    return path if inside and (root / path).is_file() else None


def extract_stimuli(
    table: Path,
    root: Path,
    bundle: Path,
    provider: str,
    params: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> None:
    """Write the features of the stimuli of a table, a row for each that differs from the others.

    Parameters
    ----------
    table : Path
        What :func:`make_stimuli` wrote.
    root : Path
        The dataset.
    bundle : Path
        Written: ``tokens`` (n, n_tokens, n_channels) and ``pooled``, their mean (n, n_channels), float32; ``row_id`` is
        the ``stim_id``; ``axes["position"]`` says where each token is. No more than one stimulus is in memory.
    provider, params
        Name and parameters of the provider.
    files : mapping of str to str, optional
        Parameters that are paths of the user's files or folders.
    folder : str, optional
        Folder for what does not fit into memory; that of ``bundle`` if not given.

    Raises
    ------
    InputError
        If the provider can not read a stimulus, or features of two differ in shape.
    """
    made = make("providers", provider, {**params, **(files or {})})
    rows = [row for row in read_table(table, COLUMNS) if row["repeat_group"] == row["stim_id"]]
    odd = next((row for row in rows if made.kinds and row["kind"] not in made.kinds), None)
    if odd is not None:
        fault = f"is of kind {odd['kind']}, which the provider {provider} does not take ({', '.join(made.kinds)})"
        raise InputError(odd["stim_id"], fault, "choose another provider in the stimulus card")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    tokens = pooled = None
    done = 0
    with tempfile.TemporaryDirectory(dir=folder or bundle.parent, prefix=".stimuli-") as temporary:
        for part in made.tokens(rows, root):
            if tokens is None:
                shape = (len(rows), *part.shape[1:])
                tokens = np.lib.format.open_memmap(Path(temporary) / "tokens.npy", "w+", np.float32, shape)
                pooled = np.empty((len(rows), part.shape[2]), dtype=np.float32)
            if part.shape[1:] != tokens.shape[1:] or not np.isfinite(part).all():
                name, fault = rows[done]["stim_id"], f"its features are {part.shape[1:]}, those before"
                fault = (
                    f"{fault} {tokens.shape[1:]}" if part.shape[1:] != tokens.shape[1:] else "a feature is no number"
                )
                raise InputError(name, fault, "bring the stimuli to one size")
            tokens[done : done + len(part)] = part
            pooled[done : done + len(part)] = part.mean(axis=1)
            done += len(part)
        if tokens is None or done != len(rows):
            raise InputError(table, f"{done} of {len(rows)} stimuli have features", "check the provider")
        told = {key: np.array([row[key] for row in rows]) for key in ("kind", "split", "caption")}
        columns = {"row_id": np.array([row["stim_id"] for row in rows]), "subject": np.full(len(rows), "n/a"), **told}
        axes = {
            "token": list(range(tokens.shape[1])),
            "channel": list(range(tokens.shape[2])),
            "position": made.positions(),
        }
        told = {key: value for key, value in parameters(made).items() if key not in (files or {})}
        meta = {
            "provider": provider,
            "params": told,
            "fitted": [],
            "generated_by": generated_by(f"provider {provider}"),
        }
        Bundle({"tokens": tokens, "pooled": pooled, **made.beside(rows, root)}, columns, axes, meta).save(bundle)
    print(f"{done} stimuli, {tokens.shape[1]} tokens of {tokens.shape[2]} channels")
