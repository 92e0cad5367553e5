"""Targets of subjects rather than of rows: who is permuted, what methods are told, how subjects share a score."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv, to_tsv, write_text
from replicortex.shared.statistics import paired_p, pseudo_values
from replicortex.stages.fit import read_covariates
from replicortex.stages.splits import make_splits, permute_subjects, read_folds, read_variable

SITES = ("a", "b")


def predictions(y_score: np.ndarray) -> Bundle:
    names = np.array([f"{i:03d}" for i in range(len(y_score))])
    return Bundle(
        {"y_score": np.column_stack([-y_score, y_score])},
        {"row_id": names, "subject": names},
        {"class": ["control", "patient"]},
    )


def delong(target: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Areas and their covariance after DeLong (1988), computed from every pair of subjects."""
    v10, v01 = [], []
    for score in scores:
        wins = (score[target][:, None] > score[~target][None, :]) + 0.5 * (
            score[target][:, None] == score[~target][None, :]
        )
        v10.append(wins.mean(axis=1))
        v01.append(wins.mean(axis=0))
    covariance = np.cov(v10) / target.sum() + np.cov(v01) / (~target).sum()
    return np.mean(v10, axis=1), covariance


def test_pseudo_values_of_the_area_give_delongs_area_error_and_test():
    generator = np.random.default_rng(0)
    target = np.arange(90) < 40
    scores = [generator.standard_normal(90) + gain * target for gain in (0.9, 0.6)]
    scores[1] += 0.7 * scores[0]
    area, covariance = delong(target, scores)
    metric, labels = make("metrics", "roc_auc", {}), np.where(target, "patient", "control")
    values = []
    for score in scores:
        bundle = predictions(score)
        values.append(
            pseudo_values(lambda rows, b=bundle: metric.score(labels[rows], b.take(rows)), bundle.rows["subject"])
        )
    values = np.array(values)
    np.testing.assert_allclose(values.mean(axis=1), area, atol=1e-12)
    # Up to n / (n - 1) in the variance, which the jackknife and DeLong count differently.
    np.testing.assert_allclose(np.cov(values) / 90, covariance, rtol=0.04, atol=1e-5)
    z = (area[0] - area[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert paired_p(values[0] - values[1], symmetric=False) == pytest.approx(stats.norm.sf(z), abs=0.01)


def test_pseudo_values_of_a_mean_are_the_values():
    x, groups = np.array([1.0, 5.0, 2.0, 2.0]), np.array(["a", "b", "c", "d"])
    np.testing.assert_allclose(pseudo_values(lambda rows: x[rows].mean(), groups), x)


def test_a_skewed_score_is_not_tested_by_ranks():
    """90 % of subjects right, tested against 0.85: ranks would be sure of the contrary of what the mean says."""
    right = (np.arange(200) < 180).astype(float)
    assert paired_p(right - 0.85, symmetric=False) == pytest.approx(
        stats.ttest_1samp(right, 0.85, alternative="greater").pvalue
    )
    assert paired_p(right - 0.85) < 1e-6


def test_subjects_are_permuted_whole_and_inside_their_block():
    subjects = np.repeat([f"{i:02d}" for i in range(20)], 3)
    sites = np.where(np.repeat(np.arange(20), 3) < 10, "a", "b")
    target = np.where(np.repeat(np.arange(20), 3) % 10 < 3, "patient", "control")
    permuted = permute_subjects(target, subjects, sites, seed=[0, 1])
    assert (permuted != target).any()
    for subject in np.unique(subjects):
        assert len(set(permuted[subjects == subject])) == 1
    for site in SITES:
        assert sorted(permuted[sites == site]) == sorted(target[sites == site])
    with pytest.raises(InputError, match="more than one exchangeability block"):
        permute_subjects(target, subjects, np.tile(["x", "y", "z"], 20), seed=0)


@pytest.fixture
def study(tmp_path):
    """Features of 12 subjects with two runs each, and the table of participants."""
    subjects = [f"{i:02d}" for i in range(12)]
    rows = [(subject, run) for subject in subjects for run in ("1", "2")]
    columns = {
        "row_id": np.array([f"sub-{s}_run-{r}" for s, r in rows]),
        "subject": np.array([s for s, _ in rows]),
        "session": np.full(24, "n/a"),
        "run": np.array([r for _, r in rows]),
        "mean_fd": np.linspace(0.1, 0.3, 24),
    }
    Bundle({"x": np.zeros((24, 2), np.float32)}, columns).save(tmp_path / "x.npz")
    people = [
        {
            "participant_id": f"sub-{s}",
            "DX": str(1 + i % 2),
            "AGE": f"{20 + i}.5" if i != 3 else None,
            "place": SITES[i // 6],
        }
        for i, s in enumerate(subjects)
    ]
    write_text(tmp_path / "participants.tsv", to_tsv(people, ["participant_id", "DX", "AGE", "place"]))
    variables = {
        "diagnosis": {"column": "DX", "values": {"patient": [1], "control": ["2"]}},
        "age": {"column": "AGE"},
        "site": {"column": "place"},
    }

    def split(variant="observed", **given):
        given = {"task": "classify", "target": "diagnosis", "classes": ["patient", "control"], **given}
        make_splits(
            [tmp_path / "x.npz"],
            tmp_path / "splits.tsv",
            tmp_path / "targets.tsv",
            given.pop("schemes", {"leave_one_subject_out": {}}),
            variant,
            seed=0,
            participants=tmp_path / "participants.tsv",
            variables=variables,
            exchangeable=["site"],
            covariates=["site", "mean_fd"],
            **given,
        )
        return read_folds(tmp_path / "splits.tsv", tmp_path / "targets.tsv")

    split.folder = tmp_path
    return split


def test_targets_and_covariates_come_from_the_participants(study):
    rows, folds = study()
    assert len(folds) == 12
    assert {row["subject"]: row["target"] for row in rows.values()} == {
        f"{i:02d}": ("patient", "control")[i % 2] for i in range(12)
    }
    covariates = read_covariates(rows, list(rows))
    np.testing.assert_allclose(covariates["mean_fd"], np.linspace(0.1, 0.3, 24))
    assert list(covariates["site"]) == ["a"] * 12 + ["b"] * 12


def test_numbers_to_regress_leave_out_who_has_none(study):
    rows, _ = study(task="regress", target="age", classes=[])
    assert {row["subject"] for row in rows.values()} == {f"{i:02d}" for i in range(12) if i != 3}
    assert float(rows["sub-05_run-1"]["target"]) == 25.5


def test_a_null_variant_permutes_subjects_within_sites(study):
    observed, _ = study()
    permuted, _ = study(variant="null-1")
    changed = [row for row in observed if observed[row]["target"] != permuted[row]["target"]]
    assert changed
    for site in SITES:
        mine = [row for row in observed if observed[row]["site"] == site]
        assert sorted(observed[r]["target"] for r in mine) == sorted(permuted[r]["target"] for r in mine)
    by_subject = {}
    for row in permuted.values():
        by_subject.setdefault(row["subject"], set()).add(row["target"])
    assert all(len(values) == 1 for values in by_subject.values())


def test_to_select_the_subject_is_the_target(study):
    rows, folds = study(task="select", target=None, classes=[], schemes={"k_fold": {"folds": 2, "repeats": 3}})
    assert len(folds) == 6
    assert all(row["target"] == row["subject"] for row in rows.values())


def test_a_target_that_is_not_there_or_is_also_a_covariate_is_refused(study):
    with pytest.raises(InputError, match="has no column 'iq'"):
        study(target="iq")
    with pytest.raises(InputError, match="the target site is also a covariate"):
        study(target="site")


def test_values_stand_for_classes(study):
    table = study.folder / "participants.tsv"
    assert set(read_variable(table, "diagnosis", {"diagnosis": {"column": "DX", "values": {"p": [1]}}}).values()) == {
        "p",
        "n/a",
    }
    assert read_variable(table, "weight", {}) is None
    assert read_tsv(table)[3]["AGE"] == "n/a"
