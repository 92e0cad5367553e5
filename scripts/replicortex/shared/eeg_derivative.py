"""Write and read a preprocessed EEG recording: BrainVision (32-bit float) with BIDS tables."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pybv

from ..errors import InputError
from ..files import read_tsv, to_json, to_tsv, write_text

_CHANNEL_COLUMNS = ["name", "type", "units", "low_cutoff", "high_cutoff", "sampling_frequency", "status",
                    "status_description"]  # fmt: skip
_EVENT_COLUMNS = {
    "trial_type": {"Description": "As in the raw dataset; a name that begins with BAD_ marks a segment not to use"},
    "sample": {"Description": "Onset in samples of the preprocessed signal, from 0"},
}


@dataclass(frozen=True)
class EegDerivative:
    """A preprocessed recording: ``raw`` (V, with bads and ``BAD_`` annotations) and its ``events``."""

    raw: mne.io.BaseRaw
    events: list[dict[str, Any]]


def write_derivative(
    out: Path,
    recording: str,
    raw: mne.io.BaseRaw,
    events: Sequence[Mapping[str, Any]],
    *,
    status: Mapping[str, str],
    electrodes: Sequence[Mapping[str, Any]] | None,
    coordsystem: Mapping[str, Any] | None,
) -> None:
    """Write ``raw`` and its tables into folder ``out`` under BIDS derivative names (``desc-preproc``).

    Parameters
    ----------
    out : Path
        An existing folder.
    recording : str
        The BIDS stem that all names begin with.
    raw : mne.io.BaseRaw
        Signals (V); its annotations are added to the events.
    events : sequence of dict
        ``onset`` (s), ``duration`` (s), ``trial_type``.
    status : mapping of str to str
        What ``channels.tsv`` says of a channel in ``status_description``.
    electrodes : sequence of dict or None
        Rows of ``electrodes.tsv``; written only with a coordinate system.
    coordsystem : dict or None
        Content of ``coordsystem.json``.

    """
    sfreq = float(raw.info["sfreq"])
    rows = [
        *({k: event[k] for k in ("onset", "duration", "trial_type")} for event in events),
        *_annotations(raw),
    ]
    rows = [{**row, "sample": round(row["onset"] * sfreq)} for row in sorted(rows, key=lambda row: row["onset"])]
    stem = f"{recording}_desc-preproc"
    pybv.write_brainvision(
        data=raw.get_data(verbose="ERROR"),
        sfreq=sfreq,
        ch_names=raw.ch_names,
        fname_base=f"{stem}_eeg",
        folder_out=out,
        events=_markers(rows, raw.n_times, sfreq),
        resolution=1,
        unit="µV",
        fmt="binary_float32",
    )
    write_text(out / f"{stem}_events.tsv", to_tsv(rows, ["onset", "duration", "trial_type", "sample"]))
    write_text(out / f"{stem}_events.json", to_json(_EVENT_COLUMNS))
    channels = [
        {
            "name": name,
            "type": kind.upper(),
            "units": "µV",
            "low_cutoff": raw.info["highpass"] or None,
            "high_cutoff": raw.info["lowpass"],
            "sampling_frequency": sfreq,
            "status": "bad" if name in raw.info["bads"] else "good",
            "status_description": status.get(name),
        }
        for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True)
    ]
    write_text(out / f"{stem}_channels.tsv", to_tsv(channels, _CHANNEL_COLUMNS))
    if electrodes and coordsystem:
        # BIDS knows no ``desc`` for electrodes, and one coordinate system for all runs.
        columns = ["name", "x", "y", "z", *sorted(set(electrodes[0]) - {"name", "x", "y", "z"})]
        write_text(out / f"{recording}_electrodes.tsv", to_tsv(electrodes, columns))
        write_text(out / f"{re.sub('_run-[A-Za-z0-9]+', '', recording)}_coordsystem.json", to_json(coordsystem))


def _annotations(raw: mne.io.BaseRaw) -> list[dict[str, Any]]:
    spans = zip(raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True)
    return [{"onset": float(o), "duration": float(d), "trial_type": str(kind)} for o, d, kind in spans]


def _markers(rows: Sequence[Mapping[str, Any]], n_times: int, sfreq: float) -> list[dict[str, Any]]:
    return [
        {
            "onset": row["sample"],
            "duration": max(1, min(round(row["duration"] * sfreq), n_times - row["sample"])),
            "description": row["trial_type"],
            "type": "Comment",
        }
        for row in rows
        if 0 <= row["sample"] < n_times
    ]


def read_derivative(path: Path) -> EegDerivative:
    """Read what :func:`write_derivative` wrote; ``path`` is the ``.vhdr`` file.

    Raises
    ------
    InputError
        If a file is missing or not readable.

    """
    stem = path.name.removesuffix("_eeg.vhdr")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = mne.io.read_raw_brainvision(path, preload=True, verbose="ERROR")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(path.name, f"not readable ({error})", "delete it and run preprocessing again") from error
    channels = read_tsv(path.with_name(f"{stem}_channels.tsv"))
    raw.set_channel_types({row["name"]: row["type"].lower() for row in channels}, verbose="ERROR")
    raw.info["bads"] = [row["name"] for row in channels if row["status"] == "bad"]
    events = [
        {
            **row,
            "onset": float(row["onset"]),
            "duration": float(row["duration"]),
            "sample": int(row["sample"]),
        }
        for row in read_tsv(path.with_name(f"{stem}_events.tsv"))
    ]
    bad = [event for event in events if event["trial_type"].startswith("BAD_")]
    columns = (np.array([event[key] for event in bad]) for key in ("onset", "duration", "trial_type"))
    raw.set_annotations(mne.Annotations(*columns) if bad else None, verbose="ERROR")
    return EegDerivative(raw, [event for event in events if not event["trial_type"].startswith("BAD_")])
