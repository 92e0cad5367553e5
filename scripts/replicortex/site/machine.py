"""What ran, when, for how long and at what cost; and what failed, in plain words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..history import JobRecord, behind, cost, jobs
from .drawings import spans
from .folder import Folder
from .words import duration, hidden, megabytes, number, plural

#: Bars in the timeline at most; beyond that, jobs of a rule that follow on each other become one bar.
_MOST_BARS = 3000


def read(folder: Folder, out: Path) -> list[JobRecord]:
    """Return the jobs that made a results folder, from Snakemake's records beside it; but not that of the pages."""
    place = folder.path.resolve().parent
    # While it runs it is known by its mark alone.
    return [job for job in jobs(place) if out.resolve() not in [place / path for path in job.outputs]]


def of_run(history: Sequence[JobRecord], run: str) -> list[JobRecord]:
    """Return the jobs behind a run, those that it shares with others included."""
    own = f"results/runs/{run}/"
    return behind(history, [path for job in history for path in job.outputs if path.startswith(own)])


def bill(history: Iterable[JobRecord], energy: Mapping[str, float] | None = None) -> dict[str, Any] | None:
    """Return what jobs took, in words; None where nothing ran."""
    spent = cost(history, energy)
    if not spent.n_jobs:
        return None
    rows = [
        ("Jobs", f"{spent.n_jobs:,}"),
        ("Time of all jobs", duration(spent.hours * 3600)),
        ("Processor time", duration(spent.cpu_hours * 3600)),
        ("Peak memory of a job", megabytes(spent.max_rss_mb)),
        *([("Time on GPUs", duration(spent.gpu_hours * 3600))] if spent.gpu_hours else []),
        ("Energy, estimated", f"{number(spent.energy_wh)} Wh"),
    ]
    return {"rows": rows, "assumptions": list(spent.assumptions)}


def by_rule(history: Iterable[JobRecord]) -> list[dict[str, Any]]:
    """Return a row a rule, the most costly first."""
    groups: dict[str, list[JobRecord]] = defaultdict(list)
    for job in history:
        groups[job.rule or "unknown"].append(job)
    rows = []
    for rule, group in groups.items():
        known = [job.seconds for job in group if job.seconds is not None]
        cpu = [job.cpu_seconds for job in group if job.cpu_seconds is not None]
        memory = [job.max_rss_mb for job in group if job.max_rss_mb is not None]
        states = Counter(job.status for job in group)
        rows.append(
            {
                "rule": rule,
                "n": len(group),
                "failed": states["failed"],
                "incomplete": states["incomplete"],
                "seconds": sum(known),
                "total": duration(sum(known)) if known else "n/a",
                "longest": duration(max(known)) if known else "n/a",
                "longest_seconds": max(known, default=0),
                "cpu": duration(sum(cpu)) if cpu else "n/a",
                "cpu_seconds": sum(cpu),
                "memory": megabytes(max(memory, default=None)),
                "memory_mb": max(memory, default=0),
            }
        )
    return sorted(rows, key=lambda row: (-row["seconds"], row["rule"]))


def timeline(history: Iterable[JobRecord]) -> dict[str, Any] | None:
    """Return bars of a timeline (s since the first job), rules in the order in which they began."""
    timed = [job for job in history if job.started and job.ended and job.seconds is not None]
    if not timed:
        return None
    first = min(job.started for job in timed)
    rows: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    told: dict[str, list[str]] = defaultdict(list)
    for job in sorted(timed, key=lambda job: job.started):
        start = (job.started - first).total_seconds()
        rows[job.rule].append((start, start + job.seconds, job.status))
        told[job.rule].append(hidden(job.target))
    merged = len(timed) > _MOST_BARS
    if merged:
        gap = max((end for bars in rows.values() for _, end, _ in bars), default=0) / 500
        rows = {rule: _merged(bars, gap) for rule, bars in rows.items()}
        told = {rule: ["several jobs"] * len(bars) for rule, bars in rows.items()}
    total = max(end for bars in rows.values() for _, end, _ in bars)
    title = f"When jobs of {plural(len(rows), 'rule')} ran, over {duration(total)}; the table below has the numbers"
    return {
        "picture": spans(list(rows.items()), total, title),
        "merged": merged,
        "total": duration(total),
        "rules": [
            {
                "rule": rule,
                "bars": [
                    [round(start, 2), round(end - start, 2), state, name]
                    for (start, end, state), name in zip(bars, told[rule], strict=True)
                ],
            }
            for rule, bars in rows.items()
        ],
    }


def _merged(bars: Sequence[tuple[float, float, str]], gap: float) -> list[tuple[float, float, str]]:
    """Join bars of one status that are closer than ``gap`` (s)."""
    joined: list[tuple[float, float, str]] = []
    for start, end, status in bars:
        if joined and joined[-1][2] == status and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), status)
        else:
            joined.append((start, end, status))
    return joined


def failures(history: Iterable[JobRecord]) -> list[dict[str, Any]]:
    """Return jobs that failed or were left, with the reason, and nobody's name."""
    found = []
    for job in history:
        if job.status != "done":
            reason = job.reason or "begun, and neither ended nor known to have failed"
            found.append({"rule": job.rule or "unknown", "status": job.status, "reason": hidden(reason)})
    return _together(found, ("rule", "status", "reason"))


def lost_recordings(rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return why recordings failed, a row for each reason, from ``status.tsv``."""
    lost = [
        {**{key: row[key] for key in ("dataset", "recipe", "stage")}, "reason": hidden(row["reason"])}
        for row in rows
        if row["status"] != "ok"
    ]
    return _together(lost, ("dataset", "recipe", "stage", "reason"))


def _together(rows: Iterable[Mapping[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    counts = Counter(tuple(row[key] for key in keys) for row in rows)
    return [{**dict(zip(keys, values, strict=True)), "n": n} for values, n in counts.items()]


def commit(source: Path | None) -> str:
    """Return the commit that is checked out in a folder, as git notes it; empty where that is no checkout."""
    if source is None:
        return ""
    git = source / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except (OSError, ValueError):
        return ""
