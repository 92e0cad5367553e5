"""Small raw datasets that hold one difficulty each, and the index of one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from replicortex.bids import read_recordings
from replicortex.files import read_json
from replicortex.index import refresh_index

DESCRIPTION = {"Name": "tree", "BIDSVersion": "1.11.0"}


def grow(root: Path, files: dict[str, object]) -> Path:
    """Write files (objects as JSON) an hour old, so that their times are no younger than any index."""
    if not (root / "dataset_description.json").exists():
        files = {"dataset_description.json": DESCRIPTION} | files
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        os.utime(path, (time.time() - 3600,) * 2)
    return root


def brainvision(stem: str) -> dict[str, object]:
    """Return the three files of a BrainVision recording."""
    return {f"{stem}_eeg{extension}": stem + extension for extension in (".vhdr", ".eeg", ".vmrk")}


def two_subjects(root: Path) -> Path:
    """Two subjects with one EEG recording each, a sidecar and an events table at the root."""
    files = {"task-rest_eeg.json": {"SamplingFrequency": 250}, "task-rest_events.tsv": "onset\tduration\n"}
    for subject in ("01", "02"):
        files |= brainvision(f"sub-{subject}/eeg/sub-{subject}_task-rest")
    files["participants.tsv"] = "participant_id\nsub-01\nsub-02\n"
    return grow(root, files)


def index_tree(root: Path, out: Path, **options) -> tuple[dict, dict[str, dict]]:
    """Index a tree; return ``content.json`` and the rows of ``recordings.tsv`` by path."""
    content = refresh_index(root, out, **options)
    assert content == read_json(out / "content.json")
    return content, {row["path"]: row for row in read_recordings(out / "recordings.tsv")}


def faults(content: dict) -> dict[str, list[str]]:
    """Return the faults of each file."""
    found: dict[str, list[str]] = {}
    for problem in content["problems"]:
        found.setdefault(problem["file"], []).append(problem["fault"])
    return found
