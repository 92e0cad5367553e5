"""What ran in a folder: its jobs by Snakemake's own records, what they took, and what that costs in energy.

Standard library only. Nothing is asked of Snakemake, and no lock is taken: it can be read while a run goes on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .errors import InputError
from .files import read_json
from .job import failure_of
from .measured import Taken, repeats

DONE, FAILED, INCOMPLETE = "done", "failed", "incomplete"
_STATE, _LOGS, _BENCHMARKS = Path(".snakemake"), Path("logs"), Path("results/benchmarks")
#: Commands for people log there, and make no result.
_TARGETS = "targets"
_Made = TypeVar("_Made", "JobRecord", "_Record")
_GPUS = re.compile(r" --gpus (\d+)")
#: What jobs draw by default, as the Green Algorithms calculator has it: W per core, W per GB, W per GPU, and the power
#: that the room takes for each watt that the machine takes.
ENERGY: Mapping[str, float] = {"core_watts": 12.0, "memory_watts_per_gb": 0.3725, "gpu_watts": 200.0, "pue": 1.67}


@dataclass(frozen=True)
class JobRecord:
    """One job, as it last ran.

    Attributes
    ----------
    rule, target : str
        Its rule, and what tells it from the other jobs of that rule, such as ``sim_temporal/average_reference/0of2``.
    outputs, inputs : tuple of str
        Paths from the folder; outputs may have been removed since.
    started, ended : datetime or None
        In UTC. Where a benchmark says what the job took, ``started`` leaves out that it waited on a cluster.
    seconds, cpu_seconds : float or None
        Wall time and processor time.
    max_rss_mb : float or None
        Peak memory (MB); None if the job was too short to see.
    gpu : bool or None
        Whether it computed on a GPU; None where that is not known.
    status : str
        ``done``, ``failed`` or ``incomplete``: begun, and neither ended nor known to have failed.
    reason : str
        Why it failed, in one line; empty otherwise.
    log : str or None
        Path of its log.
    command : str
        What was run.
    container : str or None
        The image that it ran in.
    conda : bool
        Whether it ran in a conda environment; in neither, it ran in the Python of the driver.
    environment : str
        The text of the environment file of its rule, used or not.
    checksums : mapping of str to str
        ``sha256`` digests of inputs, of those that Snakemake took.
    """

    rule: str
    target: str
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    max_rss_mb: float | None = None
    gpu: bool | None = None
    status: str = DONE
    reason: str = ""
    log: str | None = None
    command: str = ""
    container: str | None = None
    conda: bool = False
    environment: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Rule and target."""
        return f"{self.rule} {self.target}".strip()


@dataclass(frozen=True)
class Cost:
    """What jobs took together.

    Attributes
    ----------
    n_jobs : int
        How many of them are done.
    hours, cpu_hours, gpu_hours : float
        Wall time of all jobs one after the other, processor time, wall time of those on a GPU.
    max_rss_mb : float or None
        Peak memory of the largest (MB).
    energy_wh : float
        Energy (Wh).
    assumptions : tuple of str
        What the energy rests on, a sentence each.
    """

    n_jobs: int
    hours: float
    cpu_hours: float
    max_rss_mb: float | None
    gpu_hours: float
    energy_wh: float
    assumptions: tuple[str, ...]


def jobs(folder: Path) -> list[JobRecord]:
    """Return the jobs that ran in a folder, in the order in which they began.

    A job counts while any of its outputs is there, or was used for one that is: what a storage policy removed was made
    nevertheless. Records of anything else are left from configurations that are gone. Of a job that ran several times,
    only the last time is known.

    Parameters
    ----------
    folder : Path
        Where Snakemake ran.

    Returns
    -------
    list of JobRecord
        Empty where nothing ran.
    """
    begun = dict(recorded(folder, "incomplete"))
    every = _latest(folder)
    known = _live(folder, every, begun)
    found = [_of_record(folder, job, begun) for job in known]
    logs = {job.log for job in found}
    found += _unrecorded(folder, begun.keys() - {output for job in found for output in job.outputs}, begun, logs)
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda job: (job.started or job.ended or latest, job.name, job.outputs))


def recorded(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """Yield each result of which Snakemake keeps a note, and the file of the note.

    The name of that file is the base64 of the path of the result; of a long one the beginning is the names of folders,
    each after an ``@``.

    Parameters
    ----------
    folder : Path
        Where Snakemake ran.
    kind : {"metadata", "incomplete"}
        Records of what was made, or marks of what was begun and has not ended.
    """
    notes = folder / _STATE / kind
    for parent, _, names in os.walk(notes):
        before = [part.removeprefix("@") for part in Path(parent).relative_to(notes).parts]
        for name in names:
            with contextlib.suppress(ValueError):
                path = base64.urlsafe_b64decode("".join([*before, name])).decode(errors="replace")
                yield path, Path(parent) / name


def behind(history: Sequence[JobRecord], results: Iterable[str]) -> list[JobRecord]:
    """Return the jobs that made ``results``, or anything that these were made from, in the order of ``history``."""
    wanted = set(results)
    return _with_sources(history, [job for job in history if wanted.intersection(job.outputs)], lambda job: job.inputs)


def cost(history: Iterable[JobRecord], energy: Mapping[str, float] | None = None) -> Cost:
    """Return what jobs took together, and the energy of it.

    Energy is that of the Green Algorithms: time x (cores x usage x power of a core + memory x 0.3725 W/GB) x power
    usage effectiveness, where cores x usage x time is the processor time that was measured (Lannelongue et al. 2021,
    doi:10.1002/advs.202100707).

    Parameters
    ----------
    history : iterable of JobRecord
        Jobs; those that are not done count for nothing.
    energy : mapping, optional
        ``core_watts`` (W), ``memory_watts_per_gb`` (W/GB), ``gpu_watts`` (W), ``pue``: what is not named is as in
        :data:`ENERGY`.
    """
    power = {**ENERGY, **(energy or {})}
    done = [job for job in history if job.status == DONE]
    timed = [job for job in done if job.seconds is not None]
    unseen = sum(job.cpu_seconds is None for job in timed)
    hours = sum(job.seconds for job in timed) / 3600
    # A job whose processor time nobody saw is taken to have kept one core busy.
    cpu_hours = sum(job.seconds if job.cpu_seconds is None else job.cpu_seconds for job in timed) / 3600
    gpu_hours = sum(job.seconds for job in timed if job.gpu) / 3600
    gb_hours = sum(job.seconds * (job.max_rss_mb or 0.0) / 1000 for job in timed) / 3600
    watt_hours = cpu_hours * power["core_watts"] + gb_hours * power["memory_watts_per_gb"]
    watt_hours += gpu_hours * power["gpu_watts"]
    assumptions = [
        f"Processor time at {power['core_watts']:g} W a core, the peak memory of each job for as long as it ran at"
        f" {power['memory_watts_per_gb']:g} W a GB, {power['gpu_watts']:g} W a GPU, and a power usage effectiveness of"
        f" {power['pue']:g} (Green Algorithms, doi:10.1002/advs.202100707); set in config.yaml under energy.",
        "Each job counts once, as it last ran: attempts that failed or were repeated are not in it, nor is the time"
        " that Snakemake itself takes, or a job waits for a place.",
    ]
    if unseen:
        assumptions.append(
            f"The processor time of {unseen} jobs is not known; each is taken to have kept one core busy."
        )
    return Cost(
        n_jobs=len(done),
        hours=hours,
        cpu_hours=cpu_hours,
        max_rss_mb=max((job.max_rss_mb for job in done if job.max_rss_mb is not None), default=None),
        gpu_hours=gpu_hours,
        energy_wh=watt_hours * power["pue"],
        assumptions=tuple(assumptions),
    )


@dataclass
class _Record:
    """The notes of one job: Snakemake keeps one for each of its outputs."""

    outputs: list[str]
    told: Mapping[str, Any]
    started: float
    ended: float


def _latest(folder: Path) -> list[_Record]:
    """Return the jobs that Snakemake has records of; of one that ran by different commands the last."""
    found: dict[tuple[str, str], dict[str, _Record]] = defaultdict(dict)
    for output, path in recorded(folder, "metadata"):
        told = _record(path)
        if told is None:
            continue
        logs = told.get("log") or [output]
        record = found[str(told["rule"]), str(logs[0])].setdefault(
            str(told.get("shellcmd")), _Record([], told, 0.0, 0.0)
        )
        record.outputs.append(output)
        begun, ended = (float(told.get(name) or 0.0) for name in ("starttime", "endtime"))
        record.started = min(filter(None, (record.started, begun)), default=0.0)
        record.ended = max(record.ended, ended)
    return [max(same.values(), key=lambda record: record.ended) for same in found.values()]


def _record(path: Path) -> dict[str, Any] | None:
    """Read a record; None if it is being written, or is no record of a job."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("rule") else None


def _live(folder: Path, every: Sequence[_Record], begun: Mapping[str, Path]) -> list[_Record]:
    """Return the records of what is there, of what that was made from, and of what is being made again."""
    there = [record for record in every if any(path in begun or (folder / path).exists() for path in record.outputs)]
    return _with_sources(every, there, lambda record: record.told.get("input") or [])


def _with_sources(
    every: Sequence[_Made], wanted: Iterable[_Made], inputs: Callable[[_Made], Iterable[str]]
) -> list[_Made]:
    """Return ``wanted``, and whatever made what these were made from, in the order of ``every``."""
    maker = {output: one for one in every for output in one.outputs}
    todo = list(wanted)
    seen = {id(one) for one in todo}
    while todo:
        for path in inputs(todo.pop()):
            one = maker.get(path)
            if one is not None and id(one) not in seen:
                seen.add(id(one))
                todo.append(one)
    return [one for one in every if id(one) in seen]


def _of_record(folder: Path, record: _Record, begun: Mapping[str, Path]) -> JobRecord:
    told = record.told
    log = (told.get("log") or [None])[0]
    command = str(told.get("shellcmd") or "")
    container, conda, environment = _deployed(told)
    job = JobRecord(
        rule=str(told["rule"]),
        target=_target(log),
        outputs=tuple(sorted(record.outputs)),
        inputs=tuple(told.get("input") or ()),
        started=_time(record.started),
        ended=_time(record.ended),
        log=log,
        command=command,
        container=container,
        conda=conda,
        environment=environment,
        checksums={
            path: str(value).removeprefix("sha256:") for path, value in (told.get("input_checksums") or {}).items()
        },
    )
    marks = [begun[output] for output in job.outputs if output in begun]
    if marks:
        return _unended(folder, job, marks)
    taken = _benchmark(folder, log)
    took = max(record.ended - record.started, 0.0) if record.started and record.ended else None
    if taken is not None and job.ended is not None and took is not None:
        # The record begins when the job was handed over, which on a cluster is before it waited.
        job = replace(job, started=_time(record.ended - min(taken.seconds, took)))
    return replace(
        job,
        seconds=took if taken is None else taken.seconds,
        # A job that ended between two looks has none.
        cpu_seconds=None if taken is None else taken.cpu or None,
        max_rss_mb=None if taken is None else taken.mem_mb,
        gpu=_on_gpu(folder, job),
    )


def _deployed(told: Mapping[str, Any]) -> tuple[str | None, bool, str]:
    """Return the image that a job ran in, whether it ran in a conda environment, and the file of that environment.

    A record names image and environment whether or not they were used; the hash of what was used tells.
    """
    used, image, encoded = (told.get(name) for name in ("software_stack_hash", "container_img_url", "conda_env"))
    text = ""
    with contextlib.suppress(ValueError, TypeError):
        text = base64.b64decode(encoded or b"").decode()
    if not used or used == hashlib.md5(usedforsecurity=False).hexdigest():
        return None, False, text
    # Of an environment the hash depends on where it lies; what is no image alone has one.
    if image and used == hashlib.md5(str(image).encode(), usedforsecurity=False).hexdigest():
        return str(image), False, text
    return None, True, text


def _unended(folder: Path, job: JobRecord, marks: Sequence[Path]) -> JobRecord:
    """Return a job that did not end well: it failed, if its log says so."""
    # Where the mark is gone as well, nothing says when it began.
    job = replace(job, started=_time(min(map(_modified, marks), default=0.0)))
    reason = _failure(folder, job.log)
    if reason is None:
        return replace(job, ended=None, status=INCOMPLETE)
    ended = _time((folder / job.log).stat().st_mtime)
    lasted = max((ended - job.started).total_seconds(), 0.0) if job.started else None
    return replace(job, ended=ended, seconds=lasted, status=FAILED, reason=reason)


def _unrecorded(
    folder: Path, begun: Iterable[str], marks: Mapping[str, Path], known: Iterable[str | None]
) -> list[JobRecord]:
    """Return jobs that never ended well: from what is marked as begun, and from logs that end in an error."""
    logs = [path.relative_to(folder).as_posix() for path in sorted((folder / _LOGS).rglob("*.log"))]
    logs = [log for log in logs if log not in set(known) and PurePosixPath(log).parts[1] != _TARGETS]
    outputs: dict[str, list[str]] = defaultdict(list)
    found = []
    for path in sorted(begun):
        # A mark does not name its job. Logs are named by the wildcards, and most outputs hold these in the same order.
        fitting = [
            log for log in logs if _target(log) and f"/{_target(log)}" in f"/{PurePosixPath(path).with_suffix('')}"
        ]
        fitting += [log for log in logs if not _target(log) and _rule(log) in path]
        if fitting:
            outputs[max(fitting, key=lambda log: len(_target(log)))].append(path)
        else:
            job = JobRecord("", path, outputs=(path,), started=_time(_modified(marks[path])), status=INCOMPLETE)
            found.append(job)
    for log in logs:
        made = tuple(outputs.get(log, ()))
        if made or _failure(folder, log) is not None:
            job = JobRecord(_rule(log), _target(log), outputs=made, log=log)
            found.append(_unended(folder, job, [marks[path] for path in made]))
    return found


def _failure(folder: Path, log: str | None) -> str | None:
    if log is None or not (folder / log).is_file():
        return None
    with contextlib.suppress(OSError):
        return failure_of(folder / log)
    return None


def _rule(log: str) -> str:
    """Return the rule that a log is named by."""
    parts = PurePosixPath(log).with_suffix("").parts
    return parts[1]


def _target(log: str | None) -> str:
    """Return what a log is named by beside its rule: the wildcards."""
    return "" if log is None else "/".join(PurePosixPath(log).with_suffix("").parts[2:])


def _benchmark(folder: Path, log: str | None) -> Taken | None:
    """Return what the job of a log took; its benchmark bears the name of its log."""
    if log is None:
        return None
    path = folder / _BENCHMARKS / PurePosixPath(log).relative_to(_LOGS).with_suffix(".tsv")
    with contextlib.suppress(InputError):
        rows = repeats(path) if path.is_file() else []
        return rows[-1] if rows else None
    return None


def _on_gpu(folder: Path, job: JobRecord) -> bool | None:
    """Return whether a job computed on a GPU: what its record says, if it was given one at all."""
    given = _GPUS.search(job.command)
    if given is None or given[1] == "0":
        return False
    for path in job.outputs:
        if path.endswith(".json") and (folder / path).is_file():
            with contextlib.suppress(InputError):
                told = read_json(folder / path)
                if isinstance(told, dict) and "device" in told:
                    return told["device"] != "cpu"
    return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
