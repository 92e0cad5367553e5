"""What every method must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made_data import halves, trials
from replicortex import guard
from replicortex.components import load, make, names
from replicortex.errors import InputError

METHODS = names("methods")


@pytest.fixture(params=METHODS)
def method(request):
    cls = load("methods", request.param)
    assert "classify" in cls.tasks, "a new task needs its planted data here"
    return lambda: make("methods", request.param, cls.tiny)


def auc(model, bundle, test):
    predicted = model.predict(test)
    difference = predicted["y_score"][:, 1] - predicted["y_score"][:, 0]
    right = dict(zip(bundle.rows["row_id"], bundle.rows["label"] == predicted.axes["class"][1], strict=True))
    return roc_auc_score([right[row] for row in test.rows["row_id"]], difference)


def test_finds_a_planted_effect(method):
    bundle = trials("both")
    train, test = halves(bundle)
    model = method()
    model.fit(train, seed=0)
    assert auc(model, bundle, test) > 0.9


def test_is_at_chance_without_effect(method):
    values = []
    for seed in range(4):
        bundle = trials("none", seed=seed)
        train, test = halves(bundle)
        model = method()
        model.fit(train, seed=0)
        values.append(auc(model, bundle, test))
    # Four tests of 24 rows: the standard deviation of the mean AUC is about 0.06.
    assert abs(np.mean(values) - 0.5) < 0.2


def test_same_seed_same_predictions_and_input_unchanged(method):
    train, test = halves(trials())
    before = train["x"].copy(), {name: column.copy() for name, column in train.rows.items()}
    train["x"].setflags(write=False)
    first, second = method(), method()
    first.fit(train, seed=3)
    second.fit(train, seed=3)
    np.testing.assert_array_equal(first.predict(test)["y_score"], second.predict(test)["y_score"])
    np.testing.assert_array_equal(train["x"], before[0])
    for name, column in train.rows.items():
        np.testing.assert_array_equal(column, before[1][name])


def test_a_saved_model_predicts_the_same_in_a_new_object(method):
    train, test = halves(trials())
    model = method()
    model.fit(train, seed=0)
    content = model.dump()
    assert content == model.dump(), "equal models must give equal bytes"
    restored = method()
    restored.restore(content)
    np.testing.assert_array_equal(restored.predict(test)["y_score"], model.predict(test)["y_score"])
    assert restored.chosen() == model.chosen()


def test_predicts_each_row_by_itself(method):
    """Held-out rows must not inform each other: no statistics over the test set."""
    train, test = halves(trials())
    model = method()
    model.fit(train, seed=0)
    alone = model.predict(test.take([5]))["y_score"]
    np.testing.assert_allclose(alone, model.predict(test)["y_score"][[5]], rtol=1e-6, atol=1e-9)


def test_the_guard_learns_what_it_saw(method):
    train, _ = halves(trials())
    with guard.ledger() as entries:
        method().fit(train, seed=0)
    assert {row for entry in entries for row in entry["rows"]} == set(train.rows["row_id"])


def test_refuses_unknown_parameters(method):
    name = type(method()).__module__.rsplit(".", 1)[-1]
    known = dataclasses.fields(method())[0].name
    with pytest.raises(InputError, match=f"did you mean '{known}'"):
        make("methods", name, {known + "x": 1})


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
