"""What a configuration will take before it is run: jobs, hours, disk, inodes; from what was measured where it was."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..cards import Cards, merge, read_yaml
from ..dryrun import Job, planned
from ..files import readable
from ..measured import Subjects, alike, per_unit, reused, taken
from ..storage import REMOVED, files, kind_of, on_disk

_RESULTS = Path("results")
#: Where Snakemake keeps a small file for each output.
_RECORDS_PER_OUTPUT = 1


@dataclass
class Expected:
    """What the jobs of one rule take; ``sources`` says how many of the jobs left are predicted from what.

    ``seconds`` and ``core_seconds`` are those of the jobs that are left, ``at_most`` (s) the limit of those of which
    nothing is known. ``sizes`` and ``counts`` are bytes and files of all jobs, by kind of file.
    """

    jobs: int = 0
    left: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    at_most: float = 0.0
    sources: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sizes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sizes_left: float = 0.0
    counts_left: float = 0.0
    unsized: int = 0
    mem_mb: int = 0
    threads: int = 1
    gpu: int = 0


class _Known:
    """Values of jobs that are done, and the value of one that is not: from those most like it.

    Parameters
    ----------
    subjects : Subjects
        How many subjects each job works on.

    """

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._samples: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
        self._fits: dict[tuple, tuple[float, float]] = {}

    @staticmethod
    def _levels(job: Job) -> list[tuple]:
        place = (job.wildcards.get("dataset", ""), job.wildcards.get("run", ""))
        return [("same", *alike(job), *place), ("alike", *alike(job)), ("rule", job.rule)]

    def add(self, job: Job, value: float) -> None:
        """Take the value of a job that is done."""
        for level in self._levels(job):
            self._samples[level].append((self._subjects.of(job), value))

    def predict(self, job: Job) -> float | None:
        """Return what is to be expected of a job, None where no job of its rule is known."""
        for level in self._levels(job):
            if level in self._samples:
                if level not in self._fits:
                    units, values = zip(*self._samples[level], strict=True)
                    self._fits[level] = per_unit(units, values)
                fixed, slope = self._fits[level]
                return fixed + slope * self._subjects.of(job)
        return None


class _Room:
    """Bytes and files that a job leaves beside its outputs: its subjects in a store, or a dataset that it makes.

    Parameters
    ----------
    jobs : sequence of Job
        All jobs.
    subjects : Subjects
        The subjects of their datasets.

    """

    def __init__(self, jobs: Sequence[Job], subjects: Subjects) -> None:
        self._subjects = subjects
        self._folders: dict[str, dict[str, dict[str, list[float]]]] = {}
        self._means: dict[tuple, dict[str, list[float]]] = {}
        totals: dict[tuple, tuple[dict[str, list[float]], list[int]]] = {}
        for job in jobs:
            place = self.place(job)
            if place is None or place in self._folders:
                continue
            self._folders[place] = self._read(place)
            total, number = totals.setdefault(alike(job), ({}, [0]))
            for content in self._folders[place].values():
                number[0] += 1
                _add(total, content)
        for key, (total, number) in totals.items():
            if number[0]:
                self._means[key] = {kind: [value / number[0] for value in pair] for kind, pair in total.items()}

    @staticmethod
    def place(job: Job) -> str | None:
        """Return the folder, below ``results``, that a job fills beside its outputs."""
        for output in job.outputs:
            match output.split("/"):
                case ["results", "preprocessed", dataset, recipe, _] if "block" in job.wildcards:
                    return f"derivatives/{dataset}/{recipe}"
                case ["results", "features", *recipe, _] if "block" in job.wildcards:
                    return "/".join(["features", *recipe, "store"])
                case ["results", "datasets", dataset, "bids", _]:
                    return f"datasets/{dataset}/bids"
        return None

    def _read(self, place: str) -> dict[str, dict[str, list[float]]]:
        """Return what is there, by subject; of a dataset that a job makes, all of it as one."""
        found: dict[str, dict[str, list[float]]] = defaultdict(dict)
        if not (_RESULTS / place).is_dir():
            return found
        depth = len(PurePosixPath(place).parts)
        for file in files(_RESULTS, place):
            parts = file.path.parts[depth:]
            first = parts[1] if parts[0] == ".replicortex" and len(parts) > 1 else parts[0]
            owner = "" if place.startswith("datasets/") else first.partition(".")[0].partition("_")[0]
            if owner.startswith("sub-") or place.startswith("datasets/"):
                _add(found[owner], {file.kind: [file.size, 1.0]})
        return found

    def of(self, job: Job, is_left: bool) -> tuple[dict[str, list[float]], float, bool]:
        """Return bytes and files by kind, the share of them that is still to come, and whether anything is known."""
        place = self.place(job)
        if place is None:
            return {}, 0.0, True
        there, mean = self._folders[place], self._means.get(alike(job))
        if place.startswith("datasets/"):
            names = [""]
        else:
            labels = self._subjects.within(job.wildcards["dataset"], job.wildcards["block"])
            names = [f"sub-{label}" for label in labels or []]
            if labels is None and mean is not None:
                units = self._subjects.of(job)
                return {kind: [value * units for value in pair] for kind, pair in mean.items()}, 1.0, True
        total: dict[str, list[float]] = {}
        to_come = 0
        for name in names:
            content = there.get(name)
            if content is None and is_left:
                if mean is None:
                    return total, 0.0, False
                content, to_come = mean, to_come + 1
            _add(total, content or {})
        return total, to_come / len(names) if names else 0.0, True


def _add(total: dict[str, list[float]], more: Mapping[str, Sequence[float]]) -> None:
    for kind, pair in more.items():
        had = total.setdefault(kind, [0.0, 0.0])
        total[kind] = [had[0] + pair[0], had[1] + pair[1]]


def expect(project: Path, configuration: Mapping[str, Any] | None) -> dict[str, Expected]:
    """Return what each rule will take, in the order in which Snakemake plans them.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.

    Raises
    ------
    InputError
        If the cards are refused.

    """
    cards = read_cards(project, configuration)
    every = planned(project, configuration, everything=True)
    left = {job.outputs[0]: job for job in planned(project, configuration)}
    subjects = Subjects(stated(cards))
    times, sizes, counts = (_Known(subjects) for _ in range(3))
    for job in every:
        seen = taken(job)
        if seen is not None and not reused(job):
            times.add(job, seen.seconds)
        there = [taken_up for output in job.outputs if (taken_up := _taken_up(Path(output))) is not None]
        if len(there) == len(job.outputs):
            sizes.add(job, sum(size for size, _ in there))
            counts.add(job, sum(count for _, count in there))
    room = _Room(every, subjects)
    found: dict[str, Expected] = {}
    for job in every:
        is_left = job.outputs[0] in left
        row = found.setdefault(job.rule, Expected())
        row.jobs += 1
        row.mem_mb, row.threads = max(row.mem_mb, job.mem_mb or 0), max(row.threads, job.threads)
        row.gpu = max(row.gpu, job.gpu)
        if is_left:
            row.left += 1
            _time(row, job, times, _cost(cards, job), subjects.of(job))
        _space(row, job, is_left, sizes, counts, room)
    return found


def _time(row: Expected, job: Job, times: _Known, cost: float | None, units: float) -> None:
    seconds, source = times.predict(job), "measured"
    if seconds is None and cost is not None:
        seconds, source = cost * units, "card"
    if seconds is None:
        row.sources["unknown"] += 1
        row.at_most += 60.0 * (job.runtime or 0)
        return
    row.sources[source] += 1
    row.seconds += seconds
    row.core_seconds += seconds * job.threads


def _space(row: Expected, job: Job, is_left: bool, sizes: _Known, counts: _Known, room: _Room) -> None:
    """Add what a job leaves: its outputs, what stands beside them, its log, its benchmark, Snakemake's records."""
    there = {output: _taken_up(Path(output)) for output in job.outputs}
    expected, is_sized = (0.0, 0.0), True
    if None in there.values():
        total, number = sizes.predict(job), counts.predict(job)
        is_sized = total is not None
        expected = ((total or 0.0) / len(there), (number or len(there)) / len(there))
    for output, found in there.items():
        kind = kind_of(PurePosixPath(output).relative_to(_RESULTS.name)) if output.startswith("results/") else "kept"
        size, count = expected if found is None else found
        row.sizes[kind] += size
        row.counts[kind] += count + _RECORDS_PER_OUTPUT
        if found is None:
            row.sizes_left += size
            row.counts_left += count + _RECORDS_PER_OUTPUT
    for extra in filter(None, (job.log, job.benchmark)):
        path = Path(extra)
        size = on_disk(path.stat().st_size) if path.is_file() else on_disk(1)
        row.sizes["kept"] += size
        row.counts["kept"] += 1
        if not path.is_file():
            row.sizes_left += size
            row.counts_left += 1
    beside, to_come, is_known = room.of(job, is_left)
    row.unsized += not (is_known and is_sized)
    for kind, (size, count) in beside.items():
        row.sizes[kind] += size
        row.counts[kind] += count
        row.sizes_left += size * to_come
        row.counts_left += count * to_come


def _taken_up(path: Path) -> tuple[int, int] | None:
    """Return the bytes on disk and the number of files of an output, which may be a folder; None if it is not there."""
    if path.is_file():
        return on_disk(path.stat().st_size), 1
    if not path.is_dir():
        return None
    inside = [entry.stat().st_size for entry in path.rglob("*") if entry.is_file()]
    return sum(map(on_disk, inside)), len(inside)


def _cost(cards: Cards, job: Job) -> float | None:
    """Return the seconds a subject that the card of a job's recipe states, None for jobs of another kind."""
    if "block" not in job.wildcards or not any(path.startswith("results/preprocessed/") for path in job.outputs):
        return None
    return float(cards.card("preprocessing", job.wildcards["preprocessing"]).get("seconds_per_subject", 10))


def read_cards(project: Path, configuration: Mapping[str, Any] | None) -> Cards:
    """Return the cards of a project, with ``configuration`` in the place of ``config.yaml`` if there is one."""
    shipped = read_yaml(project / "config" / "config.yaml")
    return Cards(project / "config", merge(shipped, configuration or {}))


def stated(cards: Cards) -> dict[str, int]:
    """Return how many subjects the cards say that datasets will have."""
    found = {}
    for run in cards.runs.values():
        for name in run.datasets:
            card = cards.dataset(name)
            number = card.get("n_subjects") or card.get("simulate", {}).get("params", {}).get("n_subjects")
            if number:
                found[name] = number
    return found


def show_plan(
    project: Path, configuration: Mapping[str, Any] | None = None, cores: int = 1, as_json: bool = False
) -> None:
    """Print jobs, hours, disk and inodes, a line a rule, and what each storage policy would leave of it.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    cores : int
        Cores to spread the work over.
    as_json : bool
        Print JSON instead of text.

    Raises
    ------
    InputError
        If the cards are refused.

    """
    rows = expect(project, configuration)
    document = summary(rows, cores)
    if as_json:
        print(json.dumps(document, indent=2))
        return
    width = max([len(rule) for rule in rows] or [4])
    print(f"{'rule':<{width}}  {'jobs':>6} {'left':>6} {'hours left':>11}  {'on disk':>9} {'files':>8}  hours from")
    for row in document["rules"]:
        hours = "?" if row["hours_left"] is None else f"{row['hours_left']:.2f}"
        sources = ", ".join(f"{source} ({number})" for source, number in sorted(row["sources"].items())) or "-"
        size = readable(row["bytes"]) + ("+" if row["unsized"] else "")
        print(
            f"{row['rule']:<{width}}  {row['jobs']:>6} {row['left']:>6} {hours:>11}  {size:>9} {row['files']:>8}"
            f"  {sources}"
        )
    print(f"\n{document['jobs']} jobs, {document['left']} of them left")
    print(f"hours: {document['core_hours_left']:.2f} core hours left, {document['hours_left']:.2f} h on {cores} cores")
    if document["unknown"]:
        limit = document["at_most_hours"]
        print(f"       not in it: {document['unknown']} jobs of which no benchmark is there yet (limit: {limit:.1f} h)")
    more = "; more, since no job of some rules has run yet" if document["unsized"] else ""
    print(
        f"disk:  {readable(document['bytes_left'])} and {document['files_left']} inodes to come, outside the raw"
        f" data{more}"
    )
    for policy, kept in document["storage"].items():
        print(f"       storage {policy}: {readable(kept['bytes'])}, {kept['files']} inodes after `clean`{more}")


def summary(rows: Mapping[str, Expected], cores: int) -> dict[str, Any]:
    """Return plain numbers: totals, a row a rule, and what each storage policy keeps."""
    total = list(rows.values())

    def add(value: Callable[[Expected], float]) -> float:
        return sum(value(row) for row in total)

    kept = {
        policy: {
            name: math.ceil(
                sum(value for row in total for kind, value in getattr(row, source).items() if kind not in gone)
            )
            for name, source in (("bytes", "sizes"), ("files", "counts"))
        }
        for policy, gone in REMOVED.items()
    }
    return {
        "jobs": add(lambda row: row.jobs),
        "left": add(lambda row: row.left),
        "core_hours_left": add(lambda row: row.core_seconds) / 3600,
        "hours_left": add(lambda row: row.core_seconds) / 3600 / max(cores, 1),
        "unknown": add(lambda row: row.sources["unknown"]),
        "at_most_hours": add(lambda row: row.at_most) / 3600,
        "bytes_left": math.ceil(add(lambda row: row.sizes_left)),
        "files_left": math.ceil(add(lambda row: row.counts_left)),
        "unsized": add(lambda row: row.unsized),
        "storage": kept,
        "rules": [
            {
                "rule": rule,
                "jobs": row.jobs,
                "left": row.left,
                "hours_left": None if row.sources["unknown"] == row.left > 0 else row.seconds / 3600,
                "sources": {source: number for source, number in row.sources.items() if number},
                "bytes": math.ceil(sum(row.sizes.values())),
                "files": math.ceil(sum(row.counts.values())),
                "unsized": row.unsized,
            }
            for rule, row in rows.items()
        ],
    }
