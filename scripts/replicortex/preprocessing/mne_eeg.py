"""EEG preprocessing with MNE-Python: filters, bad channels, ICA, reference, resampling.

Bad channels are found by the three criteria of the PREP pipeline that need no random numbers (Bigdely-Shamlo
et al. 2015, doi:10.3389/fninf.2015.00016): no signal, deviating amplitude, no correlation with any other
channel. Components of eye movements are found by their correlation with EOG or frontal channels. Everything
is estimated from the one recording that it is applied to.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ..components import Preprocessor, component
from ..errors import InputError
from ..shared.eeg_derivative import write_derivative
from ..shared.eeg_positions import place_electrodes
from ..shared.eeg_raw import EegRecording, read_recording
from ..shared.words import band, count, digits, listed, percent, text

_UV = 1e6
#: Turns an interquartile range into a standard deviation for normal values.
_IQR_TO_SD = 0.7413


@pydantic_dataclass(config=ConfigDict(extra="forbid"), kw_only=True)
class Ica:
    """Independent component analysis that removes eye movements.

    Parameters
    ----------
    n_components : int or float
        Number of components, or the fraction of variance that they explain.
    method : {"fastica", "infomax"}
    eog_threshold : float
        A component is removed if its absolute correlation (1 to 10 Hz) with an eye channel exceeds this. A
        z-score over components, the other usual criterion, can not exceed 3 where there are ten or fewer.
    proxies : list of str
        EEG channels that stand for eye movements where the recording has no EOG channel.
    seed : int

    """

    n_components: int | float = 0.99
    method: Literal["fastica", "infomax"] = "fastica"
    eog_threshold: float = Field(default=0.6, gt=0, lt=1)
    proxies: list[str] = Field(default_factory=lambda: ["Fp1", "Fpz", "Fp2"])
    seed: int = 0


@component
class MneEeg(Preprocessor):
    """Filter, repair and re-reference one EEG recording.

    Steps, in this order: notch, band-pass (zero-phase FIR), bad channels, ICA, interpolation, reference, bad
    segments, resampling. EEG, EOG, ECG and EMG channels are kept; EEG alone is repaired and re-referenced.

    Parameters
    ----------
    l_freq, h_freq : float or None
        Edges of the pass-band (Hz).
    notch : "line", float or None
        Frequency (Hz) removed with its harmonics, as far as they lie in the pass-band; ``"line"`` is
        ``PowerLineFrequency`` of the sidecar.
    reference : "average", list of str or None
        New reference; ``None`` keeps the recorded one.
    resample : float or None
        New sampling rate (Hz).
    montage : str or None
        MNE montage that gives positions where the dataset has none, and the spelling of channel names.
    flat_uv : float or None
        A channel is bad if its robust standard deviation (0.74 times the interquartile range) is below (uV).
    deviation_z : float or None
        A channel is bad if its robust standard deviation is more robust z-scores from the channels' median.
    min_correlation : float or None
        A channel is bad if, in more than ``max_uncorrelated`` of all one-second windows, its 98th percentile
        absolute correlation with the other channels is below.
    max_uncorrelated : float
        See ``min_correlation``; a fraction.
    max_bad_channels : float
        The recording is refused if a greater fraction of its EEG channels is bad.
    interpolate : bool
        Replace bad channels by spherical splines; else, or where positions are unknown, they stay marked bad.
    ica : Ica or None
        Removes eye movements.
    muscle_z : float or None
        Segments whose amplitude in ``muscle_band`` exceeds this z-score become ``BAD_muscle``.
    muscle_band : (float, float)
        Hz; below half of the recording's sampling rate.
    amplitude_uv : float or None
        Segments where a good EEG channel exceeds this absolute value become ``BAD_amplitude``; those less
        than 0.1 s apart are one.
    flat_segment_uv : float or None
        Segments where a good EEG channel changes by less than this become ``BAD_flat``.

    """

    tiny = {}
    datatypes = ("eeg",)

    l_freq: float | None = Field(default=0.5, gt=0)
    h_freq: float | None = Field(default=45.0, gt=0)
    notch: Literal["line"] | float | None = None
    reference: Literal["average"] | list[str] | None = "average"
    resample: float | None = Field(default=None, gt=0)
    montage: str | None = "colin27_1005"
    flat_uv: float | None = 0.1
    deviation_z: float | None = 5.0
    min_correlation: float | None = 0.4
    max_uncorrelated: float = 0.1
    max_bad_channels: float = 0.5
    interpolate: bool = True
    ica: Ica | None = None
    muscle_z: float | None = None
    muscle_band: tuple[float, float] = (110.0, 140.0)
    amplitude_uv: float | None = None
    flat_segment_uv: float | None = None

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess one recording; see :class:`replicortex.components.Preprocessor`.

        Returns
        -------
        dict
            The sidecar: the facts of the raw sidecars that are still true, and what was done.

        """
        with warnings.catch_warnings(), mne.utils.use_log_level("ERROR"):
            # What MNE warns of and matters here (short signals, missing positions) is checked below.
            warnings.simplefilter("ignore")
            source = read_recording(recording, root, self.montage)
            name = recording["path"]
            raw = source.raw
            status = dict.fromkeys(raw.info["bads"], "marked bad in channels.tsv")
            status |= _silence_not_finite(raw)
            unfiltered = raw.copy() if self.muscle_z is not None else raw
            notched = self._filter(raw, source.sidecar, name)
            status |= {k: v for k, v in self._find_bad_channels(raw).items() if k not in status}
            eeg = {raw.ch_names[pick] for pick in mne.pick_types(raw.info, eeg=True, exclude=())}
            n_bad = len(eeg & status.keys())
            if n_bad > self.max_bad_channels * len(eeg):
                fault = f"{n_bad} of {len(eeg)} EEG channels are bad"
                raise InputError(name, fault, "exclude the recording, or relax the limits in the card")
            raw.info["bads"] = [channel for channel in raw.ch_names if channel in status]
            removed = self._remove_eye_movements(raw, name)
            electrodes, coordsystem = place_electrodes(raw, source, self.montage, recording["electrodes"])
            if self.interpolate:
                status |= {channel: f"{status[channel]}; interpolated" for channel in _interpolate(raw)}
            self._set_reference(raw, name)
            self._mark_segments(raw, unfiltered, name)
            if self.resample is not None:
                raw.resample(self.resample)
        write_derivative(
            out,
            recording["recording"],
            raw,
            source.events,
            status=status,
            electrodes=electrodes,
            coordsystem=coordsystem,
        )
        return self._sidecar(source, raw, status, removed, notched)

    def _filter(self, raw: mne.io.BaseRaw, sidecar: Mapping[str, Any], name: str) -> list[float]:
        """Filter in place; return the notch frequencies (Hz)."""
        nyquist = raw.info["sfreq"] / 2
        for edge in (self.l_freq, self.h_freq):
            if edge is not None and edge >= nyquist:
                fault = f"a filter edge of {edge:g} Hz is not below half its sampling rate ({nyquist:g} Hz)"
                raise InputError(name, fault, "lower the edge in the preprocessing card")
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise InputError("preprocessing", "l_freq is not below h_freq", "correct it in the card")
        base = self.notch
        if base == "line":
            base = sidecar.get("PowerLineFrequency")
            if not isinstance(base, int | float) or base <= 0:
                remedy = "give it in the JSON sidecar, or set notch to a number or null"
                raise InputError(name, "PowerLineFrequency is missing", remedy)
        # A notch needs room for its upper transition below half the sampling rate.
        end = min(self.h_freq or nyquist, nyquist - 1)
        notches = [] if base is None else np.arange(base, end, base).tolist()
        picks = list(range(len(raw.ch_names)))
        if self.l_freq is not None or self.h_freq is not None:
            taps = len(mne.filter.create_filter(None, raw.info["sfreq"], self.l_freq, self.h_freq))
            if taps > raw.n_times:
                fault = f"its {raw.n_times} samples are fewer than the {taps} of the filter"
                raise InputError(name, fault, "raise l_freq in the preprocessing card, or exclude the recording")
        if notches:
            raw.notch_filter(notches, picks=picks)
        if self.l_freq is not None or self.h_freq is not None:
            raw.filter(self.l_freq, self.h_freq, picks=picks, skip_by_annotation=())
        return notches

    def _find_bad_channels(self, raw: mne.io.BaseRaw) -> dict[str, str]:
        """Return the EEG channels that are bad, and why."""
        picks = mne.pick_types(raw.info, eeg=True, exclude="bads")
        names = np.array(raw.ch_names)[picks]
        data = raw.get_data(picks) * _UV
        scale = _IQR_TO_SD * np.subtract(*np.percentile(data, [75, 25], axis=1))
        found: dict[str, str] = {}
        if self.flat_uv is not None:
            found |= dict.fromkeys(names[scale < self.flat_uv], "flat")
        if self.deviation_z is not None:
            spread = _IQR_TO_SD * np.subtract(*np.percentile(scale, [75, 25]))
            far = (np.abs(scale - np.median(scale)) > self.deviation_z * spread) & (spread > 0)
            found |= {name: "deviating amplitude" for name in names[far] if name not in found}
        if self.min_correlation is not None and len(names) > 2:
            alone = _uncorrelated(data, round(raw.info["sfreq"]), self.min_correlation)
            lonely = alone > self.max_uncorrelated
            found |= {name: "uncorrelated" for name in names[lonely] if name not in found}
        return {str(name): why for name, why in found.items()}

    def _remove_eye_movements(self, raw: mne.io.BaseRaw, name: str) -> int | None:
        """Remove eye components in place; return how many, or ``None`` without ICA."""
        if self.ica is None:
            return None
        eyes = [raw.ch_names[pick] for pick in mne.pick_types(raw.info, eeg=False, eog=True)]
        eyes = eyes or [channel for channel in self.ica.proxies if channel in raw.ch_names]
        eyes = [channel for channel in eyes if channel not in raw.info["bads"]]
        if not eyes:
            fault = "has neither a good EOG channel nor a good proxy"
            raise InputError(name, fault, "name frontal channels in ica.proxies")
        ica = mne.preprocessing.ICA(
            self.ica.n_components, method=self.ica.method, random_state=self.ica.seed, max_iter="auto"
        )
        # Slow drifts spoil the decomposition: it is estimated above 1 Hz and applied to the whole band.
        slow = self.l_freq is None or self.l_freq < 1
        ica.fit(raw.copy().filter(1.0, None, skip_by_annotation=()) if slow else raw, picks="eeg")
        ica.exclude, _ = ica.find_bads_eog(raw, ch_name=eyes, threshold=self.ica.eog_threshold, measure="correlation")
        ica.apply(raw)
        return len(ica.exclude)

    def _set_reference(self, raw: mne.io.BaseRaw, name: str) -> None:
        if self.reference is None:
            return
        if isinstance(self.reference, list):
            lacking = [channel for channel in self.reference if channel not in raw.ch_names]
            if lacking:
                fault = f"lacks the reference channel {lacking[0]}"
                raise InputError(name, fault, "correct reference in the preprocessing card")
        raw.set_eeg_reference(self.reference, projection=False, ch_type="eeg")

    def _mark_segments(self, raw: mne.io.BaseRaw, unfiltered: mne.io.BaseRaw, name: str) -> None:
        """Add ``BAD_`` annotations to ``raw``; muscles show above its pass-band, in ``unfiltered``."""
        found = mne.Annotations([], [], [])
        if self.muscle_z is not None:
            if self.muscle_band[1] >= raw.info["sfreq"] / 2:
                raise InputError(
                    name,
                    f"its sampling rate of {raw.info['sfreq']:g} Hz does not reach the muscle_band",
                    "lower muscle_band in the card, or set muscle_z to null",
                )
            unfiltered.info["bads"] = list(raw.info["bads"])
            found += mne.preprocessing.annotate_muscle_zscore(
                unfiltered, self.muscle_z, ch_type="eeg", filter_freq=self.muscle_band
            )[0]
        picks = mne.pick_types(raw.info, eeg=True, exclude="bads")
        if self.flat_segment_uv is not None:
            found += mne.preprocessing.annotate_amplitude(
                raw, flat=self.flat_segment_uv / _UV, bad_percent=100, min_duration=0.1, picks=picks
            )[0]
        if self.amplitude_uv is not None:
            high = (np.abs(raw.get_data(picks)) * _UV > self.amplitude_uv).any(axis=0)
            start, stop = np.flatnonzero(np.diff(high, prepend=False, append=False)).reshape(-1, 2).T
            apart = start[1:] - stop[:-1] >= 0.1 * raw.info["sfreq"]
            start, stop = start[np.r_[True, apart][: len(start)]], stop[np.r_[apart, True][: len(stop)]]
            spans = np.array([start, stop - start]) / raw.info["sfreq"]
            found += mne.Annotations(*spans, "BAD_amplitude")
        kinds = [kind if kind.startswith("BAD_") else f"BAD_{kind}" for kind in found.description]
        raw.set_annotations(mne.Annotations(found.onset, found.duration, kinds))

    def _sidecar(
        self,
        source: EegRecording,
        raw: mne.io.BaseRaw,
        status: Mapping[str, str],
        removed: int | None,
        notched: list[float],
    ) -> dict[str, Any]:
        kinds = raw.get_channel_types()
        filters = source.sidecar.get("SoftwareFilters")
        filters = dict(filters) if isinstance(filters, dict) else {}
        if notched:
            filters["Notch (zero-phase FIR)"] = {"frequencies (Hz)": notched}
        if self.l_freq is not None or self.h_freq is not None:
            filters["Band-pass (zero-phase FIR)"] = {"low (Hz)": self.l_freq, "high (Hz)": self.h_freq}
        reference = self.reference if isinstance(self.reference, str) else ", ".join(self.reference or [])
        # Facts about channels that were dropped are no longer true.
        kept = {key: value for key, value in source.sidecar.items() if not key.endswith("ChannelCount")}
        return {
            **kept,
            "Description": "Filtered, repaired and re-referenced EEG",
            "SamplingFrequency": float(raw.info["sfreq"]),
            "RecordingDuration": raw.n_times / float(raw.info["sfreq"]),
            "RecordingType": "continuous",
            "SoftwareFilters": filters or "n/a",
            "EEGReference": reference or source.sidecar.get("EEGReference", "n/a"),
            **{f"{kind.upper()}ChannelCount": kinds.count(kind) for kind in ("eeg", "eog", "ecg", "emg")},
            "MiscChannelCount": 0,
            "TriggerChannelCount": 0,
            "BadChannels": dict(sorted(status.items())),
            "EyeComponentsRemoved": removed,
            "BadSegments": sorted(set(raw.annotations.description.tolist())),
            "ProcessingSoftware": f"MNE-Python {mne.__version__}",
        }

    def described(self) -> str:
        """Return what it does, in words."""
        notch = "the power line's frequency" if self.notch == "line" else f"{digits(self.notch or 0)} Hz"
        filters = [
            f"{notch} and its harmonics were removed by a notch filter" if self.notch is not None else "",
            f"the signal was filtered ({band(self.l_freq, self.h_freq)}, zero-phase FIR)"
            if self.l_freq is not None or self.h_freq is not None
            else "",
        ]
        filtered = listed(filter(None, filters)) if any(filters) else "the signal was not filtered"
        repaired = (
            "replaced by spherical splines [@perrin1989]" if self.interpolate else "left as they were, and marked"
        )
        montage = f" Template positions (MNE montage {self.montage}) stood in where none were measured."
        reference = "their average" if self.reference == "average" else listed(self.reference or ["the recorded one"])
        return text(
            f"EEG was preprocessed with MNE-Python [@gramfort2013]: {filtered}.",
            self._bad_channels_in_words(),
            self._ica_in_words(),
            f"Bad channels were {repaired}.{montage if self.montage else ''}",
            f"EEG channels were referenced to {reference}."
            if self.reference is not None
            else "The recorded reference was kept.",
            self._segments_in_words(),
            f"Signals were resampled to {digits(self.resample)} Hz." if self.resample is not None else "",
        )

    def _bad_channels_in_words(self) -> str:
        kinds = [
            f"were flat (robust standard deviation below {digits(self.flat_uv)} µV)"
            if self.flat_uv is not None
            else "",
            f"had a deviating amplitude (more than {digits(self.deviation_z)} robust z-scores from the median)"
            if self.deviation_z is not None
            else "",
            "correlated with no other channel (98th percentile of the absolute correlations below"
            f" {digits(self.min_correlation)} in more than {percent(self.max_uncorrelated)} of one-second windows)"
            if self.min_correlation is not None
            else "",
        ]
        source = " [@bigdely2015]" if any(kinds) else ""
        marked = listed(["were marked so in the dataset", *filter(None, kinds)], "or")
        return (
            f"Channels were taken for bad that {marked}{source}; recordings with more than"
            f" {percent(self.max_bad_channels)} of bad channels were excluded."
        )

    def _ica_in_words(self) -> str:
        if self.ica is None:
            return ""
        kinds = {"fastica": "FastICA [@hyvarinen1999]", "infomax": "Infomax [@bell1995]"}
        n = self.ica.n_components
        kept = f"{percent(n)} of the variance" if isinstance(n, float) else count(n, "component")
        return (
            f"Eye movements were removed by independent component analysis ({kinds[self.ica.method]}, {kept}, seed"
            f" {self.ica.seed}): components were taken out whose absolute correlation with an EOG channel, or with"
            f" {listed(self.ica.proxies, 'or')} where there was none, exceeded {digits(self.ica.eog_threshold)}."
        )

    def _segments_in_words(self) -> str:
        low, high = self.muscle_band
        marked = [
            f"the amplitude from {digits(low)} to {digits(high)} Hz exceeded a z-score of {digits(self.muscle_z)}"
            if self.muscle_z is not None
            else "",
            f"a good channel exceeded {digits(self.amplitude_uv)} µV" if self.amplitude_uv is not None else "",
            f"a good channel changed by less than {digits(self.flat_segment_uv)} µV"
            if self.flat_segment_uv is not None
            else "",
        ]
        return f"Segments were marked as bad where {listed(filter(None, marked), 'or')}." if any(marked) else ""


def _silence_not_finite(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Zero the channels that hold NaN or infinity, which a filter would spread; return them as bad EEG."""
    broken = ~np.isfinite(raw.get_data()).all(axis=1)
    if broken.any():
        raw.apply_function(np.zeros_like, picks=np.flatnonzero(broken))
    eeg = {raw.ch_names[pick] for pick in mne.pick_types(raw.info, eeg=True, exclude=())}
    return {name: "not finite" for name, bad in zip(raw.ch_names, broken, strict=True) if bad and name in eeg}


def _uncorrelated(data: np.ndarray, window: int, threshold: float) -> np.ndarray:
    """Return, for each channel, the fraction of windows in which it correlates with no other channel.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
        Any unit.
    window : int
        Samples.
    threshold : float
        The 98th percentile of absolute correlations with the other channels that is too low.

    """
    n_channels, n_times = data.shape
    n_windows = max(1, n_times // window)
    window = min(window, n_times)
    cut = data[:, : n_windows * window].reshape(n_channels, n_windows, window).transpose(1, 0, 2)
    cut = cut - cut.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(cut, axis=2, keepdims=True)
    cut = np.divide(cut, norm, out=np.zeros_like(cut), where=norm > 0)
    correlation = np.abs(cut @ cut.transpose(0, 2, 1))
    others = ~np.eye(n_channels, dtype=bool)
    correlation = correlation[:, others].reshape(n_windows, n_channels, n_channels - 1)
    return (np.percentile(correlation, 98, axis=2) < threshold).mean(axis=0)


def _interpolate(raw: mne.io.BaseRaw) -> list[str]:
    """Interpolate the bad EEG channels whose positions are known; return their names."""
    placed = raw.get_montage()
    positions = placed.get_positions()["ch_pos"] if placed is not None else {}
    known = {name for name, position in positions.items() if np.isfinite(position).all()}
    good = [raw.ch_names[pick] for pick in mne.pick_types(raw.info, eeg=True, exclude="bads")]
    if not raw.info["bads"] or not set(good) <= known:
        return []
    repaired = [name for name in raw.info["bads"] if name in known]
    left = [name for name in raw.info["bads"] if name not in known]
    raw.info["bads"] = repaired
    raw.interpolate_bads(reset_bads=True)
    raw.info["bads"] = left
    return repaired
