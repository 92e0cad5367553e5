"""The SLURM test cluster: is it there, a run of the workflow on it, and what it accounted for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from project import Project

#: The partitions of the test cluster, as a site would write them.
PARTITIONS = {
    "cpu": {"max_runtime": 60, "max_mem_mb": 11000, "max_threads": 2},
    "gpu": {"max_runtime": 60, "max_mem_mb": 11000, "max_threads": 2, "max_gpu": 1, "available_gpu_models": ["fake"]},
}
ACCOUNT = "bids"


class Accounted(NamedTuple):
    """One submission, as sacct tells it."""

    id: str
    state: str
    node: str
    tres: str
    limit: str
    comment: str


def ask(*command: str, check: bool = True) -> subprocess.CompletedProcess:
    """Call one of SLURM's programs."""
    program = shutil.which(command[0]) or command[0]
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=check)


def required() -> None:
    """Skip, with the reason, where no cluster answers."""
    if not shutil.which("sbatch"):
        pytest.skip("SLURM: no sbatch here")
    done = ask("sinfo", "--noheader", "--Node", "--format=%N", check=False)
    nodes = set(done.stdout.split())
    if done.returncode or not {"node1", "node2"} <= nodes:
        pytest.skip(f"SLURM: no test cluster of two nodes answers ({done.stderr.strip() or sorted(nodes)})")
    if Path("/etc/slurm/slurm.conf").read_text().find("(test machines only)") < 0:
        pytest.skip("SLURM: this is no test cluster, and jobs here cost somebody money")


def copy(project: Project, folder: Path) -> Project:
    """Copy a project into ``folder``, under a name that no earlier session of the tests had.

    Jobs are told by the folder that they ran in, here and in ``show_efficiency``; the accounting remembers for long,
    and folders of tests have the same names in every session.
    """
    return project.copy(folder / f"project-{uuid.uuid4().hex}")


def settle(project: Project, profile: str = "slurm") -> list[str]:
    """Fill in what a site fills in; return the arguments: the profile, its waiting times shortened, the account."""
    path = project.folder / "config" / "profiles" / profile / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    (project.folder / settings["slurm-partition-config"]).write_text(yaml.safe_dump({"partitions": PARTITIONS}))
    return [
        *("--profile", f"config/profiles/{profile}"),
        *("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"),
        *("--default-resources", *settings["default-resources"], f"slurm_account={ACCOUNT}"),
    ]


def start(project: Project, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start Snakemake in a session of its own; output and errors go to a file beside the project's folder."""
    output = project.folder.with_suffix(".out")
    with output.open("a") as stream:
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "snakemake"), "--nocolor", *arguments],
            cwd=project.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Tests that were started in the background ignore Ctrl-C, and so would this process.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def output(project: Project) -> str:
    """Return all that Snakemake has printed."""
    return project.folder.with_suffix(".out").read_text()


def finish(project: Project, running: subprocess.Popen, seconds: float) -> int:
    """Wait for Snakemake; after ``seconds`` it and its jobs are ended, and the test fails."""
    try:
        return running.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(f"no end after {seconds} s\n{output(project)[-4000:]}\n{project.logs()}")
    finally:
        # Also when the tests are interrupted: a driver left alone would submit again what is cancelled.
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        cancel(project)


def run(project: Project, *arguments: str, seconds: float = 1200, **environment: str) -> str:
    """Run Snakemake on the cluster; it must succeed within ``seconds``."""
    status = finish(project, start(project, *arguments, **environment), seconds)
    assert status == 0, output(project)[-6000:] + project.logs()
    return output(project)


def queued(project: Project) -> list[dict[str, str]]:
    """Return the submissions of a project that SLURM holds now."""
    form = "%A|%T|%N|%Z|%k"
    names = ("id", "state", "node", "folder", "comment")
    done = ask("squeue", "--noheader", f"--format={form}")
    rows = [dict(zip(names, line.split("|"), strict=True)) for line in done.stdout.splitlines()]
    return [row for row in rows if row["folder"] == str(project.folder)]


def cancel(project: Project) -> None:
    """End what is left of a project's submissions."""
    left = [row["id"] for row in queued(project)]
    if left:
        ask("scancel", *left, check=False)


def wait_for_job(project: Project, name: str, seconds: float = 600) -> dict[str, str]:
    """Wait until a submission whose comment holds ``name`` runs; return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = [row for row in queued(project) if name in row["comment"] and row["state"] == "RUNNING"]
        if found:
            return found[0]
        time.sleep(0.5)
    raise AssertionError(f"no job {name} within {seconds} s\n{output(project)[-3000:]}")


def accounted(project: Project, seconds: float = 30) -> list[Accounted]:
    """Return the submissions of a project, all ended, from the accounting; it lags, so ask until none runs."""
    form = "JobIDRaw,State,NodeList,AllocTRES,Timelimit,WorkDir,Comment"
    command = ["sacct", "-X", "--parsable2", "--noheader", "--starttime=now-2hours", f"--format={form}"]
    end = time.monotonic() + seconds
    while True:
        done = ask(*command)
        rows = [line.split("|", 6) for line in done.stdout.splitlines()]
        found = [Accounted(*row[:5], row[6]) for row in rows if row[5] == str(project.folder)]
        if time.monotonic() > end or not any(job.state in ("RUNNING", "PENDING", "COMPLETING") for job in found):
            return found
        time.sleep(1)
