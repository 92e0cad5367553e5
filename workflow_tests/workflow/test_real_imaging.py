"""Real scans and published tables, each by one command: known scores come back, and so does chance."""

from __future__ import annotations

import numpy as np
import pytest

from project import Project, copy_sources
from replicortex.bundle import Bundle
from replicortex.files import read_json, read_tsv
from replicortex.stages.validate import validate_dataset


def study(**evaluation):
    metric = next(iter(evaluation["metrics"]))
    return {
        "paper": {"title": "Real", "doi": "10.0/0", "year": 2026},
        "dataset": "abide_cc200",
        "preprocessing": "derived_func",
        "feature": "table_correlations",
        "methods": {
            "linear": {"role": "proposed", "family": "signal"},
            "site_only": {"role": "baseline", "family": "signal", "component": "covariates_linear"},
            "motion_only": {
                "role": "baseline",
                "family": "signal",
                "component": "covariates_linear",
                "params": {"columns": ["mean_fd"]},
            },
        },
        "evaluation": {"null_variants": 4, **evaluation},
        "claims": [
            {
                "name": "connectivity_tells_something",
                "text": "Connectivity predicts better than chance.",
                "kind": "at_least",
                "method": "linear",
                "value": 0.52,
                "metric": metric,
                "scheme": "k_fold",
                "unit": "subject",
                "under_null": "fails",
            }
        ],
        "figures": {"paired_scores": {"metric": metric}, "null_distribution": {"metric": metric}},
        "deviations": ["Everything: it is a test."],
        "scale": {"demo": {}, "paper": {}},
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory, real_data):
    project = Project(copy_sources(tmp_path_factory.mktemp("tables") / "project"))
    diagnosis = study(
        task="classify",
        target="diagnosis",
        classes=["patient", "control"],
        covariates=["site", "mean_fd"],
        schemes={"k_fold": {"folds": 10}, "leave_site_out": {}},
        metrics={"roc_auc": {}},
        exchangeable=["site"],
    )
    age = study(task="regress", target="age", schemes={"k_fold": {}}, metrics={"pearson_r": {}, "mae": {}})
    age["methods"] = {"linear": age["methods"]["linear"]}
    project.card("studies", "diagnosis", diagnosis)
    project.card("studies", "age", age)
    project.card(
        "", "config", {"runs": ["diagnosis", {"study": "age", "dataset": "development_basc64", "name": "age"}]}
    )
    done = project.snakemake(REPLICORTEX_REAL_DATA=str(real_data))
    assert done.returncode == 0, done.stdout[-4000:] + project.logs()
    return project.folder / "results"


def mean(results, run, **wanted):
    wanted = {"variant": "observed", "unit": "subject", **wanted}
    rows = [row for row in read_tsv(results / f"runs/{run}/summary.tsv")
            if all(row[key] == value for key, value in wanted.items())]  # fmt: skip
    assert len(rows) == 1
    return {key: float(rows[0][key]) for key in ("mean", "ci_low", "ci_high", "chance", "null_mean", "n_units")}


def test_diagnosis_in_abide_is_predicted_as_well_as_by_the_reference(results):
    """0.68 in ten folds by the same model with a fixed penalty; intervals of 104 subjects are wide."""
    found = mean(results, "diagnosis", method="linear", scheme="k_fold", metric="roc_auc")
    assert found["n_units"] == 104
    assert abs(found["mean"] - 0.68) < 0.08
    assert 0.1 < found["ci_high"] - found["ci_low"] < 0.3
    assert found["ci_low"] > 0.5
    # Four permutations of 104 subjects: the standard error of their mean is about 0.03.
    assert abs(found["null_mean"] - 0.5) < 0.1
    new_sites = mean(results, "diagnosis", method="linear", scheme="leave_site_out", metric="roc_auc")
    assert new_sites["mean"] > 0.6
    site = mean(results, "diagnosis", method="site_only", scheme="leave_site_out", metric="roc_auc")
    assert site["mean"] == pytest.approx(0.5), "a new site is known to no model of sites"
    motion = mean(results, "diagnosis", method="motion_only", scheme="k_fold", metric="roc_auc")
    assert motion["ci_low"] < found["mean"], "motion alone tells nearly as much: printed beside, not hidden"


def test_age_of_children_and_adults_is_predicted_as_well_as_by_the_reference(results):
    """r = 0.84, mean absolute error 2.9 years against 6.1 for the mean, by ridge regression in five folds."""
    r = mean(results, "age", method="linear", metric="pearson_r")
    mae = mean(results, "age", method="linear", metric="mae")
    assert r["n_units"] == 155
    assert abs(r["mean"] - 0.84) < 0.05
    assert abs(mae["mean"] - 2.9) < 0.4
    assert abs(mae["chance"] - 6.1) < 0.8
    assert abs(r["null_mean"]) < 0.2


def test_verdicts_and_pages_are_there(results):
    for run in ("diagnosis", "age"):
        (claim,) = read_json(results / f"runs/{run}/claims.json")["claims"]
        assert claim["verdict"] == "holds"
        assert (results / f"runs/{run}/figures/paired_scores.svg").is_file()
    assert all(row["status"] == "ok" for row in read_tsv(results / "status.tsv"))


@pytest.fixture(scope="module")
def scans(tmp_path_factory, real_data):
    """A real T1w image and resting BOLD run, prepared by the cards that are shipped."""
    project = Project(copy_sources(tmp_path_factory.mktemp("scans") / "project"))
    root = str(real_data / "bold-rest-pumi")
    project.card("datasets", "pumi", {"title": "Pumi", "licence": "PDDL", "root": root, "validation": "skip"})
    age = study(task="regress", target="age", schemes={"k_fold": {}}, metrics={"r2": {}})
    age["methods"] = {"linear": age["methods"]["linear"]}
    project.card("studies", "age", age)
    feature = {"title": "Few volumes", "extractor": "connectivity", "params": {"denoise": {"strategy": "6p"}}}
    project.card("features", "few", feature)
    root = str(real_data / "bold-ds005-truncated")
    project.card("datasets", "ds005", {"title": "ds005", "licence": "PDDL", "root": root, "validation": "skip"})
    cards = [
        ("pumi", "native_func", "few"),
        ("ds005", "precomputed_anat", "tissue_volumes"),
        ("ds005", "precomputed_func", "head_motion"),
    ]
    runs = [
        {"study": "age", "name": recipe, "dataset": dataset, "preprocessing": recipe, "feature": feature}
        for dataset, recipe, feature in cards
    ]
    project.card("", "config", {"runs": runs})
    project.run("features", "quality")
    return project.folder / "results"


def test_a_real_scan_is_prepared_and_its_derivatives_are_valid(scans, tmp_path):
    for recipe, limit in {"native_anat": ("dice_brain", 0.95), "native_func": ("dice_brain", 0.85)}.items():
        (row,) = read_tsv(scans / f"quality/pumi/{recipe}.tsv")
        assert row["status"] == "ok", row["reason"]
        names = [name for name in row if name.startswith("dice")]
        assert names
        if limit[0] in row:
            assert float(row[limit[0]]) > limit[1]
        validate_dataset(scans / "derivatives/pumi" / recipe, tmp_path / "v.json", tmp_path / "v.tsv")
        assert "error" not in read_json(tmp_path / "v.json")["counts"]


def test_an_old_fmriprep_folder_becomes_valid_derivatives(scans, tmp_path):
    """That of fMRIPrep 1.0 in ds005: old names, no sidecars, BOLD as confounds and masks only."""
    for recipe in ("precomputed_anat", "precomputed_func"):
        (row,) = read_tsv(scans / f"quality/ds005/{recipe}.tsv")
        assert row["status"] == "ok", row["reason"]
        validate_dataset(scans / "derivatives/ds005" / recipe, tmp_path / "v.json", tmp_path / "v.tsv")
        assert "error" not in read_json(tmp_path / "v.json")["counts"]
    (path,) = (scans / "features/ds005/precomputed_func/head_motion").glob("*.npz")
    assert np.isfinite(Bundle.open(path)["x"]).any()


def test_features_of_a_real_run_carry_its_motion(scans):
    (path,) = (scans / "features/pumi/native_func/few").glob("*.npz")
    bundle = Bundle.open(path)
    assert len(bundle) == 1
    assert np.isfinite(bundle["x"]).all()
    (quality,) = read_tsv(scans / "quality/pumi/native_func.tsv")
    assert float(bundle.rows["mean_fd"][0]) == pytest.approx(float(quality["fd_mean"]), rel=0.1)
