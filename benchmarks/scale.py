"""Plan, run and run again a dataset of thousands of subjects, beside a graph of one job a subject and pybids.

    python benchmarks/scale.py                                          200 subjects, about two minutes
    python benchmarks/scale.py --subjects 10000 --peers                 120,000 files
    python benchmarks/scale.py --subjects 100000 --sparse --only plan   one recording a subject

What is measured is the wiring: finding files, planning jobs, starting them. The jobs of the copy that runs here do
nothing but note that they ran and touch what they would write. Each row is a process with its children; CPU seconds
and peak memory (of the largest of them) are the operating system's count. ``eeg`` is one recipe and its features,
``fmri`` two recipes, one after the other, and their features; both go on to fits, scores, verdicts and figures. The
plain graph has a job for the preprocessing of each subject, one for its features, and one that collects.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import index as trees
import yaml

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "workflow_tests"))

from project import copy_sources  # noqa: E402 - from the folder just named

SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")
STARTED = "ran.txt"
DATASET = {"title": "Synthetic", "licence": "CC0"}
LINES = {
    "eeg": (
        {"study": "augmented_covariance", "dataset": "large_eeg"},
        {"classes": {"left_hand": ["left_hand"], "right_hand": ["right_hand"]}},
    ),
    "fmri": (
        {
            "study": "fc_benchmark",
            "dataset": "large_fmri",
            "preprocessing": "native_func",
            "feature": "dosenbach_correlations",
        },
        {
            "variables": {
                "diagnosis": {"column": "diagnosis", "values": {"patient": [1], "control": [2]}},
                **{name: {"column": name} for name in ("site", "age", "sex", "mean_fd")},
            }
        },
    ),
}
PLAIN = """
SUBJECTS = sorted(glob_wildcards("{root}/{{subject}}/ses-01/eeg/{{rest}}.edf").subject)

rule all:
    input: "all.txt"

rule collect:
    input: expand("features/{{subject}}.txt", subject=SUBJECTS)
    output: "all.txt"
    shell: "touch {{output}}"

rule preprocess:
    input: "{root}/{{subject}}/ses-01/eeg/{{subject}}_ses-01_task-rest_eeg.edf"
    output: "preprocessed/{{subject}}.txt"
    shell: "touch {{output}}"

rule features:
    input: "preprocessed/{{subject}}.txt"
    output: "features/{{subject}}.txt"
    shell: "touch {{output}}"
"""


class Measured(NamedTuple):
    """What one process took: seconds, seconds, MB; its exit status, and what it printed."""

    wall: float
    cpu: float
    memory: float
    status: int
    output: str


def measure(command: list[str], folder: Path, stop_after: int | None = None) -> Measured:
    """Run a command to its end, or kill it and all it started as soon as it has run a number of jobs."""
    with tempfile.TemporaryFile("w+") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        while stop_after is not None and len(ran(folder)) < stop_after:
            time.sleep(0.05)
        if stop_after is not None:
            os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stream.seek(0)
        memory = usage.ru_maxrss / 1024
        return Measured(wall, usage.ru_utime + usage.ru_stime, memory, process.returncode, stream.read())


def ran(folder: Path) -> list[str]:
    """Return the jobs that ran in a copy of the project."""
    path = folder / STARTED
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def counts(text: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run plans; ``total`` is all of them."""
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def planned(text: str) -> int:
    """Return how many jobs a dry run plans, targets left out."""
    found = counts(text)
    return found.get("total", 0) - found.get("all", 0)


def make_sparse(root: Path, n_subjects: int) -> None:
    """Write a tree of one recording and no sidecar a subject, of EEG and of BOLD by turns."""
    root.mkdir(parents=True)
    description = {"BIDSVersion": "1.9.0", "DatasetType": "raw", "Name": "synthetic"}
    (root / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    subjects = [f"sub-{number:06d}" for number in range(n_subjects)]
    (root / "participants.tsv").write_text("\n".join(["participant_id", *subjects]) + "\n", encoding="utf-8")
    for number, subject in enumerate(subjects):
        datatype, end = ("func", "bold.nii.gz") if number % 2 else ("eeg", "eeg.edf")
        folder = root / subject / datatype
        folder.mkdir(parents=True)
        (folder / f"{subject}_task-rest_{end}").write_text(subject, encoding="utf-8")


def make_project(folder: Path, root: Path, line: str) -> Path:
    """Copy the project, link the tree as its dataset, and empty its jobs; return the folder."""
    copy_sources(folder)
    run, card = LINES[line]
    entry = {**DATASET, **card, "root": str(root)}
    (folder / "config" / "datasets" / f"{run['dataset']}.yaml").write_text(yaml.safe_dump(entry), encoding="utf-8")
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump({"runs": [run]}), encoding="utf-8")
    for path in (folder / "rules").glob("*.smk"):
        # The command itself is still put together, and becomes the arguments of one that does nothing.
        empty = f'"touch {{output:q}}; echo {{rule}} {{wildcards}} >> {STARTED}; : " '
        text = re.sub(r"(    shell:\n        )(?=\")", rf"\1{empty}", path.read_text())
        # What is touched is a file, also where a rule makes a folder.
        path.write_text(re.sub(r"directory\((\"[^\"]+\")\)", r"\1", text), encoding="utf-8")
    return folder


def snakemake(*arguments: str, cores: int = 2) -> list[str]:
    """Return the command that a user types, and further arguments."""
    profile = str(SOURCE / "config" / "profiles" / "local")
    return [SNAKEMAKE, "--profile", profile, "--cores", str(cores), "--quiet", "all", *arguments]


class Table:
    """Prints rows as they come; a failed process ends the benchmark."""

    def __init__(self) -> None:
        print(f"{'':<44}{'jobs':>8}{'wall s':>9}{'CPU s':>9}{'MB':>7}", flush=True)

    def row(self, name: str, measured: Measured, jobs: object = "", *, may_fail: bool = False) -> Measured:
        """Print what a process took."""
        if measured.status and not may_fail:
            raise SystemExit(f"{name}: ended with status {measured.status}\n{measured.output[-3000:]}")
        took = f"{measured.wall:>9.1f}{measured.cpu:>9.2f}{measured.memory:>7.0f}"
        print(f"{name:<44}{jobs!s:>8}{took}", flush=True)
        return measured


def of_line(table: Table, line: str, folder: Path, root: Path, only: set[str]) -> None:
    """Measure one line of the workflow."""
    project = make_project(folder / line, root, line)
    dry = [*snakemake()[:-2], "--quiet", "rules", "--dry-run"]
    first = measure(dry, project)
    table.row(f"{line}: plan, with the first index", first, planned(first.output))
    again = measure(dry, project)
    total = planned(again.output)
    table.row(f"{line}: plan, index unchanged", again, total)
    if "run" not in only:
        return
    killed = measure(snakemake(), project, stop_after=total // 2)
    n_before = len(ran(project))
    table.row(f"{line}: run of empty jobs, killed midway", killed, n_before, may_fail=True)
    rest = measure(snakemake(), project)
    jobs = Counter(ran(project))
    table.row(f"{line}: the same command goes on", rest, jobs.total() - n_before)
    table.row(f"{line}: nothing to do, index included", measure(snakemake(), project), len(ran(project)) - jobs.total())
    path = next(root.glob("sub-*/**/*.edf" if line == "eeg" else "sub-*/**/*bold.nii.gz"))
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "changed", encoding="utf-8")
    changed = measure(dry, project)
    path.write_text(text, encoding="utf-8")
    table.row(f"{line}: plan after one subject changed", changed, planned(changed.output))
    table.row(f"{line}: a whole run of empty jobs", measure(snakemake("--forceall"), project), total)
    of_blocks = {name: n for name, n in counts(changed.output).items() if name.startswith(("preprocess", "extract"))}
    print(f"{line}: killed and gone on, {len(jobs)} of {total} jobs ran, {jobs.total() - len(jobs)} of them twice")
    print(f"{line}: of one changed subject, {of_blocks}", flush=True)


def of_plain(table: Table, folder: Path, root: Path, only: set[str]) -> None:
    """Measure the graph of one job a subject, with the same options."""
    folder.mkdir()
    (folder / "Snakefile").write_text(PLAIN.format(root=root), encoding="utf-8")
    dry = [SNAKEMAKE, "--cores", "2", "--quiet", "rules", "--dry-run"]
    plan = measure(dry, folder)
    table.row("one job a subject: plan", plan, planned(plan.output))
    if "run" in only:
        table.row("one job a subject: run of empty jobs", measure(snakemake(), folder), planned(plan.output))
        table.row("one job a subject: nothing to do", measure(snakemake(), folder), 0)


def of_index(table: Table, folder: Path, root: Path, peers: bool) -> None:
    """Measure the index alone, and pybids beside it."""
    tools = ["replicortex: walk", "replicortex: first index", "replicortex: unchanged"]
    out = folder / "index"
    for tool in [*tools, *(["pybids: files", "pybids: with metadata"] if peers else [])]:
        wall, cpu, memory, _ = trees.measure(tool, root, out)
        table.row(f"index, {tool}", Measured(wall, cpu, memory, 0, ""))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=200, help="of the tree to make (default: 200)")
    parser.add_argument("--root", type=Path, help="a tree that `index.py make` made, instead of a new one")
    parser.add_argument("--sparse", action="store_true", help="one recording and no sidecar a subject")
    parser.add_argument("--peers", action="store_true", help="measure pybids and one job a subject as well")
    parser.add_argument("--line", choices=LINES, action="append", help="only this one; may be repeated")
    parser.add_argument("--only", choices=["index", "plan", "run"], action="append", help="may be repeated")
    parser.add_argument("--scratch", type=Path, help="folder for all that is made (default: a temporary one)")
    given = parser.parse_args()
    only = set(given.only or ["index", "plan", "run"])
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        folder = Path(name)
        root = given.root.resolve() if given.root else folder / "bids"
        if not given.root:
            (make_sparse if given.sparse else trees.make)(root, given.subjects)
        table = Table()
        table.row("snakemake --version", measure([SNAKEMAKE, "--version"], folder))
        if "index" in only:
            of_index(table, folder, root, given.peers)
        if only & {"plan", "run"}:
            for line in given.line or LINES:
                of_line(table, line, folder, root, only)
            if given.peers:
                of_plain(table, folder / "plain", root, only)


if __name__ == "__main__":
    main()
