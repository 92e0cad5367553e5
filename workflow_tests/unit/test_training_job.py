"""A job that trains, killed and started again by the same command, writes the files of one that was not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from made_data import volumes
from project import SOURCE
from replicortex.bundle import Bundle
from replicortex.components import load
from replicortex.stages.splits import make_splits

METHOD = "resnet3d"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Features in two blocks, folds and targets."""
    # What else is written into the sources while this runs would be another training.
    shutil.copytree(SOURCE / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    bundle = volumes(n=40)
    shape = len(bundle) // 2
    for number in range(2):
        bundle.take(np.arange(number * shape, (number + 1) * shape)).save(tmp_path / f"block-{number}.npz")
    make_splits(
        [tmp_path / f"block-{number}.npz" for number in range(2)],
        tmp_path / "splits.tsv",
        tmp_path / "targets.tsv",
        {"k_fold": {"folds": 2}},
        "observed",
        (),
        0,
        task="regress",
    )
    return tmp_path


def job(folder: Path, out: str) -> subprocess.Popen:
    """Start the command of the rule."""
    (folder / out).mkdir(exist_ok=True)
    params = {**load("methods", METHOD).tiny, "steps": 24}
    command = [sys.executable, str(folder / "scripts" / "fit.py"), "--features"]
    command += [str(folder / f"block-{number}.npz") for number in range(2)]
    command += ["--splits", str(folder / "splits.tsv"), "--targets", str(folder / "targets.tsv")]
    for name in ("predictions.npz", "models.zip", "record.json"):
        command += [f"--{name.partition('.')[0]}", str(folder / out / name)]
    command += ["--name", "net", "--method", METHOD, "--params", json.dumps(params), "--variant", "observed"]
    command += ["--part", "0of1", "--seed", "0", "--task", "regress", "--training", str(folder / out / "training")]
    environment = {**os.environ, "REPLICORTEX_CHECKPOINT_MINUTES": "0"}
    return subprocess.Popen(command, env=environment, stderr=(folder / f"{out}.log").open("a"))


def epochs(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"epoch (\d+)/", text)]


def test_a_killed_job_writes_what_it_would_have_written(prepared):
    whole = job(prepared, "whole")
    killed = job(prepared, "killed")
    log, started = prepared / "killed.log", time.monotonic()
    # In its second fold, some steps into it.
    while time.monotonic() - started < 120 and killed.poll() is None:
        folds = sorted((prepared / "killed" / "training").glob("*/net-*/log.csv"))
        if len(folds) == 2 and folds[1].read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    assert killed.poll() is None, log.read_text()
    killed.kill()
    killed.wait()
    assert whole.wait() == 0, (prepared / "whole.log").read_text()
    assert not (prepared / "killed" / "models.zip").exists()
    before = len(log.read_text())
    assert job(prepared, "killed").wait() == 0, log.read_text()
    assert 1 not in epochs(log.read_text()[before:]), "nothing is begun anew, neither the fold before nor this one"
    for name in ("predictions.npz", "models.zip"):
        assert (prepared / "killed" / name).read_bytes() == (prepared / "whole" / name).read_bytes()
    assert not list((prepared / "killed").rglob("*.pt"))
    assert np.isfinite(Bundle.open(prepared / "killed" / "predictions.npz")["y_pred"]).all()
