"""Small BIDS EEG datasets for tests, with everything in them known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pybv
import pytest

from replicortex.bids import RECORDING_COLUMNS
from replicortex.files import digest_file, digest_of, to_json, to_tsv, write_text

CHANNELS = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "Oz", "O2"]
SFREQ = 200.0
_ASSOCIATED = {"events": "tsv", "channels": "tsv", "electrodes": "tsv", "coordsystem": "json"}


def signals(n_seconds: float = 20.0, sfreq: float = SFREQ, seed: int = 0) -> np.ndarray:
    """Return ``(n_channels, n_times)`` volts: six sources spread smoothly over the head, and sensor noise."""
    generator = np.random.default_rng(seed)
    n_times = round(n_seconds * sfreq)
    positions = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    places = np.array([positions[name] for name in CHANNELS])
    centres = places[generator.choice(len(CHANNELS), 6, replace=False)]
    mixing = np.exp(-(np.linalg.norm(places[:, None] - centres, axis=2) ** 2) / (2 * 0.06**2))
    sources = generator.standard_normal((6, n_times)) * 12e-6
    return mixing @ sources + generator.standard_normal((len(CHANNELS), n_times)) * 1e-6


def write_recording(
    root: Path,
    data: np.ndarray,
    *,
    subject: str = "01",
    run: str = "1",
    sfreq: float = SFREQ,
    names: Sequence[str] = CHANNELS,
    types: Sequence[str] | None = None,
    events: Sequence[dict] = ({"onset": 5.0, "duration": 1.0, "trial_type": "left"},),
    sidecar: dict | None = None,
) -> str:
    """Write one BrainVision recording with sidecar, channels and events; return its stem."""
    if not (root / "dataset_description.json").exists():
        write_text(root / "dataset_description.json", to_json({"Name": "test", "BIDSVersion": "1.10.1"}))
        write_text(root / "README.md", "A dataset of simulated signals, made by the tests of this project. " * 4)
    folder = root / f"sub-{subject}" / "eeg"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_task-test_run-{run}"
    pybv.write_brainvision(
        data=data,
        sfreq=sfreq,
        ch_names=list(names),
        fname_base=f"{stem}_eeg",
        folder_out=folder,
        overwrite=True,
        resolution=1,
        unit="µV",
    )
    facts = {"TaskName": "test", "SamplingFrequency": sfreq, "PowerLineFrequency": 50, "EEGReference": "Cz",
             "SoftwareFilters": "n/a"}  # fmt: skip
    write_text(folder / f"{stem}_eeg.json", to_json(facts | (sidecar or {})))
    channels = [
        {"name": n, "type": t, "units": "µV"} for n, t in zip(names, types or ["EEG"] * len(names), strict=True)
    ]
    write_text(folder / f"{stem}_channels.tsv", to_tsv(channels, ["name", "type", "units"]))
    if events:
        write_text(folder / f"{stem}_events.tsv", to_tsv(events, ["onset", "duration", "trial_type"]))
    return stem


def recordings(root: Path) -> list[dict[str, str]]:
    """Return the rows of ``recordings.tsv`` of a dataset whose every file lies beside its recording."""
    rows = []
    names = ("eeg/*_eeg.vhdr", "eeg/*_eeg.edf", "meg/*_meg.fif")
    for path in sorted(path for name in names for path in root.glob(f"sub-*/**/{name}")):
        datatype = path.parent.name
        stem = path.name.removesuffix(f"_{datatype}{path.suffix}")
        entities = dict(part.split("-") for part in stem.split("_"))
        subject = f"sub-{entities['sub']}*"
        beside = {
            kind: next(
                iter(
                    [
                        *path.parent.glob(f"{stem}_{kind}.{end}"),
                        *path.parent.glob(f"{subject}_space-*_{kind}.{end}"),
                    ]
                ),
                None,
            )
            for kind, end in _ASSOCIATED.items()
        }
        files = sorted({*path.parent.glob(f"{stem}_*"), *(file for file in beside.values() if file)})
        row = dict.fromkeys(RECORDING_COLUMNS, "n/a") | {
            "recording": stem,
            "path": path.relative_to(root).as_posix(),
            "datatype": datatype,
            "suffix": datatype,
            "extension": path.suffix,
            "subject": entities["sub"],
            "session": entities.get("ses", "n/a"),
            "task": entities["task"],
            "run": entities.get("run", "n/a"),
            **{kind: file.relative_to(root).as_posix() if file else "n/a" for kind, file in beside.items()},
            "sidecars": json.dumps([path.with_suffix(".json").relative_to(root).as_posix()]),
            "digest": digest_of([digest_file(file) for file in files]),
        }
        rows.append(row)
    return rows


def write_recordings(root: Path, path: Path) -> Path:
    """Write ``recordings.tsv`` of ``root`` to ``path``."""
    write_text(path, to_tsv(recordings(root), list(RECORDING_COLUMNS)))
    return path


def validator_errors(root: Path) -> list[dict]:
    """Return the errors of the BIDS validator; skip the test where it does not run."""
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    made = subprocess.run([program, str(root), "--json"], capture_output=True, text=True, check=False)
    if not made.stdout:
        pytest.skip(f"bids-validator-deno does not run here: {made.stderr[:200]}")
    return [issue for issue in json.loads(made.stdout)["issues"]["issues"] if issue["severity"] == "error"]
