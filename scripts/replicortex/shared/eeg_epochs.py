"""Cut one preprocessed EEG recording into labelled trials: what its extractors share."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import mne
import numpy as np
from pydantic import Field

from ..components import Extractor
from ..errors import InputError
from .eeg_derivative import read_derivative
from .words import band, count, digits, listed, sentence, text

_UV = 1e6


@dataclass(frozen=True)
class Trials:
    """Trials of one recording.

    Parameters
    ----------
    x : ndarray of shape (n_trials, n_channels, n_times)
        Microvolts, float64.
    rows : dict of str to ndarray
        The row table of a bundle.
    channels : list of str
    times : list of float
        Seconds from the event.
    sfreq : float
        Hz.

    """

    x: np.ndarray
    rows: dict[str, np.ndarray]
    channels: list[str]
    times: list[float]
    sfreq: float


@dataclass(kw_only=True)
class EegTrialExtractor(Extractor):
    """Base of the extractors whose rows are trials of an EEG recording.

    Parameters
    ----------
    tmin, tmax : float
        First and last time of a trial (s from the event), both included.
    baseline : (float or None, float or None) or None
        Interval (s) whose mean is subtracted, ``None`` meaning the end of the trial on that side.
    l_freq, h_freq : float or None
        Edges (Hz) of a zero-phase FIR filter of the continuous signal.
    resample : float or None
        New sampling rate (Hz), set before cutting.
    channels : list of str or None
        EEG channels in the order of the result; ``None`` takes all, in the order of the file. Channels marked
        bad are taken too, since all recordings of a study must give the same channels.
    min_channels : int or None
        How many of ``channels`` suffice; ``None`` demands all.
    reject_uv : float or None
        Trials with a greater peak-to-peak amplitude in a channel are dropped.
    drop_bad : bool
        Drop trials that overlap a ``BAD_`` segment.

    """

    datatypes = ("eeg",)
    needs_events = True

    tmin: float = 0.0
    tmax: float = 1.0
    baseline: tuple[float | None, float | None] | None = None
    l_freq: Annotated[float, Field(gt=0)] | None = None
    h_freq: Annotated[float, Field(gt=0)] | None = None
    resample: Annotated[float, Field(gt=0)] | None = None
    channels: list[str] | None = None
    min_channels: Annotated[int, Field(ge=1)] | None = None
    reject_uv: Annotated[float, Field(gt=0)] | None = None
    drop_bad: bool = True

    def trials(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Trials:
        """Return the trials of the derivative at ``path``; see :class:`replicortex.components.Extractor`.

        Raises
        ------
        InputError
            If there is no event of any class, or two at the same time, a channel is missing, a filter edge
            does not fit the recording, or every trial was dropped.

        """
        if self.tmin >= self.tmax:
            raise InputError("feature", "tmin is not below tmax", "correct it in the feature card")
        derivative = read_derivative(path)
        raw, original_sfreq = derivative.raw, float(derivative.raw.info["sfreq"])
        label_of = {kind: label for label, kinds in classes.items() for kind in kinds}
        chosen = [event for event in derivative.events if event["trial_type"] in label_of]
        if not chosen:
            found = sorted({event["trial_type"] for event in derivative.events})
            raise InputError(
                path.name,
                f"has no event of {', '.join(classes)} (its trial_type values: {', '.join(found) or 'none'})",
                "name its trial_type values under classes in the dataset or study card",
            )
        with warnings.catch_warnings(), mne.utils.use_log_level("ERROR"):
            warnings.simplefilter("ignore")
            self._prepare(raw, path.name)
            sfreq = float(raw.info["sfreq"])
            samples = [round(event["onset"] * sfreq) for event in chosen]
            _check_single(chosen, samples, path.name)
            epochs = mne.Epochs(
                raw,
                np.array([[sample, 0, 1] for sample in samples]),
                tmin=self.tmin,
                tmax=self.tmax,
                baseline=self.baseline,
                picks="all",
                reject=None if self.reject_uv is None else {"eeg": self.reject_uv / _UV},
                reject_by_annotation=self.drop_bad,
                preload=True,
            )
        if not len(epochs):
            why = ", ".join(sorted({reason for log in epochs.drop_log for reason in log}))
            remedy = "relax reject_uv, drop_bad or the window in the feature card"
            raise InputError(path.name, f"all {len(chosen)} trials were dropped ({why})", remedy)
        kept = [chosen[index] for index in epochs.selection]
        name = recording["recording"]
        rows = {
            "row_id": [f"{name}_{round(event['onset'] * original_sfreq):09d}" for event in kept],
            "onset": [event["onset"] for event in kept],
            "label": [label_of[event["trial_type"]] for event in kept],
            "recording": [name] * len(kept),
            **{key: [recording[key]] * len(kept) for key in ("subject", "session", "run")},
        }
        return Trials(
            epochs.get_data(copy=False) * _UV,
            {key: np.array(values) for key, values in rows.items()},
            list(raw.ch_names),
            np.round(epochs.times, 9).tolist(),
            sfreq,
        )

    def lacks(self, channels: Collection[str]) -> list[str]:
        """Return the channels that are missing, none where enough of them are there."""
        missing = [channel for channel in self.channels or [] if channel not in channels]
        return missing if len(self.channels or []) - len(missing) < self._demanded else []

    @property
    def _demanded(self) -> int:
        return len(self.channels or []) if self.min_channels is None else self.min_channels

    def _prepare(self, raw: mne.io.BaseRaw, name: str) -> None:
        """Pick, filter and resample the continuous signal in place."""
        eeg = [raw.ch_names[pick] for pick in mne.pick_types(raw.info, eeg=True, exclude=())]
        wanted = eeg if self.channels is None else [channel for channel in self.channels if channel in eeg]
        if len(wanted) < self._demanded:
            lacking = [channel for channel in self.channels or [] if channel not in eeg]
            raise InputError(
                name,
                f"lacks channel {', '.join(lacking)} (has {len(wanted)} of the {self._demanded} demanded)",
                "correct channels in the feature card, or exclude the recording",
            )
        raw.pick(wanted).reorder_channels(wanted)
        # A channel that is left bad would otherwise be passed over by filter and rejection.
        raw.info["bads"] = []
        nyquist = raw.info["sfreq"] / 2
        edges = [edge for edge in (self.l_freq, self.h_freq) if edge is not None]
        if any(edge >= nyquist for edge in edges):
            raise InputError(
                name,
                f"a filter edge of {max(edges):g} Hz is not below {nyquist:g} Hz",
                "lower it in the feature card",
            )
        if edges:
            raw.filter(self.l_freq, self.h_freq, picks="all", skip_by_annotation=())
        if self.resample is not None:
            raw.resample(self.resample)

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        picked = "all EEG channels"
        if self.channels is not None:
            enough = "" if self.min_channels is None else f", of which at least {self.min_channels} had to be there"
            picked = f"{count(len(self.channels), 'EEG channel')} ({listed(self.channels)}{enough})"
        elif self.min_channels is not None:
            picked += f", of which at least {self.min_channels} had to be there"
        dropped = [
            f"with a peak-to-peak amplitude above {digits(self.reject_uv or 0)} µV in a channel"
            if self.reject_uv
            else "",
            "that overlapped with segments marked as bad" if self.drop_bad else "",
        ]
        baseline = ""
        if self.baseline is not None:
            start, end = self.baseline
            span = [
                words if value is None else f"{digits(value)} s"
                for value, words in ((start, "its start"), (end, "its end"))
            ]
            baseline = f"The mean from {span[0]} to {span[1]} was subtracted from each."
        return text(
            sentence(
                f"The continuous signal of {picked} was ",
                "left unfiltered"
                if self.l_freq is None and self.h_freq is None
                else f"filtered ({band(self.l_freq, self.h_freq)})",
                f" and resampled to {digits(self.resample)} Hz" if self.resample is not None else "",
            ),
            f"Trials were cut from {digits(self.tmin)} to {digits(self.tmax)} s relative to the events.",
            baseline,
            f"Trials {listed(filter(None, dropped), 'or')} were dropped." if any(dropped) else "",
        )


def _check_single(events: Sequence[Mapping[str, Any]], samples: Sequence[int], name: str) -> None:
    """Refuse two events in one sample, since a trial has one class."""
    count = Counter(samples)
    twice = [event for event, sample in zip(events, samples, strict=True) if count[sample] > 1]
    if twice:
        kinds = ", ".join(sorted({event["trial_type"] for event in twice}))
        fault = f"has {len(twice)} events of classes at the same time ({kinds}, first at {twice[0]['onset']:g} s)"
        raise InputError(name, fault, "name only one of them under classes, or correct events.tsv")
