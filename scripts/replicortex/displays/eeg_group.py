"""EEG of a dataset: where on the head channels are bad, how large signals are, and their spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mne
import numpy as np

from ..components import Audience, Display, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.eeg_derivative import EegDerivative, read_derivative
from ..shared.group_eeg import Electrodes, Spectra

_UV = 1e6
_IQR_TO_SD = 0.7413


@component
class EegGroup(Display):
    """Channels and spectra of the recordings, as preprocessing left them.

    Parameters
    ----------
    window_s : float
        Length (s) of the windows of Welch's method.
    """

    window_s: float = 2.0

    def __post_init__(self) -> None:
        self._electrodes, self._spectra = Electrodes(), Spectra()

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one recording; see :class:`replicortex.components.Display`."""
        found = read_derivative(path)
        raw = found.raw
        picks = mne.pick_types(raw.info, eeg=True, exclude=())
        if not len(picks):
            raise InputError(path.name, "has no EEG channel", "exclude it")
        names = [raw.ch_names[pick] for pick in picks]
        bad = np.isin(names, list(_bad_channels(path)))
        scale = _UV * _IQR_TO_SD * np.subtract(*np.percentile(raw.get_data(picks), [75, 25], axis=1))
        # What was interpolated was not measured there.
        self._electrodes.add(names, bad, np.where(bad, np.nan, scale), _positions(path, recording["recording"]))
        numbers = {"bad_channels_percent": 100 * float(bad.mean()), "bad_segments_percent": _bad_time(found)}
        if not bad.all():
            numbers["amplitude_uv"] = float(np.median(scale[~bad]))
            self._spectra.add(*self._spectrum(raw, picks[~bad], path.name))
        return numbers

    def _spectrum(self, raw: mne.io.BaseRaw, picks: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return frequencies (Hz) and the median power over channels (µV²/Hz)."""
        n = round(self.window_s * raw.info["sfreq"])
        if n > raw.n_times:
            raise InputError(name, f"is shorter than {self.window_s:g} s", "exclude it")
        try:
            made = raw.compute_psd(
                "welch",
                picks=picks,
                n_fft=n,
                n_overlap=n // 2,
                window="hann",
                fmin=1.0,
                fmax=_highest(raw),
                verbose="ERROR",
            )
        except ValueError as error:
            raise InputError(name, f"has no spectrum ({error})", "look at its bad segments") from None
        power = np.nanmedian(made.get_data(picks="all") * _UV**2, axis=0)
        return made.freqs, power

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write topographies, the table of electrodes, and the spectrum."""
        return [*self._electrodes.show(folder, audience), *self._spectra.show(folder, audience)]


def _highest(raw: mne.io.BaseRaw) -> float:
    """Return the highest frequency (Hz) to show: half of the sampling rate itself is no longer power."""
    return float(min(raw.info["lowpass"] or np.inf, raw.info["sfreq"] / 2 - 1))


def _bad_channels(path: Path) -> set[str]:
    """Return the channels that were found bad: those marked so, and those repaired."""
    stem = path.name.removesuffix("_eeg.vhdr")
    rows = read_tsv(path.with_name(f"{stem}_channels.tsv"))
    return {row["name"] for row in rows if row["status"] == "bad" or "interpolated" in row["status_description"]}


def _positions(path: Path, recording: str) -> dict[str, np.ndarray]:
    """Return the positions of the electrodes, in the unit of their table; empty if there is none."""
    table = path.with_name(f"{recording}_electrodes.tsv")
    if not table.is_file():
        return {}
    rows = [row for row in read_tsv(table) if all(row[axis] not in ("n/a", "") for axis in "xyz")]
    return {row["name"]: np.array([float(row[axis]) for axis in "xyz"]) for row in rows}


def _bad_time(found: EegDerivative) -> float:
    """Return the percentage of a recording that lies in ``BAD_`` segments."""
    raw = found.raw
    bad = np.zeros(raw.n_times, dtype=bool)
    rate = raw.info["sfreq"]
    for onset, duration in zip(raw.annotations.onset, raw.annotations.duration, strict=True):
        bad[max(0, round(onset * rate)) : max(0, round((onset + duration) * rate))] = True
    return 100 * float(bad.mean())
