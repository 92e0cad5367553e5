"""Shapley values against each other, the definition by orders, and closed forms; and what models of tables say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier

from replicortex.bundle import Bundle
from replicortex.components import load, make
from replicortex.errors import InputError
from replicortex.shared import tree_ensemble
from replicortex.shared.linear_search import LinearModel
from replicortex.shared.shapley import aspects, exact_shapley, linear_shapley, sampled_shapley
from replicortex.shared.tree_ensemble import TreeEnsemble, of_sklearn, of_xgboost, tree_shapley

PLAYERS = [None, np.array([0, 1, 1, 2, 0, 3])]


def table(n: int = 200, p: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, p))
    # Equal numbers, at which rows of single precision must fall on the side that the library has them on.
    x[:, 5] = x[:, 5].round(1)
    return x, x[:, 0] * x[:, 1] + x[:, 2] + 0.5 * x[:, 5] + 0.3 * generator.standard_normal(n) > 0


@pytest.fixture(scope="module", params=["xgboost", "forest"])
def fitted(request) -> tuple[TreeEnsemble, np.ndarray, np.ndarray]:
    """An ensemble, rows, and what the library itself predicts for them."""
    x, y = table()
    if request.param == "forest":
        forest = RandomForestClassifier(15, max_depth=6, random_state=0).fit(x, y)
        return of_sklearn(forest.estimators_, base=-0.5), x, forest.predict_proba(x)[:, 1] - 0.5
    settings = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.3, "subsample": 0.7, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(x, y), 25)
    return of_xgboost(booster), x, booster.predict(xgboost.DMatrix(x), output_margin=True)


def test_an_ensemble_predicts_what_its_library_does(fitted):
    ensemble, x, predicted = fitted
    # XGBoost adds in single precision.
    np.testing.assert_allclose(ensemble.predict(x), predicted, atol=1e-5)


def test_rows_on_a_threshold_go_where_the_library_sends_them():
    x = np.repeat(np.array([[0.1], [0.2], [0.3], [0.7]], dtype=np.float32), 10, axis=0)
    y = x[:, 0] >= np.float32(0.3)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(x, y), 5)
    asked = np.unique(np.concatenate([tree[np.isfinite(tree)] for tree in [of_xgboost(booster).threshold]]))
    # The thresholds of the library are the numbers next above those of the ensemble.
    asked = np.concatenate([asked, np.nextafter(asked.astype(np.float32), np.float32(9))]).astype(np.float32)[:, None]
    expected = booster.predict(xgboost.DMatrix(asked), output_margin=True)
    np.testing.assert_allclose(of_xgboost(booster).predict(asked), expected, atol=1e-6)
    assert len(np.unique(expected.round(4))) > 1


@pytest.mark.parametrize("players", PLAYERS, ids=["features", "aspects"])
def test_values_of_trees_are_those_of_all_coalitions(fitted, players):
    ensemble, x, _ = fitted
    values, base = tree_shapley(ensemble, x[:10], x[50:70], players)
    expected, nobody = exact_shapley(ensemble.predict, x[:10], x[50:70], players)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert base == pytest.approx(nobody, abs=1e-12)
    np.testing.assert_allclose(values.sum(axis=1) + base, ensemble.predict(x[:10]), atol=1e-12)


def test_long_paths_give_the_same_pair_by_pair(fitted, monkeypatch):
    ensemble, x, _ = fitted
    expected = tree_shapley(ensemble, x[:10], x[50:70])[0]
    monkeypatch.setattr(tree_ensemble, "_TABULATED", 1)
    monkeypatch.setattr(tree_ensemble, "_MOST", 4000)
    np.testing.assert_allclose(tree_shapley(ensemble, x[:10], x[50:70])[0], expected, atol=1e-12)


def test_all_coalitions_give_the_mean_over_all_orders():
    def model(rows: np.ndarray) -> np.ndarray:
        return np.maximum(rows[:, 0], rows[:, 1]) * rows[:, 2] + rows[:, 3] ** 2

    x, background = np.random.default_rng(1).standard_normal((2, 3, 4))
    values, _ = exact_shapley(model, x, background)
    expected = np.zeros_like(values)
    orders = list(itertools.permutations(range(4)))
    for row, order in itertools.product(range(3), orders):
        mixed = background.copy()
        for player in order:
            before = model(mixed).mean()
            mixed[:, player] = x[row, player]
            expected[row, player] += (model(mixed).mean() - before) / len(orders)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_sampled_values_add_up_and_are_within_their_errors(fitted):
    ensemble, x, _ = fitted
    exact, _ = exact_shapley(ensemble.predict, x[:8], x[50:90])
    values, base, error = sampled_shapley(ensemble.predict, x[:8], x[50:90], seed=0, rounds=5)
    np.testing.assert_allclose(values.sum(axis=1) + base, ensemble.predict(x[:8]), atol=1e-12)
    away = np.abs(values - exact)[exact != 0] / error[exact != 0]
    assert away.max() < 4
    # Errors are upper bounds: they count the spread over background rows, of which all are taken.
    assert 0.1 < np.sqrt(np.mean(away**2)) < 1.1
    more = sampled_shapley(ensemble.predict, x[:8], x[50:90], seed=0, rounds=20)[0]
    assert np.abs(more - exact).mean() < 0.75 * np.abs(values - exact).mean()
    alone = sampled_shapley(ensemble.predict, x[3:4], x[50:90], seed=0, rounds=5)[0]
    np.testing.assert_allclose(alone, values[3:4], atol=1e-12)


@pytest.mark.parametrize("players", PLAYERS, ids=["features", "aspects"])
def test_values_of_a_linear_model_have_a_closed_form(players):
    x, y = table()
    model = LinearModel(1.0).fit(x, np.where(y, "b", "a"))
    expected, _ = exact_shapley(lambda rows: model.predict(rows)[:, 1], x[:5], x[50:70], players)
    values = linear_shapley(model.coef_[0] / model.scale_, x[:5], x[50:70], players)
    np.testing.assert_allclose(values, expected, atol=1e-10)


def test_a_copy_takes_half_of_the_credit_and_an_aspect_has_all_of_it():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((100, 3))
    x[:, 1] = x[:, 0]
    weights = np.array([1.0, 1.0, 0.5])
    credit = np.abs(linear_shapley(weights, x, x)).mean(axis=0)
    assert credit[0] == pytest.approx(credit[1])
    group = aspects(x, 0.5)
    assert group.tolist() == [0, 0, 1]
    together = np.abs(linear_shapley(weights, x, x, group)).mean(axis=0)
    assert together[0] == pytest.approx(credit[0] + credit[1])


def test_aspects_are_clusters_of_which_all_correlate():
    generator = np.random.default_rng(0)
    a, b, c = generator.standard_normal((3, 500))
    # A chain: each is like its neighbour, the ends are not alike.
    x = np.column_stack([a, a + 0.6 * b, b + 0.6 * a, c, -c + 0.1 * a, np.ones(500)])
    found = aspects(x, 0.5)
    for label in np.unique(found):
        inside = np.flatnonzero(found == label)
        if len(inside) > 1:
            rho = np.abs([np.corrcoef(x[:, i].argsort().argsort(), x[:, j].argsort().argsort())[0, 1]
                          for i, j in itertools.combinations(inside, 2)])  # fmt: skip
            assert rho.min() >= 0.5
    assert found[3] == found[4]
    assert np.sum(found == found[5]) == 1
    assert aspects(x, 0.0).tolist() == list(range(6))


# ---- methods


def people(n: int = 160, seed: int = 0) -> Bundle:
    """Two variables that count, a copy of the first, two others that are alike, noise, and some missing values."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, 7))
    target = np.where(x[:, 0] + x[:, 1] > 0, "patient", "control")
    x[:, 2] = 0.9 * x[:, 0] + 0.4 * x[:, 2]
    x[:, 4] = 0.9 * x[:, 3] + 0.4 * x[:, 4]
    x[generator.random(x.shape) < 0.02] = np.nan
    rows = {
        "row_id": np.array([f"sub-{i:03d}" for i in range(n)]),
        "subject": np.array([f"{i:03d}" for i in range(n)]),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "target": target,
    }
    axes = {"variable": [f"V{i}" for i in range(7)], "group": ["told"] * 5 + ["other"] * 2}
    return Bundle({"x": x.astype(np.float32)}, rows, axes, {"fitted": []})


METHODS = ["xgboost_tabular", "random_forest", "svm_tabular", "decision_tree", "logistic_tabular"]
EXPLAIN = {"n_background": 20, "n_rows": 40, "repeats": 3, "refits": 2}


def fit(name: str, **params):
    model = make("methods", name, {**load("methods", name).tiny, "explain": EXPLAIN, **params})
    bundle = people()
    model.fit(bundle.take(np.arange(120)), 0)
    return model, model.predict(bundle.take(np.arange(120, 160)).with_rows(target=None))


@pytest.mark.parametrize("name", METHODS)
def test_explanations_add_up_and_name_what_counts(name):
    model, predictions = fit(name)
    whole = predictions["attribution"].sum(axis=1) + predictions["base"]
    np.testing.assert_allclose(whole, predictions["margin"], atol=1e-9)
    assert make("metrics", "efficiency_error").score(np.empty(0), predictions) < 1e-9
    found = model.found()
    for values in [found["shapley"], found["permutation"], *([found["native"]] if "native" in found else [])]:
        assert set(np.argsort(-np.asarray(values))[:2]) <= {0, 1, 2}
    assert found["refitted"].shape == (2, 7)
    assert ("native" in found) == (name != "svm_tabular")
    direction = make("metrics", "effect_direction", {"variables": {"V0": 1, "V1": 1}})
    assert direction.score(np.empty(0), predictions) > 0.5
    agreement = make("metrics", "importance_agreement").score_fit({"found": found}, None)
    assert agreement > 0.3
    assert make("metrics", "importance_stability").score_fit({"found": found}, None) > 0.4


def test_aspects_and_selection_give_credit_to_what_counts():
    truth = {"support": ["V0", "V1"]}
    metric = make("metrics", "planted_credit")
    one, whole = (fit("xgboost_tabular", explain={**EXPLAIN, "players": p}) for p in ("features", "aspects"))
    assert whole[0].players_.tolist() == [0, 1, 0, 2, 2, 3, 4]
    single, grouped = (metric.score_truth(np.empty(0), predictions, truth) for _, predictions in (one, whole))
    assert grouped > single + 0.05
    # The same model, told otherwise.
    np.testing.assert_array_equal(one[1]["margin"], whole[1]["margin"])
    chosen, predictions = fit("svm_tabular", selection="forward", most_selected=3)
    assert set(chosen.chosen()["ranking"][:2]) == {"V0", "V1"}
    assert metric.score_truth(np.empty(0), predictions, truth) > fit_credit("svm_tabular", metric, truth)
    left_out = np.setdiff1d(np.arange(7), chosen.columns_)
    assert not predictions["attribution"][:, left_out].any()
    assert (predictions["player"][:, left_out] == -1).all()


def fit_credit(name, metric, truth):
    return metric.score_truth(np.empty(0), fit(name)[1], truth)


def test_groups_of_variables_are_taken_by_name():
    model, predictions = fit("logistic_tabular", groups=["other"])
    assert model.columns_.tolist() == [5, 6]
    assert not predictions["attribution"][:, :5].any()
    with pytest.raises(InputError, match="did you mean 'other'"):
        fit("logistic_tabular", groups=["othr"])


def test_missing_values_take_the_median_of_training_rows():
    model, _ = fit("logistic_tabular")
    x = np.asarray(people()["x"][:120], float)
    np.testing.assert_allclose(model.ready_[0], np.nanmedian(x, axis=0), atol=1e-6)


def test_more_than_two_classes_are_refused():
    bundle = people()
    target = np.array(["a", "b", "c"] * 60)[:160]
    with pytest.raises(InputError, match="choose two classes"):
        make("methods", "decision_tree", load("methods", "decision_tree").tiny).fit(bundle.with_rows(target=target), 0)


def test_metrics_tell_what_is_wrong():
    """Attributions at random, of other variables, or against the direction do not pass."""
    _, predictions = fit("xgboost_tabular")
    generator = np.random.default_rng(0)
    shuffled = Bundle(
        {**predictions.arrays, "attribution": generator.permuted(predictions["attribution"], axis=0)},
        predictions.rows,
        predictions.axes,
    )
    assert make("metrics", "efficiency_error").score(np.empty(0), shuffled) > 0.5
    assert abs(make("metrics", "effect_direction", {"variables": {"V0": 1}}).score(np.empty(0), shuffled)) < 0.4
    against = make("metrics", "effect_direction", {"variables": {"V0": -1, "V1": -1}})
    assert against.score(np.empty(0), predictions) < -0.5
    wrong = make("metrics", "planted_credit")
    assert wrong.score_truth(np.empty(0), predictions, {"support": ["V5", "V6"]}) < 0
    random = {"shapley": generator.random(50), "native": generator.random(50), "permutation": generator.random(50)}
    assert make("metrics", "importance_agreement").score_fit({"found": random}, None) < 0.3
    random["refitted"] = generator.random((4, 50))
    assert abs(make("metrics", "importance_stability").score_fit({"found": random}, None)) < 0.2
