"""What jobs took, from the benchmark tables that Snakemake writes, and what such jobs may take next time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .bids import block_of
from .dryrun import Job
from .files import read_tsv

#: Wildcards that tell jobs of one rule apart in what they cost; the others name more of the same.
_ALIKE = ("preprocessing", "feature", "method", "family")


#: Snakemake's benchmarks count memory in MiB; what a rule asks for by ``mem_mb`` is in MB.
_MB_PER_MIB = 2**20 / 1e6


class Taken(NamedTuple):
    """What a job took: wall time (s), CPU time (s), peak memory (MB); the last two None if it was too short to see.

    ``load`` is the number of processors that were busy, on average.
    """

    seconds: float
    cpu: float | None
    mem_mb: float | None
    load: float | None = None


def alike(job: Job) -> tuple[str, ...]:
    """Return what jobs of about the same cost have in common."""
    return (job.rule, *(job.wildcards.get(name, "") for name in _ALIKE))


def taken(job: Job) -> Taken | None:
    """Return what a job took when it last ran; None if there is no benchmark of it, or one cut short."""
    if job.benchmark is None or not Path(job.benchmark).is_file():
        return None
    rows = repeats(Path(job.benchmark))
    return rows[-1] if rows else None


def repeats(path: Path) -> list[Taken | None]:
    """Return the rows of a benchmark table of Snakemake; None for a row without seconds, which was cut short.

    Raises
    ------
    InputError
        If it is no table.
    """
    rows = []
    for row in read_tsv(path):
        seconds, cpu, rss, load = (number(row.get(name)) for name in ("s", "cpu_time", "max_rss", "mean_load"))
        memory = None if rss is None else rss * _MB_PER_MIB
        share = None if load is None else load / 100
        rows.append(None if seconds is None else Taken(seconds, cpu, memory, share))
    return rows


def number(text: str | None) -> float | None:
    """Return the number in a cell of a benchmark table, None if there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def reused(job: Job) -> bool:
    """Return whether a job over recordings found some of them done: it took less than such a job takes."""
    if job.log is None or not Path(job.log).is_file():
        return False
    with Path(job.log).open(encoding="utf-8", errors="replace") as stream:
        return any(line.rstrip().endswith(": unchanged") for line in stream)


class Subjects:
    """How many subjects a job works on.

    Parameters
    ----------
    stated : mapping
        Number of subjects by dataset, of those that are not there yet: they are spread evenly over the blocks.

    """

    def __init__(self, stated: Mapping[str, int]) -> None:
        self._stated = stated
        self._labels: dict[str, list[str] | None] = {}
        self._blocks: dict[tuple[str, int], list[list[str]]] = {}

    def labels(self, dataset: str) -> list[str] | None:
        """Return the labels of the subjects of a dataset, None if it is not indexed yet."""
        if dataset not in self._labels:
            path = Path("results/datasets") / dataset / "recordings.tsv"
            rows = read_tsv(path) if path.is_file() else None
            self._labels[dataset] = None if rows is None else sorted({row["subject"] for row in rows})
        return self._labels[dataset]

    def within(self, dataset: str, block: str) -> list[str] | None:
        """Return the labels of the subjects of a block such as ``0of4``, None if the dataset is not indexed yet."""
        labels = self.labels(dataset)
        if labels is None:
            return None
        k, n = map(int, block.split("of"))
        # Every label is hashed once for each number of blocks, not once for each block.
        if (dataset, n) not in self._blocks:
            blocks: list[list[str]] = [[] for _ in range(n)]
            for label in labels:
                blocks[block_of(label, n)].append(label)
            self._blocks[dataset, n] = blocks
        return self._blocks[dataset, n][k]

    def of(self, job: Job) -> float:
        """Return the number of subjects of a job over a block, 1 for any other job."""
        dataset, block = job.wildcards.get("dataset"), job.wildcards.get("block")
        if dataset is None or block is None:
            return 1.0
        labels = self.within(dataset, block)
        if labels is None:
            n = int(block.partition("of")[2])
            return self._stated.get(dataset, n) / n
        return float(len(labels))


def per_unit(units: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return what a job takes at all, and what each unit adds: least squares, neither below zero.

    From jobs of one size alone the two can not be told apart. All is then laid to the units, which is the safer of
    the two where larger jobs are to come.
    """
    n = len(units)
    mean_u, mean_v = sum(units) / n, sum(values) / n
    spread = sum((u - mean_u) ** 2 for u in units)
    if spread == 0:
        return (0.0, mean_v / mean_u) if mean_u else (mean_v, 0.0)
    slope = sum((u - mean_u) * (v - mean_v) for u, v in zip(units, values, strict=True)) / spread
    fixed = mean_v - slope * mean_u
    if slope < 0:
        return mean_v, 0.0
    if fixed < 0:
        return 0.0, sum(u * v for u, v in zip(units, values, strict=True)) / sum(u * u for u in units)
    return fixed, slope
