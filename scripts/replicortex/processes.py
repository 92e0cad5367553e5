"""Processes of this machine by what they carry in their environment: who is alive, what a dead one left behind.

Standard library only: the driver and every job import it. Where there is no ``/proc`` (macOS), nothing is found.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

#: What every process of a run carries: its folder, then what tells its driver from all others.
DRIVER = "REPLICORTEX_DRIVER"
#: What a job gives to those that it starts: the digest of its command, its number, and when it was started.
JOB = "REPLICORTEX_JOB"

_PROC = Path("/proc")
#: Field 22 of /proc/PID/stat; the first two are the number and the name, which may hold blanks and parentheses.
_START = 22 - 3


@functools.cache
def boot() -> str:
    """Return what tells this start of this machine from every other; empty where the kernel does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started(pid: int) -> str | None:
    """Return when a process was started (clock ticks since boot), or None if it does not run.

    Number and start together identify a process: numbers are given again. A zombie does not run.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return fields[_START] if fields[0] not in "ZX" else None


def alive(pid: int, start: str | None) -> bool:
    """Return whether the process that had this number and this start still runs."""
    if _PROC.joinpath("self").exists():
        return started(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty if it is gone or another user's."""
    try:
        content = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    entries = (entry.partition("=") for entry in content.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in entries if name}


def carrying(name: str, wanted: Callable[[Mapping[str, str]], bool]) -> Iterator[int]:
    """Yield the processes, this one left out, whose environment has the variable ``name`` and is ``wanted``."""
    try:
        numbers = [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208
    except OSError:
        return
    for pid in numbers:
        if pid == os.getpid() or started(pid) is None:
            continue
        told = environment(pid)
        if name in told and wanted(told):
            yield pid


def end(name: str, wanted: Callable[[Mapping[str, str]], bool], timeout: float = 10.0) -> list[int]:
    """Kill the processes that :func:`carrying` yields until there is none; return those that were killed.

    Files are written atomically, so that nothing has to be asked to end well. A process can start another between
    two looks; therefore it is looked again until none is left, at most ``timeout`` seconds.
    """
    killed: set[int] = set()
    until = time.monotonic() + timeout
    while True:
        found = list(carrying(name, wanted))
        for pid in found:
            _kill(pid, lambda pid=pid: name in (told := environment(pid)) and wanted(told))
        killed.update(found)
        if not found or time.monotonic() > until:
            return sorted(killed)
        time.sleep(0.05)


def _kill(pid: int, still: Callable[[], bool]) -> None:
    """Kill a process, unless its number has gone to another one since it was looked at."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, signal.SIGKILL)
            return
        handle = os.pidfd_open(pid)
        try:
            if still():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
