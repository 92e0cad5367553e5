"""Device slots: real processes that compete for the devices of a stand-in for nvidia-smi."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from replicortex import gpu
from replicortex.digest import PACKAGE
from replicortex.errors import InputError

TWO = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa0000-1111-2222-3333-444444444444)
GPU 1: NVIDIA RTX 6000 Ada (UUID: GPU-bbbb0000-1111-2222-3333-444444444444)
"""
A, B = (line.split("UUID: ")[1].rstrip(")") for line in TWO.splitlines())
MIG = """GPU 0: NVIDIA H200 (UUID: GPU-cccc)
  MIG 1g.18gb     Device  0: (UUID: MIG-1111)
  MIG 1g.18gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA H200 (UUID: GPU-dddd)
"""
#: Holds devices, says which, and ends when its standard input does.
HOLD = """
import sys
sys.path.insert(0, {library!r})
from replicortex import gpu
with gpu.claimed(int(sys.argv[1])) as held:
    print(*(device.visible for device in held), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with the devices that the test writes; its locks are the test's own."""
    for name in (*gpu.SCHEDULERS, gpu.VISIBLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(gpu.RUNTIME, str(tmp_path / "locks"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def with_devices(told: str, status: int = 0) -> Path:
        program = tmp_path / "bin" / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{told.rstrip()}\nEND\nexit {status}\n")
        program.chmod(0o755)
        return tmp_path / "locks"

    return with_devices


@pytest.fixture
def start(tmp_path):
    """Start a process that claims; all are ended with the test."""
    started = []

    def begin(n: int = 1, **environment: str) -> subprocess.Popen:
        log = (tmp_path / f"log-{len(started)}").open("w")
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(library=str(PACKAGE.parent)), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment},
        )
        process.log = Path(log.name)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait(timeout=20)


def held(process: subprocess.Popen) -> list[str]:
    """Devices that a process says it holds; waits until it does."""
    return process.stdout.readline().split()


def waits(process: subprocess.Popen) -> str:
    """Wait until a process says that it waits; return what it says."""
    until = time.monotonic() + 30
    while "waiting" not in process.log.read_text():
        assert time.monotonic() < until, process.log.read_text()
        assert process.poll() is None, process.log.read_text()
        time.sleep(0.05)
    return process.log.read_text()


# ---- what there is


def test_devices_are_named_by_uuid(machine):
    machine(TWO)
    assert [(device.visible, device.name) for device in gpu.offered()] == [
        (A, "NVIDIA A100-SXM4-40GB"),
        (B, "NVIDIA RTX 6000 Ada"),
    ]
    assert gpu.n_slots() == 2


def test_a_divided_gpu_is_its_instances(machine):
    machine(MIG)
    assert [device.visible for device in gpu.offered()] == ["MIG-1111", "MIG-2222", "GPU-dddd"]
    assert gpu.offered()[0].name == "NVIDIA H200 MIG 1g.18gb"


@pytest.mark.parametrize("told", ["", "No devices were found"])
def test_no_device_is_no_limit(machine, told):
    machine(told)
    assert gpu.n_slots() is None


def test_no_driver_is_no_device(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert gpu.offered() == []


def test_a_broken_driver_is_not_taken_for_no_gpu(machine):
    machine("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", status=9)
    with pytest.raises(InputError, match="couldn't communicate"), gpu.claimed(1):
        pass
    assert gpu.n_slots() is None  # what needs no device still starts
    with gpu.claimed(0) as devices:
        assert devices == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", [B]), ("1,0", [B, A]), (B, [B]), ("GPU-aaaa", [A]), ("", []), ("-1", []), ("NoDevFiles", [])],
)
def test_the_user_may_name_devices(machine, monkeypatch, value, expected):
    machine(TWO)
    monkeypatch.setenv(gpu.VISIBLE, value)
    assert [device.visible for device in gpu.offered()] == expected


@pytest.mark.parametrize(("value", "fault"), [("7", "'7' is no device"), ("GPU-", "is no device"), ("0,0", "twice")])
def test_a_device_that_is_not_there_is_refused(machine, monkeypatch, value, fault):
    machine(TWO)
    monkeypatch.setenv(gpu.VISIBLE, value)
    with pytest.raises(InputError, match=fault):
        gpu.offered()


def test_a_batch_system_decides(machine, monkeypatch):
    machine(TWO)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert gpu.offered() == []  # none was granted: those of the node are others'
    monkeypatch.setenv(gpu.VISIBLE, "1")
    assert [(device.visible, device.name) for device in gpu.offered()] == [("1", "NVIDIA RTX 6000 Ada")]


# ---- who gets what


def test_jobs_never_hold_one_device_together(machine, start):
    machine(TWO)
    first, second = start(), start()
    of_first, of_second = held(first), held(second)
    assert sorted(of_first + of_second) == [A, B]
    third = start()
    said = waits(third)
    assert f"process {first.pid} in" in said
    assert f"process {second.pid} in" in said
    first.stdin.close()
    assert held(third) == of_first


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_frees_its_device(machine, start, how):
    machine(TWO.splitlines()[0])
    first = start()
    assert held(first) == [A]
    second = start()
    waits(second)
    first.send_signal(how)
    assert held(second) == [A]


def test_many_jobs_one_after_the_other(machine, start):
    """Eight jobs for two devices: never more than one on each, and all have their turn."""
    machine(TWO)
    waiting = [start() for _ in range(8)]
    holders: dict[str, int] = {}
    order = []
    ready = selectors.DefaultSelector()
    for number, process in enumerate(waiting):
        ready.register(process.stdout, selectors.EVENT_READ, number)
    until = time.monotonic() + 60
    while len(order) < 8:
        assert time.monotonic() < until, order
        for key, _ in ready.select(timeout=1):
            number, device = key.data, key.fileobj.readline().strip()
            ready.unregister(key.fileobj)
            assert device not in holders or waiting[holders[device]].poll() is not None
            holders[device] = number
            order.append(number)
            waiting[number].stdin.close()
            waiting[number].wait(timeout=20)
    assert sorted(order) == list(range(8))


def test_two_that_want_two_do_not_block_each_other(machine, start):
    machine(TWO)
    both = [start(2), start(2)]
    ready = selectors.DefaultSelector()
    for process in both:
        ready.register(process.stdout, selectors.EVENT_READ, process)
    first = ready.select(timeout=30)[0][0].data
    second = both[1 - both.index(first)]
    assert held(first) == [A, B]
    assert second.poll() is None
    first.stdin.close()
    assert held(second) == [A, B]


def test_a_number_and_a_uuid_are_one_slot(machine, start):
    machine(TWO)
    assert held(start(CUDA_VISIBLE_DEVICES="1")) == [B]
    second = start(CUDA_VISIBLE_DEVICES=B)
    assert "waiting" in waits(second)


def test_jobs_within_an_allocation_do_not_share_either(machine, start):
    """Snakemake run inside one allocation of two devices; another allocation's numbers are its own affair."""
    machine("")
    granted = {"SLURM_JOB_ID": "5", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert sorted(held(start(**granted)) + held(start(**granted))) == ["0", "1"]
    assert "waiting" in waits(start(**granted))
    assert held(start(**{**granted, "SLURM_JOB_ID": "6"})) == ["0"]


def test_fewer_than_asked_for_is_said(machine, capsys):
    machine(TWO)
    with gpu.claimed(3) as devices:
        assert [device.visible for device in devices] == [A, B]
        assert os.environ[gpu.VISIBLE] == f"{A},{B}"
    assert "3 asked for, 2 devices here; going on with 2" in capsys.readouterr().err
    assert gpu.VISIBLE not in os.environ


def test_without_a_slot_nothing_is_seen(machine, monkeypatch, capsys):
    machine(TWO)
    monkeypatch.setenv(gpu.VISIBLE, "0")
    with gpu.claimed(0):
        assert os.environ[gpu.VISIBLE] == ""
    assert os.environ[gpu.VISIBLE] == "0"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(gpu.VISIBLE, "")
    with gpu.claimed(1) as devices:
        assert devices == []
    assert "running on the processor" in capsys.readouterr().err


def test_a_granted_device_that_is_none_is_explained(machine, monkeypatch, capsys):
    machine(TWO)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with gpu.claimed(1) as devices:
        assert devices == []
    assert "the batch system granted job 17 none; running on the processor" in capsys.readouterr().err


# ---- the folder of locks


def test_locks_are_the_users_own(machine):
    folder = machine(TWO)
    with gpu.claimed(2):
        assert folder.stat().st_mode & 0o777 == 0o700
        locks = sorted(folder.iterdir())
        assert [path.stat().st_mode & 0o777 for path in locks] == [0o600, 0o600]
        assert {json.loads(path.read_text())["pid"] for path in locks} == {os.getpid()}


def test_a_trap_in_place_of_the_folder_is_refused(machine, tmp_path):
    folder = machine(TWO)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="not a folder of this user alone"), gpu.claimed(1):
        pass
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(InputError, match="mode 700"), gpu.claimed(1):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_in_place_of_a_lock_is_refused(machine, tmp_path):
    folder = machine(TWO.splitlines()[0])
    with gpu.claimed(1):
        (lock,) = folder.iterdir()
    precious = tmp_path / "precious"
    precious.write_text("kept")
    lock.unlink()
    lock.symlink_to(precious)
    with pytest.raises(InputError, match="is a link"), gpu.claimed(1):
        pass
    assert precious.read_text() == "kept"


def test_a_removed_lock_file_is_made_again(machine, start):
    """As a cleaner of /tmp may do while nobody holds it; who comes later must find the same file."""
    folder = machine(TWO.splitlines()[0])
    first = start()
    held(first)
    first.stdin.close()
    first.wait(timeout=20)
    for lock in folder.iterdir():
        lock.unlink()
    assert held(start()) == [A]
    assert "waiting" in waits(start())


# ---- torch


def test_torch_is_told_to_repeat_itself_and_left_as_it_was():
    torch = pytest.importorskip("torch")
    from replicortex.shared.torch_device import reproducible

    def settings():
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            matmul.allow_tf32,
            cudnn.allow_tf32,
            cudnn.benchmark,
            cudnn.deterministic,
        )

    before, state = settings(), torch.get_rng_state()
    with reproducible(7) as device:
        assert settings() == (1, True, False, False, False, True)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
        first = torch.rand(4, device=device)
    with reproducible(7) as device:
        assert torch.equal(torch.rand(4, device=device), first)
    assert settings() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_device_that_torch_can_not_use_is_said(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch can use the device of this machine")
    from replicortex.shared.torch_device import device

    monkeypatch.setenv(gpu.VISIBLE, "GPU-aaaa")
    assert device().type == "cpu"
    reason = "it is built without CUDA" if torch.version.cuda is None else "the driver does not answer it"
    assert f"torch can not use GPU-aaaa: {reason}" in capsys.readouterr().err
    assert gpu.in_use() == "cpu"
