"""What is missing on this machine, said before anything is queued: a line each, with its remedy."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import gpu
from ..cards import Cards
from ..driver import NO_LOCKS
from ..errors import InputError
from ..files import readable
from ..images import fault, normal, pinned, program, read_images
from .overview import running_driver
from .plan import Expected, expect, read_cards

#: Oldest versions that Snakemake takes.
_CONDA = (24, 7, 1)
_SLURM = ("sbatch", "squeue", "sacct", "scancel", "sinfo")
_TIMEOUT = 30  # s
_CLOCK = 2.0  # s between this machine's clock and that of its file system
#: Room beside what is predicted: logs, temporary files, a result while it is made.
_SPARE = 1.2
_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


class Finding(NamedTuple):
    """What was looked at, how it stands (``ok``, ``warn``, ``fail``), and what to do about it."""

    what: str
    level: str
    text: str
    remedy: str = ""


def doctor(
    project: Path,
    configuration: Mapping[str, Any] | None = None,
    cores: int | None = None,
    needs: Sequence[str] = (),
    as_json: bool = False,
) -> bool:
    """Look at cards, machine, disk and engines; print what is found.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    cores : int or None
        Cores that Snakemake will be given; None for all.
    needs : sequence of str
        Engines that will be used: ``apptainer``, ``conda``, ``slurm``. Without these they are only mentioned.
    as_json : bool
        Print JSON instead of text.

    Returns
    -------
    bool
        Whether nothing failed.

    """
    findings = list(look(project, configuration, cores, frozenset(needs)))
    failed = [finding for finding in findings if finding.level == "fail"]
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [finding._asdict() for finding in findings]}, indent=2))
        return not failed
    for finding in findings:
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        print(f"{_SIGNS[finding.level]}  {finding.what:<12} {finding.text}{remedy}")
    warned = sum(finding.level == "warn" for finding in findings)
    print(f"{len(failed)} of {len(findings)} checks failed, {warned} warnings")
    return not failed


def look(
    project: Path, configuration: Mapping[str, Any] | None, cores: int | None, needs: frozenset[str]
) -> Iterator[Finding]:
    """Yield what is found; a check that can not be made is itself a finding."""
    folder = Path.cwd()
    cards, rows = None, {}
    try:
        cards = read_cards(project, configuration)
        rows = expect(project, configuration)
    except InputError as error:
        yield Finding("cards", "fail", *_split(error))
    else:
        jobs = sum(row.jobs for row in rows.values())
        yield Finding("cards", "ok", f"{len(cards.runs)} runs, {jobs} jobs, {sum(r.left for r in rows.values())} left")
    yield from _guarded("folder", lambda: _folder(folder))
    yield from _guarded("disk", lambda: _disk(folder, rows))
    on_slurm = "slurm" in needs
    yield from _guarded("machine", lambda: _machine(rows, cores, on_slurm=on_slurm))
    yield from _guarded("gpu", lambda: _gpu(rows, on_slurm=on_slurm))
    yield from _guarded("packages", lambda: _packages(project))
    yield from _guarded("containers", lambda: _containers(project, cards, needed="apptainer" in needs))
    yield from _guarded("conda", lambda: _conda(needed="conda" in needs))
    yield from _guarded("slurm", lambda: _slurm(needed=on_slurm))
    yield from _guarded("network", lambda: _network(project, cards, images="apptainer" in needs))


def _guarded(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; one that is refused or breaks is a finding, and the others go on."""
    try:
        yield from check()
    except InputError as error:
        yield Finding(what, "fail", *_split(error))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Finding(what, "warn", f"can not be checked ({error})")


def _split(error: InputError) -> tuple[str, str]:
    text, _, remedy = str(error).rpartition("; ")
    return (text, remedy) if text else (str(error), "")


def _folder(folder: Path) -> Iterator[Finding]:
    """Whether results can be written here, atomically and by one driver at a time."""
    for place in (folder, folder / "results", folder / ".snakemake", folder / "logs", Path(tempfile.gettempdir())):
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            yield Finding("folder", "fail", f"{place} can not be written", "run in a folder that can")
            return
    place = folder / "results" if (folder / "results").is_dir() else folder
    with tempfile.TemporaryDirectory(prefix=".doctor.", dir=place) as name:
        first, second = Path(name, "a"), Path(name, "b")
        began = time.time()
        first.write_bytes(b"1")
        drift = first.stat().st_mtime - began
        first.replace(second)
        yield Finding("folder", "ok", f"{place} can be written")
        with second.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield Finding("locks", "ok", "the file system has locks")
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                remedy = "start only one run at a time here, or work on another file system"
                yield Finding("locks", "warn", "the file system has no locks", remedy)
    if abs(drift) > _CLOCK:
        text = f"this machine and its file system differ by {drift:.1f} s"
        yield Finding("clock", "warn", text, "set the clock (chrony, ntp): by time Snakemake sees what is out of date")
    else:
        yield Finding("clock", "ok", "agrees with that of the file system")
    driver = running_driver(folder)
    if driver is not None:
        yield Finding("driver", "warn", f"process {driver['pid']} on {driver['host']} runs here", "wait for it to end")


def _disk(folder: Path, rows: Mapping[str, Expected]) -> Iterator[Finding]:
    """Whether there is room for what is predicted."""
    place = folder / "results" if (folder / "results").is_dir() else folder
    status = os.statvfs(place)
    free, inodes = status.f_bavail * status.f_frsize, status.f_favail
    size = sum(row.sizes_left for row in rows.values()) * _SPARE
    count = sum(row.counts_left for row in rows.values()) * _SPARE
    unsized = any(row.unsized for row in rows.values())
    more = " or more (some rules have not run yet: see `plan`)" if unsized else ""
    text = f"{readable(free)} free, {readable(size)}{more} to come"
    yield Finding("disk", "fail" if size > free else "ok", text, "free space, or `clean`" if size > free else "")
    if status.f_files:
        text = f"{inodes} inodes free, {count:.0f}{more} to come"
        yield Finding("inodes", "fail" if count > inodes else "ok", text, "remove files" if count > inodes else "")
    temporary = os.statvfs(tempfile.gettempdir())
    if temporary.f_bavail * temporary.f_frsize < 1e9:
        text = f"{tempfile.gettempdir()} has {readable(temporary.f_bavail * temporary.f_frsize)} free"
        yield Finding("temporary", "warn", text, "set TMPDIR to a larger disk")


def _machine(rows: Mapping[str, Expected], cores: int | None, *, on_slurm: bool) -> Iterator[Finding]:
    """Whether the largest job fits; on a cluster the nodes are what counts, and they are not looked at."""
    there = len(os.sched_getaffinity(0))
    if on_slurm:
        yield Finding("cores", "ok", f"{there} here; jobs run on the nodes")
        return
    memory = memory_mb()
    wanted = cores or there
    level = "warn" if wanted > there else "ok"
    yield Finding("cores", level, f"{there} here, {wanted} to be used", "ask for fewer" if level == "warn" else "")
    pending = {rule: row for rule, row in rows.items() if row.left}
    largest = max(pending, key=lambda rule: pending[rule].mem_mb, default=None)
    if largest is None:
        yield Finding("memory", "ok", f"{memory} MB")
        return
    needed = pending[largest].mem_mb
    if needed > memory:
        remedy = "run it on a larger machine, or lower it if a pilot needed less (`recommend`)"
        yield Finding("memory", "fail", f"{memory} MB, a job of {largest} asks for {needed}", remedy)
        return
    # Snakemake counts memory only where it is told how much there is.
    together = needed * wanted
    if together > memory:
        remedy = f"start snakemake with --resources mem_mb={memory}"
        yield Finding("memory", "warn", f"{memory} MB; {wanted} jobs of {largest} at once ask for {together}", remedy)
    else:
        yield Finding("memory", "ok", f"{memory} MB, at most {together} asked for at once")


def memory_mb() -> int:
    """Return the memory that processes here may take together (MB): that of the machine, or less by a control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    return total // 1_000_000


def _gpu(rows: Mapping[str, Expected], *, on_slurm: bool) -> Iterator[Finding]:
    devices = gpu.offered()
    asking = sorted(rule for rule, row in rows.items() if row.gpu)
    names = ", ".join(device.name or device.visible for device in devices) or "none"
    if asking and not devices and not on_slurm:
        remedy = "nothing, if that is fast enough"
        yield Finding("gpu", "warn", f"none here: {', '.join(asking)} will use the processor", remedy)
    else:
        yield Finding("gpu", "ok", names + ("" if asking else "; no job asks for one"))


def _packages(project: Path) -> Iterator[Finding]:
    """Whether the packages of this Python are those that the results are promised for."""
    version = ".".join(map(str, sys.version_info[:3]))
    level = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Finding("python", level, version, "" if level == "ok" else "use Python 3.11 or newer")
    if not (project / "constraints.txt").is_file():
        yield Finding("packages", "warn", "no constraints.txt beside the Snakefile", "restore it")
        return
    pins = pinned(project)
    names = (entry.metadata["Name"] for entry in importlib.metadata.distributions())
    installed = {normal(name): importlib.metadata.version(name) for name in names if name}
    differing = sorted(
        f"{name} {installed[name]} instead of {pin}"
        for name, pin in pins.items()
        if name in installed and installed[name].partition("+")[0] != pin.partition("+")[0]
    )
    missing = sorted(name for name in _required(project) if name not in installed)
    remedy = "pip install -c constraints.txt -e . (or `make demo`)"
    if missing:
        yield Finding("packages", "fail", f"not installed: {', '.join(missing)}", remedy)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        yield Finding("packages", "warn", ", ".join(differing[:3]) + more, f"results may differ in detail: {remedy}")
    if not missing and not differing:
        yield Finding("packages", "ok", "as constraints.txt pins them")


def _required(project: Path) -> list[str]:
    """Return the normalised names of what pyproject.toml requires."""
    import tomllib

    path = project / "pyproject.toml"
    if not path.is_file():
        return []
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [normal(re.match(r"[\w.-]+", entry)[0]) for entry in listed]


def _containers(project: Path, cards: Cards | None, *, needed: bool) -> Iterator[Finding]:
    command = program()
    if command is None:
        level = "fail" if needed else "ok"
        yield Finding("containers", level, "no apptainer here", "install Apptainer" if needed else "")
        return
    version = _said(command, "--version")
    yield Finding("containers", "ok", version)
    if not needed:
        return
    allowed = Path("/proc/sys/kernel/unprivileged_userns_clone")
    most = Path("/proc/sys/user/max_user_namespaces")
    closed = (allowed.is_file() and allowed.read_text().strip() == "0") or (
        most.is_file() and most.read_text().strip() == "0"
    )
    if closed and os.geteuid() != 0 and not Path("/usr/libexec/apptainer/bin/starter-suid").exists():
        remedy = "ask the administrator for unprivileged user namespaces, or apptainer-suid"
        yield Finding("namespaces", "fail", "users may not make user namespaces here", remedy)
    families = cards.families if cards else []
    images = read_images(project, families)
    for family in families:
        image = images[family]
        if "://" in image:
            yield Finding("image", "ok", f"{family}: {image}, pulled before the first job")
            continue
        found = fault(project, family, image)
        remedy = f"python scripts/build_images.py {family}" if found else ""
        yield Finding("image", "fail" if found else "ok", f"{image} {found or 'fits the pins'}", remedy)


def _conda(*, needed: bool) -> Iterator[Finding]:
    command = shutil.which("conda")
    if command is None:
        level = "fail" if needed else "ok"
        yield Finding("conda", level, "no conda here", "install Miniforge" if needed else "")
        return
    said = _said(command, "--version")
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    is_old = found is None or tuple(map(int, found.groups())) < _CONDA
    least = ".".join(map(str, _CONDA))
    level = ("fail" if needed else "warn") if is_old else "ok"
    yield Finding("conda", level, said, f"update it to {least} or newer" if is_old else "")


def _slurm(*, needed: bool) -> Iterator[Finding]:
    missing = [name for name in _SLURM if shutil.which(name) is None]
    if missing:
        text = "no SLURM here" if len(missing) == len(_SLURM) else f"SLURM lacks {', '.join(missing)}"
        yield Finding("slurm", "fail" if needed else "ok", text, "log in to the cluster" if needed else "")
        return
    states = _said("sinfo", "--noheader", "--format=%D %T").splitlines()
    usable = [line for line in states if re.search(r"idle|mixed|allocated|completing", line)]
    if not usable:
        level = "fail" if needed else "warn"
        yield Finding("slurm", level, "no node is up", "ask the administrator; `sinfo` shows the nodes")
    else:
        yield Finding("slurm", "ok", f"nodes: {', '.join(line.strip() for line in usable)}")
    if needed and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        remedy = "pip install -c constraints.txt -e '.[slurm]'"
        yield Finding("slurm", "fail", "Snakemake's executor for SLURM is not installed", remedy)


def _network(project: Path, cards: Cards | None, *, images: bool) -> Iterator[Finding]:
    """Whether what is still to be fetched can be reached; a machine without network is fine otherwise."""
    from .prefetch import needed

    if cards is None:
        return
    absent = [need for need in needed(project, cards, images=images) if not need.is_there]
    for tool in ("git", "git-annex"):
        if shutil.which(tool) is None and any(need.kind == "dataset" for need in absent):
            remedy = f"install {tool}: apt install {tool}, or conda install {tool}"
            yield Finding("network", "fail", f"{tool} is not installed, and a dataset is to be fetched", remedy)
    addresses = [need.address for need in absent]
    hosts = sorted({urllib.parse.urlsplit(address).hostname or "" for address in addresses} - {""})
    if not hosts:
        yield Finding("network", "ok", "nothing is to be fetched")
    for host in hosts:
        try:
            socket.create_connection((host, 443), timeout=5).close()
        except OSError as error:
            remedy = "run `snakemake prefetch` on a machine with network"
            yield Finding("network", "fail", f"{host} can not be reached ({error.strerror or error})", remedy)
        else:
            yield Finding("network", "ok", f"{host} answers; `snakemake prefetch` fetches before the run")


def _said(*command: str) -> str:
    """Return what a program says.

    Raises
    ------
    InputError
        If it fails or does not answer.

    """
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        fault = f"does not answer within {_TIMEOUT} s"
        raise InputError(Path(command[0]).name, fault, "ask the administrator") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise InputError(Path(command[0]).name, f"fails: {lines[-1]}", "repair or remove it")
    return done.stdout.strip()
