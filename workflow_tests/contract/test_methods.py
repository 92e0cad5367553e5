"""What every method must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made_data import halves, planted
from replicortex import guard
from replicortex.components import load, make, names
from replicortex.errors import InputError

METHODS = names("methods")
CASES = [(name, task) for name in METHODS for task in sorted(load("methods", name).tasks)]
OUTPUT = {"classify": "y_score", "regress": "y_pred", "select": "y_selected"}


class Case:
    """A method with a task, and data to try it on."""

    def __init__(self, name: str, task: str) -> None:
        self.name, self.task, self.cls = name, task, load("methods", name)

    def make(self):
        return make("methods", self.name, self.cls.tiny)

    def data(self, **given):
        return planted(self.cls.needs, self.task, **given)

    def output(self, model, test):
        return model.predict(test)[OUTPUT[self.task]]

    def knowledge(self, model, bundle, test):
        """How far predictions tell held-out rows apart: area under the curve, or the same of ranks of numbers."""
        label = dict(zip(bundle.rows["row_id"], bundle.rows["label"], strict=True))
        truth = np.array([label[row] for row in test.rows["row_id"]])
        predicted = model.predict(test)
        if self.task == "regress":
            return (1 + np.corrcoef(truth, predicted["y_pred"])[0, 1]) / 2
        difference = predicted["y_score"][:, 1] - predicted["y_score"][:, 0]
        return roc_auc_score(truth == predicted.axes["class"][1], difference)


@pytest.fixture(params=CASES, ids=lambda pair: "-".join(pair))
def case(request):
    return Case(*request.param)


@pytest.fixture(params=[pair for pair in CASES if pair[1] != "select"], ids=lambda pair: "-".join(pair))
def predictor(request):
    return Case(*request.param)


@pytest.fixture(params=METHODS)
def method(request):
    cls = load("methods", request.param)
    return lambda: make("methods", request.param, cls.tiny)


def test_finds_a_planted_effect(predictor):
    bundle = predictor.data()
    train, test = halves(bundle)
    model = predictor.make()
    model.fit(train, seed=0)
    assert predictor.knowledge(model, bundle, test) > 0.9


def test_is_at_chance_without_effect(predictor):
    values = []
    for seed in range(4):
        bundle = predictor.data(effect=False, seed=seed)
        train, test = halves(bundle)
        model = predictor.make()
        model.fit(train, seed=0)
        values.append(predictor.knowledge(model, bundle, test))
    # Four tests of 24 rows or more: the standard deviation of the mean is about 0.06.
    assert abs(np.nanmean(values) - 0.5) < 0.2


def test_same_seed_same_predictions_and_input_unchanged(case):
    train, test = halves(case.data())
    before = train["x"].copy(), {name: column.copy() for name, column in train.rows.items()}
    train["x"].setflags(write=False)
    first, second = case.make(), case.make()
    first.fit(train, seed=3)
    second.fit(train, seed=3)
    np.testing.assert_array_equal(case.output(first, test), case.output(second, test))
    np.testing.assert_array_equal(train["x"], before[0])
    for name, column in train.rows.items():
        np.testing.assert_array_equal(column, before[1][name])


def test_a_saved_model_predicts_the_same_in_a_new_object(case):
    train, test = halves(case.data())
    model = case.make()
    model.fit(train, seed=0)
    content = model.dump()
    assert content == model.dump(), "equal models must give equal bytes"
    restored = case.make()
    restored.restore(content)
    np.testing.assert_array_equal(case.output(restored, test), case.output(model, test))
    assert restored.chosen() == model.chosen()


def test_predicts_each_row_by_itself(predictor):
    """Held-out rows must not inform each other: no statistics over the test set."""
    train, test = halves(predictor.data())
    model = predictor.make()
    model.fit(train, seed=0)
    alone = predictor.output(model, test.take([5]))
    np.testing.assert_allclose(alone, predictor.output(model, test)[[5]], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "select"])
def test_a_selection_orders_all_rows_and_hands_on_what_it_is_judged_by(name):
    case = Case(name, "select")
    train, test = halves(case.data())
    model = case.make()
    model.fit(train, seed=0)
    predicted = model.predict(test)
    assert predicted["y_selected"].shape == (len(test),)
    assert np.isfinite(predicted["y_selected"]).all()
    assert len(np.unique(predicted["y_selected"])) > len(test) // 2
    np.testing.assert_array_equal(predicted["x"], test["x"])
    assert "label" not in predicted.rows
    assert "target" not in predicted.rows


def test_the_guard_learns_what_it_saw(case):
    train, _ = halves(case.data())
    with guard.ledger() as entries:
        case.make().fit(train, seed=0)
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
