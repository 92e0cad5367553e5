"""Worms whose wiring is known, and which of their neurons answer when another is stimulated: an atlas of signals.

What a laboratory would have after electron microscopy (Cook et al. 2019) and after stimulating neuron after neuron
under the microscope (Randi et al. 2023, doi:10.1038/s41586-023-06683-4), of the same animal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.stats import false_discovery_control, t

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.rate_network import random_wiring, responses
from ..shared.relations import write_relations
from ..shared.sim_tables import describe_tables
from ..shared.words import count, digits, percent

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


@component
class WiredWorms(Simulator):
    """Worms with random connections, whose neurons answer to each other along the paths of these.

    Each neuron is stimulated in turn in a network of graded neurons; every other neuron's answer is measured several
    times with noise, in a share of the pairs. An answer that differs from rest gives a small false discovery rate
    (q), the value of the atlas. If the truth is absent the answers are those of another network, whose connections
    nobody sees. Each worm has a wiring of its own.

    Parameters
    ----------
    n_subjects, n_neurons : int
        Worms, and neurons of each.
    density : float
        Share of the ordered pairs of neurons with a chemical synapse.
    inhibitory : float
        Share of neurons that inhibit.
    gain : float
        Spectral radius of the coupling: near 1 signals go far.
    noise : float
        Standard deviation of one measured answer, in the unit of a stimulated neuron's activity.
    repeats : int
        Answers measured of a pair.
    measured : float
        Share of the pairs that are measured.
    """

    datatype = "micr"
    tiny = {"n_subjects": 2, "n_neurons": 12}

    n_subjects: Annotated[int, Field(ge=1)] = 8
    n_neurons: Annotated[int, Field(ge=6, le=302)] = 60
    density: Share = 0.06
    inhibitory: Annotated[float, Field(ge=0, lt=1)] = 0.25
    gain: Annotated[float, Field(ge=0, lt=2)] = 0.8
    noise: NotNegative = 0.08
    repeats: Annotated[int, Field(ge=2)] = 5
    measured: Share = 0.5

    @property
    def neurons(self) -> list[str]:
        """Names of the neurons, which are nobody's."""
        width = len(str(self.n_neurons))
        return [f"N{number:0{width}d}" for number in range(1, self.n_neurons + 1)]

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        rows, width = [], max(2, len(str(self.n_subjects)))
        for subject in range(1, self.n_subjects + 1):
            generator = np.random.default_rng([seed, subject])
            wiring = random_wiring(self.n_neurons, self.density, self.inhibitory, generator)
            other = random_wiring(
                self.n_neurons, self.density, self.inhibitory, np.random.default_rng([seed, subject, 1])
            )
            answers = responses((wiring if truth == "planted" else other).coupling(self.gain))
            name = f"sub-{subject:0{width}d}"
            rows.append({"participant_id": name, "n_neurons": self.n_neurons})
            tables = {"chemical": wiring.chemical, "gap": wiring.gap, "functional": self._atlas(answers, generator)}
            for kind, matrix in tables.items():
                path = root / name / "micr" / f"{name}_desc-{kind}_relmat.tsv"
                write_relations(path, self.neurons, matrix)
                write_text(path.with_suffix(".json"), to_json(_SIDECARS[kind]))
        columns = {"n_neurons": {"Description": "Neurons of the simulated worm."}}
        describe_tables(root, "Simulated connectomes and signal propagation", _README, rows, "relmat", columns)
        return {"contrast": "propagation", "truth": truth, "gain": self.gain, "density": self.density}

    def _atlas(self, answers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return q of each ordered pair, ``[from, to]``; ``nan`` where the pair was not measured."""
        n = len(answers)
        drawn = answers + self.noise * generator.standard_normal((self.repeats, n, n))
        error = np.maximum(drawn.std(axis=0, ddof=1) / np.sqrt(self.repeats), 1e-12)
        p = 2 * t.sf(np.abs(drawn.mean(axis=0)) / error, self.repeats - 1)
        seen = (generator.random((n, n)) < self.measured) & ~np.eye(n, dtype=bool)
        q = np.full((n, n), np.nan)
        q[seen] = false_discovery_control(p[seen])
        return q

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"{count(self.n_subjects, 'worm').capitalize()} of {count(self.n_neurons, 'graded neuron')} were simulated,"
            f" {percent(self.density)} of whose ordered pairs have chemical synapses and {percent(self.inhibitory)} of"
            f" which inhibit, coupled with a spectral radius of {digits(self.gain)}. Each neuron was stimulated in"
            f" turn; the answers of {percent(self.measured)} of the pairs were measured {self.repeats} times each with"
            f" noise of {digits(self.noise)}, and tested against rest with control of the false discovery rate"
            " [@benjamini1995]."
        )


_SIDECARS = {
    "chemical": {"Directed": True, "Measure": "synapses", "Description": "Number of chemical synapses, row to column."},
    "gap": {"Directed": True, "Measure": "gap junctions", "Description": "Number of gap junctions."},
    "functional": {
        "Directed": True,
        "Measure": "q",
        "Description": "False discovery rate of an answer of the column to stimulation of the row.",
    },
}
_README = """\
Simulated connectomes and signal propagation
============================================

No worm was recorded. Each folder holds the chemical synapses and gap junctions between the neurons of one made-up worm,
and of pairs of them how sure it is that one answers to the stimulation of the other.
"""
