"""Bring electrophysiological files of other layouts to BIDS with MNE-BIDS."""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mne
import mne_bids

from ..errors import InputError, did_you_mean
from ..files import FAULTS, temporary_prefix, write_text
from ..origin import generated_by
from ..shared.eeg_raw import READERS, open_raw, standard_names

ENTITIES = ("subject", "session", "task", "acquisition", "run")
#: Formats that are not BIDS EEG but that MNE reads.
OTHER_FORMATS = (".fif", ".gdf", ".cnt")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How source files become a BIDS dataset.

    Parameters
    ----------
    pattern : str
        Path of a recording relative to the source folder, with entity names in braces:
        ``{subject}/{subject}R{run}.edf``. An entity that stands twice must have the same text both times.
    name : str
        Name of the dataset.
    task : str or None
        Task of recordings whose pattern names none.
    runs : sequence of str
        Only these runs; all if empty. ``4`` is also ``04``.
    events : mapping of str to str
        ``trial_type`` of each annotation or trigger value; others keep their text.
    types : mapping of str to str
        MNE channel type of the channels that are not EEG.
    montage : str or None
        MNE montage that gives electrode positions and the spelling of channel names.
    line_frequency : float or None
        Of the power line (Hz).
    license : str or None
    authors : sequence of str

    """

    pattern: str
    name: str
    task: str | None = None
    datatype: str = "eeg"
    runs: Sequence[str] = ()
    events: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    montage: str | None = None
    line_frequency: float | None = None
    license: str | None = None
    authors: Sequence[str] = ()


def bidsify(source: Path, out: Path, plan: Plan, overwrite: bool = False) -> int:
    """Write the BIDS dataset ``out`` from the files under ``source``; return the number of recordings.

    Signals are written as BrainVision (32-bit float): a copied EDF would keep the names and dates of its
    header. Dates and subject information are left out. The source is only read, and ``out`` appears once all
    is written.

    Raises
    ------
    InputError
        If no file matches, two files become the same recording, a file is not readable, an event of ``plan``
        is in no file, or ``out`` exists.

    """
    if not source.is_dir():
        raise InputError(source, "no such folder", "check the path")
    if out.exists() and not overwrite:
        raise InputError(out, "exists", "choose another folder, or give --overwrite")
    # A workflow engine removes the file it knows as the output before it runs this again; the rest is still there.
    marks = ("dataset_description.json", "participants.tsv")
    if out.exists() and any(out.iterdir()) and not any((out / mark).is_file() for mark in marks):
        raise InputError(out, "is not a BIDS dataset, and is not overwritten", "choose another folder")
    if out.resolve() in [source.resolve(), *source.resolve().parents]:
        raise InputError(out, "holds the source", "choose another folder")
    found = find_recordings(source, plan)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(out), dir=out.parent) as folder:
        made = Path(folder) / "new"
        made.mkdir()
        seen: set[str] = set()
        for number, (path, entities) in enumerate(found.items(), start=1):
            print(f"[{number}/{len(found)}] {path.name}", file=sys.stderr, flush=True)
            seen |= _write_recording(path, path.relative_to(source).as_posix(), entities, made, plan)
        unused = sorted(plan.events.keys() - seen)
        if unused:
            raise InputError(f"event {unused[0]!r}", "is in no file", did_you_mean(unused[0], seen))
        _describe(made, plan)
        if out.exists():
            out.rename(Path(folder) / "old")
        made.rename(out)
    return len(found)


def find_recordings(source: Path, plan: Plan) -> dict[Path, dict[str, str]]:
    """Return the files that match the pattern of ``plan`` and their sanitised entities, in order of path."""
    pattern = _compile(plan.pattern)
    runs = {_number(run) for run in plan.runs}
    found: dict[Path, dict[str, str]] = {}
    taken: dict[tuple, Path] = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source).as_posix()
        if not path.resolve().is_relative_to(source.resolve()):
            raise InputError(name, *FAULTS["leaves"])
        match = pattern.fullmatch(name)
        if match is None or (runs and _number(match.groupdict().get("run", "")) not in runs):
            continue
        labels = ({"task": plan.task} if plan.task else {}) | match.groupdict()
        entities = {key: re.sub(r"[^A-Za-z0-9]", "", label) for key, label in labels.items()}
        empty = [key for key, label in entities.items() if not label]
        if empty or not {"subject", "task"} <= entities.keys():
            lacking = empty or sorted({"subject", "task"} - entities.keys())
            raise InputError(name, f"gives no {lacking[0]}", "name it in the pattern, or give --task")
        other = taken.setdefault(tuple(sorted(entities.items())), path)
        if other != path:
            raise InputError(
                name,
                f"would become the same recording as {other.relative_to(source).as_posix()}",
                "name more entities in the pattern",
            )
        found[path] = entities
    if not found:
        raise InputError(source, f"no file matches {plan.pattern!r}", "correct --pattern or --runs")
    return found


def _compile(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a brace pattern; everything outside braces is literal text."""
    parts, seen = [], set()
    for text, name in re.findall(r"([^{}]*)(?:\{([^{}]*)\})?", pattern):
        parts.append(re.escape(text))
        if name and name not in ENTITIES:
            raise InputError(f"pattern {pattern!r}", f"unknown entity {name!r}", did_you_mean(name, ENTITIES))
        if name:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
    if "subject" not in seen:
        raise InputError(f"pattern {pattern!r}", "has no {subject}", "say where the subject's label stands")
    return re.compile("".join(parts))


def _number(run: str) -> str:
    return str(int(run)) if run.isdecimal() else run


def _write_recording(path: Path, name: str, entities: Mapping[str, str], root: Path, plan: Plan) -> set[str]:
    """Write one recording; return the texts of its events before they were renamed."""
    with warnings.catch_warnings(), mne.utils.use_log_level("ERROR"):
        warnings.simplefilter("ignore")
        raw = _open(path, name)
        names = standard_names(raw.ch_names, plan.montage)
        raw.rename_channels(dict(zip(raw.ch_names, names, strict=True)))
        types = {channel: kind for channel, kind in plan.types.items() if channel in raw.ch_names}
        raw.set_channel_types(types, on_unit_change="ignore")
        if plan.montage is not None:
            raw.set_montage(plan.montage, match_case=False, on_missing="ignore")
            if raw.get_montage() is None:
                raise InputError(name, f"has no channel of montage {plan.montage}", "choose another --montage")
        raw.info["line_freq"] = plan.line_frequency
        raw.set_meas_date(None)
        raw.info["subject_info"] = None
        if not len(raw.annotations) and "stim" in raw.get_channel_types():
            triggers = mne.find_events(raw, shortest_event=1)
            kinds = {int(code): str(int(code)) for code in set(triggers[:, 2])}
            raw.set_annotations(
                mne.annotations_from_events(triggers, raw.info["sfreq"], kinds, first_samp=raw.first_samp)
            )
        seen = set(raw.annotations.description.tolist())
        raw.annotations.rename({old: new for old, new in plan.events.items() if old in seen})
        target = mne_bids.BIDSPath(**entities, datatype=plan.datatype, root=root)
        written = mne_bids.write_raw_bids(raw, target, format="BrainVision", allow_preload=True)
        # MNE-BIDS concludes the amplifier from the format that it has just written.
        mne_bids.update_sidecar_json(written.copy().update(extension=".json"), {"Manufacturer": "n/a"})
    return seen


def _open(path: Path, name: str) -> mne.io.BaseRaw:
    if path.suffix.lower() in READERS:
        return open_raw(path, name)
    if path.suffix.lower() not in OTHER_FORMATS:
        known = ", ".join([*READERS, *OTHER_FORMATS])
        raise InputError(name, f"{path.suffix!r} is no format that is read here", f"provide one of {known}")
    try:
        return mne.io.read_raw(path, preload=True)
    except Exception as error:
        raise InputError(name, f"not readable ({type(error).__name__}: {error})", "restore the file") from error


def _describe(root: Path, plan: Plan) -> None:
    mne_bids.make_dataset_description(
        path=root,
        name=plan.name,
        data_license=plan.license,
        authors=list(plan.authors) or None,
        generated_by=[generated_by(f"Brought to BIDS with MNE-BIDS {mne_bids.__version__}; signals are unchanged")],
        overwrite=True,
        verbose="ERROR",
    )
    renamed = "".join(f"- `{old}` became `{new}`\n" for old, new in sorted(plan.events.items()))
    montage = f"Electrode positions are those of the MNE montage {plan.montage}, not measured. " if plan.montage else ""
    (root / "README").unlink(missing_ok=True)
    write_text(
        root / "README.md",
        f"# {plan.name}\n\nBrought to BIDS from files named `{plan.pattern}`. Signals are unchanged except "
        f"for their number format (32-bit float); dates and facts about subjects were left out. {montage}\n"
        + (f"\nEvents:\n\n{renamed}" if renamed else ""),
    )
