"""What every splitter must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import numpy as np
import pytest

from made_data import trials
from replicortex import guard
from replicortex.components import load, make, names


@pytest.fixture(params=names("splitters"))
def splitter(request):
    return make("splitters", request.param, load("splitters", request.param).tiny)


ROWS = trials(n_subjects=3, n_sessions=2, n_trials=8).rows
# Uneven on purpose: one subject lacks most of a session, another has one session only.
KEEP = ~((ROWS["subject"] == "01") & (ROWS["session"] == "1")) & ~(
    (ROWS["subject"] == "02") & (ROWS["session"] == "1") & (np.arange(len(ROWS["subject"])) % 8 > 3)
)
_NUMBER = np.arange(len(ROWS["subject"]))
# Segments of two rows each, which have an example of each class, as text: so do the columns reach a splitter.
_TIME = {"segment": np.char.mod("trial%d", _NUMBER // 2), "onset": np.char.mod("%.1f", 0.1 * _NUMBER)}
_NODES = {"node_from": np.char.mod("N%d", _NUMBER // 2 % 6), "node_to": np.char.mod("N%d", _NUMBER // 12)}
ROWS = {**ROWS, **_TIME, **_NODES, "site": np.char.add("site", ROWS["subject"])}
UNEVEN = {name: column[KEEP] for name, column in ROWS.items()}


def shown(rows):
    """The same rows with stimuli for labels: of each subject the first four twice, the others once."""
    label = np.empty(len(rows["label"]), "U8")
    for subject in np.unique(rows["subject"]):
        here = np.flatnonzero(rows["subject"] == subject)
        label[here] = [f"image{i if i < 4 else max(i - 4, 4)}" for i in range(len(here))]
    return {**rows, "label": label}


@pytest.mark.parametrize("rows", [ROWS, UNEVEN], ids=["even", "uneven"])
def test_folds_hold_out_whole_units_and_every_row_once(splitter, rows):
    whole = rows is ROWS
    rows = shown(rows) if splitter.held_out == "stimulus" else rows
    target = rows["label"]
    folds = list(splitter.split(rows, target, seed=0))
    assert folds
    held = np.concatenate([test for _, _, test in folds])
    assert len(held) == len(np.unique(held)), "a row is held out more than once"
    assert len({name for name, _, _ in folds}) == len(folds), "fold names repeat"
    for name, train, test in folds:
        guard.check_splits("scheme", name, splitter.held_out, rows, train, test)
        if splitter.held_out != "stimulus":
            assert set(target[train]) == set(target), "a training side lacks a class"
    if whole and type(splitter).__name__ not in ("RepeatedStimuli", "ExternalCohort", "ForwardInTime", "HoldOut"):
        assert len(held) == len(target), "a row is never held out"


def test_says_whether_subjects_train_one_anothers_folds(splitter):
    rows = shown(ROWS) if splitter.held_out == "stimulus" else ROWS
    trained = set()
    for _, train, test in splitter.split(rows, rows["label"], seed=0):
        sides = [np.unique(rows["subject"][side]) for side in (train, test)]
        trained |= {(one, other) for one in sides[0] for other in sides[1] if one != other}
    assert splitter.crossed == any((other, one) in trained for one, other in trained)


def test_same_seed_same_folds(splitter):
    rows = shown(ROWS) if splitter.held_out == "stimulus" else ROWS
    first, second = (
        [(name, train.tolist(), test.tolist()) for name, train, test in splitter.split(rows, rows["label"], seed=5)]
        for _ in range(2)
    )
    assert first == second


def test_says_why_it_can_not_be_used(splitter):
    one = {name: column[:8] for name, column in ROWS.items()}
    if splitter.held_out == "stimulus":
        assert "one" in splitter.unfit({**one, "label": np.full(8, "image")})
        assert splitter.unfit(shown(ROWS)) is None
    elif splitter.held_out == "row":
        assert splitter.unfit(one) is None
    elif splitter.held_out in ("segment", "node"):
        assert "one" in splitter.unfit({name: column[:2] for name, column in ROWS.items()})
        assert splitter.unfit(one) is None
    else:
        assert "one" in splitter.unfit(one)
        assert splitter.unfit(ROWS) is None


def test_within_session_folds_are_balanced_within_runs():
    rows = trials(n_trials=40).rows
    runs = {**rows, "run": np.array(["1", "2"] * 10 + ["2", "1"] * 10)}
    for _, train, _ in make("splitters", "within_session", {"folds": 5}).split(runs, rows["label"], 0):
        counts = [np.sum((runs["run"][train] == run) & (rows["label"][train] == label))
                  for run in ("1", "2") for label in ("left_hand", "right_hand")]  # fmt: skip
        assert max(counts) - min(counts) <= 1, counts


def test_a_model_that_only_knows_the_run_is_at_chance_without_effect():
    """The trap that balance within runs takes away: accuracy below chance from a fold's own imbalance."""
    generator = np.random.default_rng(0)
    rows = trials(n_trials=40).rows
    runs = {**rows, "run": np.repeat([str(i) for i in range(4)], 10)}
    correct = []
    for seed in range(20):
        target = np.concatenate([generator.permutation(["a"] * 5 + ["b"] * 5) for _ in range(4)])
        for _, train, test in make("splitters", "within_session", {"folds": 5}).split(runs, target, seed):
            for i in test:
                here = target[train][runs["run"][train] == runs["run"][i]]
                share = np.mean(here == target[i])
                correct.append(0.5 if share == 0.5 else float(share > 0.5))
    assert abs(np.mean(correct) - 0.5) < 0.02
