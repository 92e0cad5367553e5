"""Preprocessing of EEG and MEG alike with MNE-Python: line noise, resampling, band-pass, bad channels.

The steps of the pretraining data of BrainOmni (Xiao et al. 2025, doi:10.48550/arXiv.2505.18185), so that recordings of
any device come out alike. Nothing is re-referenced and no component removed. Everything is estimated from the one
recording that it is applied to.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import mne
import numpy as np
from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError
from ..shared.eeg_derivative import write_derivative
from ..shared.eeg_positions import place_electrodes
from ..shared.eeg_raw import EegRecording, read_recording
from ..shared.meg_derivative import write_meg
from ..shared.meg_raw import read_meg
from ..shared.words import band, digits, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Where splines and fields of MEG sensors are centred (m, head coordinates).
_CENTRE = (0.0, 0.0, 0.04)
#: As of MNE: sensors of one kind.
_KINDS = ("eeg", "mag", "grad")


@component
class MneSensors(Preprocessor):
    """Clean one EEG or MEG recording.

    Steps, in this order: notch, resampling, band-pass (zero-phase FIR), bad channels, interpolation.

    Parameters
    ----------
    l_freq, h_freq : float or None
        Edges of the pass-band (Hz).
    notch : "line", float or None
        Frequency (Hz) removed with its harmonics; ``"line"`` is ``PowerLineFrequency`` of the sidecar.
    resample : float or None
        New sampling rate (Hz).
    montage : str or None
        MNE montage that gives electrode positions where the dataset has none, and the spelling of channel names.
    spectral_distance : float or None
        A channel is bad if the mean distance of its logarithmic spectrum to those of the other channels of its kind
        lies more than this many interquartile ranges outside the quartiles of these distances.
    max_bad_channels : float
        The recording is refused if a greater fraction of its channels is bad.
    interpolate : bool
        Replace bad channels (spherical splines for electrodes, fields for coils); else they stay marked bad.
    """

    # A filter from 0.1 Hz on takes half a minute.
    tiny = {"l_freq": 1.0}
    datatypes = ("eeg", "meg")

    l_freq: Positive | None = 0.1
    h_freq: Positive | None = 96.0
    notch: Literal["line"] | Positive | None = "line"
    resample: Positive | None = 256.0
    montage: str | None = "colin27_1005"
    spectral_distance: Positive | None = 10.0
    max_bad_channels: Annotated[float, Field(ge=0, le=1)] = 0.5
    interpolate: bool = True

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess one recording; see :class:`replicortex.components.Preprocessor`."""
        name, of_heads = recording["path"], recording["datatype"] == "eeg"
        with warnings.catch_warnings(), mne.utils.use_log_level("ERROR"):
            # What MNE warns of and matters here (short signals, missing positions) is checked below.
            warnings.simplefilter("ignore")
            source = read_recording(recording, root, self.montage) if of_heads else read_meg(recording, root)
            raw = source.raw
            status = dict.fromkeys(raw.info["bads"], "marked bad in the dataset")
            status |= _silence_not_finite(raw)
            notched = self._clean(raw, source.sidecar, name)
            status |= {key: why for key, why in self._find_bad(raw).items() if key not in status}
            picks = mne.pick_types(raw.info, meg=True, eeg=True, exclude=())
            n_bad = len({raw.ch_names[pick] for pick in picks} & status.keys())
            if n_bad > self.max_bad_channels * len(picks):
                fault = f"{n_bad} of {len(picks)} channels are bad"
                raise InputError(name, fault, "exclude the recording, or relax the limits in the card")
            raw.info["bads"] = [channel for channel in raw.ch_names if channel in status]
            placed = place_electrodes(raw, source, self.montage, recording["electrodes"]) if of_heads else (None, None)
            if self.interpolate and raw.info["bads"] and _have_places(raw):
                repaired = list(raw.info["bads"])
                raw.interpolate_bads(reset_bads=True, mode="accurate", origin=_CENTRE)
                status |= {channel: f"{status[channel]}; interpolated" for channel in repaired}
        if of_heads:
            electrodes, coordsystem = placed
            write_derivative(
                *(out, recording["recording"], raw, source.events),
                status=status,
                electrodes=electrodes,
                coordsystem=coordsystem,
            )
        else:
            write_meg(out, recording["recording"], raw, source.events, status)
        return self._sidecar(source, raw, status, notched)

    def _clean(self, raw: mne.io.BaseRaw, sidecar: Mapping[str, Any], name: str) -> list[float]:
        """Filter and resample in place; return the notch frequencies (Hz)."""
        base = self.notch
        if base == "line":
            base = sidecar.get("PowerLineFrequency")
            if not isinstance(base, int | float) or base <= 0:
                remedy = "give it in the JSON sidecar, or set notch to a number or null"
                raise InputError(name, "PowerLineFrequency is missing", remedy)
        nyquist = min(raw.info["sfreq"], self.resample or np.inf) / 2
        for edge in (self.l_freq, self.h_freq):
            if edge is not None and edge >= nyquist:
                fault = f"a filter edge of {edge:g} Hz is not below half its sampling rate ({nyquist:g} Hz)"
                raise InputError(name, fault, "lower the edge in the preprocessing card")
        everything = list(range(len(raw.ch_names)))
        # A notch needs room for its upper transition below half the sampling rate.
        end = min(self.h_freq or nyquist, nyquist - 1)
        notches = [] if base is None else np.arange(base, end, base).tolist()
        if notches:
            raw.notch_filter(notches, picks=everything)
        if self.resample is not None and raw.info["sfreq"] != self.resample:
            raw.resample(self.resample)
        if self.l_freq is not None or self.h_freq is not None:
            taps = len(mne.filter.create_filter(None, raw.info["sfreq"], self.l_freq, self.h_freq))
            if taps > raw.n_times:
                fault = f"its {raw.n_times} samples are fewer than the {taps} of the filter"
                raise InputError(name, fault, "raise l_freq in the preprocessing card, or exclude the recording")
            raw.filter(self.l_freq, self.h_freq, picks=everything, skip_by_annotation=())
        return notches

    def _find_bad(self, raw: mne.io.BaseRaw) -> dict[str, str]:
        """Return the sensors that are bad, and why."""
        found: dict[str, str] = {}
        for kind in _KINDS:
            picks = mne.pick_types(
                raw.info, meg=kind if kind != "eeg" else False, eeg=kind == "eeg", exclude=raw.info["bads"]
            )
            if not len(picks):
                continue
            data = raw.get_data(picks)
            flat = np.ptp(data, axis=1) == 0
            found |= {raw.ch_names[pick]: "flat" for pick in picks[flat]}
            picks, data = picks[~flat], data[~flat]
            if self.spectral_distance is None or len(picks) < 4:
                continue
            n_fft = min(raw.n_times, round(raw.info["sfreq"]))
            power = mne.time_frequency.psd_array_welch(data, raw.info["sfreq"], n_fft=n_fft, verbose="ERROR")[0]
            # Relative, so that coils (1e-27) and electrodes (1e-12) are treated alike.
            spectra = np.log(power / np.median(power) + 1e-12)
            distance = np.linalg.norm(spectra[:, None] - spectra, axis=2).mean(axis=1)
            low, high = np.percentile(distance, [25, 75])
            reach = self.spectral_distance * (high - low)
            odd = (distance > high + reach) | (distance < low - reach)
            found |= {raw.ch_names[pick]: "deviating spectrum" for pick in picks[odd]}
        return found

    def _sidecar(
        self, source: EegRecording, raw: mne.io.BaseRaw, status: Mapping[str, str], notched: list[float]
    ) -> dict[str, Any]:
        filters = source.sidecar.get("SoftwareFilters")
        filters = dict(filters) if isinstance(filters, dict) else {}
        if notched:
            filters["Notch (zero-phase FIR)"] = {"frequencies (Hz)": notched}
        if self.l_freq is not None or self.h_freq is not None:
            filters["Band-pass (zero-phase FIR)"] = {"low (Hz)": self.l_freq, "high (Hz)": self.h_freq}
        # Facts about channels that were dropped are no longer true.
        kept = {key: value for key, value in source.sidecar.items() if not key.endswith("ChannelCount")}
        kinds = raw.get_channel_types()
        return {
            **kept,
            "Description": "Filtered and repaired signals",
            "SamplingFrequency": float(raw.info["sfreq"]),
            "RecordingDuration": raw.n_times / float(raw.info["sfreq"]),
            "RecordingType": "continuous",
            "SoftwareFilters": filters or "n/a",
            "MEGChannelCount": kinds.count("mag") + kinds.count("grad"),
            "EEGChannelCount": kinds.count("eeg"),
            "BadChannels": dict(sorted(status.items())),
            "Quality": {"BadChannelsPercent": 100 * len(status) / len(kinds)},
            "ProcessingSoftware": f"MNE-Python {mne.__version__}",
        }

    def described(self) -> str:
        """Return what it does, in words."""
        notch = "the power line's frequency" if self.notch == "line" else f"{digits(self.notch or 0)} Hz"
        steps = [
            f"{notch} and its harmonics were removed by a notch filter" if self.notch is not None else "",
            f"signals were resampled to {digits(self.resample)} Hz" if self.resample is not None else "",
            f"filtered ({band(self.l_freq, self.h_freq)}, zero-phase FIR)"
            if self.l_freq is not None or self.h_freq is not None
            else "",
        ]
        done = ", ".join(filter(None, steps)) or "signals were left as recorded"
        found = "that were marked so in the dataset or flat"
        if self.spectral_distance is not None:
            found += (
                ", or whose logarithmic spectrum was farther from the others of their kind than the quartiles by"
                f" {digits(self.spectral_distance)} interquartile ranges"
            )
        replaced = (
            "replaced by spherical splines [@perrin1989] (electrodes) or field interpolation (coils)"
            if self.interpolate
            else "left as they were, and marked"
        )
        places = f"Template positions (MNE montage {self.montage}) stood in for electrodes that were not measured."
        return text(
            f"EEG and MEG were preprocessed alike with MNE-Python [@gramfort2013]: {done}.",
            f"Channels {found}, were {replaced}; recordings with more than {digits(100 * self.max_bad_channels)} % of"
            " bad channels were excluded.",
            places if self.montage else "",
        )


def _silence_not_finite(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Zero the channels that hold NaN or infinity, which a filter would spread; return them as bad."""
    broken = ~np.isfinite(raw.get_data()).all(axis=1)
    if broken.any():
        raw.apply_function(np.zeros_like, picks=np.flatnonzero(broken))
    return {name: "not finite" for name, bad in zip(raw.ch_names, broken, strict=True) if bad}


def _have_places(raw: mne.io.BaseRaw) -> bool:
    picks = mne.pick_types(raw.info, meg=True, eeg=True, exclude=())
    return all(
        np.isfinite(raw.info["chs"][pick]["loc"][:3]).all() and raw.info["chs"][pick]["loc"][:3].any() for pick in picks
    )
