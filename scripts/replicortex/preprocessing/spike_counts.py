"""Spikes of sorted units counted in time bins, with what was measured beside them in the same bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError, did_you_mean
from ..shared.binned import Binned, segment_edges, write_binned
from ..shared.nwb import Recording, Series, read_nwb
from ..shared.raw_files import inside
from ..shared.words import digits, names, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: More bins than that are no recording of hours, but a width of microseconds.
_MOST_BINS = 10_000_000


@component
class SpikeCounts(Preprocessor):
    """Count the spikes of each unit of an NWB file in bins of equal width, and average series over the same bins.

    Bins begin with each trial and end with it; what lies between trials is left out. Without trials the session is one
    stretch, from the first to the last sample of what is measured beside the spikes, or spike.

    Parameters
    ----------
    width : float
        Width of a bin, s.
    smoothing : float or None
        Time constant of a causal exponential filter over the counts of a stretch, s; its sum is 1, and it starts at the
        counts of the first bin. Counts stay whole numbers if there is none.
    signals : list of str
        Series that are inputs beside the counts: means over each bin.
    behaviour : list of str
        Series that are outputs: means over each bin; where a bin has no sample, interpolated at its middle.
    velocity : list of str
        Series of positions whose velocity is an output: their change over each bin, by its width.
    lag : int
        Bins by which the outputs follow the inputs: those of a bin are paired with the spikes of ``lag`` bins before.
    stretch : float or None
        Cut a session without trials into stretches of this length, s, so that some can be held out.
    min_rate : float
        Leave out units that fire less often over the bins taken, spikes/s.

    """

    tiny = {"width": 0.1}
    datatypes = ("ephys",)
    suffixes = ("ephys",)
    family = "signal"

    width: Positive = 0.1
    smoothing: Positive | None = None
    signals: list[str] = []
    behaviour: list[str] = []
    velocity: list[str] = []
    lag: Annotated[int, Field(ge=0)] = 0
    stretch: Positive | None = None
    min_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is an NWB file of the kinds that hold spikes."""
        return super().takes(recording) and recording["extension"] == ".nwb"

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Write the table of bins of one recording; see :mod:`replicortex.shared.binned` for its form.

        Raises
        ------
        InputError
            If the file can not be read, lacks a series or any spike, or no trial is as long as a bin.

        """
        name = recording["path"]
        wanted = {*self.signals, *self.behaviour, *self.velocity}
        source = read_nwb(inside(root, name), name, wanted=wanted.__contains__)
        lacking = sorted(wanted - source.series.keys())
        if lacking:
            known = read_nwb(inside(root, name), name).series
            raise InputError(name, f"has no series {lacking[0]!r}", did_you_mean(lacking[0], known))
        if not source.spike_times and not self.signals:
            raise InputError(name, "has no units", "provide sorted spikes, or name signals in the preprocessing card")
        starts, segment = self._bins(source, name)
        counts, units = self._counts(source, starts)
        inputs, outputs = {f"unit{unit}": "spikes" for unit in units}, {}
        columns, behaviour = [*counts.T], []
        for wished, into, kind, values in (
            (self.signals, columns, inputs, _means),
            (self.behaviour, behaviour, outputs, _means),
            (self.velocity, behaviour, outputs, _velocities),
        ):
            for series in wished:
                data = values(_flat(source.series[series]), starts, self.width, f"{name}: {series}")
                unit = source.series[series].unit + ("/s" if values is _velocities else "")
                labels = [f"{series}{i}" for i in range(data.shape[1])] if data.shape[1] > 1 else [series]
                labels = [f"{label}Velocity" for label in labels] if values is _velocities else labels
                kind.update(dict.fromkeys(labels, unit))
                into.extend(data.T)
        if self.smoothing is not None:
            smoothed = _smoothed(np.stack(columns, axis=1), segment, np.exp(-self.width / self.smoothing))
            columns = [*smoothed.T]
        binned = Binned(
            inputs=np.stack(columns, axis=1),
            outputs=np.stack(behaviour, axis=1) if behaviour else np.empty((len(starts), 0)),
            onset=starts,
            segment=segment,
            width=self.width,
            input_units=inputs,
            output_units=outputs,
        )
        table = write_binned(out, recording["recording"], _lagged(binned, self.lag))
        return {
            "Description": "Spikes and behaviour in bins",
            "MainFile": table,
            "Identifier": source.identifier,
            "SmoothingTimeConstant": self.smoothing or "n/a",
            "UnitsLeftOut": len(source.spike_times) - len(units),
            "Quality": {
                "n_units": float(len(units)),
                "n_bins": float(len(binned.onset)),
                "n_segments": float(len(segment_edges(segment))),
                "mean_rate": float(counts.mean() / self.width) if counts.size else 0.0,
            },
        }

    def _bins(self, source: Recording, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return where each bin begins (s), and the stretch that it lies in."""
        if source.trials is not None and len(source.trials):
            spans = source.trials[["start_time", "stop_time"]].to_numpy(float)
            spans = spans[np.argsort(spans[:, 0], kind="stable")]
            if np.any(spans[1:, 0] < spans[:-1, 1] - 1e-9):
                first = int(np.argmax(spans[1:, 0] < spans[:-1, 1] - 1e-9))
                raise InputError(name, f"trial {first + 1} begins before the one before it ends", "correct the trials")
            label = "trial"
        else:
            clocks = [series.timestamps for series in source.series.values()]
            if clocks and all(map(len, clocks)):
                # Where all was measured at once.
                first, last = max(clock[0] for clock in clocks), min(clock[-1] for clock in clocks)
            else:
                spikes = np.concatenate(source.spike_times) if source.spike_times else np.empty(0)
                if not len(spikes):
                    raise InputError(name, "has no spike", "exclude the recording")
                first, last = 0.0 if spikes.min() >= 0 else float(spikes.min()), float(spikes.max())
            length = self.stretch or np.inf
            edges = np.append(np.arange(first, last, length), last) if np.isfinite(length) else np.array([first, last])
            spans = np.stack([edges[:-1], edges[1:]], axis=1)
            label = "stretch"
        if np.sum(spans[:, 1] - spans[:, 0]) / self.width > _MOST_BINS:
            raise InputError(name, f"would give more than {_MOST_BINS} bins", "widen width in the preprocessing card")
        # A trial of 0.3 s holds three bins of 0.1 s, though 0.3 / 0.1 is a little less than 3.
        n = np.floor((spans[:, 1] - spans[:, 0]) / self.width + 1e-6).astype(int)
        if not n.any():
            raise InputError(name, f"no {label} is as long as a bin ({self.width:g} s)", "shorten width in the card")
        starts = np.concatenate([start + self.width * np.arange(k) for start, k in zip(spans[:, 0], n, strict=True)])
        digits_needed = len(str(len(spans)))
        labels = [f"{label}{i:0{digits_needed}d}" for i in range(1, len(spans) + 1)]
        return starts, np.repeat(labels, n)

    def _counts(self, source: Recording, starts: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return the spikes of each unit that fires often enough in each bin, and the names of these units."""
        if not source.spike_times:
            return np.empty((len(starts), 0)), []
        # Half-open bins: a spike between two bins falls into the later one. Ends are rounded like the starts of the
        # bins that follow, so that no spike is counted twice or lost.
        ends = starts + self.width
        ends[:-1] = np.where(np.isclose(ends[:-1], starts[1:], rtol=0, atol=1e-9), starts[1:], ends[:-1])
        counts = np.stack(
            [np.searchsorted(times, ends) - np.searchsorted(times, starts) for times in source.spike_times], axis=1
        )
        kept = counts.mean(axis=0) / self.width >= self.min_rate
        return counts[:, kept].astype(float), [unit for unit, keep in zip(source.units, kept, strict=True) if keep]

    def described(self) -> str:
        """Return what it does, in words."""
        smoothed = (
            f" and smoothed by a causal exponential filter with a time constant of {digits(self.smoothing)} s"
            if self.smoothing is not None
            else ""
        )
        beside = [
            f"the mean of {names(self.signals)} over each bin was an input" if self.signals else "",
            f"{names(self.behaviour)} was averaged over the same bins" if self.behaviour else "",
            f"the velocity of {names(self.velocity)} was its change over each bin" if self.velocity else "",
        ]
        beside = [part for part in beside if part]
        return text(
            f"Spikes of each unit{', where there are any,' if self.signals else ''} were counted in bins of"
            f" {digits(self.width)} s within trials{smoothed}.",
            f"Of what was measured beside them, {'; '.join(beside)}." if beside else "",
            f"Behaviour was paired with the spikes of {self.lag} bins before." if self.lag else "",
            f"Sessions without trials were cut into stretches of {digits(self.stretch)} s." if self.stretch else "",
            f"Units with fewer than {digits(self.min_rate)} spikes/s were left out." if self.min_rate else "",
        )


def _flat(series: Series) -> Series:
    """Return a series with one column a dimension."""
    return Series(series.data.reshape(len(series.data), -1), series.timestamps, series.unit)


def _means(series: Series, starts: np.ndarray, width: float, where: str) -> np.ndarray:
    """Return the mean of the finite samples in each bin ``(n_bins, k)``; interpolated at its middle if it has none."""
    out = np.empty((len(starts), series.data.shape[1]))
    for column, values in enumerate(series.data.T):
        clock, values = _finite(series.timestamps, values, where)
        before = np.concatenate([[0.0], np.cumsum(values)])
        first, last = np.searchsorted(clock, starts - 1e-9), np.searchsorted(clock, starts + width - 1e-9)
        n = last - first
        mean = (before[last] - before[first]) / np.maximum(n, 1)
        out[:, column] = np.where(n > 0, mean, np.interp(starts + width / 2, clock, values))
    return out


def _velocities(series: Series, starts: np.ndarray, width: float, where: str) -> np.ndarray:
    """Return the change over each bin by its width ``(n_bins, k)``."""
    out = np.empty((len(starts), series.data.shape[1]))
    for column, values in enumerate(series.data.T):
        clock, values = _finite(series.timestamps, values, where)
        out[:, column] = (np.interp(starts + width, clock, values) - np.interp(starts, clock, values)) / width
    return out


def _finite(clock: np.ndarray, values: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples that have a value."""
    good = np.isfinite(values)
    if not good.any():
        raise InputError(where, "has no finite value", "leave the series out, or exclude the recording")
    return clock[good], values[good]


def _smoothed(values: np.ndarray, segment: np.ndarray, keep: float) -> np.ndarray:
    """Return ``keep * before + (1 - keep) * now`` along each stretch."""
    from scipy.signal import lfilter

    out = np.empty_like(values)
    for first, last in segment_edges(segment):
        part = values[first:last]
        # As if it had been before as in the first bin: the mean of more bins would look ahead.
        out[first:last] = lfilter([1 - keep], [1, -keep], part, axis=0, zi=keep * part[:1])[0]
    return out


def _lagged(binned: Binned, lag: int) -> Binned:
    """Return the bins with the outputs of ``lag`` bins later in the same stretch."""
    if not lag:
        return binned
    kept = np.concatenate([np.arange(first, last - lag) for first, last in segment_edges(binned.segment)])
    return Binned(
        inputs=binned.inputs[kept],
        outputs=binned.outputs[kept + lag],
        onset=binned.onset[kept],
        segment=binned.segment[kept],
        width=binned.width,
        input_units=binned.input_units,
        output_units=binned.output_units,
    )
