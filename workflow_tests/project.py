"""A copy of the project on tiny data, for tests that run the workflow for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

SOURCE = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "config", "envs", "containers", "scripts", "constraints.txt")

STUDY = {
    "paper": {"title": "Tiny", "doi": "10.0/0", "year": 2026},
    "dataset": "tiny",
    "preprocessing": "average_reference",
    "feature": "tiny",
    "methods": {
        "mdm": {"role": "proposed", "family": "signal", "params": {"n_shrinkages": 2, "n_inner": 2}},
        "csp_lda": {
            "role": "baseline",
            "family": "signal",
            "params": {"n_filters": [2], "n_shrinkages": 2, "n_inner": 2},
        },
    },
    "evaluation": {
        "task": "classify",
        "classes": ["left_hand", "right_hand"],
        "schemes": {"within_session": {"folds": 2}, "leave_one_subject_out": {}},
        "metrics": {"roc_auc": {}},
        "null_variants": 1,
    },
    "claims": [
        {
            "name": "mdm_beats_csp",
            "text": "One is better than the other.",
            "kind": "better",
            "method": "mdm",
            "than": "csp_lda",
            "metric": "roc_auc",
            "scheme": "within_session",
            "unit": "subject",
            "under_null": "fails",
        }
    ],
    "figures": {"paired_scores": {}},
    "deviations": ["Everything: it is a test."],
    "scale": {"demo": {}, "paper": {}},
}
FEATURE = {
    "title": "Short trials",
    "extractor": "epochs",
    "params": {
        "tmin": 0.5,
        "tmax": 1.5,
        "l_freq": 8.0,
        "h_freq": 30.0,
        "channels": ["C3", "Cz", "C4"],
        "min_channels": 3,
    },
}
DATASET = {
    "title": "Tiny",
    "licence": "CC0",
    "root": "data",
    "classes": {"left_hand": ["left_hand"], "right_hand": ["right_hand"]},
}


#: Results that tell how long jobs took, when, and with what; and the workflow that made them: tests put faults into it.
OF_A_RUN = re.compile(r"benchmarks/.*|ro-crate-metadata\.json|site/run\.html|site/studies/.*\.html|workflow/.*")


def copy_sources(folder: Path) -> Path:
    """Copy what the workflow consists of."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = SOURCE / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy2(source, folder / part)
    return folder


class Project:
    """A copy of the project in ``folder``; its data in ``folder/data``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, folder: Path) -> Project:
        """Return a copy that looks untouched: times and Snakemake's records come along."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def card(self, kind: str, name: str, content: dict | None = None, **changes) -> dict:
        """Write a card, or change top-level keys of one."""
        path = self.folder / "config" / kind / f"{name}.yaml" if kind else self.folder / "config" / f"{name}.yaml"
        card = {**(content if content is not None else yaml.safe_load(path.read_text())), **changes}
        path.write_text(yaml.safe_dump(card, sort_keys=False))
        return card

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run Snakemake in the folder; output and errors come back as one text."""
        command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", "--nocolor", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """Run Snakemake; it must succeed."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-6000:] + self.logs()
        return done.stdout

    def results(self, but: str = "(?!)") -> dict[str, bytes]:
        """Return every result by its path, but what tells of one run alone, and what matches the pattern ``but``."""
        folder = self.folder / "results"
        named = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {
            name: path.read_bytes()
            for name, path in named.items()
            if not OF_A_RUN.fullmatch(name) and not re.fullmatch(but, name)
        }

    def logs(self) -> str:
        """Return the logs that name an error."""
        texts = [path.read_text() for path in sorted((self.folder / "logs").rglob("*.log"))]
        return "\n".join(text[-2000:] for text in texts if "rror" in text)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run plans."""
        text = self.run("--dry-run", *arguments)
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", text, re.DOTALL | re.MULTILINE)
        assert table, text[-3000:]
        return {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}
