"""Read one raw BIDS MEG recording, refusing what can not be trusted; and take the time of writing out of FIF files."""

from __future__ import annotations

import json
import math
import mmap
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..errors import InputError
from ..files import read_json, read_tsv
from .eeg_raw import EegRecording, annotated_events, given, read_events
from .raw_files import check_present, inside

#: Type of a FIF tag that tells which machine wrote a block, and when; 20 bytes: version, machine (8), time (8).
_ID_STRUCT = 31
_RATE_TOLERANCE = 0.005
#: MNE types that are kept.
KEPT = ("mag", "grad", "eeg", "eog", "ecg")


def make_neutral(path: Path) -> None:
    """Overwrite machine and time in every identifier of a FIF file: equal content then has equal bytes.

    Raises
    ------
    InputError
        If the file is not a sequence of FIF tags.
    """
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as content:
        place = 0
        while place + 16 <= len(content):
            _, kind, size, after = struct.unpack(">iIii", content[place : place + 16])
            if size < 0 or place + 16 + size > len(content):
                raise InputError(path.name, "is no FIF file, or truncated", "write it again")
            if kind == _ID_STRUCT and size == 20:
                content[place + 20 : place + 36] = bytes(16)
            place = after if after > 0 else place + 16 + size


def read_meg(row: Mapping[str, str], root: Path) -> EegRecording:
    """Read the MEG recording of a row of ``recordings.tsv``; signals in T, T/m and V.

    Raises
    ------
    InputError
        If the data file is missing, truncated or unreadable, sampling rates disagree, ``channels.tsv`` does not
        match, there is no MEG channel or sensors have no position, or all of it is constant or not finite.
    """
    sidecar: dict[str, Any] = {}
    for name in json.loads(row["sidecars"]) if given(row, "sidecars") else []:
        content = read_json(inside(root, name))
        if not isinstance(content, dict):
            raise InputError(name, "does not hold a JSON object", "repair or remove the file")
        sidecar |= content
    path = inside(root, row["path"])
    raw = _open(path, row["path"])
    _check_rate(raw, sidecar, row["path"])
    if given(row, "channels"):
        _mark_bad(raw, read_tsv(inside(root, row["channels"])), row["channels"])
    kept = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind in KEPT]
    raw.pick(kept, verbose="ERROR")
    picks = mne.pick_types(raw.info, meg=True, exclude=())
    if not len(picks):
        raise InputError(row["path"], "has no MEG channel", "give its channels an MEG type in channels.tsv")
    if not all(np.isfinite(raw.info["chs"][pick]["loc"]).all() for pick in picks):
        raise InputError(row["path"], "an MEG sensor has no position", "restore the file")
    data = raw.get_data(picks, verbose="ERROR")
    finite = np.isfinite(data).all(axis=1)
    if not finite.any() or not np.ptp(data[finite], axis=1).any():
        raise InputError(row["path"], "every MEG channel is constant, or not finite", "restore the file")
    events = read_events(inside(root, row["events"])) if given(row, "events") else annotated_events(raw)
    raw.set_annotations(None)
    raw.set_meas_date(None)
    return EegRecording(raw, sidecar, events)


def _open(path: Path, name: str) -> mne.io.BaseRaw:
    if path.suffix.lower() != ".fif":
        raise InputError(name, f"{path.suffix or 'no extension'} can not be read", "provide MEG as FIF")
    check_present(path, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = mne.io.read_raw_fif(path, verbose="ERROR")
            _check_whole(path, name)
            return raw.load_data(verbose="ERROR")
    except InputError:
        raise
    except Exception as error:
        # A damaged file fails in as many ways as there are tags.
        raise InputError(name, f"not readable ({type(error).__name__}: {error})", "restore the file") from None


def _check_whole(path: Path, name: str) -> None:
    """Walk the tags: MNE reads what is there of a truncated file, and says nothing."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            head = stream.read(16)
            if len(head) < 16:
                raise InputError(name, "truncated", "restore the file")
            length, after = struct.unpack(">ii", head[8:])
            end = place + 16 + length
            if length < 0 or end > size or (after > 0 and after <= place):
                raise InputError(name, "truncated", "restore the file")
            if after == -1:
                return
            place = after if after > 0 else end
    raise InputError(name, "truncated: its last tag is missing", "restore the file")


def _check_rate(raw: mne.io.BaseRaw, sidecar: Mapping[str, Any], name: str) -> None:
    found = float(raw.info["sfreq"])
    try:
        stated = float(sidecar.get("SamplingFrequency", "nan"))
    except (TypeError, ValueError):
        stated = math.nan
    if not stated > 0:
        raise InputError(name, "sampling rate is missing", "give SamplingFrequency in its JSON sidecar")
    if abs(stated - found) > _RATE_TOLERANCE * found:
        fault = f"sampling rate is {found:g} Hz in the file and {stated:g} Hz in the sidecar"
        raise InputError(name, fault, "correct SamplingFrequency, or the file")


def _mark_bad(raw: mne.io.BaseRaw, table: list[dict[str, str]], name: str) -> None:
    """Mark the channels that the table calls bad, beside those of the file."""
    listed = {row.get("name", ""): row for row in table}
    lacking = [channel for channel in raw.ch_names if channel not in listed]
    if lacking:
        raise InputError(name, f"lacks {', '.join(lacking[:3])}", "make it match the file")
    bad = {channel for channel, row in listed.items() if row.get("status", "").lower() == "bad"}
    raw.info["bads"] = [channel for channel in raw.ch_names if channel in bad or channel in raw.info["bads"]]
