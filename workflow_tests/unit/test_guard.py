"""The leak guard, on leaks that were made on purpose, through the real stages."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from sklearn.feature_selection import f_classif

from made_data import trials
from replicortex import components, guard
from replicortex.bundle import Bundle
from replicortex.components import Splitter, component
from replicortex.errors import DamagedError
from replicortex.files import read_json, to_json, write_text
from replicortex.stages.fit import fit
from replicortex.stages.guard import check_leaks
from replicortex.stages.splits import make_splits


def evaluate(folder, bundle, schemes, method="mdm", params=None, **given):
    """Run splits, fit and guard as the rules do."""
    folder.mkdir(exist_ok=True)
    bundle.save(folder / "features.npz")
    splits, targets, record = folder / "splits.tsv", folder / "targets.tsv", folder / "fit.json"
    make_splits([folder / "features.npz"], splits, targets, schemes, "observed", ["left_hand", "right_hand"], 0)
    fit(
        features=[folder / "features.npz"],
        splits=splits,
        targets=targets,
        predictions=folder / "predictions.npz",
        models=folder / "models.zip",
        record=record,
        name="tested",
        method=method,
        params=params or {"n_shrinkages": 1, "n_inner": 2},
        variant="observed",
        part="0of1",
        seed=0,
        **given,
    )
    check_leaks([record], splits, targets, folder / "guard.json", schemes)
    return folder / "guard.json"


SUBJECTS = {"leave_one_subject_out": {}}


def check_again(folder):
    """Run the guard alone on what :func:`evaluate` left."""
    names = ("splits.tsv", "targets.tsv", "guard.json")
    check_leaks([folder / "fit.json"], *(folder / name for name in names), SUBJECTS)


def test_a_clean_run_passes_and_says_what_was_checked(tmp_path):
    report = evaluate(tmp_path, trials(n_subjects=3, n_trials=12), SUBJECTS)
    assert read_json(report) == {"folds": 3, "fits": 3, "records": 1, "leaks": 0}


def test_selection_before_the_split_is_caught(tmp_path):
    """Channels chosen by their labels over all rows, as a feature step might do: the mark travels in the bundle."""
    bundle = trials(n_subjects=3, n_trials=12)
    power = np.log(bundle["x"].var(axis=-1))
    best = np.sort(np.argsort(f_classif(power, bundle.rows["label"])[0])[-3:])
    chosen = Bundle({"x": bundle["x"][:, best]}, bundle.rows, {**bundle.axes, "channel": best.tolist()}, bundle.meta)
    leaky = guard.fitted_transform("SelectKBest", bundle, chosen)
    with pytest.raises(guard.LeakError, match=r"SelectKBest was fitted on 12 held-out row\(s\) of subject 00"):
        evaluate(tmp_path, leaky, SUBJECTS)
    assert not (tmp_path / "guard.json").exists()


def test_selection_on_other_subjects_only_passes(tmp_path):
    """The same selection, fitted on a subject that is not part of the evaluation, is no leak."""
    bundle = trials(n_subjects=4, n_trials=12)
    others = bundle.rows["subject"] == "03"
    marked = guard.fitted_transform("SelectKBest", bundle.take(others), bundle.take(~others))
    assert evaluate(tmp_path, marked, SUBJECTS).exists()


def test_a_subject_on_both_sides_is_caught_before_anything_is_fitted(tmp_path, monkeypatch):
    @component
    class ShuffledSubjects(Splitter):
        """Claims to hold out subjects, but shuffles trials."""

        held_out = "subject"

        def split(self, rows, target, seed):
            order = np.random.default_rng(seed).permutation(len(target))
            yield "shuffled", order[::2], order[1::2]

    real = components.load
    monkeypatch.setattr(
        components,
        "load",
        lambda kind, name: ShuffledSubjects if name == "shuffled_subjects" else real(kind, name),
    )
    with pytest.raises(guard.LeakError, match="subject 00 is on both sides"):
        evaluate(tmp_path, trials(n_subjects=3, n_trials=12), {"shuffled_subjects": {}})
    assert not (tmp_path / "splits.tsv").exists()
    assert not (tmp_path / "predictions.npz").exists()


def test_a_splits_file_edited_by_hand_is_caught(tmp_path):
    evaluate(tmp_path, trials(n_subjects=3, n_trials=12), SUBJECTS)
    (tmp_path / "guard.json").unlink()
    lines = (tmp_path / "splits.tsv").read_text().splitlines()
    moved = next(i for i, line in enumerate(lines) if "\tsub-01\t" in line and line.endswith("\ttest"))
    lines[moved] = lines[moved].removesuffix("test") + "train"
    (tmp_path / "splits.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(guard.LeakError, match="subject 01 is on both sides"):
        check_again(tmp_path)


def test_a_model_that_started_from_one_that_saw_the_subject_is_caught(tmp_path):
    """``init_from``: lineage of a parent fitted on a held-out subject's other rows."""
    bundle = trials(n_subjects=3, n_trials=12)
    parent = bundle.take(bundle.rows["subject"] == "02")
    other_rows = parent.with_rows(row_id=np.char.add("pretraining_", parent.rows["row_id"]))
    marked = guard.fitted_transform("Tokenizer", other_rows, bundle)
    with pytest.raises(guard.LeakError, match="Tokenizer has seen the held-out subject 02"):
        evaluate(tmp_path, marked, SUBJECTS)


def test_what_a_parent_saw_counts_as_seen_and_its_models_are_those_of_the_fold(tmp_path, monkeypatch):
    bundle = trials(n_subjects=3, n_trials=12)
    evaluate(tmp_path / "parent", bundle, SUBJECTS, "csp_lda", {"n_inner": 2})
    parent = [tmp_path / "parent" / name for name in ("models.zip", "fit.json")]
    cls, given = components.load("methods", "mdm"), []
    real = cls.fit

    def spy(self, train, seed):
        given.append((set(train.rows["subject"]), self.context.parent))
        return real(self, train, seed)

    monkeypatch.setattr(cls, "fit", spy)
    report = evaluate(tmp_path / "child", bundle, SUBJECTS, parent=parent)
    folds = read_json(tmp_path / "child/fit.json")["folds"]
    for fold in folds.values():
        assert {entry["artefact"] for entry in fold["seen"]} == {"Mdm", "tested: CspLda"}
    assert read_json(report)["fits"] == 6, "those of the parent are checked again"
    for (subjects, model), key in zip(given, folds, strict=True):
        held_out = bundle.take(bundle.rows["subject"] == key.split("-")[-1]).with_rows(label=None)
        assert not subjects & set(held_out.rows["subject"])
        # Fitted on the same fold: another fold's model would give other scores.
        with zipfile.ZipFile(parent[0]) as archive:
            alone = components.make("methods", "csp_lda", {"n_inner": 2})
            alone.restore(archive.read(key.replace("|", "/")))
        np.testing.assert_array_equal(model.predict(held_out)["y_score"], alone.predict(held_out)["y_score"])


def test_a_parent_that_was_fitted_on_a_held_out_subject_stops_the_run(tmp_path):
    """The whole chain is guarded: here the grandparent saw the subject, and everything between is clean."""
    bundle = trials(n_subjects=3, n_trials=12)
    evaluate(tmp_path / "first", bundle, SUBJECTS, "csp_lda", {"n_inner": 2})
    record = read_json(tmp_path / "first/fit.json")
    fold = record["folds"]["leave_one_subject_out|sub-02"]
    other = bundle.take(bundle.rows["subject"] == "02")
    fold["seen"].append(guard.entry("Tokenizer", other))
    write_text(tmp_path / "first/fit.json", to_json(record))
    chain = [[tmp_path / name / file for file in ("models.zip", "fit.json")] for name in ("first", "second")]
    with pytest.raises(guard.LeakError):
        evaluate(tmp_path / "second", bundle, SUBJECTS, "csp_lda", {"n_inner": 2}, parent=chain[0])
    with pytest.raises(guard.LeakError, match="tested: tested: Tokenizer was fitted on 12 held-out"):
        evaluate(tmp_path / "third", bundle, SUBJECTS, parent=chain[1])


def test_models_of_a_parent_that_are_not_those_it_recorded_are_refused(tmp_path):
    bundle = trials(n_subjects=3, n_trials=12)
    evaluate(tmp_path / "parent", bundle, SUBJECTS)
    parent = [tmp_path / "parent" / name for name in ("models.zip", "fit.json")]
    with parent[0].open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(DamagedError, match=r"models\.zip: is not what fit\.json"):
        evaluate(tmp_path / "child", bundle, SUBJECTS, parent=parent)


def test_the_method_never_gets_labels_of_held_out_rows(tmp_path, monkeypatch):
    seen = []
    cls = components.load("methods", "mdm")
    real = cls.predict

    def spy(self, test):
        seen.append(set(test.rows))
        return real(self, test)

    monkeypatch.setattr(cls, "predict", spy)
    evaluate(tmp_path, trials(n_subjects=3, n_trials=12), SUBJECTS)
    assert seen
    assert all(not {"label", "target"} & columns for columns in seen)


def test_null_variants_permute_within_blocks_only(tmp_path):
    bundle = trials(n_subjects=2, n_sessions=2, n_trials=10)
    bundle.save(tmp_path / "features.npz")
    tables = {}
    for variant in ("observed", "null-1", "null-2"):
        make_splits(
            [tmp_path / "features.npz"],
            tmp_path / f"{variant}.splits.tsv",
            tmp_path / f"{variant}.tsv",
            {"within_session": {"folds": 2}},
            variant,
            ["left_hand", "right_hand"],
            0,
        )
        lines = [line.split("\t") for line in (tmp_path / f"{variant}.tsv").read_text().splitlines()]
        tables[variant] = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert all(row["label"] == row["target"] for row in tables["observed"])
    assert [r["target"] for r in tables["null-1"]] != [r["target"] for r in tables["null-2"]]
    for variant in ("null-1", "null-2"):
        for place in {(row["subject"], row["session"]) for row in tables[variant]}:
            here = [row for row in tables[variant] if (row["subject"], row["session"]) == place]
            assert sorted(r["target"] for r in here) == sorted(r["label"] for r in here)
            assert [r["target"] for r in here] != [r["label"] for r in here]


def test_a_fit_on_other_rows_than_the_splits_say_is_caught(tmp_path):
    """A splits table cut at a line end is well formed; the fit knows which rows it was given."""
    evaluate(tmp_path, trials(n_subjects=3, n_trials=12), SUBJECTS)
    (tmp_path / "guard.json").unlink()
    lines = (tmp_path / "splits.tsv").read_text().splitlines(keepends=True)
    dropped = next(line for line in lines if line.endswith("\ttrain\n"))
    (tmp_path / "splits.tsv").write_text("".join(line for line in lines if line != dropped))
    with pytest.raises(guard.LeakError, match="was not fitted on the training rows of the splits"):
        check_again(tmp_path)
