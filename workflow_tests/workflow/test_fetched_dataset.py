"""Datasets by name, through the workflow: fetched, indexed, validated, processed; and content that is not there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest

from project import DATASET, Project
from published_data import annexed, git, need_annex, publish
from replicortex.files import digest_file, read_json, read_tsv

FEATURES = [f"results/features/published/average_reference/tiny/{k}of2.npz" for k in range(2)]
BLOCKS = [f"results/preprocessed/published/average_reference/{k}of2.tsv" for k in range(2)]
VALIDATION = "results/datasets/published/validation.json"
RECORD = "results/datasets/published/fetched.json"


@pytest.fixture(scope="module")
def source(tiny_data, tmp_path_factory):
    """The tiny dataset, published."""
    need_annex()
    return publish(tiny_data, tmp_path_factory.mktemp("published") / "tiny")


def to_fetch(project: Project, source, **changes) -> None:
    """Run the tiny study on a dataset that is fetched."""
    card = {key: value for key, value in DATASET.items() if key != "root"}
    origin = {"datalad": {"url": f"file://{source}", "version": "1.0.0"}, "blocks": 2}
    project.card("datasets", "published", {**card, **origin, **changes})
    project.card("", "config", {"runs": [{"study": "tiny", "dataset": "published", "name": "published"}]})


def test_a_published_dataset_runs_like_a_linked_one(project, source, finished, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    root = project.folder / "results/datasets/published/bids"
    # First the recordings of two subjects, prepared; nothing of the third is on the disk.
    to_fetch(project, source, filters={"subject": ["01", "02"]})
    text = project.run(VALIDATION, *BLOCKS)
    assert re.search(r"^localrule fetch_dataset:", text, re.MULTILINE)
    assert {path.name for path in root.glob("sub-*")} == {"sub-01", "sub-02"}
    assert read_json(project.folder / VALIDATION)["skipped"] is False
    record = read_json(project.folder / RECORD)
    assert record["commit"] == git(source, "rev-parse", "1.0.0^{commit}").strip()
    first = {path: digest_file(root / path) for path in annexed(root)}
    # Then all: the difference is fetched, and what comes of it is what a linked dataset gives.
    to_fetch(project, source)
    project.run(VALIDATION, *FEATURES)
    assert len(annexed(root)) == 3
    assert {path: digest_file(root / path) for path in first} == first
    for path in FEATURES:
        linked = finished.folder / path.replace("published", "tiny")
        assert digest_file(project.folder / path) == digest_file(linked)
    table = read_tsv(project.folder / "results/datasets/published/recordings.tsv")
    assert [row["problem"] for row in table] == ["n/a"] * 3
    assert project.planned(VALIDATION, *FEATURES) == {}


@pytest.mark.parametrize(
    ("origin", "environment", "line"),
    [
        ({"datalad": {"url": "file:///nowhere/ds", "version": "1"}}, {},
         "no such repository, or no access to it .*; correct the address, or ask for access"),
        ({"openneuro": {"accession": "ds000114", "snapshot": "1.0.2"}}, {"SLURM_JOB_ID": "7"},
         "not fetched on compute nodes; run `snakemake prefetch` on the login node first"),
    ],
    ids=["no-repository", "compute-node"],
)  # fmt: skip
def test_what_can_not_be_fetched_is_one_line(project, source, monkeypatch, origin, environment, line):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    to_fetch(project, source)
    card = project.card("datasets", "published")
    project.card("datasets", "published", {key: value for key, value in card.items() if key != "datalad"} | origin)
    done = project.snakemake(VALIDATION, **environment)
    assert done.returncode != 0
    summary = done.stdout[done.stdout.index("What went wrong:") :]
    assert re.search(rf"logs/fetch_dataset/published\.log: .*{line}", summary), summary
    assert not (project.folder / RECORD).exists()


def test_dropped_content_of_a_linked_dataset_names_the_command_that_gets_it(project, source, tmp_path):
    """The others are processed; the command of the message, run as it stands, is the remedy."""
    linked = tmp_path / "linked"
    git(tmp_path, "clone", "--quiet", f"file://{source}", str(linked))
    kept = "sub-0[13]/ses-1/eeg/*.eeg"
    git(linked, "annex", "get", "--quiet", *sorted(str(path) for path in linked.glob(kept)))
    card = {key: value for key, value in DATASET.items() if key != "root"}
    project.card("datasets", "published", card, root=str(linked), blocks=2)
    project.card("", "config", {"runs": [{"study": "tiny", "dataset": "published", "name": "published"}]})
    project.run(*BLOCKS)
    rows = {row["subject"]: row for path in BLOCKS for row in read_tsv(project.folder / path)}
    assert {subject: row["status"] for subject, row in rows.items()} == {"01": "ok", "02": "failed", "03": "ok"}
    name = "sub-02/ses-1/eeg/sub-02_ses-1_task-imagery_eeg.eeg"
    assert "its content has not been fetched (git-annex)" in rows["02"]["reason"]
    assert f"`datalad get {name}`" in rows["02"]["reason"]
    command = re.search(r"`(git annex get [^`]+)`", rows["02"]["reason"])[1]
    subprocess.run(shlex.split(command), cwd=linked, check=True, capture_output=True, timeout=60, env=dict(os.environ))
    project.run(*BLOCKS)
    assert {row["status"] for path in BLOCKS for row in read_tsv(project.folder / path)} == {"ok"}
    shutil.rmtree(linked, ignore_errors=True)
