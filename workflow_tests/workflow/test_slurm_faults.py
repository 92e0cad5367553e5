"""What befalls jobs on a cluster: the same command ends well, and with the results of an undisturbed run.

Every fault is a real one: a node is killed, SLURM ends jobs for their time and memory, jobs and driver are cancelled.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import cluster
from project import STUDY, Project

pytestmark = pytest.mark.slurm_faults

#: Misbehaves as ``trouble/<label>.json`` says, where that is; its results are those of the method it stands in for.
TROUBLED = '''"""A fit that takes the time and the memory that a file says.

For tests.

Reproduced: nothing. Differs: nothing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ..bundle import Bundle
from ..components import component
from .mdm import Mdm


@component
class Troubled(Mdm):
    """What it stands in for, with trouble."""

    label: str = ""

    def fit(self, train: Bundle, seed: int) -> None:
        path = Path("trouble") / f"{self.label}.json"
        trouble = json.loads(path.read_text()) if path.is_file() else {}
        held = bytearray(b"x") * (trouble.get("megabytes", 0) * 10**6)
        time.sleep(trouble.get("seconds", 0))
        del held
        super().fit(train, seed)
'''


def troubled(label: str, family: str, **resources) -> dict:
    params = {**STUDY["methods"]["mdm"]["params"], "label": label}
    resources = {"mem_mb": 1500, "runtime": 5, **({"gpu": 0, "threads": 1} if family == "torch" else {}), **resources}
    return {"component": "troubled", "role": "proposed", "family": family, "params": params, "resources": resources}


@pytest.fixture(scope="module")
def undisturbed(finished, tmp_path_factory) -> Project:
    """A project that ran to its end on one machine, without trouble."""
    project = finished.copy(tmp_path_factory.mktemp("faults") / "undisturbed")
    (project.folder / "scripts/replicortex/methods/troubled.py").write_text(TROUBLED)
    methods = {
        # A rule of its own each: of this family nothing is grouped.
        "hungry": troubled("hungry", "torch", mem_mb=800),
        "slow": troubled("slow", "torch", runtime=1),
        # These share a submission.
        "mdm": troubled("even", "signal"),
        "csp_lda": {**STUDY["methods"]["csp_lda"], "resources": {"mem_mb": 1500, "runtime": 5}},
    }
    evaluation = {**STUDY["evaluation"], "schemes": {"leave_one_subject_out": {}}}
    claim = {**STUDY["claims"][0], "scheme": "leave_one_subject_out"}
    project.card("studies", "tiny", methods=methods, evaluation=evaluation, claims=[claim])
    shutil.rmtree(project.folder / "results/runs")
    project.run()
    return project


@pytest.fixture
def project(undisturbed, tmp_path) -> Project:
    """A copy of it whose fits of one variant, and what follows them, are to be made again."""
    cluster.required()
    copied = cluster.copy(undisturbed, tmp_path)
    run = copied.folder / "results/runs/tiny"
    # All that hangs on them goes too: what is only missing in between is not made again.
    again = [run / "observed" / name for name in ("scores.tsv", "guard.json")]
    again += [path for path in (*run.iterdir(), *copied.folder.glob("results/*.tsv")) if path.is_file()]
    for path in again:
        path.unlink()
    for path in (run / "figures", *(path for path in (run / "observed").iterdir() if path.is_dir())):
        shutil.rmtree(path)
    return copied


def trouble(project: Project, label: str, **what) -> None:
    folder = project.folder / "trouble"
    folder.mkdir(exist_ok=True)
    (folder / f"{label}.json").write_text(json.dumps(what))


def states(project: Project, name: str) -> list[str]:
    """How the submissions of a rule or group ended, oldest first."""
    jobs = sorted(cluster.accounted(project), key=lambda job: int(job.id))
    return [job.state.split()[0] for job in jobs if name in job.comment]


def test_time_memory_and_cancelled_jobs(project, undisturbed):
    """Three faults in one run: SLURM ends one fit for its memory and one for its time, and a third is cancelled."""
    # Of each fold, of which there are three.
    trouble(project, "hungry", megabytes=700, seconds=4)
    trouble(project, "slow", seconds=30)
    trouble(project, "even", seconds=5)
    running = cluster.start(project, *cluster.settle(project))
    job = cluster.wait_for_job(project, "fit-tiny")
    time.sleep(5)
    cluster.ask("scancel", job["id"])
    assert cluster.finish(project, running, 1200) == 0, cluster.output(project)[-5000:] + project.logs()
    assert project.results() == undisturbed.results()

    assert states(project, "fit-tiny") == ["CANCELLED", "COMPLETED"]
    of_rule = {job.comment: job for job in cluster.accounted(project) if "rule_fit_torch" in job.comment}
    slow, hungry = (
        sorted((job for job in cluster.accounted(project) if f"_{name}_" in job.comment), key=lambda job: int(job.id))
        for name in ("slow", "hungry")
    )
    assert of_rule.keys() == {slow[0].comment, hungry[0].comment}
    assert [(job.state, job.limit) for job in slow] == [("TIMEOUT", "00:01:00"), ("COMPLETED", "00:04:00")]
    # Without cgroups SLURM says FAILED, with them OUT_OF_MEMORY.
    assert [job.state for job in hungry] in (["FAILED", "COMPLETED"], ["OUT_OF_MEMORY", "COMPLETED"])
    assert ["mem=800M" in hungry[0].tres, "mem=1600M" in hungry[1].tres] == [True, True]


def test_a_node_dies(project, undisturbed):
    """A power cut of the node that runs a group of fits: they are repeated on the other."""
    commands = [shutil.which(name) for name in ("stop-slurm", "start-slurm")]
    if os.geteuid() or not all(commands):
        pytest.skip("SLURM: start-slurm and stop-slurm are needed, and root, to kill a node")
    stop, start = commands
    trouble(project, "even", seconds=8)
    running = cluster.start(project, *cluster.settle(project))
    try:
        job = cluster.wait_for_job(project, "fit-tiny")
        time.sleep(5)
        subprocess.run([stop, "--crash", job["node"]], timeout=120, check=True, capture_output=True)
        assert cluster.finish(project, running, 1200) == 0, cluster.output(project)[-5000:] + project.logs()
    finally:
        subprocess.run([start], timeout=240, check=True, capture_output=True)
    assert project.results() == undisturbed.results()
    first, second = sorted(
        (job for job in cluster.accounted(project) if "fit-tiny" in job.comment), key=lambda job: int(job.id)
    )
    assert (first.state, second.state) == ("NODE_FAIL", "COMPLETED")
    assert first.node == job["node"] != second.node


def test_interrupted_and_started_again(project, undisturbed):
    """Ctrl-C cancels what is queued; the same command goes on."""
    trouble(project, "even", seconds=8)
    arguments = cluster.settle(project)
    running = cluster.start(project, *arguments)
    cluster.wait_for_job(project, "fit-tiny")
    time.sleep(3)
    os.killpg(running.pid, signal.SIGINT)
    end = time.monotonic() + 90
    while running.poll() is None and time.monotonic() < end:
        time.sleep(0.5)
    assert running.poll() not in (None, 0)
    while cluster.queued(project) and time.monotonic() < end:
        time.sleep(0.5)
    assert cluster.queued(project) == []
    assert states(project, "fit-tiny") == ["CANCELLED"]
    assert not (project.folder / "results/claims.tsv").exists()
    shutil.rmtree(project.folder / "trouble")
    cluster.run(project, *arguments)
    assert project.results() == undisturbed.results()
