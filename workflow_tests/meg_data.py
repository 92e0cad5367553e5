"""Small BIDS MEG datasets for tests, with everything in them known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np

from replicortex.components import make
from replicortex.files import to_json, to_tsv, write_text
from replicortex.shared.meg_raw import make_neutral

#: Ten places with a planar gradiometer and a magnetometer each.
DEVICE = "helmet20"


def write_meg(
    root: Path,
    *,
    subject: str = "01",
    seed: int = 0,
    sfreq: float = 256.0,
    bad: Sequence[str] = (),
    events: Sequence[dict] = ({"onset": 5.0, "duration": 1.0, "trial_type": "left"},),
    spoil: np.ndarray | None = None,
) -> str:
    """Write one FIF recording of 20 s with sidecar, channels and events; return its stem.

    ``spoil`` is added to the signals, ``(20, n_times)``.
    """
    if not (root / "dataset_description.json").exists():
        write_text(root / "dataset_description.json", to_json({"Name": "test", "BIDSVersion": "1.10.1"}))
        write_text(root / "README.md", "A dataset of simulated signals, made by the tests of this project. " * 4)
    simulator = make(
        "simulators", "eeg_meg_sources", {"devices": [DEVICE], "n_subjects": 1, "n_trials": 4, "sfreq": sfreq}
    )
    raw, _ = simulator.recording(1, "planted", seed)
    raw.set_annotations(None)
    raw.crop(tmax=20.0, include_tmax=False)
    if spoil is not None:
        raw = mne.io.RawArray(raw.get_data() + spoil, raw.info, verbose="ERROR")
    folder = root / f"sub-{subject}" / "meg"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_task-test_run-1"
    raw.save(folder / f"{stem}_meg.fif", fmt="single", overwrite=True, verbose="ERROR")
    make_neutral(folder / f"{stem}_meg.fif")
    facts = {"TaskName": "test", "SamplingFrequency": sfreq, "PowerLineFrequency": 50, "SoftwareFilters": "n/a"}
    write_text(folder / f"{stem}_meg.json", to_json({**facts, "DewarPosition": "upright", "DigitizedLandmarks": True}))
    kinds = {"grad": ("MEGGRADPLANAR", "T/m"), "mag": ("MEGMAG", "T")}
    channels = [
        {"name": name, "type": kinds[kind][0], "units": kinds[kind][1], "status": "bad" if name in bad else "good"}
        for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True)
    ]
    write_text(folder / f"{stem}_channels.tsv", to_tsv(channels, ["name", "type", "units", "status"]))
    if events:
        write_text(folder / f"{stem}_events.tsv", to_tsv(events, ["onset", "duration", "trial_type"]))
    return stem
