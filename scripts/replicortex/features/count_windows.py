"""Spike counts, or other signals, in bins with their recent past, beside the behaviour of the same bins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.binned import read_binned, segment_edges
from ..shared.mri_files import rows_of
from ..shared.words import count, names, text


@component
class CountWindows(Extractor):
    """One row a bin: the inputs of the bin and of ``lags`` bins before it, and what is to be decoded.

    Bins without so much past in their segment, and bins with a missing value, are left out.

    Parameters
    ----------
    transform : {"none", "root"}
        Take inputs as they are, or the square root of counts, whose variance hardly depends on their mean.
    lags : int
        Bins before each bin whose inputs it has too.
    outputs : list of str or None
        Columns of the behaviour to take, in that order; all if not said.
    slots : int or None
        Give inputs numbers instead of names, and fill them up to so many with zeros: recordings of different neurons
        then fit into one dataset, for schemes within sessions alone.
    """

    datatypes = ("ephys",)
    suffixes = ("ephys",)
    tiny = {}

    transform: Literal["none", "root"] = "none"
    lags: Annotated[int, Field(ge=0)] = 0
    outputs: list[str] | None = None
    slots: Annotated[int, Field(ge=1)] | None = None

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (n_bins, n_inputs, lags + 1), the bin itself first, and ``y`` (n_bins, n_outputs), float32.

        ``axes`` are ``unit`` (names; ``slot``, numbers, with ``slots``), ``lag`` (s), ``output`` (names). Row columns
        are ``onset`` (s, beginning of the bin) and ``segment``.

        Raises
        ------
        InputError
            If the recording has no behaviour of that name, more inputs than slots, a negative count, or no bin.
        """
        name = recording["path"]
        binned = read_binned(path, recording)
        wanted = list(binned.output_units) if self.outputs is None else self.outputs
        lacking = [entry for entry in wanted if entry not in binned.output_units]
        if lacking or not wanted:
            known = ", ".join(binned.output_units) or "none"
            fault = f"has no behaviour {lacking[0]!r}, but {known}" if lacking else "has no behaviour"
            raise InputError(name, fault, "name series as behaviour in the preprocessing card")
        outputs = binned.outputs[:, [list(binned.output_units).index(entry) for entry in wanted]]
        inputs = self._inputs(binned.inputs, name)
        whole = np.isfinite(inputs).all(axis=1) & np.isfinite(outputs).all(axis=1)
        kept = []
        for first, last in segment_edges(binned.segment):
            bins = np.arange(first + self.lags, last)
            past = np.array([whole[b - self.lags : b + 1].all() for b in bins], dtype=bool)
            kept.append(bins[past])
        kept = np.concatenate(kept).astype(int) if kept else np.empty(0, int)
        if not len(kept):
            raise InputError(name, f"has no bin with {self.lags} bins before it", "shorten lags in the feature card")
        x = np.stack([inputs[kept - lag] for lag in range(self.lags + 1)], axis=2)
        rows = rows_of(recording, len(kept), onset=binned.onset[kept].tolist())
        if len(kept) == 1:
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        units = list(binned.input_units)
        inputs_axis = {"unit": units} if self.slots is None else {"slot": list(range(self.slots))}
        return Bundle(
            {"x": x.astype(np.float32), "y": outputs[kept].astype(np.float32)},
            {**rows, "segment": binned.segment[kept]},
            {**inputs_axis, "lag": [round(lag * binned.width, 9) for lag in range(self.lags + 1)], "output": wanted},
            {"units_of_output": {entry: binned.output_units[entry] for entry in wanted}, "fitted": []},
        )

    def _inputs(self, inputs: np.ndarray, name: str) -> np.ndarray:
        if self.transform == "root":
            if np.nanmin(inputs, initial=0) < 0:
                raise InputError(name, "has negative inputs, of which there is no root", "set transform to none")
            inputs = np.sqrt(inputs)
        if self.slots is None:
            return inputs
        if inputs.shape[1] > self.slots:
            fault = f"has {inputs.shape[1]} inputs, more than {count(self.slots, 'slot')}"
            raise InputError(name, fault, "raise slots in the feature card")
        return np.pad(inputs, ((0, 0), (0, self.slots - inputs.shape[1])))

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        what = "Square roots of the counts" if self.transform == "root" else "Inputs"
        past = f" and of the {count(self.lags, 'bin')} before it" if self.lags else ""
        taken = f" ({names(self.outputs)})" if self.outputs else ""
        slots = (
            f"Inputs have numbers, {self.slots} in each session, and do not mean the same neurons in two of them."
            if self.slots is not None
            else ""
        )
        return text(f"{what} of a bin{past} are the features; behaviour{taken} in the same bin is decoded.", slots)
