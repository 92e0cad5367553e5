"""Raw T1w and BOLD to verdicts, with what datasets have wrong: one command, other subjects go on."""

from __future__ import annotations

import gzip
import os
import shutil

import numpy as np
import pytest

from project import Project, copy_sources
from replicortex.bundle import Bundle
from replicortex.components import load
from replicortex.files import digest_file, read_json, read_tsv
from replicortex.stages.simulate import simulate_dataset
from replicortex.stages.validate import validate_dataset

SUBJECTS = ["01", "02", "03", "04", "05", "06"]
STUDY = {
    "paper": {"title": "Imaging", "doi": "10.0/0", "year": 2026},
    "dataset": "scans",
    "preprocessing": "quick_func",
    "feature": "quick",
    "methods": {
        "linear": {"role": "proposed", "family": "signal", "params": {"penalties": [1.0]}},
        "motion": {
            "role": "baseline",
            "family": "signal",
            "component": "covariates_linear",
            "params": {"columns": ["mean_fd", "sex"], "penalties": [1.0]},
        },
    },
    "evaluation": {
        "task": "regress",
        "target": "years",
        "covariates": ["mean_fd", "sex"],
        "schemes": {"k_fold": {"folds": 2}},
        "metrics": {"mae": {}, "r2": {}},
        "null_variants": 1,
    },
    "claims": [
        {
            "name": "connectivity_beats_motion",
            "text": "Connectivity tells the age better than head motion does.",
            "kind": "better",
            "method": "linear",
            "than": "motion",
            "metric": "mae",
            "scheme": "k_fold",
            "unit": "subject",
            "under_null": "fails",
        }
    ],
    "figures": {"paired_scores": {"metric": "mae"}},
    "deviations": ["Everything: it is a test."],
    "scale": {"demo": {}, "paper": {}},
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A raw dataset of six people: one without T1w, one with a truncated BOLD run."""
    folder = tmp_path_factory.mktemp("scans")
    params = {**load("simulators", "resting_bold").tiny, "n_subjects": len(SUBJECTS)}
    simulate_dataset("resting_bold", params, "planted", 0, folder / "data", folder / "truth.json")
    anat, func = (folder / "data" / f"sub-{subject}" / kind for subject, kind in (("02", "anat"), ("03", "func")))
    for path in anat.iterdir():
        path.unlink()
    anat.rmdir()
    (bold,) = func.glob("*_bold.nii.gz")
    os.truncate(bold, bold.stat().st_size // 2)
    return folder / "data"


def anat_card(**changes):
    params = {**load("preprocessing", "native_anat").tiny, **changes}
    named = {"title": "Quick", "modality": "anat", "engine": "native_anat"}
    return {**named, "params": params, "seconds_per_subject": 60}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, scans):
    project = Project(copy_sources(tmp_path_factory.mktemp("imaging") / "project"))
    func = {
        "title": "Quick",
        "modality": "func",
        "engine": "native_func",
        "after": "quick_anat",
        "params": {**load("preprocessing", "native_func").tiny},
    }
    feature = {
        "title": "Quick",
        "extractor": "connectivity",
        "params": {
            "denoise": {"strategy": "6p", "high_pass": None, "low_pass": None},
            "radius": 8.0,
            "max_missing": 1.0,
        },
    }
    project.card("preprocessing", "quick_anat", anat_card())
    project.card("preprocessing", "quick_func", {**func, "seconds_per_subject": 40})
    project.card("features", "quick", feature)
    project.card("datasets", "scans", {"title": "Scans", "licence": "CC0", "root": str(scans), "blocks": 2,
                                       "variables": {"years": {"column": "age"}}})  # fmt: skip
    project.card("studies", "imaging", STUDY)
    project.card("", "config", {"runs": ["imaging"]})
    before = {path: digest_file(path) for path in scans.rglob("*") if path.is_file()}
    project.run()
    assert {path: digest_file(path) for path in scans.rglob("*") if path.is_file()} == before, "raw data are only read"
    return project


def table(project, recipe):
    rows = [row for path in sorted((project.folder / f"results/preprocessed/scans/{recipe}").glob("*.tsv"))
            for row in read_tsv(path)]  # fmt: skip
    return {row["subject"]: row for row in rows}


def test_bad_recordings_are_one_line_and_the_others_go_on(finished):
    anat, func = table(finished, "quick_anat"), table(finished, "quick_func")
    assert sorted(anat) == ["01", "03", "04", "05", "06"]
    assert sorted(subject for subject, row in func.items() if row["status"] == "ok") == ["01", "04", "05", "06"]
    assert "T1w" in func["02"]["reason"]
    assert "sub-03" in func["03"]["reason"]
    assert all(str(finished.folder) not in row["reason"] for row in func.values())
    status = read_tsv(finished.folder / "results/status.tsv")
    assert {row["subject"] for row in status[:2]} <= {"02", "03"}, "failures come first"


def test_every_derivative_passes_the_validator(finished, tmp_path):
    for recipe in ("quick_anat", "quick_func"):
        folder = finished.folder / "results/derivatives/scans" / recipe
        validate_dataset(folder, tmp_path / f"{recipe}.json", tmp_path / f"{recipe}.tsv")
        found = [row for row in read_tsv(tmp_path / f"{recipe}.tsv") if row["severity"] == "error"]
        assert found == []


def test_quality_is_a_table_and_a_page_a_subject(finished):
    rows = read_tsv(finished.folder / "results/quality/scans/quick_func.tsv")
    assert len(rows) == 6
    good = [row for row in rows if row["status"] == "ok"]
    assert all(np.isfinite(float(row["fd_mean"])) for row in good)
    page = finished.folder / "results/derivatives/scans/quick_func/sub-01.html"
    text = page.read_text()
    assert text.count("<img") >= 2
    for source in [part.split('"')[0] for part in text.split('src="')[1:]]:
        assert (page.parent / source).is_file()
    assert "Not processed" in (page.parent / "sub-02.html").read_text()


def test_features_carry_motion_and_the_fold_holds_out_subjects(finished):
    bundles = [
        Bundle.open(path) for path in (finished.folder / "results/features/scans/quick_func/quick").glob("*.npz")
    ]
    assert sum(map(len, bundles)) == 4
    assert all(np.isfinite(bundle.rows["mean_fd"].astype(float)).all() for bundle in bundles if len(bundle))
    targets = read_tsv(finished.folder / "results/runs/imaging/observed/targets.tsv")
    people = {
        row["participant_id"]: row["age"]
        for row in read_tsv(finished.folder / "results/datasets/scans/participants.tsv")
    }
    assert {row["subject"]: float(row["target"]) for row in targets} == {
        row["subject"]: float(people[f"sub-{row['subject']}"]) for row in targets
    }
    claims = read_json(finished.folder / "results/runs/imaging/claims.json")["claims"]
    assert claims[0]["verdict"] == "undecided", "four people decide nothing"
    assert claims[0]["results"]["observed"]["n"] == 4


def test_nothing_is_done_twice_and_a_change_of_the_t1w_recipe_reaches_the_bold(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    assert project.planned() == {}
    project.card("preprocessing", "quick_anat", anat_card(output_mm=7.0))
    planned = project.planned()
    assert {"preprocess_anat", "preprocess_func", "extract_features_mri", "fit", "judge_claims"} <= planned.keys()
    assert "index_dataset" not in planned


def test_a_repaired_recording_is_the_only_one_made_again(finished, scans, tmp_path):
    project = finished.copy(tmp_path / "project")
    data = tmp_path / "data"
    shutil.copytree(scans, data)
    (bold,) = (data / "sub-03" / "func").glob("*_bold.nii.gz")
    other = next((data / "sub-04" / "func").glob("*_bold.nii.gz"))
    bold.write_bytes(gzip.compress(gzip.decompress(other.read_bytes()), mtime=0))
    project.card("datasets", "scans", root=str(data))
    project.run("--until", "preprocess_func")
    logs = "".join(path.read_text() for path in (project.folder / "logs/preprocess_func").rglob("*.log"))
    assert logs.count(": done") == 1
    assert table(project, "quick_func")["03"]["status"] == "ok"
