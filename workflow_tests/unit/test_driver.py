"""The lock of a folder, and what is cleared up before a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from replicortex import driver, processes
from replicortex.damage import STATE, read_record, read_table, take_out
from replicortex.driver import Run, begin, clear_litter
from replicortex.errors import DamagedError, InputError
from replicortex.files import atomic, write_text


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working directory with a lock and a result; no SLURM in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver.shutil, "which", lambda name: None)
    write_text(tmp_path / "results/a.tsv", "a\n1\n")
    write_text(tmp_path / ".snakemake/locks/0.output.lock", "results/a.tsv\n")
    return tmp_path


def dead_driver(folder: Path, **changes) -> None:
    """What a driver leaves that was killed."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    told = {"pid": child.pid, "start": "1", "boot": processes.boot(), "host": driver.socket.gethostname()}
    write_text(folder / STATE / "driver.json", json.dumps({**told, "ended": False, "cluster": False, **changes}))


def sleeper(mark: str) -> subprocess.Popen:
    """A process that carries a mark, as jobs do."""
    made = subprocess.Popen(["/bin/sleep", "300"], env={**os.environ, processes.DRIVER: mark})
    while processes.environment(made.pid).get(processes.DRIVER) != mark:
        time.sleep(0.01)
    return made


def test_one_run_a_folder(folder):
    first = Run(folder)
    first.enter()
    with pytest.raises(InputError, match=rf"another run works in this folder \(process {os.getpid()} of .*; wait for"):
        Run(folder).enter()
    first.leave([], ended_well=True)
    second = Run(folder)
    second.enter()
    second.leave([], ended_well=True)
    assert not (folder / STATE / "driver.json").exists()
    assert processes.DRIVER not in os.environ


def test_the_lock_of_another_workflow_is_left_alone(folder):
    """Snakemake's lock goes only when the driver that made it is known to be dead."""
    lock = folder / ".snakemake/locks/0.output.lock"
    run = Run(folder)
    run.enter()
    run.leave([], ended_well=False)
    run.enter()
    assert lock.exists(), "the last run ended, if not well"
    run.leave([], ended_well=True)
    dead_driver(folder)
    run.enter()
    assert not lock.exists()
    run.leave([], ended_well=True)


def test_only_processes_of_dead_drivers_of_this_folder_are_ended(folder, tmp_path_factory):
    run, elsewhere = Run(folder), Run(tmp_path_factory.mktemp("elsewhere"))
    me = f"{os.getpid()}.{processes.started(os.getpid())}"
    orphan = sleeper(f"{run._place()}.{2**22 + 1}.1")
    reused = sleeper(f"{run._place()}.{os.getpid()}.1")  # the number of a dead driver, given again
    living = sleeper(f"{run._place()}.{me}")
    foreign = sleeper(f"{elsewhere._place()}.{2**22 + 1}.1")
    try:
        dead_driver(folder)
        run.enter()
        assert orphan.wait(timeout=10) == -9
        assert reused.wait(timeout=10) == -9
        assert living.poll() is None
        assert foreign.poll() is None
        run.leave([], ended_well=True)
    finally:
        for process in (orphan, reused, living, foreign):
            process.kill()
            process.wait()


def test_the_guardian_outlives_its_driver_and_ends_the_jobs(folder):
    code = (
        "import os, subprocess, sys; from pathlib import Path; from replicortex.driver import Run; "
        "Run(Path.cwd()).enter(); job = subprocess.Popen(['sleep', '300'], stdout=subprocess.DEVNULL); "
        "print(job.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    scripts = Path(driver.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(scripts)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    end = time.monotonic() + 20
    while processes.started(int(done.stdout)) is not None:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_litter_is_what_killed_jobs_left_and_nothing_else(folder):
    results = folder / "results"
    with atomic(results / "x.nii.gz") as temporary:
        left = Path(temporary)
        assert driver.LITTER.fullmatch(left.name)
    left.write_text("half")
    store = results / "derivatives/d/r/.replicortex/sub-01"
    write_text(store / "sub-01_bold.part/half.nii", "half")
    kept = [store / "sub-01_bold.json", results / ".bidsignore", results / "a.part-1.tsv", results / "notes.part/a"]
    for path in kept:
        write_text(path, "whole")
    outside = folder / "outside"
    write_text(outside / left.name, "of somebody else")
    (results / "link").symlink_to(outside)
    clear_litter(results)
    assert not left.exists()
    assert not (store / "sub-01_bold.part").exists()
    assert all(path.is_file() for path in [*kept, outside / left.name])


def test_outputs_that_changed_are_set_aside(folder, capsys):
    """By size, and by content where the time has changed; a touch alone is nothing."""
    names = ["results/cut.tsv", "results/edited.tsv", "results/touched.tsv", "results/gone.tsv"]
    recording = "results/datasets/d/bids/dataset_description.json"
    for name in [*names, recording]:
        write_text(folder / name, "a\n1\n")
    run = Run(folder)
    run.enter()
    run.leave([*names, recording, "results/never.tsv"], ended_well=True)
    (folder / names[0]).write_text("a\n")
    (folder / names[1]).write_text("a\n2\n")
    (folder / recording).write_text("{}")
    for name in names[1:3]:
        os.utime(folder / name, (1, 1))
    (folder / names[3]).unlink()
    assert run.enter() == names[:2]
    assert (folder / "results/cut.tsv.damaged").read_text() == "a\n"
    assert "results/cut.tsv: its size has changed from 4 to 2 bytes since it was made" in capsys.readouterr().err
    assert (folder / recording).read_text() == "{}", "recordings are never moved"
    run.leave([], ended_well=True)


def test_a_file_system_without_locks(folder, monkeypatch, capsys):
    """It is said, and a driver that lives is noticed by its process number."""

    def refuse(handle, how):
        raise OSError(driver.errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(driver.fcntl, "flock", refuse)
    run = Run(folder)
    run.enter()
    assert "has no locks" in capsys.readouterr().err
    with pytest.raises(InputError, match="another run works"):
        Run(folder).enter()
    run.leave([], ended_well=True)


def test_a_driver_on_another_machine_is_noticed_by_its_signs_of_life(folder, monkeypatch):
    monkeypatch.setattr(driver, "_BEAT", 0.2)
    dead_driver(folder, host="elsewhere", boot="another")
    record = folder / STATE / "driver.json"
    living = subprocess.Popen(["/bin/sh", "-c", f"while sleep 0.1; do touch '{record}'; done"])
    try:
        with pytest.raises(InputError, match=r"another run works in this folder .* on elsewhere"):
            Run(folder).enter()
    finally:
        living.kill()
        living.wait()
    run = Run(folder)
    run.enter()
    run.leave([], ended_well=True)


def test_jobs_left_on_slurm_are_cancelled(tmp_path, monkeypatch):
    """Only those that the executor started, in this folder. Stand-ins for squeue and scancel tell what is asked."""
    commands = tmp_path / "bin"
    number = "0b1c2d3e-0000-4000-8000-0123456789ab"
    queue = tmp_path / "queue"
    queue.write_text(
        f"11|{number}|{tmp_path}\n12|mine_{number}|{tmp_path}\n13|by_hand|{tmp_path}\n14|{number}|/other\n"
    )
    write_text(commands / "squeue", f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/asked'\ncat '{queue}'\n")
    write_text(
        commands / "scancel", f"#!/bin/sh\necho \"$@\" > '{tmp_path}/cancelled'\nsed -i '/^1[12]|/d' '{queue}'\n"
    )
    for path in commands.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    dead_driver(tmp_path, cluster=True)
    run = Run(tmp_path)
    run.enter()
    run.leave([], ended_well=True)
    assert (tmp_path / "cancelled").read_text().split() == ["11", "12"]
    assert f"--user {os.getuid()}" in (tmp_path / "asked").read_text()
    write_text(commands / "squeue", "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2\nexit 1\n")
    (commands / "squeue").chmod(0o755)
    dead_driver(tmp_path, cluster=True)
    with pytest.raises(InputError, match=r"squeue: failed \(slurm_load_jobs error: Unable to contact\)"):
        Run(tmp_path).enter()


def fake_workflow(targets: set[str], *, dry: bool = False, lock: bool = True) -> SimpleNamespace:
    """What `begin` uses of a workflow."""
    settings = SimpleNamespace(dryrun_exec=dry, non_local_exec=False)
    made = SimpleNamespace(
        dag_settings=SimpleNamespace(targets=frozenset(targets), force_incomplete=False),
        execution_settings=SimpleNamespace(lock=lock),
        overwrite_workdir=None,
        dag=None,
        plugin=SimpleNamespace(common_settings=settings),
        execute=lambda plugin: (driver.STATE / "driver.json").exists(),
    )
    begin(made, RuntimeError)
    return made


@pytest.mark.parametrize(
    ("targets", "options", "locked"),
    [(set(), {}, True), ({"status"}, {}, False), ({"status", "scores"}, {}, True), (set(), {"dry": True}, False)],
)
def test_only_what_runs_jobs_takes_the_lock(folder, targets, options, locked):
    workflow = fake_workflow(targets, **options)
    assert workflow.execute(workflow.plugin) is locked
    assert workflow.dag_settings.force_incomplete is locked
    assert workflow.execution_settings.lock is (targets != {"status"})


def test_results_are_set_aside_and_recordings_never(folder):
    (folder / STATE).mkdir(parents=True)
    places = {"results/a.npz": True, "results/datasets/d/bids/x.json": False, "data/x.npz": False}
    for path in places:
        write_text(folder / path, "x")
    (folder / "results/way-out").symlink_to(folder / "data")
    for path in [*places, "results/../data/x.npz", "results/way-out/x.npz"]:
        take_out(DamagedError(path, "is damaged"), folder)
    assert {path: not (folder / path).exists() for path in places} == places
    assert (folder / STATE / "damaged.txt").read_text() == "results/a.npz\n"


@pytest.mark.parametrize(
    ("text", "fault"), [("{}", "lacks 'name'"), ("[1]", "is no JSON object"), ('{"name": "x', "not readable as JSON")]
)
def test_a_damaged_record_is_one_line(tmp_path, text, fault):
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(DamagedError, match=rf"fit\.json: {fault}.*; delete it and run again") as caught:
        read_record(path, ["name"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("a\tb\n1\t2", "its last line is cut off"), ("a\n1\n", "lacks the column b"), ("", "empty table")],
)
def test_a_damaged_table_is_one_line(tmp_path, text, fault):
    path = tmp_path / "splits.tsv"
    path.write_text(text)
    with pytest.raises(DamagedError, match=rf"splits\.tsv: {fault}; delete it and run again"):
        read_table(path, ["a", "b"])


def test_the_scheduler_waits_for_one_alarm_at_a_time():
    """However often it asks to be woken; Snakemake itself rings as often as that."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    def rings(delays: list[float]) -> int:
        scheduler = object.__new__(JobScheduler)
        scheduler._open_jobs = threading.Semaphore(0)
        for delay in delays:
            scheduler._schedule_reevalutation(delay)
        time.sleep(2 * max(delays))
        heard = 0
        while scheduler._open_jobs.acquire(blocking=False):
            heard += 1
        return heard

    asked = [0.1] * 5 + [0.2] * 5
    assert rings(asked) == 10
    with driver.one_alarm():
        assert rings(asked) == 2
        # It has rung, so that it can be set again.
        assert rings(asked) == 2
    assert rings(asked) == 10
