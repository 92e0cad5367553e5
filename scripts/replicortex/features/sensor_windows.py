"""Windows of EEG or MEG with the place, direction and type of every sensor, so that devices can be mixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import mne
import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.meg_derivative import read_sensors
from ..shared.words import count, digits, text

#: By type of sensor: its number, and what makes µV, fT and fT/cm of the SI unit. Axial gradiometers measure in T.
_NUMBER = {"eeg": 0, "mag": 1, "grad": 2}
_SCALE = {"eeg": 1e6, "mag": 1e15, "grad": 1e13}


@component
class SensorWindows(Extractor):
    """Windows of the signals of all sensors of a recording, with what is known of the sensors.

    Parameters
    ----------
    duration : float
        Length of a window (s).
    tmin : float
        Its start (s from the event).
    every : float or None
        Take a window every so many seconds of the whole recording, instead of one at each event of a class.
    max_channels : int
        Channels a window is padded to, so that all devices fit into one array; a recording with more is refused.
    """

    tiny = {"duration": 0.5, "max_channels": 32}
    datatypes: ClassVar[tuple[str, ...]] = ("eeg", "meg")
    measures: ClassVar[frozenset[str]] = frozenset({"montage"})

    duration: Annotated[float, Field(gt=0)] = 10.0
    tmin: float = 0.0
    every: Annotated[float, Field(gt=0)] | None = None
    max_channels: PositiveInt = 128

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (n, max_channels, n_times), float32 (µV, fT, fT/cm), and the sensors of each row.

        ``position`` (n, max_channels, 6) is the place in a head whose size is taken out (centred on the sensors of a
        modality and divided by the root of three times their mean squared distance), then the direction of a coil (the
        long side of a planar one; 0 for electrodes). ``sensor_type`` (n, max_channels) is 0 for EEG, 1 for
        magnetometers, 2 for gradiometers; ``present`` (n, max_channels) tells real channels from padding. The row
        column ``montage`` is the modality with the number of channels, such as ``eeg-19``.

        Raises
        ------
        InputError
            If there are too many channels, a sensor has no place, or no window fits into the recording.
        """
        found = read_sensors(path)
        raw, sfreq = found.raw, float(found.raw.info["sfreq"])
        picks = mne.pick_types(raw.info, meg=True, eeg=True, exclude=())
        if not 0 < len(picks) <= self.max_channels:
            fault = f"has {len(picks)} sensors, at most {self.max_channels} fit"
            raise InputError(path.name, fault, "raise max_channels in the feature card")
        starts, labels = self._windows(found, recording, path, classes)
        length = round(self.duration * sfreq)
        inside = [i for i, start in enumerate(starts) if start >= 0 and start + length <= raw.n_times]
        bad = _bad_samples(raw)
        kept = [i for i in inside if not bad[starts[i] : starts[i] + length].any()]
        if not kept:
            fault = f"none of {len(starts)} windows lies in good parts of the recording"
            raise InputError(path.name, fault, "shorten the windows in the feature card")
        position, kind, scale = _sensors(raw, picks, path, recording["recording"])
        data = raw.get_data(picks) * scale[:, None]
        n, n_channels = len(kept), len(picks)
        x = np.zeros((n, self.max_channels, length), np.float32)
        for row, i in enumerate(kept):
            x[row, :n_channels] = data[:, starts[i] : starts[i] + length]
        padded = [
            np.concatenate([values, np.zeros((self.max_channels - n_channels, *values.shape[1:]), values.dtype)])
            for values in (position.astype(np.float32), kind, np.ones(n_channels, np.int8))
        ]
        names = ("position", "sensor_type", "present")
        arrays = {name: np.repeat(values[None], n, axis=0) for name, values in zip(names, padded, strict=True)}
        name = recording["recording"]
        rows = {
            "row_id": [f"{name}_{starts[i]:09d}" for i in kept],
            "onset": [starts[i] / sfreq - self.tmin for i in kept],
            "label": [labels[i] for i in kept],
            "montage": [f"{recording['datatype']}-{n_channels}"] * n,
            "recording": [name] * n,
            **{key: [recording[key]] * n for key in ("subject", "session", "run")},
        }
        axes = {
            "channel": [f"slot-{number:03d}" for number in range(self.max_channels)],
            "time": np.round(self.tmin + np.arange(length) / sfreq, 9).tolist(),
            "sfreq": [sfreq],
            "sensor": ["x", "y", "z", "direction_x", "direction_y", "direction_z"],
        }
        columns = {key: np.array(values) for key, values in rows.items()}
        return Bundle({"x": x, **arrays}, columns, axes, {"unit": "uV, fT, fT/cm", "fitted": []})

    def _windows(
        self, found: Any, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]
    ) -> tuple[list[int], list[str]]:
        """Return the first sample and the label of every window that is wanted."""
        sfreq = float(found.raw.info["sfreq"])
        if self.every is not None:
            starts = np.arange(0, found.raw.n_times, self.every * sfreq).round().astype(int).tolist()
            return starts, ["n/a"] * len(starts)
        label_of = {kind: label for label, kinds in classes.items() for kind in kinds}
        chosen = [event for event in found.events if event["trial_type"] in label_of]
        if not chosen:
            kinds = ", ".join(sorted({event["trial_type"] for event in found.events})) or "none"
            raise InputError(
                path.name,
                f"has no event of {', '.join(classes)} (its trial_type values: {kinds})",
                "name its trial_type values under classes in the dataset or study card, or set every",
            )
        starts = [round((event["onset"] + self.tmin) * sfreq) for event in chosen]
        if len(set(starts)) < len(starts):
            raise InputError(path.name, "has two events of classes at the same time", "name only one under classes")
        return starts, [label_of[event["trial_type"]] for event in chosen]

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        where = (
            f"starting {digits(self.tmin)} s from each event"
            if self.every is None
            else f"every {digits(self.every)} s of each recording"
        )
        return text(
            f"Windows of {digits(self.duration)} s were taken of all sensors, {where}, and padded to"
            f" {count(self.max_channels, 'channel')} so that recordings of different devices fit into one array.",
            "Each channel was accompanied by the place of its sensor, centred on and scaled by the sensors of its"
            " modality, by the direction of its coil, and by its type.",
        )


def _bad_samples(raw: mne.io.BaseRaw) -> np.ndarray:
    """Return which samples lie in ``BAD_`` segments."""
    bad, sfreq = np.zeros(raw.n_times, dtype=bool), float(raw.info["sfreq"])
    for onset, duration in zip(raw.annotations.onset, raw.annotations.duration, strict=True):
        bad[max(0, int(onset * sfreq)) : max(0, int(np.ceil((onset + duration) * sfreq)))] = True
    return bad


def _sensors(
    raw: mne.io.BaseRaw, picks: np.ndarray, path: Path, recording: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return place and direction (n, 6), number of the type (n,), and what the signal is multiplied by (n,)."""
    table = _electrodes(path, recording) if path.suffix != ".fif" else {}
    turn = raw.info["dev_head_t"]["trans"] if raw.info.get("dev_head_t") else np.eye(4)
    place, direction, kind, scale = [], [], [], []
    for pick, of in zip(picks, np.array(raw.get_channel_types())[picks], strict=True):
        channel = raw.info["chs"][pick]
        axes, coil = channel["loc"][3:].reshape(3, 3), str(channel["coil_type"])
        if of == "eeg":
            place.append(table.get(channel["ch_name"], channel["loc"][:3] if not table else np.full(3, np.nan)))
            direction.append(np.zeros(3))
            kind.append(_NUMBER["eeg"])
        else:
            place.append(turn[:3, :3] @ channel["loc"][:3] + turn[:3, 3])
            direction.append(turn[:3, :3] @ axes[0 if "PLANAR" in coil else 2])
            kind.append(_NUMBER["mag" if "MAG" in coil else "grad"])
        scale.append(_SCALE[of])
    where, kinds = np.array(place), np.array(kind, dtype=np.int64)
    lost = [
        raw.ch_names[pick] for pick, at in zip(picks, where, strict=True) if not np.isfinite(at).all() or not at.any()
    ]
    if lost:
        fault = f"{', '.join(lost[:3])} {'has' if len(lost) == 1 else 'have'} no place"
        raise InputError(path.name, fault, "name a montage in the preprocessing card, or give electrodes.tsv")
    for modality in (kinds == _NUMBER["eeg"], kinds != _NUMBER["eeg"]):
        if modality.any():
            centred = where[modality] - where[modality].mean(axis=0)
            size = np.sqrt(3 * (centred**2).sum(axis=1).mean())
            where[modality] = centred / size if size > 0 else centred
    return np.concatenate([where, np.array(direction)], axis=1), kinds, np.array(scale)


def _electrodes(path: Path, recording: str) -> dict[str, np.ndarray]:
    """Return the places in ``electrodes.tsv`` beside a derivative; in any unit, since the size is taken out."""
    table = path.with_name(f"{recording}_electrodes.tsv")
    if not table.is_file():
        return {}
    rows = [row for row in read_tsv(table) if all(row[axis] not in ("n/a", "") for axis in "xyz")]
    return {row["name"]: np.array([float(row[axis]) for axis in "xyz"]) for row in rows}
