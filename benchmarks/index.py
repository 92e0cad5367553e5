"""Index one dataset with this project, bids2table and pybids: time, memory and answer, side by side.

    python benchmarks/index.py make --root tree --subjects 1000
    python benchmarks/index.py run --root tree --repeats 3

Each measurement is a process of its own; CPU seconds (all threads, and the system's for it) and peak memory
are the operating system's count. The answer is the number of BOLD and EEG files and a digest of their paths,
and one of repetition times and sampling frequencies where metadata were asked for. The cache is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

WANTED = {("bold", ".nii.gz"), ("eeg", ".edf")}
FACT = {"bold": "RepetitionTime", "eeg": "SamplingFrequency"}


def make(root: Path, n_subjects: int) -> None:
    """Write the tree: a T1w, two BOLD runs and an EEG a session, each with a sidecar.

    Every other subject has two sessions: 12 files a subject on average.
    Data files hold their own name, so that all contents differ.
    """
    sidecars = {
        "T1w": {"EchoTime": 0.003, "FlipAngle": 9, "Manufacturer": "X", "Modality": "MR"},
        "bold": {"RepetitionTime": 2.0, "SliceTiming": [i / 20 for i in range(40)], "TaskName": "rest"},
        "eeg": {"EEGReference": "Cz", "PowerLineFrequency": 50, "SamplingFrequency": 250, "TaskName": "rest"},
    }
    root.mkdir(parents=True)
    description = {"BIDSVersion": "1.9.0", "DatasetType": "raw", "Name": "synthetic"}
    (root / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    (root / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}), encoding="utf-8")
    subjects = [f"sub-{number:05d}" for number in range(n_subjects)]
    (root / "participants.tsv").write_text("\n".join(["participant_id", *subjects]) + "\n", encoding="utf-8")
    for number, subject in enumerate(subjects):
        for session in ["ses-01", "ses-02"][: 2 - number % 2]:
            files = [("anat", "T1w", ".nii.gz"), ("eeg", "task-rest_eeg", ".edf")]
            files += [("func", f"task-rest_run-{run:02d}_bold", ".nii.gz") for run in (1, 2)]
            for datatype, end, extension in files:
                folder = root / subject / session / datatype
                folder.mkdir(parents=True, exist_ok=True)
                stem = f"{subject}_{session}_{end}"
                (folder / f"{stem}{extension}").write_text(stem, encoding="utf-8")
                text = json.dumps(sidecars[end.rpartition("_")[2]])
                (folder / f"{stem}.json").write_text(text, encoding="utf-8")


def own_walk(root: Path, out: Path) -> list[list]:
    """Walk and stat every file, parse every name; no tables, no sidecars."""
    from replicortex.bids import parts_of
    from replicortex.walk import scan

    return [[file.path] for file in scan(root) if parts_of(file.path)[1:] in WANTED]


def own_index(root: Path, out: Path, fingerprint: str = "content") -> list[list]:
    """Write the whole index, with fingerprints, merged sidecars and problems."""
    from replicortex.index import refresh_index

    refresh_index(root, out, fingerprint=fingerprint)
    found = []
    with (out / "recordings.tsv").open(encoding="utf-8") as table:
        columns = next(table).rstrip("\n").split("\t")
        for line in table:
            row = dict(zip(columns, line.rstrip("\n").split("\t"), strict=True))
            if (row["suffix"], row["extension"]) in WANTED:
                fact = row["repetition_time" if row["suffix"] == "bold" else "sampling_frequency"]
                found.append([row["path"], float(fact)])
    return found


def own_index_by_time(root: Path, out: Path) -> list[list]:
    """Write the whole index, with sizes and times for fingerprints."""
    return own_index(root, out, "stat")


def with_bids2table(root: Path, out: Path) -> list[list]:
    """Index without metadata: bids2table reads those file by file, on request."""
    import bids2table

    table = bids2table.index_dataset(root).select(["suffix", "ext", "path"]).to_pylist()
    return [[row["path"]] for row in table if (row["suffix"], row["ext"]) in WANTED]


def with_pybids(root: Path, out: Path) -> list[list]:
    """Index without metadata and without validation: what is fastest."""
    from bids import BIDSLayout, BIDSLayoutIndexer

    layout = BIDSLayout(root, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False))
    files = [file for suffix, extension in WANTED for file in layout.get(suffix=suffix, extension=extension)]
    return [[file.relpath] for file in files]


def with_pybids_metadata(root: Path, out: Path) -> list[list]:
    """Index with metadata, without validation."""
    from bids import BIDSLayout, BIDSLayoutIndexer

    layout = BIDSLayout(root, indexer=BIDSLayoutIndexer(validate=False))
    files = [file for suffix, extension in WANTED for file in layout.get(suffix=suffix, extension=extension)]
    return [[file.relpath, float(file.get_metadata()[FACT[file.entities["suffix"]]])] for file in files]


TOOLS = {
    "replicortex: walk": own_walk,
    "replicortex: first index": own_index,
    "replicortex: unchanged": own_index,
    "replicortex: first, by time": own_index_by_time,
    "bids2table: files": with_bids2table,
    "pybids: files": with_pybids,
    "pybids: with metadata": with_pybids_metadata,
}


def measure(tool: str, root: Path, out: Path) -> tuple[float, float, float, dict]:
    """Run one tool in a process; return wall and CPU seconds, peak memory (MB), and its answer."""
    command = [sys.executable, __file__, "child", "--tool", tool, "--root", str(root), "--out", str(out)]
    with tempfile.TemporaryFile("w+") as stream:
        start = time.perf_counter()
        # The command is this file with the arguments of this call.
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{tool}: ended with status {process.returncode}")
        stream.seek(0)
        answer = json.loads(stream.read())
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answer


def compare(root: Path, repeats: int, tools: list[str]) -> None:
    """Print a table of medians."""
    print(f"{'tool':<30}{'wall s':>8}{'CPU s':>8}{'MB':>7}{'files':>8}  paths     with metadata")
    with tempfile.TemporaryDirectory() as folder:
        for tool in tools:
            runs = []
            for repeat in range(repeats):
                again = "unchanged" in tool
                out = Path(folder, "kept" if again else f"{tools.index(tool)}-{repeat}")
                if again and not out.is_dir():
                    measure(tool, root, out)
                runs.append(measure(tool, root, out))
            wall, cpu, memory = (statistics.median(run[column] for run in runs) for column in range(3))
            answer = runs[0][3]
            print(
                f"{tool:<30}{wall:>8.2f}{cpu:>8.2f}{memory:>7.0f}{answer['files']:>8}"
                f"  {answer['paths'][:8]}  {answer['facts'][:8]}"
            )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["all", "make", "run", "child"],
        default="all",
        help="make a tree, compare on one, or both in a temporary folder (default)",
    )
    parser.add_argument("--root", type=Path, help="the dataset")
    parser.add_argument("--subjects", type=int, default=200, help="of the tree to make (default: 200)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each tool (default: 3)")
    parser.add_argument("--tool", choices=TOOLS, action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what != "all" and arguments.root is None:
        parser.error("--root says which dataset")
    if arguments.what == "all":
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "bids", arguments.subjects)
            compare(Path(folder) / "bids", arguments.repeats, arguments.tool or list(TOOLS))
    elif arguments.what == "make":
        make(arguments.root, arguments.subjects)
    elif arguments.what == "run":
        compare(arguments.root, arguments.repeats, arguments.tool or list(TOOLS))
    else:
        from replicortex.files import digest_of

        found = sorted(TOOLS[arguments.tool[0]](arguments.root, arguments.out))
        facts = digest_of(found) if found and len(found[0]) > 1 else "-"
        print(json.dumps({"files": len(found), "paths": digest_of([row[0] for row in found]), "facts": facts}))


if __name__ == "__main__":
    main()
