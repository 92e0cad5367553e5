"""Where a configuration stands while it runs, or after: every recording, stage by stage, with a plain reason."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from .. import processes
from ..bids import block_of
from ..cards import TAKEN, Cards, Run
from ..damage import STATE
from ..dryrun import Job, planned
from ..errors import InputError
from ..files import read_json, read_tsv, to_tsv, write_text
from ..history import recorded
from ..job import failure_of
from .plan import read_cards

COLUMNS = ["where", "recipe", "stage", "recording", "state", "reason"]
#: In the order in which they are shown: what needs someone first.
STATES = ["failed", "interrupted", "stale", "running", "waiting", "not started", "done"]
#: Seconds after which a driver on another machine that gives no sign of life is taken for dead.
_SILENT = 30.0
_MOST_NAMES = 3


def show_status(
    project: Path,
    configuration: Mapping[str, Any] | None = None,
    out: Path | None = None,
    every: bool = False,
    as_json: bool = False,
) -> None:
    """Print where each recording and each run stands; takes no lock, so a run may be going on.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    out : Path or None
        A table to write, a row for each recording and stage.
    every : bool
        Show every row, and not a line for each reason.
    as_json : bool
        Print JSON instead of text.

    Raises
    ------
    InputError
        If the cards are refused.

    """
    cards = read_cards(project, configuration)
    driver = running_driver(Path.cwd())
    # The driver is asked first: a job that ends in between is then seen as running, and not as interrupted.
    marked = begun(Path.cwd())
    board = Board(planned(project, configuration), is_running=driver is not None, begun=marked)
    rows = list(unique(board.rows(cards)))
    rows.sort(key=lambda row: STATES.index(row["state"]))
    if out is not None:
        write_text(out, to_tsv(rows, COLUMNS))
    if as_json:
        counts = Counter(row["state"] for row in rows)
        print(json.dumps({"driver": driver, "counts": counts, "left": board.left(), "rows": rows}, indent=2))
        return
    _show(rows, board, driver, every)


def running_driver(folder: Path) -> dict[str, Any] | None:
    """Return what the driver that runs in ``folder`` says of itself; None if there is none."""
    path = folder / STATE / "driver.json"
    try:
        told = dict(read_json(path))
        if told.get("ended", False):
            return None
        if told.get("boot") == processes.boot():
            alive = processes.alive(int(told.get("pid", 0)), told.get("start"))
        else:
            alive = time.time() - path.stat().st_mtime < _SILENT
    except (InputError, TypeError, ValueError, OSError):
        return None
    return {name: told.get(name) for name in ("pid", "host", "user")} if alive else None


def unique(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield rows without repetition: runs share datasets and features."""
    seen = set()
    for row in rows:
        key = tuple(row[name] for name in COLUMNS[:4])
        if key not in seen:
            seen.add(key)
            yield row


def begun(folder: Path) -> set[str]:
    """Return the results that Snakemake has marked as begun in a folder, and not yet as ended.

    Its dry run tells only of those that are there, and ours get their names when they are complete.
    """
    return {path for path, _ in recorded(folder, "incomplete")}


class Board:
    """States of results, from the jobs that are left and the files that are there.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs that are left.
    is_running : bool
        Whether a driver works on them.
    begun : set of str
        Results whose jobs were started and have not ended.

    """

    def __init__(self, jobs: Sequence[Job], *, is_running: bool, begun: Set[str]) -> None:
        self._jobs = jobs
        self._begun = begun
        self._maker = {output: job for job in jobs for output in job.outputs}
        self._is_running = is_running
        self._collected = _collected()

    def left(self) -> dict[str, int]:
        """Return the number of jobs that are left, by rule."""
        return dict(Counter(job.rule for job in self._jobs))

    def state(self, path: str) -> tuple[str, str]:
        """Return the state of a result, and the reason where it is not done."""
        job = self._maker.get(path)
        if job is None:
            # What a storage policy removed is not made again as long as nothing needs it.
            return "done", "" if Path(path).exists() else "removed since"
        failure = self._failure(job)
        # The mark of a job that failed stays; the log of one that is started again begins anew.
        if job.is_incomplete or (failure is None and not self._begun.isdisjoint(job.outputs)):
            if self._is_running:
                return "running", "running, or queued on the cluster"
            return "interrupted", failure or "its job did not end; it is made again"
        if failure is not None and not Path(path).exists():
            return "failed", failure
        before = sorted({other.rule for name in job.inputs if (other := self._maker.get(name)) is not None})
        if Path(path).exists():
            return "stale", _plain(job.reason)
        if before:
            return "waiting", f"waits for {', '.join(before)}"
        return "not started", "nothing keeps it from starting"

    @staticmethod
    def _failure(job: Job) -> str | None:
        return failure_of(Path(job.log)) if job.log and Path(job.log).is_file() else None

    def rows(self, cards: Cards) -> Iterator[dict[str, str]]:
        """Yield a row for each recording and stage, and for each stage of a run."""
        for run in cards.runs.values():
            for dataset in run.datasets:
                yield from self._of_dataset(cards, run, dataset)
        for run in cards.runs.values():
            yield from self._of_run(run)

    def _of_dataset(self, cards: Cards, run: Run, dataset: str) -> Iterator[dict[str, str]]:
        index = f"results/datasets/{dataset}/recordings.tsv"
        state, reason = self.state(index)
        yield _row(dataset, "", "index", "", state, reason)
        is_indexed = Path(index).is_file()
        recordings = read_tsv(index) if is_indexed else []
        filters = cards.dataset(dataset).get("filters", {})
        for recipe in cards.recipes(run.preprocessing):
            modality = cards.card("preprocessing", recipe)["modality"]
            takes = [
                row
                for row in recordings
                if row["datatype"] in TAKEN.get(modality, (modality,))
                and all(row[key] in labels for key, labels in filters.items())
            ]
            n = cards.n_blocks(dataset, recipe)
            by_block: dict[int, list[dict[str, str]]] = defaultdict(list)
            for row in takes:
                by_block[block_of(row["subject"], n)].append(row)
            stages = [("preprocess", recipe, f"results/preprocessed/{dataset}/{recipe}")]
            if recipe == run.preprocessing:
                name = f"{recipe}/{run.feature}"
                stages.append(("features", name, f"results/features/{dataset}/{name}"))
            for stage, name, folder in stages:
                for k in range(n):
                    path = f"{folder}/{k}of{n}.tsv"
                    yield from self._of_block(dataset, name, stage, path, by_block[k], is_indexed=is_indexed)

    def _of_block(
        self,
        dataset: str,
        recipe: str,
        stage: str,
        path: str,
        recordings: Sequence[Mapping[str, str]],
        *,
        is_indexed: bool,
    ) -> Iterator[dict[str, str]]:
        state, reason = self.state(path)
        known = read_tsv(path) if Path(path).is_file() else []
        if reason == "removed since":
            names = {row["recording"] for row in recordings}
            known = [row for row in self._collected.get((dataset, recipe, stage), []) if row["recording"] in names]
        if state == "done" and known:
            for row in known:
                verdict = "done" if row["status"] == "ok" else "failed"
                said = "" if row["reason"] == "n/a" else row["reason"]
                yield _row(dataset, recipe, stage, row["recording"], verdict, said)
            return
        # A table that is out of date still tells best which recordings its job takes.
        for row in known or recordings:
            yield _row(dataset, recipe, stage, row["recording"], state, reason)
        # Of a dataset that is not indexed the blocks stand for their recordings; an empty block is no news.
        if not known and not recordings and (state == "failed" or not is_indexed):
            yield _row(dataset, recipe, stage, Path(path).stem, state, reason)

    def _of_run(self, run: Run) -> Iterator[dict[str, str]]:
        base = f"results/runs/{run.name}"
        yield from self._of_group(run.name, "", "check", [f"{base}/checks/{name}.json" for name in run.families])
        for variant in run.variants:
            yield from self._of_group(run.name, variant, "splits", [f"{base}/{variant}/splits.tsv"])
            for method in run.methods:
                yield from self._of_group(run.name, variant, f"fit {method}", run.fits(variant, "fit.json", method))
            yield from self._of_group(run.name, variant, "leak guard", [f"{base}/{variant}/guard.json"])
            yield from self._of_group(run.name, variant, "scores", [f"{base}/{variant}/scores.tsv"])
        yield from self._of_group(run.name, "", "claims", [f"{base}/claims.json"])
        yield from self._of_group(
            run.name, "", "figures", [f"{base}/figures/{name}.svg" for name in run.card["figures"]]
        )

    def _of_group(self, run: str, variant: str, stage: str, paths: Sequence[str]) -> Iterator[dict[str, str]]:
        """Yield one row for the parts of a stage, with the state of the part that is worst off."""
        states = [self.state(path) for path in paths]
        if not states:
            return
        state, reason = min(states, key=lambda pair: STATES.index(pair[0]))
        done = sum(found == "done" for found, _ in states)
        if 0 < done < len(states):
            reason = f"{done} of {len(states)} done; {reason}"
        yield _row(run, variant, stage, "", state, reason)


def _collected() -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Return what the table of a finished run says, by dataset, recipe and stage."""
    path = Path("results/status.tsv")
    found = defaultdict(list)
    for row in read_tsv(path) if path.is_file() else []:
        found[row["dataset"], row["recipe"], row["stage"]].append(row)
    return found


def _row(where: str, recipe: str, stage: str, recording: str, state: str, reason: str) -> dict[str, str]:
    values = (where, recipe, stage, recording, state, reason)
    return dict(zip(COLUMNS, values, strict=True))


def _plain(reason: str) -> str:
    """Return why Snakemake makes something again, in few words; it names parameters in full."""
    known = {
        "Params have changed": "parameters or code have changed",
        "Code has changed": "its rule has changed",
        "Input files updated by another job": "what it is made from is made again",
        "Updated input files": "what it is made from has changed",
        "Set of input files has changed": "it is made from other files than before",
        "Missing output files": "some of its files are missing",
    }
    return next((words for start, words in known.items() if reason.startswith(start)), reason[:100] or "out of date")


def _show(rows: Sequence[Mapping[str, str]], board: Board, driver: Mapping[str, Any] | None, every: bool) -> None:
    said = "no run is going on" if driver is None else f"process {driver['pid']} on {driver['host']} runs it"
    left = board.left()
    print(f"{said}; {sum(left.values())} jobs left")
    table: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for row in rows:
        stage = row["stage"].partition(" ")[0] if row["stage"].startswith("fit ") else row["stage"]
        table[row["where"], stage][row["state"]] += 1
    width = max([len(where) for where, _ in table] or [5])
    for where, stage in sorted(table, key=lambda pair: pair[0]):
        counts = table[where, stage]
        text = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        print(f"  {where:<{width}}  {stage:<11} {text}")
    if every:
        for row in rows:
            print("\t".join(row[name] or "-" for name in COLUMNS))
        return
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        if row["state"] != "done":
            groups[row["state"], row["where"], row["recipe"], row["stage"], row["reason"]].append(row["recording"])
    for (state, where, recipe, stage, reason), names in groups.items():
        names = [name for name in names if name]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = f" {', '.join(names[:_MOST_NAMES])}{more}" if names else ""
        place = " ".join(filter(None, (where, recipe, stage)))
        print(f"{state}: {place}{listed}: {reason}")
