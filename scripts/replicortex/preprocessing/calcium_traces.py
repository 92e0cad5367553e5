"""Calcium traces of neurons at a common rate, with the velocity of the animal, in stretches without gaps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError, did_you_mean
from ..shared.binned import Binned, write_binned
from ..shared.nwb import Series, read_nwb
from ..shared.raw_files import inside
from ..shared.words import digits, listed, text
from ..shared.worm import NEURONS, canonical

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Lobes of the windowed sinc on each side, and the share of the lower of both Nyquist frequencies that passes whole.
_LOBES, _PASSED = 6, 0.8
_MOST_SAMPLES = 10_000_000


@component
class CalciumTraces(Preprocessor):
    """Bring the traces of an NWB file to one rate and one order of neurons; those without a name stay themselves.

    A series with one column is a trace. Where its name is a neuron's, it takes that neuron's name in the one order of
    :mod:`replicortex.shared.worm`; any other keeps its own name and stands after them, since the same number in another
    file means another neuron. Where samples are further apart than ``max_gap`` the recording is cut: nothing is
    interpolated over a gap.

    Parameters
    ----------
    rate : float
        Samples a second after resampling, Hz.
    resample : {"sinc", "mean"}
        ``sinc`` is a low-pass filter (windowed sinc, without phase) evaluated at the new times: what lies above the new
        Nyquist frequency does not fold back, and slow signals and means are kept. ``mean`` takes the mean over the time
        since the sample before: no sample depends on what comes later, as forecasts need.
    zscore : bool
        Give each trace mean 0 and standard deviation 1 over the recording; moments that are held out later have a share
        in both.
    velocity : list of str
        Series of positions whose velocity (backward difference) stands beside the traces as output.
    max_gap : float
        Longest time between two samples that is no gap, s.
    min_stretch : float
        Shortest stretch that is kept, s.
    """

    tiny = {"min_stretch": 1.0}
    datatypes = ("ephys",)
    suffixes = ("ephys",)

    rate: Positive = 3.0
    resample: Literal["sinc", "mean"] = "sinc"
    zscore: bool = True
    velocity: list[str] = []
    max_gap: Positive = 1.0
    min_stretch: Positive = 10.0

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is an NWB file."""
        return super().takes(recording) and recording["extension"] == ".nwb"

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Write the traces of one recording; see :mod:`replicortex.shared.binned` for their form.

        Raises
        ------
        InputError
            If the file can not be read, holds no trace, traces of different clocks, or no stretch that is long enough.
        """
        name = recording["path"]
        source = read_nwb(inside(root, name), name)
        lacking = sorted({*self.velocity} - source.series.keys())
        if lacking:
            raise InputError(name, f"has no series {lacking[0]!r}", did_you_mean(lacking[0], source.series))
        named = _in_order({key: s for key, s in source.series.items() if s.data.ndim == 1 and key not in self.velocity})
        if not named:
            raise InputError(name, "holds no trace of a neuron", "provide a series of one column for each neuron")
        clock, traces = _together(named, name)
        stretches = self._stretches(clock, name)
        onset, segment, values, speed = [], [], [], []
        width = len(str(len(stretches)))
        for number, (first, last) in enumerate(stretches, start=1):
            times = clock[first] + np.arange(int((clock[last - 1] - clock[first]) * self.rate + 1e-6) + 1) / self.rate
            resampled = self._resampled(clock[first:last], traces[first:last], times)
            # The first sample has no time before it.
            onset.append(times[1:])
            values.append(resampled[1:])
            segment.append(np.full(len(times) - 1, f"stretch{number:0{width}d}"))
            speed.append(
                np.concatenate(
                    [_velocity(source.series[key], times, f"{name}: {key}") for key in self.velocity]
                    or [np.empty((len(times) - 1, 0))],
                    axis=1,
                )
            )
        x = np.concatenate(values)
        if not np.isfinite(x).all():
            raise InputError(
                name, "has samples that are not finite", "leave the neurons out, or mark the time as a gap"
            )
        scale = x.std(axis=0)
        if self.zscore:
            x = (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
        outputs = {}
        for key in self.velocity:
            columns = source.series[key].data.reshape(len(source.series[key].data), -1).shape[1]
            unit = f"{source.series[key].unit}/s"
            outputs |= {f"{key}{i}Velocity" if columns > 1 else f"{key}Velocity": unit for i in range(columns)}
        units = {key: "standard deviations" if self.zscore else series.unit for key, series in named.items()}
        binned = Binned(
            inputs=x,
            outputs=np.concatenate(speed),
            onset=np.concatenate(onset),
            segment=np.concatenate(segment),
            width=1 / self.rate,
            input_units=units,
            output_units=outputs,
        )
        labelled = sum(canonical(key) is not None for key in named)
        return {
            "Description": "Calcium traces and velocity at a common rate",
            "MainFile": write_binned(out, recording["recording"], binned),
            "Identifier": source.identifier,
            "Labelled": labelled,
            "Quality": {
                "n_neurons": float(len(named)),
                "n_labelled": float(labelled),
                "n_samples": float(len(x)),
                "n_stretches": float(len(stretches)),
                "constant": float(np.sum(scale == 0)),
            },
        }

    def _stretches(self, clock: np.ndarray, name: str) -> list[tuple[int, int]]:
        """Return first sample and sample after the last of each stretch that is long enough."""
        if (clock[-1] - clock[0]) * self.rate > _MOST_SAMPLES:
            raise InputError(name, f"would give more than {_MOST_SAMPLES} samples", "lower rate in the card")
        cuts = np.flatnonzero(np.diff(clock) > self.max_gap) + 1
        edges = [0, *cuts.tolist(), len(clock)]
        found = [(a, b) for a, b in itertools.pairwise(edges) if clock[b - 1] - clock[a] >= self.min_stretch]
        if not found:
            fault = f"has no stretch of {self.min_stretch:g} s without a gap"
            raise InputError(name, fault, "lower min_stretch or raise max_gap in the preprocessing card")
        return found

    def _resampled(self, clock: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return ``values`` of shape (n_samples, n) at the new times."""
        if self.resample == "mean":
            return trailing_means(clock, values, times, 1 / self.rate)
        return band_limited(clock, values, times, self.rate)

    def described(self) -> str:
        """Return what it does, in words."""
        how = {
            "sinc": "resampled by a low-pass filter below the new Nyquist frequency",
            "mean": "averaged over the time since the sample before",
        }[self.resample]
        return text(
            f"Calcium traces were brought to one order of neurons, and {how}, to {digits(self.rate)} Hz; neurons"
            " without a name were kept apart. Recordings were cut where samples were more than"
            f" {digits(self.max_gap)} s apart, and stretches shorter than {digits(self.min_stretch)} s left out.",
            "Each trace was standardised over its recording." if self.zscore else "",
            f"The velocity of {listed(self.velocity)} was its backward difference." if self.velocity else "",
        )


def band_limited(clock: np.ndarray, values: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
    """Return a series at new times without what lies above the Nyquist frequency of the lower of both rates.

    A sinc in a Hann window of ``2 * 6`` lobes, weighted by the time that each sample stands for and summing to 1, so
    that means are kept and uneven clocks do little harm. Samples at the new times already are left as they are. Cost:
    O(n_new * n_window * n_columns).

    Parameters
    ----------
    clock, times : ndarray
        Old and new times, s, ascending.
    values : ndarray of shape (n_samples, n_columns)
    rate : float
        New rate, Hz.
    """
    if len(clock) == len(times) and np.allclose(clock, times, rtol=0, atol=1e-9):
        return values.copy()
    if len(clock) < 2:
        return np.repeat(values[:1], len(times), axis=0)
    own = 1 / max(np.median(np.diff(clock)), 1e-9)
    cut = _PASSED * min(own, rate) / 2
    reach = _LOBES / (2 * cut)
    stands = np.gradient(clock)
    first, last = np.searchsorted(clock, times - reach), np.searchsorted(clock, times + reach)
    out = np.empty((len(times), values.shape[1]))
    for row, (a, b) in enumerate(zip(first, last, strict=True)):
        a, b = max(0, min(a, len(clock) - 1)), max(b, a + 1)
        distance = clock[a:b] - times[row]
        weight = np.sinc(2 * cut * distance) * (1 + np.cos(np.pi * np.clip(distance / reach, -1, 1))) * stands[a:b]
        total = weight.sum()
        out[row] = weight @ values[a:b] / total if abs(total) > 1e-12 else values[a]
    return out


def trailing_means(clock: np.ndarray, values: np.ndarray, times: np.ndarray, width: float) -> np.ndarray:
    """Return the mean of the samples in ``(t - width, t]`` for each new time; the last sample before ``t`` if none."""
    before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    last = np.searchsorted(clock, times + 1e-9, side="right")
    first = np.searchsorted(clock, times - width + 1e-9, side="right")
    n = last - first
    means = (before[last] - before[first]) / np.maximum(n, 1)[:, None]
    return np.where(n[:, None] > 0, means, values[np.maximum(last - 1, 0)])


def _in_order(series: Mapping[str, Series]) -> dict[str, Series]:
    """Return traces by name: neurons in their one order, then the others; a name that stands twice is none."""
    named = [canonical(key) for key in series]
    of_neuron = {name: key for name, key in zip(named, series, strict=True) if name and named.count(name) == 1}
    ordered = {name: series[of_neuron[name]] for name in NEURONS if name in of_neuron}
    taken = set(of_neuron.values())
    return ordered | {key: series[key] for key in sorted(series) if key not in taken}


def _together(named: Mapping[str, Series], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the one clock of all traces, each time once, and their values ``(n_samples, n_neurons)``."""
    clocks = [series.timestamps for series in named.values()]
    odd = next((key for key, c in zip(named, clocks, strict=True) if not np.array_equal(c, clocks[0])), None)
    if odd is not None:
        raise InputError(name, f"the trace {odd} has other times than the first", "store traces with one clock")
    if len(clocks[0]) < 2:
        raise InputError(name, "has fewer than two samples", "exclude the recording")
    values = np.stack([series.data for series in named.values()], axis=1)
    kept = np.concatenate([[True], np.diff(clocks[0]) > 0])
    return clocks[0][kept], values[kept]


def _velocity(series: Series, times: np.ndarray, where: str) -> np.ndarray:
    """Return the change since the time before, by that time, ``(n_times - 1, n_columns)``."""
    data = series.data.reshape(len(series.data), -1)
    good = np.isfinite(data).all(axis=1)
    if not good.any():
        raise InputError(where, "has no finite value", "leave the series out, or exclude the recording")
    place = np.stack([np.interp(times, series.timestamps[good], column) for column in data[good].T], axis=1)
    return np.diff(place, axis=0) / np.diff(times)[:, None]
