"""Spikes of a singing zebra finch, as published with PPSeq: a text file of neuron and time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..components import Reader, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.nwb import write_nwb
from ..shared.words import text

#: More is no list of the spikes of one recording.
_MOST_BYTES = 64 << 20


@component
class SongbirdSpikes(Reader):
    """Write a list of spikes, a line each with the number of the neuron and the time, as one NWB file.

    The published list (Mackevicius et al. 2019, doi:10.7554/eLife.38471; as in Williams et al. 2020,
    doi:10.48550/arXiv.2010.04875) has 3,336 spikes that calcium imaging of area HVC gave, of 74 neurons in 22 s.

    Parameters
    ----------
    file : str
        Name of the list in the source.
    """

    tiny = {}

    file: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "songbird_spikes.txt"

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write ``sub-01`` with its recording; see :class:`~replicortex.components.Reader`."""
        neuron, time = _spikes(source / self.file, source)
        spikes = [np.sort(time[neuron == number]) for number in np.unique(neuron)]
        path = root / "sub-01" / "ephys" / "sub-01_task-song_ephys.nwb"
        write_nwb(
            path,
            spikes=spikes,
            identifier=f"songbird-{self.file}",
            description="Spikes of area HVC of a singing zebra finch, from calcium imaging",
        )
        write_text(path.with_suffix(".json"), to_json({"TaskName": "song"}))
        return [{"participant_id": "sub-01", "species": "taeniopygia guttata"}]

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "The times of the spikes of each neuron, which come from calcium imaging [@mackevicius2019], were read from"
            f" the list {self.file.rpartition('.')[0].replace('_', ' ')}."
        )


def _spikes(path: Path, source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return neuron and time (s) of each spike."""
    if not path.resolve().is_relative_to(source.resolve()):
        raise InputError(path.name, "leads out of its folder", "copy the file there")
    if not path.is_file():
        raise InputError(path.name, "no such file", "name the list of spikes as `file` in the dataset card")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(path.name, f"has more than {_MOST_BYTES} bytes", "give the list of one recording")
    try:
        table = np.array([line.split() for line in path.read_text("ascii").splitlines() if line.strip()], dtype=float)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(path.name, f"holds other than two numbers a line ({error})", "restore it") from None
    if table.ndim != 2 or table.shape[1] != 2:
        raise InputError(path.name, "holds other than two numbers a line", "restore it")
    neuron, time = table.T
    if not np.isfinite(table).all() or np.any(neuron != np.round(neuron)) or np.any(neuron < 0) or np.any(time < 0):
        raise InputError(path.name, "holds a neuron or a time that is none", "restore it")
    return neuron.astype(int), time
