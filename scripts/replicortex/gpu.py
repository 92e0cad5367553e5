"""Device slots: which GPUs a job may use, so that two jobs on a machine never share one by accident.

A slot is a lock (flock) on a file named after the device, in a folder of the user's own on this machine. The kernel
frees it when the process ends, however it ends. Standard library only: Snakemake asks it how many slots there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
#: What batch systems call the number of a job; who set it has chosen the job's devices too.
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID")
#: Names the folder of locks where the default does not do (a machine whose /tmp is not its own).
RUNTIME = "REPLICORTEX_RUNTIME"
#: Seconds between two attempts at a lock, and between two messages while nothing changes.
_PAUSE, _REMIND = 0.25, 300.0
_TIMEOUT = 60


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU: what CUDA is told to see, what it is called, and what its lock is named after."""

    visible: str
    name: str
    slot: str


def installed() -> list[Device]:
    """Return the devices that ``nvidia-smi`` lists, in its order: none where there is no such program.

    A GPU that is cut into MIG instances is not usable as a whole; its instances are listed in its place.

    Raises
    ------
    InputError
        If the program is there and fails: the driver is broken, which is not the same as no GPU.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603
            [program, "-L"], capture_output=True, text=True, check=False, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
        told = done.stdout if done.returncode == 0 else None
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        told, reason = None, str(error)
    if told is None or "no devices were found" in told.lower():
        if "no devices were found" in f"{told} {reason}".lower():
            return []
        raise InputError("nvidia-smi", reason, f"repair the NVIDIA driver, or set {VISIBLE}= to run without a GPU")
    found: list[Device] = []
    whole, model = None, ""
    for line in told.splitlines():
        match = re.match(r"\s*(GPU|MIG)\s+(.*?)(?:\s*:\s*(.*?))?\s*\(UUID:\s*([^)]+)\)", line)
        if not match:
            continue
        kind, first, name, uuid = match.groups()
        if kind == "GPU":
            whole, model = uuid, name or first
            found.append(Device(uuid, model, uuid))
        else:
            found = [device for device in found if device.visible != whole]
            found.append(Device(uuid, f"{model} MIG {first.split()[0]}", uuid))
    return found


def scheduled(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the batch system's number of the job that this process belongs to, or None."""
    return next((environment[name] for name in SCHEDULERS if environment.get(name)), None)


def offered(environment: Mapping[str, str] = os.environ) -> list[Device]:
    """Return the devices that this process may choose from.

    Those that ``CUDA_VISIBLE_DEVICES`` names, by number (that of ``nvidia-smi``) or by UUID or its beginning; where
    it is not set, all of the machine, but none in a job of a batch system, which has then granted none.

    Raises
    ------
    InputError
        If the variable names a device that is not there, or one twice.
    """
    job, given = scheduled(environment), environment.get(VISIBLE)
    if given is None:
        return [] if job else installed()
    tokens = [token.strip() for token in given.split(",") if token.strip()]
    if not tokens or tokens[0] in ("-1", "NoDevFiles", "none", "void"):
        return []
    there = installed()
    found = []
    for token in tokens:
        if job:
            # The batch system has decided, and may mean several jobs to share a device: slots are those of this job.
            known = [d for d in there if d.visible == token or (token.isdigit() and there.index(d) == int(token))]
            found.append(Device(token, known[0].name if known else "", f"job-{job}-{token}"))
        elif not there:
            # No program to ask, as in some containers: the name is all that is known.
            found.append(Device(token, "", token))
        elif token.isdigit() and int(token) < len(there):
            found.append(there[int(token)])
        else:
            known = [device for device in there if device.visible.startswith(token) and not token.isdigit()]
            if len(known) != 1:
                have = ", ".join(f"{number} ({device.visible})" for number, device in enumerate(there)) or "none"
                raise InputError(VISIBLE, f"{token!r} is no device of this machine", f"choose among: {have}")
            found.append(known[0])
    if len({device.slot for device in found}) < len(found):
        raise InputError(VISIBLE, f"{given!r} names a device twice", "name each device once")
    return found


def n_slots() -> int | None:
    """Return how many devices jobs on this machine may hold at once; None where there is no device.

    Without any device jobs run on the processor, and nothing limits how many do. A broken driver is left to the jobs
    that want a device, to be refused there: what needs none goes on.
    """
    try:
        return len(offered()) or None
    except InputError:
        return None


def runtime_folder() -> Path:
    """Return the folder of this user's locks, made where missing: readable and writable by nobody else.

    ``/tmp/replicortex-<uid>``, the same whatever ``TMPDIR`` or the session says, on a disk of this machine.

    Raises
    ------
    InputError
        If it is a link, another user's, or open to others: whoever made it may have laid a trap.
    """
    folder = Path(os.environ.get(RUNTIME) or f"/tmp/replicortex-{os.getuid()}")  # noqa: S108
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InputError(
            folder, "is not a folder of this user alone (mode 700)", f"remove it, or name another one in {RUNTIME}"
        )
    return folder


@contextlib.contextmanager
def claimed(n: int) -> Iterator[list[Device]]:
    """Hold ``n`` devices and show them, and no others, to CUDA; wait until they are free.

    Parameters
    ----------
    n : int
        How many; with 0, or where there is no device, CUDA sees none and the job runs on the processor.

    Yields
    ------
    list of Device
        What is held: ``n``, or all there are if these are fewer.

    Raises
    ------
    InputError
        If the devices can not be listed, or locks can not be kept safely.
    """
    before = {name: os.environ.get(name) for name in (VISIBLE, "CUDA_DEVICE_ORDER")}
    devices = offered() if n else []
    if len(devices) < n:
        print(f"gpu: {n} asked for, {_count(len(devices))} here", *_why(devices), sep="; ", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        held = _hold(devices, min(n, len(devices)), stack) if devices else []
        os.environ[VISIBLE] = ",".join(device.visible for device in held)
        # Numbers then mean what they mean to nvidia-smi, not "fastest first".
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        for device in held:
            print(f"gpu: using {device.visible} {device.name}".rstrip(), file=sys.stderr)
        try:
            yield held
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _count(n: int) -> str:
    return {0: "no device", 1: "1 device"}.get(n, f"{n} devices")


def _why(devices: list[Device]) -> list[str]:
    if devices:
        return [f"going on with {len(devices)}"]
    reason = f"{VISIBLE} is empty" if VISIBLE in os.environ else "nvidia-smi lists none"
    if scheduled() and VISIBLE not in os.environ:
        reason = f"the batch system granted job {scheduled()} none"
    return [reason, "running on the processor"]


def _hold(devices: list[Device], n: int, stack: contextlib.ExitStack) -> list[Device]:
    """Lock ``n`` of ``devices``, all or none at a time so that two waiting jobs can not block each other."""
    folder = runtime_folder()
    guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    stack.callback(os.close, guard)
    # Shared by all holders; what cleans /tmp by age leaves locked folders alone.
    _flock(guard, fcntl.LOCK_SH, folder)
    told, when = None, 0.0
    while True:
        taken: list[tuple[Device, int]] = []
        holders = []
        for device in devices:
            handle = _try(folder / _file_name(device.slot))
            if isinstance(handle, str):
                holders.append(f"{device.visible} is held by {handle}")
            else:
                taken.append((device, handle))
                if len(taken) == n:
                    break
        if len(taken) == n:
            for _, handle in taken:
                stack.callback(os.close, handle)
            return [device for device, _ in taken]
        for _, handle in taken:
            os.close(handle)
        if holders != told or time.monotonic() - when > _REMIND:
            print(f"gpu: waiting for {_count(n)}:", "; ".join(holders), file=sys.stderr, flush=True)
            told, when = holders, time.monotonic()
        # Not all at the same instant, else two that want two each may collide again and again.
        time.sleep(_PAUSE * (1 + os.getpid() % 7 / 7))


def _file_name(slot: str) -> str:
    """Return a file name for a slot: readable, and distinct also where characters had to go."""
    readable = re.sub(r"[^A-Za-z0-9-]", "_", slot)[:80]
    return f"gpu-{readable}-{hashlib.blake2b(slot.encode(), digest_size=4).hexdigest()}.lock"


def _try(path: Path) -> int | str:
    """Return an open, locked file that says who holds it; where another process does, who that is."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            handle = os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InputError(path, "is a link", "remove it; locks are plain files") from None
            raise
        try:
            free = _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
            who = b"" if free else os.pread(handle, 4096, 0)
        except BaseException:
            os.close(handle)
            raise
        if not free:
            os.close(handle)
            return _holder(who)
        # Removed between opening and locking: the lock would be on a file that nobody else finds.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()):
                break
        os.close(handle)
    text = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "where": str(Path.cwd())}
    content = json.dumps(text).encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, content, 0)
    return handle


def _flock(handle: int, how: int, path: Path) -> bool:
    """Lock an open file; return whether it was free."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(
            path, f"can not be locked ({error.strerror})", f"name a folder on a disk of this machine in {RUNTIME}"
        ) from None
    return True


def _holder(content: bytes) -> str:
    """Return who holds a lock, in words."""
    try:
        told = json.loads(content)
        return f"process {int(told['pid'])} in {told['where']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"


def in_use() -> str:
    """Return the models of the GPUs that this process has computed on, or ``cpu``.

    Asked of torch itself, if it was imported: that a device was free does not mean that a method used it.
    """
    torch = sys.modules.get("torch")
    # Several processes that shared out the work leave no trace of CUDA in this one.
    shared = getattr(sys.modules.get(f"{__package__}.shared.torch_device"), "shared_out", False)
    if torch is None or not (torch.cuda.is_initialized() or (shared and torch.cuda.device_count())):
        return "cpu"
    return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
