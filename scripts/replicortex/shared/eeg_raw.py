"""Read one raw BIDS EEG recording, refusing what can not be trusted.

The index has resolved which tables and sidecars belong to a recording (BIDS inheritance), so the recording is
read with MNE's readers and those very files, not with a second search.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import mne
import numpy as np

from ..errors import InputError, did_you_mean
from ..files import read_json, read_tsv
from .raw_files import check_present, inside

READERS = {
    ".edf": mne.io.read_raw_edf,
    ".bdf": mne.io.read_raw_bdf,
    ".vhdr": mne.io.read_raw_brainvision,
    ".set": mne.io.read_raw_eeglab,
}
#: Types of ``channels.tsv`` and the MNE type of each; a type that is not here is ``misc``.
CHANNEL_TYPES = {
    "EEG": "eeg",
    "EOG": "eog",
    "HEOG": "eog",
    "VEOG": "eog",
    "ECG": "ecg",
    "EMG": "emg",
    "TRIG": "stim",
}
#: MNE types that are kept; triggers, references and the rest are dropped.
KEPT = ("eeg", "eog", "ecg", "emg")
_RATE_TOLERANCE = 0.005
#: Encodings that BrainVision headers are written in; under another one the same bytes could say something else.
_CODEPAGES = ("utf-8", "utf8", "ansi", "cp1252", "latin-1", "iso-8859-1", "ascii", "us-ascii")
#: A file may become this many times its size in memory, or this many bytes; real ones become eight times theirs.
_GROWTH, _ALWAYS = 64, 1 << 30


@dataclass(frozen=True)
class EegRecording:
    """One raw recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Loaded signals (V) with standardised channel names, and the types and bads of ``channels.tsv``.
    sidecar : dict
        The merged JSON sidecars, nearest last.
    events : list of dict
        ``onset`` (s from the first sample), ``duration`` (s), ``trial_type``.
    electrodes : list of dict or None
        ``electrodes.tsv`` with standardised names.
    coordsystem : dict or None
        The coordinate system of ``electrodes``.

    """

    raw: mne.io.BaseRaw
    sidecar: dict[str, Any]
    events: list[dict[str, Any]]
    electrodes: list[dict[str, str]] | None = None
    coordsystem: dict[str, Any] | None = None


def read_recording(row: Mapping[str, str], root: Path, montage: str | None) -> EegRecording:
    """Read the recording of a row of ``recordings.tsv``.

    Parameters
    ----------
    row : mapping of str to str
        Its ``path``, ``sidecars``, ``events``, ``channels``, ``electrodes`` and ``coordsystem`` are used.
    root : Path
        The dataset.
    montage : str or None
        The MNE montage whose spelling channel names take where they differ in case and dots only.

    Raises
    ------
    InputError
        If the data file is missing, empty, truncated or unreadable, a sidecar is unreadable, the sampling
        rate is missing or contradicted, ``channels.tsv`` does not match, there is no EEG channel, or all EEG
        is constant or not finite.

    """
    sidecar: dict[str, Any] = {}
    for name in json.loads(row["sidecars"]) if given(row, "sidecars") else []:
        content = read_json(inside(root, name))
        if not isinstance(content, dict):
            raise InputError(name, "does not hold a JSON object", "repair or remove the file")
        sidecar |= content
    raw = open_raw(inside(root, row["path"]), row["path"])
    _check_timing(raw, sidecar, row["path"])
    channels = read_tsv(inside(root, row["channels"])) if given(row, "channels") else None
    _set_channels(raw, channels, row, montage)
    _check_signal(raw, row["path"])
    events = read_events(inside(root, row["events"])) if given(row, "events") else annotated_events(raw)
    raw.set_annotations(None)
    raw.set_meas_date(None)
    if not given(row, "electrodes"):
        return EegRecording(raw, sidecar, events)
    electrodes = read_tsv(inside(root, row["electrodes"]))
    names = standard_names([entry.get("name", "") for entry in electrodes], montage)
    electrodes = [{**entry, "name": name} for entry, name in zip(electrodes, names, strict=True)]
    coordsystem = read_json(inside(root, row["coordsystem"])) if given(row, "coordsystem") else None
    return EegRecording(raw, sidecar, events, electrodes, coordsystem)


def given(row: Mapping[str, str], column: str) -> bool:
    """Return whether a cell of a BIDS table holds a value."""
    return row.get(column) not in (None, "", "n/a")


def open_raw(path: Path, name: str) -> mne.io.BaseRaw:
    """Load an EDF, BDF, BrainVision or EEGLAB file; ``name`` is its path in the dataset.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated or not readable, or leads to a file that is elsewhere.

    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(name, f"{path.suffix or 'no extension'} is not a BIDS EEG format",
                         f"provide one of {', '.join(READERS)}")  # fmt: skip
    check_present(path, name)
    try:
        if path.suffix.lower() in (".edf", ".bdf"):
            _check_edf_size(path, name)
        elif path.suffix.lower() == ".vhdr":
            _check_brainvision(path, name)
        with warnings.catch_warnings():
            # Faults are looked for by the checks here; what else MNE remarks on does not concern the user.
            warnings.simplefilter("ignore")
            # A header may name the file that holds its signals: looked at before that is opened.
            raw = reader(path, preload=False, verbose="ERROR")
            for file in raw.filenames:
                _check_companion(path, os.path.relpath(file, path.parent), name)
            return raw.load_data(verbose="ERROR")
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # Readers fail in as many ways as files are damaged; each means that this file is not readable.
        raise InputError(
            name,
            f"not readable as {path.suffix.lower()} ({type(error).__name__}: {error})",
            "restore or re-export it",
        ) from error


def _check_companion(path: Path, companion: str, name: str) -> None:
    """Refuse a file that belongs to ``path`` unless it lies beside it, in the same dataset."""
    if not companion or PurePosixPath(companion).name != companion or "\\" in companion:
        raise InputError(name, f"names the file {companion!r}, not a plain file name", "correct the header")
    inside(path.parents[name.count("/")], PurePosixPath(name).with_name(companion).as_posix())


def _check_edf_size(path: Path, name: str) -> None:
    with path.open("rb") as stream:
        header = stream.read(256)
        n_channels = int(header[252:256])
        stream.seek(256 + 216 * n_channels)
        samples = [int(stream.read(8)) for _ in range(n_channels)]
    n_records, found = int(header[236:244]), path.stat().st_size
    sample_bytes = 3 if path.suffix.lower() == ".bdf" else 2
    if n_records == -1:  # the standard's mark of a recording that is still running
        n_records = found // max(sample_bytes * sum(samples), 1)
    else:
        expected = int(header[184:192]) + n_records * sum(samples) * sample_bytes
        if found != expected:
            fault = "truncated" if found < expected else "too long"
            raise InputError(name, f"{fault}: {found} bytes where its header demands {expected}", "restore the file")
    # Signals of a slower rate are brought to the fastest.
    memory = 8 * n_channels * max(samples, default=0) * n_records
    if memory > max(_GROWTH * found, _ALWAYS):
        raise InputError(name, f"its {found} bytes would take {memory} in memory", "store slow signals apart")


def _check_brainvision(path: Path, name: str) -> None:
    # As the reader takes them: in any case, after spaces, with either sign.
    found = re.findall(r"(?m)^[ \t]*(\w+)[ \t]*[=:][ \t]*(.*?)\s*$", path.read_text(encoding="latin-1"))
    header = {key.lower(): value for key, value in reversed(found)}
    codepage = header.get("codepage", "utf-8").lower()
    if codepage not in _CODEPAGES:
        raise InputError(name, f"its Codepage {codepage!r} is not one of BrainVision", "write it as UTF-8")
    for key in ("DataFile", "MarkerFile"):
        companion = header.get(key.lower(), "").replace("$b", path.stem)
        if not companion and key == "MarkerFile":
            continue
        for value in (value for other, value in found if other.lower() == key.lower()):
            _check_companion(path, value.replace("$b", path.stem), name)
        _check_companion(path, companion, name)
        file = path.with_name(companion)
        if not file.is_file() or file.stat().st_size == 0:
            raise InputError(name, f"its {key} {companion} is missing or empty", "restore the file")
        if key == "DataFile" and header.get("dataformat", "BINARY") == "BINARY":
            frame = int(header["numberofchannels"]) * (4 if "32" in header.get("binaryformat", "INT_16") else 2)
            if file.stat().st_size % frame:
                raise InputError(
                    name,
                    f"{companion} is truncated: its size is no multiple of {frame} bytes",
                    "restore the file",
                )


def _check_timing(raw: mne.io.BaseRaw, sidecar: Mapping[str, Any], name: str) -> None:
    stated, found = _number(sidecar.get("SamplingFrequency")), float(raw.info["sfreq"])
    if not found > 0 or stated is None or not stated > 0:
        raise InputError(name, "sampling rate is missing", "give SamplingFrequency in its JSON sidecar")
    if abs(stated - found) > _RATE_TOLERANCE * found:
        raise InputError(
            name,
            f"sampling rate is {found:g} Hz in the file and {stated:g} Hz in the sidecar",
            "correct SamplingFrequency, or the file",
        )
    if sidecar.get("RecordingType") == "epoched":
        raise InputError(name, "holds epochs, not a continuous recording", "provide the continuous recording")
    duration, stated = raw.n_times / found, _number(sidecar.get("RecordingDuration"))
    if stated is not None and duration < stated - max(1.0, 0.01 * stated):
        raise InputError(
            name,
            f"truncated: lasts {duration:g} s where RecordingDuration is {stated:g} s",
            "restore the file, or correct its JSON sidecar",
        )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _set_channels(
    raw: mne.io.BaseRaw,
    table: Sequence[Mapping[str, str]] | None,
    row: Mapping[str, str],
    montage: str | None,
) -> None:
    """Rename, type and mark channels by ``channels.tsv``; drop those that are no physiological signal."""
    names = standard_names(raw.ch_names, montage)
    raw.rename_channels(dict(zip(raw.ch_names, names, strict=True)), verbose="ERROR")
    if table is not None:
        listed = standard_names([entry.get("name", "") for entry in table], montage)
        lacking, unknown = sorted(set(names) - set(listed)), sorted(set(listed) - set(names))
        # A trigger channel that a format keeps outside the signals is listed but not read.
        kinds = dict(zip(listed, (entry.get("type", "n/a").upper() for entry in table), strict=True))
        unknown = [name for name in unknown if kinds[name] in CHANNEL_TYPES and kinds[name] != "TRIG"]
        lacking = [name for name in lacking if raw.get_channel_types([name])[0] != "stim"]
        if lacking or unknown or len(set(listed)) != len(listed):
            parts = [f"lacks {_some(lacking)}"] if lacking else []
            parts += [f"lists {_some(unknown)}, which the data file has not"] if unknown else []
            raise InputError(row["channels"], " and ".join(parts) or "lists a channel twice", "make it match the file")
        types = {name: CHANNEL_TYPES.get(kinds[name], "misc") for name in names if name in kinds}
        raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")
        status = dict(zip(listed, (entry.get("status", "n/a").lower() for entry in table), strict=True))
        raw.info["bads"] = [name for name in names if status.get(name) == "bad"]
    kept = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind in KEPT]
    if "eeg" not in raw.get_channel_types():
        raise InputError(row["path"], "has no EEG channel", "give type EEG to its channels in channels.tsv")
    raw.pick(kept, verbose="ERROR")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_signal(raw: mne.io.BaseRaw, name: str) -> None:
    data = raw.get_data(picks="eeg", verbose="ERROR")
    finite = np.isfinite(data).all(axis=1)
    if not finite.any():
        raise InputError(name, "every EEG channel holds values that are not finite", "restore the file")
    if not np.ptp(data[finite], axis=1).any():
        raise InputError(name, "every EEG channel is constant", "restore the file")


def standard_names(names: Sequence[str], montage: str | None) -> list[str]:
    """Return channel names without dots and spaces around them, spelt as in ``montage`` where it has them.

    ``"Fc5."`` and ``"FC5"`` both become ``"FC5"``. A name is left as it is if its new form is not unique.

    Raises
    ------
    InputError
        If MNE has no such montage.

    """
    try:
        known = mne.channels.make_standard_montage(montage).ch_names if montage else []
    except ValueError:
        remedy = did_you_mean(str(montage), mne.channels.get_builtin_montages())
        raise InputError("montage", f"MNE has no {montage!r}", remedy) from None
    spelling = {name.casefold(): name for name in known}
    stripped = [name.strip(" .") or name for name in names]
    made = [spelling.get(name.casefold(), name) for name in stripped]
    return [new if made.count(new) == 1 else old for new, old in zip(made, names, strict=True)]


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return ``onset``, ``duration`` and ``trial_type`` of an ``events.tsv``, in order of onset.

    A row without ``trial_type`` takes the text of ``value``. A row without onset is passed over.

    Raises
    ------
    InputError
        If a cell of ``onset`` or ``duration`` is not a number.

    """
    events = []
    for number, row in enumerate(read_tsv(path), start=2):
        if not given(row, "onset"):
            continue
        kind = next((row[column] for column in ("trial_type", "value") if given(row, column)), "n/a")
        duration = row["duration"] if given(row, "duration") else 0
        try:
            event = {"onset": float(row["onset"]), "duration": float(duration), "trial_type": kind}
        except ValueError:
            raise InputError(
                path.name, f"line {number}: onset or duration is not a number", "correct the line"
            ) from None
        if not math.isfinite(event["onset"]) or not math.isfinite(event["duration"]):
            raise InputError(path.name, f"line {number}: onset or duration is not finite", "correct the line")
        events.append(event)
    return sorted(events, key=lambda event: event["onset"])


def annotated_events(raw: mne.io.BaseRaw) -> list[dict[str, Any]]:
    """Return the annotations of a data file as events, for recordings without ``events.tsv``."""
    return [
        {"onset": float(onset), "duration": float(duration), "trial_type": str(kind)}
        for onset, duration, kind in zip(
            raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
        )
    ]
