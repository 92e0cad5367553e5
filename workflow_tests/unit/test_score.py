"""Scoring and summaries against independent computations, and what scoring refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from planted_scores import NULLS, planted_scores, run_folder
from replicortex.bundle import Bundle
from replicortex.errors import InputError
from replicortex.files import digest_file, read_tsv, to_json, to_tsv
from replicortex.stages.score import score_predictions

METRICS = {"roc_auc": {}, "accuracy": {}}


@pytest.fixture
def trials():
    """Twenty trials in each of two sessions of two subjects, in two folds a session."""
    generator = np.random.default_rng(0)
    rows = {
        "subject": np.repeat(["01", "02"], 40),
        "session": np.tile(np.repeat(["1", "2"], 20), 2),
        "run": np.full(80, "1"),
        "fold": np.tile(["0", "1"], 40),
        "target": np.tile(["left", "left", "right", "right"], 20),
    }
    rows["fold"] = np.array(["_".join(key) for key in zip(rows["subject"], rows["session"], rows["fold"], strict=True)])
    rows["row"] = np.array([f"row_{i:03d}" for i in range(80)])
    y_score = generator.normal(size=(80, 2)) + (rows["target"][:, None] == ["left", "right"])
    return rows, y_score


def written(folder, rows, y_score, name="0of1", chosen=None):
    """Write one part as the fitting stage does; return the paths of its record and predictions."""
    rows = {
        **rows,
        "scheme": np.full(len(rows["row"]), "within_session"),
        "seed": np.zeros(len(rows["row"]), int),
    }
    key = zip(rows["scheme"], rows["fold"], rows["seed"].astype(str), rows["row"], strict=True)
    rows["row_id"] = np.array(["|".join(entry) for entry in key])
    predictions = folder / name / "predictions.npz"
    predictions.parent.mkdir(parents=True)
    Bundle({"y_score": y_score}, rows, {"class": ["left", "right"]}).save(predictions)
    folds = {f"within_session|{fold}": {"chosen": (chosen or {}).get(fold, {})} for fold in rows["fold"]}
    record = folder / name / "fit.json"
    record.write_text(to_json({"name": "tuned", "seed": 0, "folds": folds, "predictions": digest_file(predictions)}))
    return record, predictions


def write_targets(folder, rows):
    path = folder / "targets.tsv"
    listed = [{"row_id": row, "target": target} for row, target in zip(rows["row"], rows["target"], strict=True)]
    path.write_text(to_tsv(listed, ["row_id", "target"]))
    return path


def score(folder, parts, targets, metrics=METRICS, **options):
    out = folder / "scores.tsv"
    fits, predictions = zip(*parts, strict=True)
    score_predictions(fits, predictions, targets, out, metrics, "run", "observed", **options)
    return read_tsv(out)


def test_each_fold_is_scored_by_itself(tmp_path, trials):
    rows, y_score = trials
    table = score(tmp_path, [written(tmp_path, rows, y_score)], write_targets(tmp_path, rows))
    assert len(table) == 8 * len(METRICS)
    for row in table:
        here = (rows["fold"] == row["fold"]) & (rows["subject"] == row["subject"])
        assert int(row["n"]) == here.sum() == 10
        if row["metric"] == "roc_auc":
            expected = roc_auc_score(rows["target"][here] == "right", (y_score[:, 1] - y_score[:, 0])[here])
        else:
            hit = np.where(y_score[here].argmax(1) == 1, "right", "left") == rows["target"][here]
            expected = hit.mean()
            # Leaving out one row at a time gives the binomial error exactly.
            assert float(row["error"]) == pytest.approx(np.sqrt(expected * (1 - expected) / 9))
        assert float(row["value"]) == pytest.approx(expected)
        assert float(row["chance"]) == 0.5


def test_parts_make_no_difference(tmp_path, trials):
    rows, y_score = trials
    targets = write_targets(tmp_path, rows)
    score(tmp_path, [written(tmp_path, rows, y_score)], targets)
    whole = (tmp_path / "scores.tsv").read_bytes()
    number = np.unique(rows["fold"], return_inverse=True)[1]
    parts = [
        written(tmp_path, {k: v[number % 3 == i] for k, v in rows.items()}, y_score[number % 3 == i], f"{i}of3")
        for i in range(3)
    ]
    score(tmp_path, parts[::-1], targets)
    assert (tmp_path / "scores.tsv").read_bytes() == whole


def test_what_one_fit_found_out_counts_once_however_many_people_it_is_tried_on(tmp_path, trials):
    rows, y_score = trials
    rows["fold"] = np.where(rows["session"] == "1", "fold-0", "fold-1")
    chosen = {"fold-0": {"ranking": ["a", "b"]}, "fold-1": {"ranking": ["c", "d"]}}
    (tmp_path / "truth.json").write_text(to_json({"facts": {"support": ["a", "b"]}}))
    metrics = {"support_recall": {"expected_by_chance": 0.1}, "accuracy": {}}
    parts = [written(tmp_path, rows, y_score, chosen=chosen)]
    table = score(tmp_path, parts, write_targets(tmp_path, rows), metrics, truth=tmp_path / "truth.json")
    found = [(row["subject"], row["session"], row["per"], row["value"]) for row in table if row["metric"] != "accuracy"]
    assert found == [("fold-0", "n/a", "fold", "1.0"), ("fold-1", "n/a", "fold", "0.0")]
    assert len([row for row in table if row["metric"] == "accuracy"]) == 4


def test_one_class_has_no_value_and_a_reason(tmp_path, trials):
    rows, y_score = trials
    rows["target"] = np.where(rows["fold"] == "01_1_0", "left", rows["target"])
    table = score(tmp_path, [written(tmp_path, rows, y_score)], write_targets(tmp_path, rows))
    undefined = [row for row in table if row["value"] == "n/a"]
    assert {row["fold"] for row in undefined} == {"01_1_0"}
    assert {row["reason"] for row in undefined} == {"held-out rows have one class only (left)"}


def test_a_prediction_that_is_not_finite_is_refused(tmp_path, trials):
    rows, y_score = trials
    y_score[[17, 60]] = np.nan
    with pytest.raises(InputError, match=r"tuned, fold within_session\|01_1_1: y_score of row row_017 is not .* \(2"):
        score(tmp_path, [written(tmp_path, rows, y_score)], write_targets(tmp_path, rows))
    assert not (tmp_path / "scores.tsv").exists()


def test_what_does_not_belong_together_is_refused(tmp_path, trials):
    rows, y_score = trials
    part = written(tmp_path, rows, y_score)
    other = {**rows, "target": rows["target"][::-1]}
    with pytest.raises(InputError, match=r"targets.tsv: target of row row_000 is right, tuned was held against left"):
        score(tmp_path, [part], write_targets(tmp_path, other))
    targets = write_targets(tmp_path, rows)
    with pytest.raises(InputError, match="parts do not fit together"):
        score(tmp_path, [part, part], targets)
    content = bytearray(part[1].read_bytes())
    content[-1] ^= 1
    part[1].write_bytes(content)
    with pytest.raises(InputError, match=r"predictions.npz: is not what fit.json beside it records"):
        score(tmp_path, [part], targets)


def test_what_a_search_chose_is_scored_against_the_truth(tmp_path, trials):
    rows, y_score = trials
    chosen = {fold: {"order": 1 + (fold.endswith("1"))} for fold in set(rows["fold"])}
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"truth": "planted", "facts": {"order": 2}}))
    part, targets = written(tmp_path, rows, y_score, chosen=chosen), write_targets(tmp_path, rows)
    share = {"parameter": "order", "expected_by_chance": 0.75}
    at_least = score(tmp_path, [part], targets, {"chosen_share": {**share, "at_least": 2}})
    planted = score(tmp_path, [part], targets, {"chosen_share": {**share, "planted": "order"}}, truth=truth)
    assert at_least == planted
    assert {(row["fold"][-1], row["value"], row["chance"]) for row in planted} == {
        ("0", "0.0", "0.75"),
        ("1", "1.0", "0.75"),
    }
    unknown = score(tmp_path, [part], targets, {"chosen_share": {**share, "planted": "order"}})
    assert {row["value"] for row in unknown} == {"n/a"}
    with pytest.raises(InputError, match="needs one of at_least and planted"):
        score(tmp_path, [part], targets, {"chosen_share": share})


def test_more_parts_than_folds(tmp_path, trials):
    rows, y_score = trials
    nothing = {name: column[:0] for name, column in rows.items()}
    parts = [written(tmp_path, rows, y_score, "0of2"), written(tmp_path, nothing, y_score[:0], "1of2")]
    assert len(score(tmp_path, parts, write_targets(tmp_path, rows))) == 8 * len(METRICS)


def test_summary_is_what_a_hand_calculation_gives(tmp_path):
    folds = planted_scores({"a": 0.8}, n_subjects=5)
    folds.loc[(folds["subject"] == "03") & (folds["variant"] == "observed"), "value"] = np.nan
    paths = run_folder(tmp_path, folds, [])
    cells, summary = read_tsv(paths["scores"]), read_tsv(paths["summary"])

    def mean(variant, subject, session):
        picked = (folds["variant"] == variant) & (folds["subject"] == subject) & (folds["session"] == session)
        return folds.loc[picked, "value"].mean()

    cell = next(row for row in cells if (row["variant"], row["subject"], row["session"]) == ("observed", "02", "1"))
    assert float(cell["value"]) == pytest.approx(mean("observed", "02", "1"))
    assert float(cell["null"]) == pytest.approx(np.mean([mean(name, "02", "1") for name in NULLS]))
    assert int(cell["n"]) == 16
    # Two folds of independent rows, each with error 0.05.
    half = 1.959964 * 0.05 / np.sqrt(2)
    assert float(cell["ci_high"]) - float(cell["value"]) == pytest.approx(half, rel=1e-6)

    observed = next(row for row in summary if (row["variant"], row["unit"]) == ("observed", "subject"))
    subjects = [np.mean([mean("observed", s, "1"), mean("observed", s, "2")]) for s in ("01", "02", "04", "05")]
    assert int(observed["n_units"]) == 4
    assert float(observed["mean"]) == pytest.approx(np.mean(subjects))
    assert float(observed["p_permutation"]) == 1 / 4
    assert [row["p_permutation"] for row in summary if row["variant"] != "observed"] == ["n/a"] * 6


def test_subject_labels_stay_text(tmp_path):
    paths = run_folder(tmp_path, planted_scores({"a": 0.8}, n_subjects=2), [])
    assert {row["subject"] for row in read_tsv(paths["scores"])} == {"01", "02"}
