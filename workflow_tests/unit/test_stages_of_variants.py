"""Stages without targets: null variants take them over from the observed targets, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from made_data import sensors
from replicortex.components import load
from replicortex.files import read_json, to_json, write_text
from replicortex.stages.fit import fit
from replicortex.stages.guard import check_leaks
from replicortex.stages.splits import make_splits

STAGES = ("brain_tokenizer", "brain_omni")
SCHEMES = {"leave_one_subject_out": {}}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def fitted(monkeypatch):
    """Names of the methods whose ``fit`` was called."""
    called = []
    for name in STAGES:
        cls = load("methods", name)

        def spied(self, train, seed, real=cls.fit, name=name):
            called.append(name)
            assert "target" not in train.rows
            assert "label" not in train.rows
            return real(self, train, seed)

        monkeypatch.setattr(cls, "fit", spied)
    return called


def run(folder, variant, observed=None, rows=slice(None)):
    """Fit both stages of a variant as the rules do; ``observed`` is the folder of another such run."""
    folder.mkdir()
    bundle = sensors(n_trials=24)
    bundle = bundle.take(np.arange(len(bundle))[rows])
    bundle.save(folder / "features.npz")
    splits, targets, features = folder / "splits.tsv", folder / "targets.tsv", [folder / "features.npz"]
    classes = sorted(set(bundle.rows["label"]))
    make_splits(features, splits, targets, SCHEMES, variant, classes, 0, exchangeable=["subject"])
    parent = None
    for name in STAGES:
        (folder / name).mkdir()
        models, record = written = written_by(folder, name)
        given = {"parent": parent, "observed": observed and written_by(observed, name), "variant": variant}
        fit(
            features, splits, targets, folder / name / "predictions.npz", models, record, name=name, method=name,
            params={**load("methods", name).tiny, "epochs": 1}, part="0of1", seed=0, **given,
        )  # fmt: skip
        parent = written
        check_leaks([record], splits, targets, folder / name / "guard.json", SCHEMES)


def written_by(folder, name):
    return folder / name / "models.zip", folder / name / "fit.json"


def test_targets_that_were_permuted_change_no_stage_and_none_is_fitted_again(tmp_path, fitted):
    run(tmp_path / "observed", "observed")
    assert fitted == ["brain_tokenizer"] * 3 + ["brain_omni"] * 3
    run(tmp_path / "apart", "null-1")
    assert len(fitted) == 12
    run(tmp_path / "null", "null-1", tmp_path / "observed")
    assert len(fitted) == 12, "taken over"
    for name in STAGES:
        (observed, first), (apart, second), (null, third) = (
            written_by(tmp_path / folder, name) for folder in ("observed", "apart", "null")
        )
        assert observed.read_bytes() == apart.read_bytes() == null.read_bytes()
        records = [read_json(path)["folds"] for path in (first, second, third)]
        assert records[0] == records[1]
        assert records[2] == {key: {**fold, "taken_over": True} for key, fold in records[0].items()}


def test_what_was_fitted_on_other_rows_is_not_taken_over(tmp_path, fitted):
    run(tmp_path / "observed", "observed", rows=slice(16))
    fitted.clear()
    # One person more: of the folds none has the same training rows.
    run(tmp_path / "null", "null-1", tmp_path / "observed")
    assert fitted == ["brain_tokenizer"] * 3 + ["brain_omni"] * 3


def test_what_started_from_another_model_is_not_taken_over(tmp_path, fitted):
    run(tmp_path / "observed", "observed")
    fitted.clear()
    _, path = written_by(tmp_path / "observed", "brain_omni")
    record = read_json(path)
    next(iter(record["folds"].values()))["started_from"] = "another"
    write_text(path, to_json(record))
    run(tmp_path / "null", "null-1", tmp_path / "observed")
    assert fitted == ["brain_omni"]
