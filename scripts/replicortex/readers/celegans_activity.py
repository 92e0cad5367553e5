"""Recordings of C. elegans in NWB files: brought under BIDS names as they are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..components import Reader, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.nwb import read_nwb
from ..shared.raw_files import inside
from ..shared.words import plain
from ..shared.worm import canonical


@component
class CelegansActivity(Reader):
    """A worm a file: every ``*.nwb`` of the folder is copied as it is.

    Each is read through first, so that what would fail later is told now. The participants' table says how many traces
    it has and how many of them carry a neuron's name.

    Parameters
    ----------
    task : str
        What the animals did, the task entity of the names.
    """

    task: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")] = "moving"

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Copy the files and write a sidecar to each; see :class:`Reader`."""
        found = sorted(path.name for path in source.glob("*.nwb"))
        if not found:
            raise InputError(source.name, "holds no *.nwb", "correct source in the dataset card")
        rows, width = [], max(2, len(str(len(found))))
        for number, name in enumerate(found, start=1):
            path = inside(source, name)
            recording = read_nwb(path, name)
            traces = [key for key, series in recording.series.items() if series.data.ndim == 1]
            if not traces:
                raise InputError(name, "holds no trace of a neuron", "take it out of the folder")
            subject = f"sub-{number:0{width}d}"
            folder = root / subject / "ephys"
            folder.mkdir(parents=True)
            stem = f"{subject}_task-{self.task}_ephys"
            shutil.copyfile(path, folder / f"{stem}.nwb")
            told = {"TaskName": self.task, "Description": "Calcium traces, a series a neuron.", "SourceFile": name}
            write_text(folder / f"{stem}.json", to_json(told))
            strain = re.search(r"AML\d+|ZIM\d+|OH\d+|N2", name)
            rows.append(
                {
                    "participant_id": subject,
                    "strain": strain[0] if strain else None,
                    "n_traces": len(traces),
                    "n_labelled": sum(canonical(key) is not None for key in traces),
                    "source_file": name,
                }
            )
        return rows

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Recordings of calcium activity [@scholz2018] while the animals were {plain(self.task)} were brought under"
            " BIDS names as they are; neurons without a name stay without one."
        )
