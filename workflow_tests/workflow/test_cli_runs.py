"""The command line at work: the results of plain Snakemake, exit statuses, Ctrl-C, the bar, scaffolds filled in."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from project import DATASET, SOURCE, Project, copy_sources
from replicortex.asking import LAID

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "replicortex", *words]


def environment(project: Project, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    return {**kept, **ENVIRONMENT, "PYTHONPATH": str(project.folder / "scripts"), **more}


def call(project: Project, *words: str, cwd: Path | None = None, status: int = 0) -> str:
    done = subprocess.run(
        command("--project", str(project.folder), *words),
        cwd=cwd or project.folder,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == status, done.stdout[-6000:]
    return done.stdout


def results(folder: Path) -> dict[str, bytes]:
    """Bytes of every result but what tells times."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not re.match(TIMED, name):
            found[name] = path.read_bytes()
        if name == CARD:
            # It also tells by which words the run was asked for.
            told = json.loads(path.read_bytes())
            del told["configuration"], told["environment"]
            found[name] = json.dumps(told, sort_keys=True).encode()
    return found


CARD = "results/runs/tiny/card.json"
#: Benchmarks, the index (it holds times of files), what is about the machine and the time of a run, and the cards as
#: they were written.
TIMED = r"results/(benchmarks/|datasets/[^/]+/index\.tsv|datasets/[^/]+/scan\.json|site/|ro-crate|workflow/config/)"


@pytest.fixture(scope="module")
def app(finished, tmp_path_factory):
    """A project without a card for the dataset, and an output folder beside the data, as in the finished project."""
    folder = tmp_path_factory.mktemp("app")
    made = ("results", "logs", ".snakemake", "data")
    top = str(finished.folder)
    shutil.copytree(top, folder / "project", ignore=lambda place, _: made if place == top else ())
    (folder / "project/config/datasets/tiny.yaml").unlink()
    shutil.copytree(finished.folder / "data", folder / "out/data")
    (folder / "card.yaml").write_text(yaml.safe_dump({**DATASET, "root": "elsewhere", "blocks": 2}))
    return Project(folder / "project"), folder


def test_a_call_on_a_dataset_gives_what_snakemake_gives_with_a_card(app, finished):
    project, folder = app
    raw = {path: path.stat().st_mtime_ns for path in (folder / "out/data").rglob("*")}
    words = ["out/data", "out", "participant", "--dataset-name", "tiny", "--participant-label", "sub-01"]
    refused = call(project, *words, cwd=folder, status=2)
    assert refused.startswith("error: --study: no study is named")
    refused = call(project, *words, "--study", "tiny", cwd=folder, status=2)
    assert "error: tiny on tiny: does not say which events mean left_hand, right_hand" in refused
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["data"]

    call(project, *words, "--study", "tiny", "--dataset-card", "card.yaml", "--n-cpus", "2", cwd=folder)
    made = {path.name.partition("_")[0] for path in (folder / "out/results/derivatives").rglob("*_eeg.eeg")}
    assert made == {"sub-01"}
    assert not (folder / "out/results/runs").exists()

    # The study and the card of the call before are known.
    said = call(project, "out/data", "out", "group", "--dataset-name", "tiny", "--n-cpus", "2", cwd=folder)
    assert f"--configfile {LAID}" in said
    ours, theirs = results(folder / "out"), results(finished.folder)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert {path: path.stat().st_mtime_ns for path in (folder / "out/data").rglob("*")} == raw
    assert not (project.folder / "config/datasets/tiny.yaml").exists()

    # Whoever goes on with plain Snakemake, by the line that was printed, has nothing to do.
    line = next(line for line in said.splitlines() if "snakemake --snakefile" in line)
    plain = line.partition(": ")[2].split()
    done = subprocess.run(
        [sys.executable, "-m", *plain, "--dry-run"],
        cwd=folder / "out",
        env=environment(project),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "Nothing to be done" in done.stdout + done.stderr
    assert "0 jobs left" in call(project, "--directory", "out", "status", cwd=folder)


def test_run_does_what_snakemake_has_done_and_nothing_more(project):
    assert "Nothing to be done" in call(project, "run", "--n-cpus", "2")
    assert "Nothing to be done" in call(project, "run", "results/claims.tsv", "--dry-run")


def test_the_status_tells_failed_jobs_from_what_was_refused(project):
    odd = "runs=[{study: tiny, params: {methods: {mdm: {params: {n_shrinkages: 0}}}}}]"
    said = call(project, "run", "--n-cpus", "2", "--config", odd, status=1)
    assert "n_shrinkages" in said
    assert call(project, "run", "--config", "scale=big", status=2).count("\n") == 1
    # Only Snakemake knows that there is no such target.
    assert "no_such_target" in call(project, "run", "no_such_target", status=2)


def test_ctrl_c_ends_the_run_and_the_next_one_goes_on(project):
    shutil.rmtree(project.folder / "results/runs/tiny")
    (project.folder / "results/claims.tsv").unlink()
    process = subprocess.Popen(
        command("--project", str(project.folder), "run", "--n-cpus", "1", "--progress", "plain"),
        cwd=project.folder,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            if "Execute" in line:
                break
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode in (1, 130), rest
    assert "Traceback" not in rest
    call(project, "run", "--n-cpus", "2", "--progress", "plain", "results/runs/tiny/observed/splits.tsv")


def in_terminal(project: Project, *words: str) -> tuple[int, str]:
    """Run in a pseudo-terminal; return status and everything that it was sent."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        command("--project", str(project.folder), *words),
        cwd=project.folder,
        env=environment(project),
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    said = b""
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:  # the other end is closed
            break
        said += part
    os.close(here)
    return process.wait(timeout=60), said.decode(errors="replace")


def test_a_terminal_has_a_bar_that_goes_away_and_a_line_for_what_failed(project):
    (project.folder / "results/claims.tsv").unlink()
    status, said = in_terminal(project, "run", "--n-cpus", "1", "results/claims.tsv")
    assert status == 0, said
    assert re.search(r"\[\.{24}\] 0/1 jobs  collect_claims", said)
    assert said.rstrip().rpartition("\r")[2].count("jobs") == 0, "the bar stays behind"

    odd = "runs=[{study: tiny, params: {methods: {mdm: {params: {n_shrinkages: 0}}}}}]"
    status, said = in_terminal(project, "run", "--n-cpus", "1", "--config", odd, "--", "--until", "check_study")
    assert status == 1
    assert re.search(r"failed: check_study \(tiny, signal\): methods/mdm: n_shrinkages", said)


METHOD_FIT = "self.estimator_ = LogisticRegression(C=self.strength).fit(x, target)"
METHOD_WORDS = (
    'return f"Logistic regression on the log-variance of the channels, with an inverse penalty of {self.strength:g}."'
)
FEATURE_WORDS = 'return text(super().described(suffixes), "Their spread over time is what the features are.")'
FILLED = {
    "methods/my_method.py": {
        r"raise NotImplementedError\(f\"FILL IN: a sentence.*": METHOD_WORDS,
        r"raise NotImplementedError\(f\"FILL IN: self.*": METHOD_FIT,
        r"raise NotImplementedError\(f\"FILL IN: vectors.*": 'return np.log(bundle["x"].var(axis=2))',
        r"import numpy as np\n": "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n",
        r"doi:FILL IN": "doi:10.1109/86.895946",
        r"strength : float\n        FILL IN.*": "strength : float\n        Inverse of the penalty.",
    },
    "metrics/my_metric.py": {
        r"raise NotImplementedError\(\"FILL IN: a sentence.*": (
            'return "The share of held-out rows whose class was right was computed."'
        ),
        r"raise NotImplementedError\(f\"FILL IN: a number.*": (
            'right = classes[predictions["y_score"].argmax(axis=1)] == target\n'
            '        return float(np.mean(right)) if len(set(target)) > 1 else float("nan")'
        ),
        r"raise NotImplementedError\(f\"FILL IN: what a blind.*": (
            "return float(np.unique(target, return_counts=True)[1].max() / len(target))"
        ),
    },
    "features/my_feature.py": {
        r"raise NotImplementedError\(f.*": "return np.log(trials.x.var(axis=2))",
        r"raise NotImplementedError\(text.*": FEATURE_WORDS,
    },
    "features/my_func.py": {
        r"raise NotImplementedError\(f.*": "return series.values.std(axis=0)",
        r"raise NotImplementedError\(text.*": FEATURE_WORDS,
    },
}
KINDS = ("methods", "metrics", "features", "cards_contract", "citations")
TESTS = [f"workflow_tests/contract/test_{name}.py" for name in KINDS]


#: What tells most of a new file soonest.
SOME = "finds_a_planted or told_from_chance or extracting_twice or fits_its_schema or words_of_its_own"


def contracts(folder: Path, status: int, which: str = "my_") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", which],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(folder / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == status, done.stdout[-6000:]
    return done.stdout


def test_what_new_begins_is_clean_refused_until_filled_and_then_keeps_every_contract(tmp_path):
    project = Project(copy_sources(tmp_path / "project"))
    folder = project.folder
    shutil.copytree(SOURCE / "workflow_tests", folder / "workflow_tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(SOURCE / "pyproject.toml", folder)
    begun = [["method", "my_method"], ["metric", "my_metric"], ["feature", "my_feature"], ["study", "my_study"],
             ["feature", "my_func", "--of", "func"], ["dataset", "my_dataset"]]  # fmt: skip
    said = [call(project, "new", *words) for words in begun]
    assert all("FILL IN" in text for text in said)
    new = sorted(folder.glob("scripts/replicortex/*/my_*.py"))
    assert len(new) == 4
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, *map(str, new)]
        subprocess.run(ruff, cwd=folder, check=True, capture_output=True, timeout=60)

    told = contracts(folder, 1, f"my_ and ({SOME})")
    for line in (
        "NotImplementedError: FILL IN: vectors from x, of shape (24, 6, 240)",
        "NotImplementedError: FILL IN: values from series of shape",
        "NotImplementedError: FILL IN: a sentence for the Methods section, with strength 1 in it",
        "studies/my_study: paper.title is still to fill in; title of the paper",
        "datasets/my_dataset: title is still to fill in; name of the dataset",
    ):
        assert line in told
    # Snakemake refuses what is not filled in, too.
    assert "paper.title is still to fill in" in call(project, "run", "--config", "runs=[my_study]", status=2)

    for name, edits in FILLED.items():
        path = folder / "scripts/replicortex" / name
        text = path.read_text()
        for pattern, filled in edits.items():
            text, n = re.subn(pattern, lambda _, filled=filled: filled, text)
            assert n == 1, (name, pattern)
        path.write_text(text.replace("FILL IN: ", "").replace("FILL IN", ""))
    study = project.card("studies", "my_study")
    methods = {
        "my_method": {"label": "Mine", "role": "proposed", "family": "signal"},
        "csp_lda": {"label": "CSP", "role": "baseline", "family": "signal"},
    }
    claim = {**study["claims"][0], "text": "Mine is better.", "method": "my_method", "than": "csp_lda"}
    paper = {"title": "A title", "authors": "Somebody A.", "year": 2026, "doi": "10.1109/86.895946"}
    project.card("studies", "my_study", study, paper=paper, dataset="sim_temporal", preprocessing="average_reference",
                 feature="central_epochs_8_35", methods=methods, claims=[claim],
                 deviations=["Everything, since it is a test."],
                 evaluation={**study["evaluation"], "classes": ["left_hand", "right_hand"],
                             "metrics": {"roc_auc": {}, "my_metric": {}}})  # fmt: skip
    for kind, name in (("features", "my_feature"), ("features", "my_func")):
        project.card(kind, name, title="Something")
    project.card("datasets", "my_dataset", title="A dataset", licence="CC0", citation="None", root="/data/mine")
    contracts(folder, 0)
