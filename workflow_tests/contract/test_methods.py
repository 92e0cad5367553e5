"""What every method must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made_data import halves, planted, stimuli, whole_halves
from replicortex import guard
from replicortex.components import Context, load, make, names
from replicortex.errors import InputError
from replicortex.shared.rows import Rows

METHODS = names("methods")
CASES = [(name, task) for name in METHODS for task in sorted(load("methods", name).tasks)]
OUTPUT = {
    "classify": "y_score",
    "regress": "y_pred",
    "select": "y_selected",
    "encode": "y_pred",
    "retrieve": "y_embedding",
    "decode": "y_pred",
    "infer": "log_likelihood",
    "generate": "y_generated",
}
#: Tasks whose held-out rows have something to be told.
TOLD = ("classify", "regress", "encode", "retrieve", "decode")
#: Tasks whose rows follow each other in time: a prediction may depend on the others of its segment.
IN_TIME = ("decode", "infer")


class Case:
    """A method with a task, and data to try it on."""

    def __init__(self, name: str, task: str) -> None:
        self.name, self.task, self.cls = name, task, load("methods", name)

    def make(self):
        return make("methods", self.name, self.cls.tiny)

    def fitted(self, train, seed=0, model=None):
        """A fitted model; where it starts from another, after that."""
        model = model or self.make()
        parent = None
        if self.cls.starts_from:
            name = self.cls.starts_from[0]
            first = load("methods", name)
            task = self.task if self.task in first.tasks else sorted(first.tasks)[0]
            parent = Case(name, task).fitted(train, seed)
        shown = stimuli() if self.task in ("encode", "retrieve") else None
        model.context = Context(self.name, "made", parent=parent, stimuli=shown)
        model.fit(train, seed=seed)
        return model

    def halves(self, **given):
        """Training rows, and held-out rows as the stage hands them over."""
        bundle = self.data(**given)
        train, test = (whole_halves if self.task in IN_TIME else halves)(bundle)
        if self.task == "encode":
            label = dict(zip(bundle.rows["row_id"], bundle.rows["label"], strict=True))
            asked = np.array([label[row] for row in test.rows["row_id"]])
            test = dataclasses.replace(test.with_rows(target=asked), arrays={})
        return bundle, train, test

    def data(self, **given):
        return planted(self.cls.needs, self.task, **given)

    def output(self, model, test):
        predicted = model.predict(test)
        # A step for others is judged by what it learned.
        return np.frombuffer(model.dump(), np.uint8) if self.task == "pretrain" else predicted[OUTPUT[self.task]]

    def knowledge(self, model, bundle, test):
        """How far predictions tell held-out rows apart: area under the curve, or the same of ranks of numbers."""
        label = dict(zip(bundle.rows["row_id"], bundle.rows["label"], strict=True))
        truth = np.array([label[row] for row in test.rows["row_id"]])
        predicted = model.predict(test)
        if self.task == "decode":
            rows = np.isin(bundle.rows["row_id"], test.rows["row_id"])
            pairs = zip(bundle["y"][rows].T, predicted["y_pred"].T, strict=True)
            return (1 + np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])) / 2
        if self.task == "regress":
            return (1 + np.corrcoef(truth, predicted["y_pred"])[0, 1]) / 2
        if self.task == "encode":
            rows = np.isin(bundle.rows["row_id"], test.rows["row_id"])
            pairs = zip(bundle["x"][rows].T, predicted["y_pred"].T, strict=True)
            return (1 + np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])) / 2
        if self.task == "retrieve":
            shown = stimuli()
            gallery = shown[self.cls.judged_on[0]]
            row = np.searchsorted(shown.rows["row_id"], truth)
            embedding = predicted["y_embedding"]
            unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (embedding, gallery)]
            similar = unit[0] @ unit[1].T
            others = np.ones(similar.shape, dtype=bool)
            others[np.arange(len(row)), row] = False
            return float((similar[np.arange(len(row)), row][:, None] > similar)[others].mean())
        difference = predicted["y_score"][:, 1] - predicted["y_score"][:, 0]
        return roc_auc_score(truth == predicted.axes["class"][1], difference)


@functools.cache
def standard(name: str, task: str):
    """A method fitted once on data with the effect, for all tests that only look at it: data, model, what it saw."""
    case = Case(name, task)
    bundle, train, test = case.halves()
    before = train["x"].copy(), {column: values.copy() for column, values in train.rows.items()}
    train["x"].setflags(write=False)
    with guard.ledger() as entries:
        model = case.fitted(train)
    np.testing.assert_array_equal(train["x"], before[0])
    for column, values in train.rows.items():
        np.testing.assert_array_equal(values, before[1][column])
    return bundle, train, test, model, entries


@pytest.fixture(params=CASES, ids=lambda pair: "-".join(pair))
def case(request):
    return Case(*request.param)


@pytest.fixture(params=[pair for pair in CASES if pair[1] in TOLD], ids=lambda pair: "-".join(pair))
def predictor(request):
    return Case(*request.param)


@pytest.fixture(params=METHODS)
def method(request):
    cls = load("methods", request.param)
    return lambda: make("methods", request.param, cls.tiny)


def test_finds_a_planted_effect(predictor):
    bundle, _, test, model, _ = standard(predictor.name, predictor.task)
    assert predictor.knowledge(model, bundle, test) > 0.9


def test_is_at_chance_without_effect(predictor):
    values = []
    for seed in range(4):
        bundle, train, test = predictor.halves(effect=False, seed=seed)
        model = predictor.fitted(train)
        values.append(predictor.knowledge(model, bundle, test))
    # Four tests of 24 rows or more: the standard deviation of the mean is about 0.06.
    assert abs(np.nanmean(values) - 0.5) < 0.2


def test_same_seed_same_predictions_and_input_unchanged(case):
    _, train, test, model, _ = standard(case.name, case.task)
    np.testing.assert_array_equal(case.output(case.fitted(train), test), case.output(model, test))


def test_a_saved_model_predicts_the_same_in_a_new_object(case):
    _, _, test, model, _ = standard(case.name, case.task)
    content = model.dump()
    assert content == model.dump(), "equal models must give equal bytes"
    restored = case.make()
    restored.context = dataclasses.replace(model.context, parent=None)
    restored.restore(content)
    np.testing.assert_array_equal(case.output(restored, test), case.output(model, test))
    assert restored.chosen() == model.chosen()
    for key, value in model.found().items():
        np.testing.assert_array_equal(restored.found()[key], value)


@pytest.mark.parametrize(("name", "task"), [pair for pair in CASES if load("methods", pair[0]).streams])
def test_rows_that_are_read_when_asked_for_give_the_same(name, task):
    case = Case(name, task)
    _, train, test, model, _ = standard(name, task)

    def unread(bundle):
        half = len(bundle) // 2
        parts = {key: Rows([values[:half], values[half:]]) for key, values in bundle.arrays.items()}
        return dataclasses.replace(bundle, arrays=parts)

    streamed = case.fitted(unread(train))
    np.testing.assert_array_equal(case.output(streamed, unread(test)), case.output(model, test))


def test_predicts_each_row_by_itself(predictor):
    """Held-out rows must not inform each other: no statistics over the test set."""
    _, _, test, model, _ = standard(predictor.name, predictor.task)
    rows = [5]
    if predictor.task in IN_TIME:
        rows = np.flatnonzero(test.rows["segment"] == test.rows["segment"][-1])
    alone = predictor.output(model, test.take(rows))
    np.testing.assert_allclose(alone, predictor.output(model, test)[rows], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "decode"])
def test_what_is_decoded_does_not_depend_on_what_comes_later(name):
    case = Case(name, "decode")
    _, _, test, model, _ = standard(name, "decode")
    early = case.output(model, test.take(range(40)))
    np.testing.assert_allclose(early, case.output(model, test)[:40], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "select"])
def test_a_selection_orders_all_rows_and_hands_on_what_it_is_judged_by(name):
    _, _, test, model, _ = standard(name, "select")
    predicted = model.predict(test)
    assert predicted["y_selected"].shape == (len(test),)
    assert np.isfinite(predicted["y_selected"]).all()
    assert len(np.unique(predicted["y_selected"])) > len(test) // 2
    np.testing.assert_array_equal(predicted["x"], test["x"])
    assert "label" not in predicted.rows
    assert "target" not in predicted.rows


def test_the_guard_learns_what_it_saw(case):
    _, train, _, _, entries = standard(case.name, case.task)
    assert {row for entry in entries for row in entry["rows"]} == set(train.rows["row_id"])


def test_refuses_unknown_parameters(method):
    name = type(method()).__module__.rsplit(".", 1)[-1]
    known = [field.name for field in dataclasses.fields(method())]
    if known:
        with pytest.raises(InputError, match=f"did you mean '{known[0]}'"):
            make("methods", name, {known[0] + "x": 1})
    with pytest.raises(InputError, match="unknown parameter"):
        make("methods", name, {"no_such_parameter": 1})


def test_says_what_it_is(method):
    text = __import__(type(method()).__module__, fromlist=["_"]).__doc__
    assert "doi:" in text, "name the paper and its DOI"
    assert "Reproduced:" in text
    assert "Differs:" in text


def test_a_model_file_can_not_bring_foreign_classes(method):
    import io
    import zipfile

    import skops.io

    class Foreign:
        pass

    Foreign.__module__, Foreign.__qualname__ = "subprocess", "Popen"
    model = method()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in model.state:
            archive.writestr(name, skops.io.dumps({"x": Foreign()}))
    with pytest.raises(InputError, match="holds subprocess"):
        method().restore(buffer.getvalue())
