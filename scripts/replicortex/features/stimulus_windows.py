"""What was recorded after each presentation of a stimulus, as it is: for fast series and codes that are not slow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.func_series import RegionExtractor
from ..shared.mri_files import rows_of
from ..shared.words import digits, text


@component
class StimulusWindows(RegionExtractor):
    """Windows of the series that :class:`RegionExtractor` takes, one a presentation, or the power of their frequencies.

    Parameters
    ----------
    start, length : float
        Begin of a window after the onset, and its length (s).
    values : {"series", "power"}
        The samples themselves, or the logarithm of the power of each frequency of the window but the lowest.
    """

    needs_stimuli = True
    tiny = {"denoise": {"strategy": "none"}, "length": 4.0, "max_missing": 0.5}

    start: float = 0.0
    length: Annotated[float, Field(gt=0)] = 3.0
    values: Literal["series", "power"] = "series"

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_presentations, n_channels, n_samples), float32; label of a row is its stimulus.

        Presentations whose window does not lie in the run, or of which a sample was censored, are left out.

        Raises
        ------
        InputError
            If the repetition time is not known, or no presentation has a whole window.
        """
        series = self.series(recording, path)
        if not np.isfinite(series.tr):
            raise InputError(recording["path"], "its repetition time is not known", "add RepetitionTime to its sidecar")
        row_of = np.full(int(series.kept.max(initial=-1)) + 1, -1)
        row_of[series.kept] = np.arange(len(series.kept))
        n = max(round(self.length / series.tr), 2)
        windows, kept = [], []
        for entry in self.presentations:
            first = round((entry["onset"] + self.start) / series.tr)
            if first < 0 or first + n > len(row_of) or (row_of[first : first + n] < 0).any():
                continue
            windows.append(series.values[row_of[first : first + n]].T)
            kept.append(entry)
        if not kept:
            fault = f"has no presentation followed by {self.length:g} s of series"
            raise InputError(
                recording["path"], fault, "see `stimuli` of the dataset card, and the length of the windows"
            )
        x = np.stack(windows)
        axis = {"sample": (self.start + series.tr * np.arange(n)).tolist()}
        if self.values == "power":
            power = np.abs(np.fft.rfft(x - x.mean(axis=2, keepdims=True), axis=2)[:, :, 1:]) ** 2
            x = np.log(power + 1e-12 * max(power.max(initial=0.0), 1e-300))
            axis = {"frequency": np.fft.rfftfreq(n, series.tr)[1:].tolist()}
        rows = rows_of(recording, len(kept), onset=[entry["onset"] for entry in kept], **series.columns)
        if len(kept) == 1:
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        rows["label"] = np.array([str(entry["stim_id"]) for entry in kept])
        return Bundle({"x": x.astype(np.float32)}, rows, {"response": series.regions, **axis}, {"fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        what = {
            "series": "the samples",
            "power": "the logarithm of the power of each frequency",
        }[self.values]
        return text(
            super().described(suffixes),
            f"The features are {what} of the {digits(self.length)} s that begin {digits(self.start)} s after the"
            " onset of each presentation.",
        )
