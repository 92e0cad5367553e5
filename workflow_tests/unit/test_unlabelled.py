"""Rows without labels: what a null variant exchanges, what decoding hides, and datasets that a reader makes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from made_data import moments
from replicortex.bundle import Bundle
from replicortex.components import Method, Reader, make
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv
from replicortex.stages import fit as fit_stage
from replicortex.stages import gather as gather_stage
from replicortex.stages.score import score_predictions
from replicortex.stages.splits import make_splits, permute_nodes, shift_in_time


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_keeps_what_follows_what_and_moves_by_a_tenth_at_least(seed):
    target = np.arange(60)
    blocks = np.repeat(["a", "b", "c"], [30, 20, 10])
    found = shift_in_time(target, blocks, [0, seed])
    for block in "abc":
        here = np.flatnonzero(blocks == block)
        n, moved = len(here), found[here] - here[0]
        assert set((np.diff(moved)) % n) == {1}
        by = -moved[0] % n
        assert min(by, n - by) >= n // 10


def test_nodes_take_all_their_pairs_with_them():
    generator = np.random.default_rng(0)
    pairs = np.array([(a, b) for a in "pqrstu" for b in "pqrstu" if a != b])
    label = np.where(generator.random(len(pairs)) < 0.3, "yes", "no")
    # A hub stays one: how many of a node's pairs are connected is that of another node.
    found = permute_nodes(label, *pairs.T, np.full(len(pairs), "x"), 3)
    of_node = [sorted(np.sum(values[pairs[:, 0] == node] == "yes") for node in "pqrstu") for values in (label, found)]
    assert of_node[0] == of_node[1]
    assert (found != label).any()
    partly = permute_nodes(label[:-1], *pairs[:-1].T, np.full(len(pairs) - 1, "x"), 3)
    assert np.sum(partly == "n/a") == 1


class LeastSquares(Method):
    """Several numbers by least squares."""

    tasks = frozenset({"decode"})
    state = ("weights_",)

    def fit(self, train, seed):
        self.seen_ = train
        self.weights_ = np.linalg.lstsq(train["x"], train["y"], rcond=None)[0]

    def predict(self, test):
        assert set(test.arrays) == {"x"}
        assert {"target", "label"}.isdisjoint(test.rows)
        return dataclasses.replace(test, arrays={"y_pred": test["x"] @ self.weights_})

    def found(self):
        return {"weights": self.weights_}


@dataclasses.dataclass
class _Plain(LeastSquares):
    pass


def _splits(folder, bundle, variant):
    bundle.save(folder / "x.npz")
    names = [folder / f"{variant}-{name}.tsv" for name in ("splits", "targets")]
    schemes = {"k_fold": {"folds": 3, "repeats": 1}}
    make_splits([folder / "x.npz"], *names, schemes, variant, [], 0, task="decode", exchangeable=["subject"])
    return names


@pytest.mark.parametrize("variant", ["observed", "null-1"])
def test_to_decode_held_out_numbers_are_hidden_and_handed_to_scoring(tmp_path, monkeypatch, variant):
    bundle = moments("decode", n_segments=3)
    rows = {**bundle.rows, "subject": bundle.rows["segment"], "label": np.full(len(bundle), "n/a")}
    bundle = dataclasses.replace(bundle, rows=rows)
    splits, targets = _splits(tmp_path, bundle, variant)
    monkeypatch.setattr(fit_stage, "make", lambda *_: _Plain())
    outputs = [tmp_path / name for name in ("predictions.npz", "models.zip", "fit.json")]
    fit_stage.fit([tmp_path / "x.npz"], splits, targets, *outputs, "lsq", "lsq", {}, variant, "0of1", 0, task="decode")
    predicted = Bundle.open(outputs[0], whole=True)
    position = {name: i for i, name in enumerate(bundle.rows["row_id"])}
    of_row = np.array([position[name] for name in predicted.rows["row"]])
    taken_from = np.array([position[name] for name in predicted.rows["target"]])
    np.testing.assert_array_equal(predicted["y_true"], bundle["y"][taken_from])
    r = np.corrcoef(predicted["y_true"][:, 0], predicted["y_pred"][:, 0])[0, 1]
    if variant == "observed":
        np.testing.assert_array_equal(of_row, taken_from)
        assert r > 0.9
    else:
        assert (of_row != taken_from).all()
        assert abs(r) < 0.5
    record = read_json(outputs[2])
    assert all(np.shape(fold["found"]["weights"]) == (12, 2) for fold in record["folds"].values())
    # Three segments, each a subject here: moments of one are left out together.
    score_predictions([outputs[2]], [outputs[0]], targets, tmp_path / "s.tsv", {}, "run", variant, task="decode")


class _Reader(Reader):
    def __init__(self, rows):
        self.rows = rows

    def read(self, source, root):
        folder = root / "sub-01" / "beh"
        folder.mkdir(parents=True)
        (folder / "sub-01_task-choice_beh.tsv").write_text("trial\tchoice\n1\tleft\n")
        return self.rows


def test_a_reader_makes_a_dataset(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    plan = {"name": "Made", "license": "CC0", "reader": "made"}
    monkeypatch.setattr(gather_stage, "make", lambda *_: _Reader([{"age": None, "participant_id": "sub-01"}]))
    assert gather_stage.gather(source, tmp_path / "bids", plan) == 1
    assert read_tsv(tmp_path / "bids" / "participants.tsv") == [{"participant_id": "sub-01", "age": "n/a"}]
    assert read_json(tmp_path / "bids" / "dataset_description.json")["DatasetType"] == "raw"
    monkeypatch.setattr(gather_stage, "make", lambda *_: _Reader([{"participant_id": "sub-02"}]))
    with pytest.raises(InputError, match="named and written subjects differ"):
        gather_stage.gather(source, tmp_path / "other", plan)
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="a table of participants, or a reader"):
        gather_stage.gather(source, tmp_path / "other", {"name": "Made", "license": "CC0"})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("trial\tchoice\n1\tleft\n2", "another number of cells"),
        ("trial\ttrial\n1\t2\n", "twice"),
        ("trial\tchoice\n", "has no rows"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path, content, fault):
    path = tmp_path / "sub-01" / "beh" / "sub-01_task-choice_beh.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    row = {"path": "sub-01/beh/sub-01_task-choice_beh.tsv", "suffix": "beh", "recording": "sub-01_task-choice"}
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=fault):
        make("preprocessing", "tables").preprocess(row, tmp_path, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
