"""Calcium traces of worms whose neurons are coupled by known synapses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.signal import lfilter

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.nwb import write_nwb
from ..shared.rate_network import activity, random_wiring
from ..shared.sim_tables import describe_tables
from ..shared.words import count, digits, percent

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class WormCalcium(Simulator):
    """Worms of graded neurons with noise of their own, seen through a calcium indicator.

    If the truth is absent the neurons are not coupled and otherwise alike: each trace goes on as smoothly as before,
    and tells nothing of another. Each worm has a wiring of its own, and its neurons are not identified.

    Parameters
    ----------
    n_subjects, n_neurons : int
        Worms, and neurons of each.
    seconds : float
        Length of a recording.
    rate : float
        Volumes a second (Hz).
    density : float
        Share of the ordered pairs of neurons with a chemical synapse.
    inhibitory : float
        Share of neurons that inhibit.
    gain : float
        Spectral radius of the coupling.
    time_constant : float
        Of each neuron, s.
    decay : float
        Time constant of the indicator, s.
    noise : float
        Standard deviation of the noise of measurement, in that of a trace.
    """

    datatype = "ephys"
    tiny = {"n_subjects": 2, "n_neurons": 5, "seconds": 20.0}

    n_subjects: Annotated[int, Field(ge=1)] = 8
    n_neurons: Annotated[int, Field(ge=2, le=302)] = 30
    seconds: Positive = 300.0
    rate: Positive = 6.0
    density: Annotated[float, Field(gt=0, le=1)] = 0.1
    inhibitory: Annotated[float, Field(ge=0, lt=1)] = 0.25
    gain: Annotated[float, Field(ge=0, lt=2)] = 1.2
    time_constant: Positive = 0.6
    decay: Positive = 0.8
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        rows, width = [], max(2, len(str(self.n_subjects)))
        digits_needed = len(str(self.n_neurons))
        for subject in range(1, self.n_subjects + 1):
            name = f"sub-{subject:0{width}d}"
            traces = self.traces(subject, truth, seed)
            series = {f"Activity{i:0{digits_needed}d}": (x, self.rate, "n.a.") for i, x in enumerate(traces.T, start=1)}
            path = root / name / "ephys" / f"{name}_task-rest_ephys.nwb"
            path.parent.mkdir(parents=True)
            write_nwb(path, series=series, identifier=name)
            write_text(path.with_suffix(".json"), to_json({**_SIDECAR, "SamplingFrequency": self.rate}))
            rows.append({"participant_id": name, "n_neurons": self.n_neurons})
        columns = {"n_neurons": {"Description": "Neurons of the simulated worm."}}
        describe_tables(root, "Simulated calcium traces", _README, rows, "ephys", columns)
        # The standard has no name yet for these recordings (BEP 32).
        write_text(root / ".bidsignore", "ephys\n")
        return {"contrast": "coupled", "truth": truth, "gain": self.gain, "density": self.density}

    def traces(self, subject: int, truth: str, seed: int) -> np.ndarray:
        """Return the traces of a worm, ``(n_samples, n_neurons)``."""
        generator = np.random.default_rng([seed, subject])
        wiring = random_wiring(self.n_neurons, self.density, self.inhibitory, generator)
        coupling = wiring.coupling(self.gain if truth == "planted" else 0.0)
        n = max(2, round(self.seconds * self.rate))
        x = activity(coupling, n, self.rate, self.time_constant, 0.5, generator)
        keep = np.exp(-1 / (self.rate * self.decay))
        seen = lfilter([1 - keep], [1, -keep], x, axis=0)
        seen = seen / seen.std(axis=0)
        return np.round(seen + self.noise * generator.standard_normal(seen.shape), 4)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Calcium traces of {count(self.n_subjects, 'worm')} of {count(self.n_neurons, 'graded neuron')} were"
            f" simulated for {digits(self.seconds)} s at {digits(self.rate)} Hz: {percent(self.density)} of the ordered"
            f" pairs have chemical synapses, {percent(self.inhibitory)} of the neurons inhibit, the spectral radius of"
            f" the coupling is {digits(self.gain)}, the time constant of a neuron {digits(self.time_constant)} s and"
            f" that of the indicator {digits(self.decay)} s, and noise of {percent(self.noise)} of the standard"
            " deviation was added."
        )


_SIDECAR = {"TaskName": "rest", "Description": "Calcium traces, a series a neuron; neurons are not identified."}
_README = """\
Simulated calcium traces
========================

No worm was recorded. Each file holds the calcium traces of the neurons of one made-up worm, whose neurons act on each
other. Neurons of different worms are different neurons.
"""
