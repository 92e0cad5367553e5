"""Write and read a preprocessed MEG recording: FIF with BIDS tables. The form of an EEG one is known here too."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mne

from ..errors import InputError
from ..files import read_tsv, to_json, to_tsv, write_text
from .eeg_derivative import EegDerivative, read_derivative
from .meg_raw import make_neutral

_COLUMNS = ["name", "type", "units", "low_cutoff", "high_cutoff", "sampling_frequency", "status", "status_description"]
_TYPES = {"mag": ("MEGMAG", "T"), "grad": ("MEGGRADPLANAR", "T/m"), "eeg": ("EEG", "V"), "eog": ("EOG", "V")}
_EVENTS = {
    "trial_type": {"Description": "As in the raw dataset"},
    "sample": {"Description": "Onset in samples of the preprocessed signal, from 0"},
}


def write_meg(
    out: Path,
    recording: str,
    raw: mne.io.BaseRaw,
    events: Sequence[Mapping[str, Any]],
    status: Mapping[str, str],
) -> None:
    """Write ``raw`` and its tables into folder ``out`` under BIDS derivative names (``desc-preproc``).

    Parameters
    ----------
    out : Path
        An existing folder.
    recording : str
        The BIDS stem that all names begin with.
    raw : mne.io.BaseRaw
        Signals (T, T/m, V), with bads.
    events : sequence of dict
        ``onset`` (s), ``duration`` (s), ``trial_type``.
    status : mapping of str to str
        What ``channels.tsv`` says of a channel in ``status_description``.
    """
    sfreq, stem = float(raw.info["sfreq"]), f"{recording}_desc-preproc"
    path = out / f"{stem}_meg.fif"
    raw.save(path, fmt="single", verbose="ERROR")
    make_neutral(path)
    rows = [
        {**{name: event[name] for name in ("onset", "duration", "trial_type")}, "sample": round(event["onset"] * sfreq)}
        for event in sorted(events, key=lambda event: event["onset"])
    ]
    write_text(out / f"{stem}_events.tsv", to_tsv(rows, ["onset", "duration", "trial_type", "sample"]))
    write_text(out / f"{stem}_events.json", to_json(_EVENTS))
    channels = [
        {
            "name": name,
            "type": _TYPES.get(kind, (kind.upper(), "V"))[0],
            "units": _TYPES.get(kind, ("", "V"))[1],
            "low_cutoff": raw.info["highpass"] or None,
            "high_cutoff": raw.info["lowpass"],
            "sampling_frequency": sfreq,
            "status": "bad" if name in raw.info["bads"] else "good",
            "status_description": status.get(name),
        }
        for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True)
    ]
    write_text(out / f"{stem}_channels.tsv", to_tsv(channels, _COLUMNS))


def read_sensors(path: Path) -> EegDerivative:
    """Read a preprocessed recording of EEG (``.vhdr``) or MEG (``.fif``).

    Raises
    ------
    InputError
        If a file is missing or not readable.
    """
    if path.suffix != ".fif":
        return read_derivative(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
    except Exception as error:
        # A damaged file fails in as many ways as there are tags.
        raise InputError(path.name, f"not readable ({error})", "delete it and run preprocessing again") from error
    raw.set_annotations(None)
    events = [
        {**row, "onset": float(row["onset"]), "duration": float(row["duration"]), "sample": int(row["sample"])}
        for row in read_tsv(path.with_name(path.name.removesuffix("_meg.fif") + "_events.tsv"))
    ]
    return EegDerivative(raw, events)
