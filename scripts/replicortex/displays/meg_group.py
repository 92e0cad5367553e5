"""MEG and EEG of a dataset, as preprocessing left them: how many channels are bad, and spectra by type of sensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..components import Audience, Display, component
from ..errors import InputError
from ..files import read_tsv, to_tsv, write_text
from ..shared.group_displays import covered, entry, headed, rounded
from ..shared.meg_derivative import read_sensors
from ..shared.style import BLUE, INK, WIDTH, drawing, place

#: Spectra are taken to this grid (Hz).
_FREQUENCIES = np.arange(1.0, 100.5, 0.5)
_KINDS = {"eeg": "electrodes", "mag": "magnetometers", "grad": "gradiometers"}


@component
class MegGroup(Display):
    """Relative spectra of the sensors of each type, of one recording at a time.

    Parameters
    ----------
    window_s : float
        Length (s) of the windows of Welch's method.
    """

    window_s: float = 2.0

    def __post_init__(self) -> None:
        self._spectra: dict[str, list[np.ndarray]] = {kind: [] for kind in _KINDS}

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one recording; see :class:`replicortex.components.Display`."""
        raw = read_sensors(path).raw
        picks = mne.pick_types(raw.info, meg=True, eeg=True, exclude=())
        if not len(picks):
            raise InputError(path.name, "has no sensor", "exclude it")
        bad = _bad_channels(path)
        n = round(self.window_s * raw.info["sfreq"])
        if n > raw.n_times:
            raise InputError(path.name, f"is shorter than {self.window_s:g} s", "exclude it")
        kinds = np.array(raw.get_channel_types())[picks]
        good = np.array([raw.ch_names[pick] not in bad for pick in picks])
        for kind in _KINDS:
            here = picks[(kinds == kind) & good]
            if len(here):
                power, there = mne.time_frequency.psd_array_welch(
                    raw.get_data(here), raw.info["sfreq"], n_fft=n, n_overlap=n // 2, fmin=1.0, fmax=_highest(raw),
                    verbose="ERROR",
                )  # fmt: skip
                middle = np.median(power, axis=0)
                # Relative to the whole: tesla and volt, and people's skulls, do not matter.
                decibel = 10 * np.log10(np.maximum(middle / middle.sum(), 1e-12))
                self._spectra[kind].append(np.interp(_FREQUENCIES, there, decibel, left=np.nan, right=np.nan))
        return {"bad_channels_percent": 100 * float(np.mean(~good))}

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write the spectra of each type of sensor that enough recordings have."""
        shown: dict[str, Any] = {}
        for kind, spectra in self._spectra.items():
            values = np.array(spectra).reshape(-1, len(_FREQUENCIES))
            known = np.isfinite(values).sum(axis=0) >= covered(len(values), audience)
            if len(values) >= max(1, audience.fewest) and known.sum() > 1:
                shown[kind] = (len(values), _FREQUENCIES[known], np.nanmean(values[:, known], axis=0))
        if not shown:
            return []
        rows = [
            {"sensors": _KINDS[kind], "frequency_hz": rounded(frequency), "mean_db": rounded(level)}
            for kind, (_, frequencies, levels) in shown.items()
            for frequency, level in zip(frequencies, levels, strict=True)
        ]
        write_text(folder / "spectrum.tsv", to_tsv(rows, list(rows[0])))
        told = ", ".join(f"{_KINDS[kind]} of {n} recordings" for kind, (n, *_) in shown.items())
        alt = f"Relative power by frequency, the mean of {told}."
        styles = {"eeg": (BLUE, "-"), "mag": (INK, "-"), "grad": (INK, "--")}
        height = 6.0
        with drawing(folder / "spectrum.svg", height, "Spectra of sensors", alt) as figure:
            headed(figure, "Spectra of sensors")
            axes = place(figure, 1.2, 0.8, WIDTH - 1.7, height - 2.4)
            for kind, (_, frequencies, levels) in shown.items():
                colour, line = styles[kind]
                axes.plot(frequencies, levels, color=colour, linestyle=line, linewidth=1.2, label=_KINDS[kind])
            axes.set(xlabel="frequency (Hz)", ylabel="share of power (dB)")
            axes.grid(color="#EDEDED", linewidth=0.5)
            axes.set_axisbelow(True)
            figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=3)
        caption = (
            "Power (Welch) of the median good sensor of each recording as a share of its whole, the mean over"
            f" recordings. {audience.sample}"
        )
        return [
            entry("spectrum", "Spectra of sensors", "svg", "spectrum.svg", alt, caption),
            entry("spectrum_table", "Spectra, numbers", "table", "spectrum.tsv", alt, f"In dB. {caption}"),
        ]


def _highest(raw: mne.io.BaseRaw) -> float:
    return float(min(raw.info["lowpass"] or np.inf, raw.info["sfreq"] / 2 - 1))


def _bad_channels(path: Path) -> set[str]:
    """Return the channels that were found bad: those marked so, and those repaired."""
    stem = path.name.rpartition("_")[0]
    rows = read_tsv(path.with_name(f"{stem}_channels.tsv"))
    return {row["name"] for row in rows if row["status"] == "bad" or "interpolated" in row["status_description"]}
