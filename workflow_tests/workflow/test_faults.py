"""After each fault on one machine the same command completes, and the results are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from project import Project
from replicortex import processes
from replicortex.files import LITTER

SNAKEMAKE = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", "--nocolor"]

#: Put into the copy of a command: what happens while `trouble` is there.
TROUBLE = """
import subprocess, sys, time
from pathlib import Path

if Path("trouble").exists():
    subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    Path("started").write_text("")
    time.sleep(600)
"""


def contents(project: Project) -> dict[str, bytes]:
    """Every result by its path; what was set aside is none."""
    return project.results(but=r".*\.damaged")


def litter(project: Project) -> list[str]:
    names = [path.name for path in (project.folder / "results").rglob("*")]
    return [name for name in names if LITTER.fullmatch(name) or name.endswith(".part")]


def running(project: Project) -> list[int]:
    """The processes of runs in the project's folder."""
    place = project.folder.resolve()

    def here(told):
        return Path(told.get("PWD", "/")).resolve() == place

    return list(processes.carrying(processes.DRIVER, here))


def until(condition, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def start(project: Project, *arguments: str) -> subprocess.Popen:
    """A run in the project's folder, in a session of its own, as from another terminal."""
    return subprocess.Popen(
        [*SNAKEMAKE, *arguments],
        cwd=project.folder,
        env={**os.environ, "PWD": str(project.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def forget(project: Project, *names: str) -> None:
    """Remove results, so that there is something to do."""
    for name in names:
        path = project.folder / "results" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit of a file and leave its size and time, as a failing disk does."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_killed_drivers(finished, project):
    """A driver is killed at moments drawn at random; its jobs end with it, and the next run goes on."""
    forget(project, "derivatives", "preprocessed", "features", "runs", "quality", "claims.tsv", "status.tsv")
    draw = random.Random(4)
    for _ in range(6):
        driver = start(project)
        jobs = draw.randint(1, 4)
        for line in driver.stdout:
            jobs -= line.startswith(("rule ", "localrule "))
            if not jobs:
                break
        time.sleep(draw.uniform(0.0, 1.5))
        driver.kill()
        driver.wait(timeout=30)
        driver.stdout.close()
        # Two seconds where nothing else runs; the rest is for a machine that has much to do.
        until(lambda: not running(project), timeout=20)
    text = project.run()
    assert "Directory cannot be locked" not in text
    assert "the last run in this folder was killed" in text
    assert contents(project) == contents(finished)
    assert litter(project) == []
    assert project.planned() == {}


@pytest.mark.parametrize("victim", ["job", "shell"])
def test_a_killed_job(finished, project, victim):
    """The job's process, or only the shell that holds it, is killed: nothing goes on writing, the same command ends."""
    command = project.folder / "scripts/plot_figure.py"
    command.write_text(TROUBLE + command.read_text())
    forget(project, "runs/tiny/figures")
    (project.folder / "trouble").touch()
    driver = start(project)
    until((project.folder / "started").exists)
    job = next(pid for pid in running(project) if b"plot_figure" in Path(f"/proc/{pid}/cmdline").read_bytes()[:40])
    shell = int(Path(f"/proc/{job}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"bash" in Path(f"/proc/{shell}/cmdline").read_bytes()
    os.kill(job if victim == "job" else shell, signal.SIGKILL)
    until(lambda: processes.started(job) is None, timeout=10)
    driver.communicate(timeout=120)
    assert driver.returncode == 1
    until(lambda: not running(project), timeout=20)
    assert not list((project.folder / "results/runs/tiny/figures").glob("*"))
    (project.folder / "trouble").unlink()
    project.run()
    assert contents(project) == contents(finished)


def test_a_job_killed_for_its_memory_is_tried_again_with_more(finished, project):
    """As the kernel does it when memory is out: SIGKILL. With `retries` the next attempt may have twice as much."""
    command = project.folder / "scripts/plot_figure.py"
    once = "import os\nfrom pathlib import Path\nif Path('trouble').exists():\n    Path('trouble').unlink()\n"
    command.write_text(f"{once}    os.kill(os.getpid(), 9)\n{command.read_text()}")
    forget(project, "runs/tiny/figures")
    (project.folder / "trouble").touch()
    text = project.run("--retries", "1", "results/runs/tiny/figures/paired_scores.svg")
    asked = [line for line in text.splitlines() if "resources:" in line and "mem_mb=" in line]
    amounts = [int(line.partition("mem_mb=")[2].partition(",")[0]) for line in asked]
    assert len(amounts) == 2
    assert amounts[1] == 2 * amounts[0]
    assert contents(project) == contents(finished)


def test_memory_out_inside_a_job_is_one_line(project):
    """An allocation that the system refuses."""
    code = "from replicortex.job import run; run(lambda: bytearray(1 << 40))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder / "scripts",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: memory: the job needs more than it may have")
    assert done.stderr.count("\n") == 1


def test_a_derivative_with_a_flipped_bit(finished, project):
    """Neither size nor time tells; who reads it compares digests, and its block is preprocessed again."""
    root = project.folder / "results"
    derivative = next(root.glob("derivatives/tiny/average_reference/sub-01/**/*_eeg.eeg"))
    flip(derivative)
    forget(project, "features/tiny")
    text = project.run("features")
    assert f"{derivative.name}: is missing or has changed since it was written; kept as" in text
    assert derivative.with_name(f"{derivative.name}.damaged").is_file()
    assert text.count("rule preprocess_eeg") == 1
    # Nothing more needs the table of the bundles that was forgotten with them.
    project.run("results/features/tiny/average_reference/tiny/bundles.tsv")
    assert contents(project) == contents(finished)


def test_damaged_predictions_and_records(finished, project):
    """Each reader notices, and one command makes all of it good, without a note of what had been there."""
    fits = sorted((project.folder / "results").glob("runs/tiny/*/*/*/fit.json"))
    predictions = fits[-1].with_name("predictions.npz")
    flip(predictions, 0.4)
    fits[0].write_text("{}")
    (project.folder / ".snakemake/replicortex/outputs.json").unlink()
    for variant in ("observed", "null-1"):
        forget(project, f"runs/tiny/{variant}/guard.json", f"runs/tiny/{variant}/scores.tsv")
    text = project.run()
    for path in (predictions, fits[0]):
        assert path.with_name(f"{path.name}.damaged").is_file(), path
        assert f"{path.name}.damaged and made again" in text, path
    assert contents(project) == contents(finished)
    assert project.planned() == {}


def test_damage_that_is_seen_at_the_start(finished, project):
    """A file is cut off that no job has to read: exactly it is made again."""
    bundle = next((project.folder / "results/features").rglob("0of2.npz"))
    bundle.write_bytes(bundle.read_bytes()[:-1000])
    text = project.run()
    assert f"{bundle.name}: its size has changed from" in text
    assert "rule extract_features" in text
    assert "rule fit" not in text
    assert contents(project) == contents(finished)
    assert project.planned() == {}


def test_a_full_disk(finished, project):
    """One line that names the file; nothing half-written; after space is made the same command completes."""
    runs = project.folder / "results/runs"
    forget(project, "runs/tiny")
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system that is full can be mounted by root only")
    try:
        done = project.snakemake()
        assert done.returncode == 1
        told = [line for line in done.stdout.splitlines() if "No space left on device; free disk space" in line]
        assert told, done.stdout[-2000:]
        assert all("results/runs/tiny/" in line for line in told)
        there = {name: content for name, content in contents(project).items() if name.startswith("runs/")}
        undisturbed = contents(finished)
        assert all(undisturbed[name] == content for name, content in there.items())
        assert litter(project) == []
        subprocess.run(["/bin/mount", "-o", "remount,size=64m", str(runs)], check=True, timeout=30)
        project.run()
        assert contents(project) == contents(finished)
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(runs)], check=True, timeout=30)


def test_a_second_driver_is_refused_in_one_line(project):
    """While one works; looking is allowed."""
    command = project.folder / "scripts/plot_figure.py"
    command.write_text(TROUBLE + command.read_text())
    forget(project, "runs/tiny/figures")
    (project.folder / "trouble").touch()
    driver = start(project)
    until((project.folder / "started").exists)
    second = project.snakemake()
    assert second.returncode == 1
    refusals = [line for line in second.stdout.splitlines() if "another run works in this folder" in line]
    assert len(refusals) == 1
    assert f"process {driver.pid} of" in refusals[0]
    assert project.planned() == {"all": 1, "plot_figure": 1, "build_site": 1, "describe_results": 1}
    told = json.loads((project.folder / ".snakemake/replicortex/driver.json").read_text())
    assert told["pid"] == driver.pid
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=30)
    # The guardian has its own session, so that it outlives the kill of the whole group.
    until(lambda: not running(project), timeout=20)
