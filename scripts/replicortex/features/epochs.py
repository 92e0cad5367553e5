"""Trials of an EEG recording as they are: channel by time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.eeg_epochs import EegTrialExtractor
from ..shared.words import text


@component
class Epochs(EegTrialExtractor):
    """Trials around events; parameters as in :class:`replicortex.shared.eeg_epochs.EegTrialExtractor`."""

    tiny = {"tmin": 0.0, "tmax": 0.5}

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_trials, n_channels, n_times), float32, in microvolts.

        ``axes`` are ``channel`` (names), ``time`` (s from the event) and ``sfreq`` (one value, Hz).
        """
        trials = self.trials(recording, path, classes)
        axes = {"channel": trials.channels, "time": trials.times, "sfreq": [trials.sfreq]}
        return Bundle({"x": trials.x.astype(np.float32)}, trials.rows, axes, {"unit": "uV", "fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        return text(super().described(suffixes), "The trials themselves, channels by times, are the features.")
