"""Recordings in time bins: what engines for spikes write (``*_desc-binned_timeseries.tsv``) and extractors read.

The table has a row a bin, in the order of time: ``onset`` (s, its beginning), ``segment`` (the trial or continuous
stretch that it lies in; bins of one segment follow each other without a gap), then a column a unit or signal, then the
behaviour. Its sidecar says under ``BinWidth`` how long a bin is (s), and under ``Inputs`` and ``Outputs`` which columns
are what the brain did and what the body did, with their units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DamagedError, InputError
from ..files import atomic, read_json, to_json, write_text

ENDING = "_desc-binned_timeseries.tsv"


@dataclass(frozen=True)
class Binned:
    """One recording in bins.

    Parameters
    ----------
    inputs : ndarray of shape (n_bins, n_inputs)
        Spikes of each unit in a bin, or means of a signal.
    outputs : ndarray of shape (n_bins, n_outputs)
        Behaviour in the same bins.
    onset : ndarray of shape (n_bins,)
        Where each bin begins, s.
    segment : ndarray of str of shape (n_bins,)
        Trial or continuous stretch.
    width : float
        Of a bin, s.
    input_units, output_units : dict of str to str
        Name and unit of each column.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    onset: np.ndarray
    segment: np.ndarray
    width: float
    input_units: dict[str, str]
    output_units: dict[str, str]


def write_binned(out: Path, stem: str, binned: Binned) -> str:
    """Write table and sidecar into folder ``out``; return the name of the table."""
    import pandas as pd

    columns: dict[str, Any] = {"onset": np.round(binned.onset, 9), "segment": binned.segment}
    columns |= dict(zip(binned.input_units, binned.inputs.T, strict=True))
    columns |= dict(zip(binned.output_units, binned.outputs.T, strict=True))
    if len(columns) != 2 + len(binned.input_units) + len(binned.output_units):
        raise ValueError("a column is named twice")
    name = f"{stem}{ENDING}"
    table = pd.DataFrame(columns)
    # Counts are whole numbers and stay short.
    whole = [c for c in binned.input_units if np.all(np.mod(table[c], 1) == 0)]
    table[whole] = table[whole].astype(int)
    with atomic(out / name) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.9g", lineterminator="\n")
    described = {
        "BinWidth": binned.width,
        "SamplingFrequency": 1 / binned.width,
        "Inputs": binned.input_units,
        "Outputs": binned.output_units,
        "onset": {"Description": "Beginning of the bin.", "Units": "s"},
        "segment": {"Description": "Trial or continuous stretch that the bin lies in."},
    }
    write_text(out / name.replace(".tsv", ".json"), to_json(described))
    return name


def read_binned(path: Path, recording: Mapping[str, str]) -> Binned:
    """Read what :func:`write_binned` wrote; ``recording`` is its row of the manifest.

    Raises
    ------
    InputError
        If the file is another one, or lacks what its sidecar promises.
    """
    import pandas as pd

    if not path.name.endswith(ENDING):
        raise InputError(
            recording["path"], f"is no *{ENDING}", "choose a preprocessing card for spikes, or another feature"
        )
    sidecar = read_json(path.with_suffix(".json"))
    try:
        table = pd.read_csv(path, sep="\t", dtype={"segment": str}, na_values=["n/a"], keep_default_na=False)
        # JSON is written with its keys sorted: the order is that of the table.
        inputs, outputs = (
            {name: unit for name in table.columns for unit in [sidecar[role].get(name)] if unit is not None}
            for role in ("Inputs", "Outputs")
        )
        lacking = sorted({*sidecar["Inputs"], *sidecar["Outputs"]} - {*inputs, *outputs})
        if lacking:
            raise ValueError(f"no column {lacking[0]}")
        return Binned(
            inputs=table[list(inputs)].to_numpy(float),
            outputs=table[list(outputs)].to_numpy(float),
            onset=table["onset"].to_numpy(float),
            segment=table["segment"].to_numpy(str),
            width=float(sidecar["BinWidth"]),
            input_units=inputs,
            output_units=outputs,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(path, f"is not what its sidecar says ({error})") from None


def segment_edges(segment: np.ndarray) -> list[tuple[int, int]]:
    """Return first row and row after the last of each stretch of equal ``segment``, in order."""
    if not len(segment):
        return []
    cuts = np.flatnonzero(segment[1:] != segment[:-1]) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(segment)], strict=True))
