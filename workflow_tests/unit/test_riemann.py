"""Covariances, delay embedding and the classifiers on them, against peers and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.covariance import oas
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from made_data import halves, trials
from replicortex.components import make
from replicortex.shared.riemann import (
    MinimumDistance,
    TangentSvm,
    delay_embed,
    delays,
    oas_covariances,
    scm_covariances,
    shrink,
)
from replicortex.shared.search import inner_folds, select

X = np.random.default_rng(0).standard_normal((12, 5, 40)) @ np.diag(np.linspace(0.5, 2, 40))


def test_oas_equals_scikit_learn():
    expected = np.stack([oas(trial.T)[0] for trial in X])
    np.testing.assert_allclose(oas_covariances(X), expected, rtol=1e-10)


def test_order_one_is_the_plain_covariance_exactly():
    np.testing.assert_array_equal(delay_embed(X, 1, 7), X)
    np.testing.assert_array_equal(oas_covariances(delay_embed(X, 1, 7)), oas_covariances(X))


def test_delay_embedding_equals_a_loop():
    order, lag = 3, 4
    embedded = delay_embed(X, order, lag)
    assert embedded.shape == (12, 15, 40 - 8)
    for k in range(order):
        for t in range(embedded.shape[-1]):
            np.testing.assert_array_equal(embedded[:, 5 * k : 5 * k + 5, t], X[:, :, t + k * lag])


def test_the_augmented_covariance_is_block_toeplitz_for_a_stationary_signal():
    """The Yule-Walker structure: blocks depend on the difference of delays only."""
    x = np.random.default_rng(1).standard_normal((1, 2, 200_000))
    x[..., 1:] += 0.8 * x[..., :-1]
    covariance = scm_covariances(delay_embed(x, 3, 1))[0].reshape(3, 2, 3, 2)
    np.testing.assert_allclose(covariance[0, :, 1], covariance[1, :, 2], atol=1e-4)
    np.testing.assert_allclose(covariance[0, :, 0], covariance[2, :, 2], atol=1e-4)


def test_a_trial_too_short_for_its_delays_is_refused_and_left_out_of_the_search():
    with pytest.raises(ValueError, match="need trials longer than 40 samples"):
        delay_embed(X, 10, 5)
    assert (10, 5) not in delays([1, 10], [1, 5], n_times=40)
    assert delays([1, 2], [1, 3, 3]) == [(1, 1), (2, 1), (2, 3)]


def test_tangent_svm_equals_pyriemann_and_scikit_learn():
    bundle = trials("spatial")
    train, test = halves(bundle)
    covariances, held = oas_covariances(train["x"]), oas_covariances(test["x"])
    peer = make_pipeline(TangentSpace(metric="riemann"), SVC(C=0.7, kernel="linear"))
    peer.fit(covariances, train.rows["target"])
    ours = TangentSvm(0.7, "linear").fit(covariances, train.rows["target"])
    np.testing.assert_allclose(ours.scores(held)[:, 1], peer.decision_function(held), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("metric", ["riemann", "logeuclid"])
def test_minimum_distance_equals_pyriemann(metric):
    train, test = halves(trials("spatial"))
    covariances, held = oas_covariances(train["x"]), oas_covariances(test["x"])
    peer = MDM(metric=metric).fit(covariances, train.rows["target"])
    ours = MinimumDistance(metric).fit(covariances, train.rows["target"])
    np.testing.assert_allclose(-ours.scores(held), peer.transform(held), rtol=1e-5)
    assert ours.classes_[ours.scores(held).argmax(1)].tolist() == peer.predict(held).tolist()


def test_shrinkage_keeps_the_trace():
    covariances = Covariances("scm").transform(X)
    for amount in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(
            np.trace(shrink(covariances, amount), axis1=1, axis2=2), np.trace(covariances, axis1=1, axis2=2)
        )
    np.testing.assert_array_equal(shrink(covariances, 0.0), covariances)


def held_out_auc(name, params, bundle):
    train, test = halves(bundle)
    model = make("methods", name, params)
    model.fit(train, seed=0)
    predicted = model.predict(test)
    held = np.isin(bundle.rows["row_id"], test.rows["row_id"])
    right = bundle.rows["label"][held] == predicted.axes["class"][1]
    return roc_auc_score(right, predicted["y_score"][:, 1] - predicted["y_score"][:, 0]), model.chosen()


def test_temporal_structure_is_invisible_to_plain_and_visible_to_augmented_covariances():
    """The condition under which the paper's method must win: equal covariance, different rhythm."""
    bundle = trials("temporal", n_trials=96)
    plain, _ = held_out_auc("ts_svm", {"n_penalties": 3, "n_inner": 2}, bundle)
    augmented, chosen = held_out_auc(
        "acm_ts_svm", {"orders": [1, 2, 3], "lags": [2, 3], "C": [1.0], "kernels": ["linear"]}, bundle
    )
    assert 0.3 < plain < 0.7
    assert augmented > 0.95
    assert chosen["order"] > 1


def test_spatial_structure_needs_no_delays():
    """The condition under which no win is promised: plain covariance already separates the classes."""
    bundle = trials("spatial", n_trials=96)
    plain, _ = held_out_auc("ts_svm", {"n_penalties": 3, "n_inner": 2}, bundle)
    assert plain > 0.95


def test_inner_folds_hold_out_whole_subjects_where_there_are_enough():
    several = trials(n_subjects=4, n_trials=8)
    for train, test in inner_folds(several.with_rows(target=several.rows["label"]), 3, 0):
        assert not set(several.rows["subject"][train]) & set(several.rows["subject"][test])
    one = trials(n_trials=12)
    folds = inner_folds(one.with_rows(target=one.rows["label"]), 3, 0)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(12))


def test_of_equal_configurations_the_first_is_chosen():
    assert select([{"a": 1}, {"a": 2}, {"a": 3}], lambda c: [0.5 if c["a"] == 1 else 0.7])[0] == {"a": 2}


def test_a_perfect_ranking_does_not_end_in_a_threshold_that_calls_everything_one_class():
    """Equal inner scores must not choose the most extreme penalty."""
    bundle = trials("spatial", n_trials=40)
    train, test = halves(bundle)
    model = make("methods", "ts_svm", {"n_penalties": 7})
    model.fit(train, seed=0)
    assert model.chosen()["inner_score"] == 1.0
    assert model.chosen()["C"] == 1.0
    predicted = model.predict(test)
    named = np.array(predicted.axes["class"])[predicted["y_score"].argmax(axis=1)]
    truth = dict(zip(bundle.rows["row_id"], bundle.rows["label"], strict=True))
    assert np.mean([truth[row] for row in test.rows["row_id"]] == named) > 0.9
