"""Spikes of all neurons in each bin of each trial, as they were counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.binned import read_binned, segment_edges
from ..shared.mri_files import rows_of
from ..shared.words import count, text


@component
class CountTrials(Extractor):
    """One row a bin: the spikes of each neuron in it.

    Parameters
    ----------
    slots : int or None
        Give neurons numbers instead of names, and fill them up to so many with silent ones: recordings of different
        neurons then fit into one dataset, for schemes within sessions alone.
    """

    datatypes = ("ephys",)
    suffixes = ("ephys",)
    tiny = {}

    slots: Annotated[int, Field(ge=1)] | None = None

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (n_bins, n_neurons), whole numbers as float32; ``axes`` are ``neuron`` and ``bin_s``.

        Row columns are ``onset`` (s, beginning of the bin) and ``segment`` (trial, or stretch of the recording).

        Raises
        ------
        InputError
            If the table holds what is no count (smoothed, or signals beside the spikes), or has no bin, or more
            neurons than slots.
        """
        name = recording["path"]
        binned = read_binned(path, recording)
        counts = binned.inputs
        spikes = all(unit == "spikes" for unit in binned.input_units.values())
        if not spikes or not np.isfinite(counts).all() or np.any(counts < 0) or np.any(counts != np.round(counts)):
            raise InputError(name, "holds other than counts of spikes", "leave smoothing and signals out of the card")
        if not counts.size:
            raise InputError(name, "has no neuron or no bin", "lower min_rate or width in the preprocessing card")
        if self.slots is not None:
            if counts.shape[1] > self.slots:
                fault = f"has {counts.shape[1]} neurons, more than {count(self.slots, 'slot')}"
                raise InputError(name, fault, "raise slots in the feature card")
            counts = np.pad(counts, ((0, 0), (0, self.slots - counts.shape[1])))
        rows = rows_of(recording, len(counts), onset=binned.onset.tolist())
        if len(counts) == 1:
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        names = list(range(self.slots)) if self.slots is not None else list(binned.input_units)
        return Bundle(
            {"x": counts.astype(np.float32)},
            {**rows, "segment": binned.segment},
            {"neuron": names, "bin_s": [binned.width]},
            {"n_segments": len(segment_edges(binned.segment)), "fitted": []},
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        slots = (
            f"Neurons have numbers, up to {self.slots} in each session, and are not the same in two of them."
            if self.slots is not None
            else ""
        )
        return text("The features are the spikes of each neuron in each bin, as they were counted.", slots)
