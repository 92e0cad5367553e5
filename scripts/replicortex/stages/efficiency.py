"""What the jobs of each rule used of what they asked for: from SLURM's accounting, else from benchmark tables."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..files import to_json
from ..measured import repeats

#: Columns of sacct; the command line comes last, since it may hold the separator.
FIELDS = (
    "JobIDRaw",
    "State",
    "ElapsedRaw",
    "TimelimitRaw",
    "TotalCPU",
    "ReqMem",
    "MaxRSS",
    "AllocCPUS",
    "Submit",
    "Start",
    "WorkDir",
    "SubmitLine",
)
UNFINISHED = {"RUNNING", "PENDING", "COMPLETING", "SUSPENDED"}
_BINARY = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}


class Used(NamedTuple):
    """What one job used; ``None`` where it is not known.

    Attributes
    ----------
    rule : str
        Its rule.
    seconds : float
        Wall time.
    cpus : float or None
        Processors that were busy, on average.
    cpus_asked : int or None
        Processors that it had.
    rss_mb, mem_mb : float or None
        Most memory that it held, and what was asked for (MB).
    minutes_asked : int or None
        Time limit of the submission that it was in.
    minutes_held : float or None
        How long that submission ran.
    ended : str
        SLURM's word for how it ended, such as COMPLETED.
    submission : str or None
        Identifier of the submission: several jobs may share one.
    """

    rule: str
    seconds: float
    cpus: float | None
    rss_mb: float | None
    cpus_asked: int | None = None
    mem_mb: float | None = None
    minutes_asked: int | None = None
    minutes_held: float | None = None
    ended: str = "COMPLETED"
    submission: str | None = None


def bytes_of(text: str) -> float | None:
    """Return a size in bytes, as SLURM writes it (``306743K``, ``2Gn``); ``None`` where it wrote none."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]?)[nc]?", text)
    return float(found[1]) * _BINARY[found[2]] if found else None


def seconds_of(text: str) -> float | None:
    """Return a duration in seconds, as SLURM writes it (``1-02:03:04``, ``00:11.109``)."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def read_accounting(text: str, folder: Path) -> list[Used]:
    """Return what the jobs of one working directory used.

    Parameters
    ----------
    text : str
        What ``sacct --parsable2 --noheader`` printed of :data:`FIELDS`. The steps of a submission are the jobs, one
        each; their command line names the rule.
    folder : Path
        Jobs submitted from elsewhere are left out.
    """
    rows = [dict(zip(FIELDS, line.split("|", len(FIELDS) - 1), strict=False)) for line in text.splitlines()]
    rows = [row for row in rows if len(row) == len(FIELDS)]
    submissions = {row["JobIDRaw"]: row for row in rows if "." not in row["JobIDRaw"] and row["WorkDir"] == str(folder)}
    used = []
    for row in rows:
        parent, _, step = row["JobIDRaw"].partition(".")
        named = re.search(r" --allowed-rules (\w+) ", row["SubmitLine"])
        held = submissions.get(parent)
        if not held or held["State"] in UNFINISHED or not step.isdigit() or not named:
            continue
        seconds = float(row["ElapsedRaw"] or 0)
        busy, rss = seconds_of(row["TotalCPU"]), bytes_of(row["MaxRSS"])
        asked = bytes_of(held["ReqMem"])
        used.append(
            Used(
                rule=named[1],
                seconds=seconds,
                cpus=busy / seconds if busy is not None and seconds else None,
                rss_mb=None if rss is None else rss / 1e6,
                cpus_asked=int(held["AllocCPUS"]) if held["AllocCPUS"].isdigit() else None,
                # SLURM counts in powers of two, and --mem 2000 means MiB.
                mem_mb=None if asked is None else asked / 1e6,
                minutes_asked=int(held["TimelimitRaw"]) if held["TimelimitRaw"].isdigit() else None,
                minutes_held=float(held["ElapsedRaw"] or 0) / 60,
                # A submission may be ended from outside; its step then says CANCELLED at best.
                ended=row["State"].split()[0] if held["State"] == "COMPLETED" else held["State"].split()[0],
                submission=parent,
            )
        )
    return used


def read_benchmarks(folder: Path) -> list[Used]:
    """Return what each job used by its benchmark table, ``folder/<rule>/....tsv``."""
    used = []
    for path in sorted(folder.glob("*/**/*.tsv")):
        for row in repeats(path):
            if row is None:
                raise InputError(path, "not a benchmark table: no seconds in the column s", "remove the file")
            used.append(Used(path.relative_to(folder).parts[0], row.seconds, row.load, row.mem_mb))
    return used


def summarise(used: Iterable[Used]) -> list[dict[str, Any]]:
    """Return a row for each rule.

    Wall times are in seconds, memory in MB; ``cpu_share``, ``memory_share`` and ``time_share`` are what was used of
    what was asked for: the mean, and for memory and time the largest, since these end a job.
    """
    rules: dict[str, list[Used]] = defaultdict(list)
    for job in used:
        rules[job.rule].append(job)
    rows = []
    for rule, jobs in sorted(rules.items()):
        busy = [job for job in jobs if job.cpus is not None]
        total = sum(job.seconds for job in busy)
        cpus = sum(job.cpus * job.seconds for job in busy) / total if total else None
        had = sum(job.cpus_asked * job.seconds for job in busy if job.cpus_asked)
        memory = [job.rss_mb / job.mem_mb for job in jobs if job.rss_mb is not None and job.mem_mb]
        times = [job.minutes_held / job.minutes_asked for job in jobs if job.minutes_asked]
        rows.append(
            {
                "rule": rule,
                "jobs": len(jobs),
                "submissions": len({job.submission for job in jobs if job.submission}) or None,
                "failed": sum(job.ended != "COMPLETED" for job in jobs),
                "wall_median": statistics.median(job.seconds for job in jobs),
                "wall_max": max(job.seconds for job in jobs),
                "cpus": cpus,
                "cpu_share": cpus * total / had if cpus is not None and had else None,
                "rss_max": max((job.rss_mb for job in jobs if job.rss_mb is not None), default=None),
                "mem_asked": max((job.mem_mb for job in jobs if job.mem_mb), default=None),
                "memory_share": max(memory, default=None),
                "minutes_asked": max((job.minutes_asked for job in jobs if job.minutes_asked), default=None),
                "time_share": max(times, default=None),
            }
        )
    return rows


def show_efficiency(benchmarks: Path, since: str, no_slurm: bool = False, json: bool = False) -> None:
    """Print what the jobs of each rule used; of rules that SLURM knows, what it says.

    Parameters
    ----------
    benchmarks : Path
        Folder of benchmark tables; it need not be there.
    since : str
        Oldest jobs of SLURM to count, as sacct takes it.
    no_slurm : bool
        Do not ask SLURM.
    json : bool
        Print JSON rather than a table.

    Raises
    ------
    InputError
        If nothing is known of any job, or SLURM does not answer.
    """
    counted = [] if no_slurm or not shutil.which("sacct") else read_accounting(_ask_slurm(since), Path.cwd())
    known = {job.rule for job in counted}
    rows = summarise([*counted, *(job for job in read_benchmarks(benchmarks) if job.rule not in known)])
    if not rows:
        raise InputError(benchmarks, "no job has been measured yet", "run the workflow first")
    print(to_json(rows) if json else table(rows))


def _ask_slurm(since: str) -> str:
    command = ["sacct", "--parsable2", "--noheader", f"--starttime={since}", f"--format={','.join(FIELDS)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise InputError("sacct", "no answer within two minutes", "try again, or give --no-slurm") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["failed"])[-1]
        raise InputError("sacct", said, "correct --since, or give --no-slurm")
    return done.stdout


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as text for a terminal, times in seconds and memory in MB."""
    head = ["rule", "jobs", "sent", "failed", "median s", "longest s", "cpus", "of", "MB", "of", "time of"]
    lines = [head]
    for row in rows:
        lines.append(
            [
                row["rule"],
                f"{row['jobs']}",
                _shown(row["submissions"]),
                f"{row['failed']}",
                _shown(row["wall_median"]),
                _shown(row["wall_max"]),
                _shown(row["cpus"], ".2f"),
                _shown(row["cpu_share"], ".0%"),
                _shown(row["rss_max"]),
                _shown(row["memory_share"], ".0%"),
                _shown(row["time_share"], ".0%"),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def _shown(value: float | None, form: str = ".0f") -> str:
    return "-" if value is None else format(value, form)
