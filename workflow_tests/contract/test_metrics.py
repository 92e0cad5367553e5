"""Every file in ``metrics/`` keeps the promises of a metric; none but the known values are named here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from made_data import generations
from replicortex.bundle import Bundle
from replicortex.components import load, make, names
from replicortex.shared.fit_metric import FitMetric
from replicortex.shared.statistics import pseudo_values
from replicortex.shared.truth_metric import TruthMetric

OF_FITS = [name for name in names("metrics") if issubclass(load("metrics", name), FitMetric)]
#: What needs the truth, or more than predictions, has tests of its own.
OF_MORE = [
    name for name in names("metrics") if issubclass(load("metrics", name), TruthMetric) or load("metrics", name).arrays
]
OF_CLASSES, OF_NUMBERS = (
    [name for name in names("metrics") if name not in OF_FITS + OF_MORE and task in load("metrics", name).tasks]
    for task in ("classify", "regress")
)
OF_VOLUMES = [
    name
    for name in names("metrics")
    if "generate" in load("metrics", name).tasks and not issubclass(load("metrics", name), (FitMetric, TruthMetric))
]
CLASSES = np.array(["feet", "left_hand", "right_hand"])


def made(name):
    return make("metrics", name, load("metrics", name).tiny)


def predicted(y_score, classes=CLASSES):
    n = len(y_score)
    return Bundle({"y_score": y_score}, {"row_id": np.arange(n), "subject": np.zeros(n, int)}, {"class": list(classes)})


def drawn(n_classes, n=60, seed=0, knowledge=1.0):
    generator = np.random.default_rng(seed)
    code = np.concatenate([np.arange(n_classes), generator.integers(n_classes, size=n - n_classes)])
    y_score = knowledge * np.eye(n_classes)[code] + generator.normal(0, 0.8, (n, n_classes))
    return CLASSES[:n_classes][code], y_score


@pytest.fixture(params=OF_CLASSES)
def metric(request):
    return made(request.param)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_knowledge_is_told_from_chance(metric, n_classes):
    sign = 1 if metric.greater_is_better else -1
    classes = CLASSES[:n_classes]
    target, y_score = drawn(n_classes)
    known = metric.score(target, predicted(y_score, classes))
    perfect = metric.score(target, predicted(np.eye(n_classes)[np.searchsorted(classes, target)], classes))
    chance = metric.chance(target)
    assert sign * perfect > sign * known > sign * chance
    blind = [
        metric.score(target, predicted(drawn(n_classes, seed=seed, knowledge=0)[1], classes)) for seed in range(1, 60)
    ]
    # A blind guess reaches at best what is stated as chance.
    assert sign * np.mean(blind) <= sign * chance + 0.03


def test_neither_rows_nor_columns_have_an_order(metric):
    target, y_score = drawn(3)
    value = metric.score(target, predicted(y_score))
    rows, columns = np.random.default_rng(1).permutation(len(target)), [2, 0, 1]
    assert metric.score(target[rows], predicted(y_score[rows])) == pytest.approx(value, abs=1e-12)
    assert metric.score(target, predicted(y_score[:, columns], CLASSES[columns])) == pytest.approx(value, abs=1e-12)


def test_rows_of_one_class_have_no_value(metric):
    target, y_score = drawn(2)
    only = target == CLASSES[0]
    assert np.isnan(metric.score(target[only], predicted(y_score[only], CLASSES[:2])))


def test_input_is_left_alone(metric):
    target, y_score = drawn(3)
    bundle = predicted(y_score.copy())
    bundle["y_score"].setflags(write=False)
    target.setflags(write=False)
    metric.score(target, bundle)
    np.testing.assert_array_equal(bundle["y_score"], y_score)


def numbers(error: float, n: int = 60, seed: int = 0):
    generator = np.random.default_rng(seed)
    target = 40 + 12 * generator.standard_normal(n)
    rows = {"row_id": np.arange(n), "subject": np.arange(n).astype(str)}
    return target, Bundle({"y_pred": target + error * generator.standard_normal(n)}, rows)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_numbers_that_are_known_better_score_better(name):
    metric = made(name)
    sign = 1 if metric.greater_is_better else -1
    scores = [sign * metric.score(*numbers(error)) for error in (0, 3, 9)]
    assert scores == sorted(scores, reverse=True)
    target, known = numbers(3)
    assert sign * metric.score(target, known) > sign * metric.chance(target)
    # Who knows nothing says what is usual in other people, and is not better than what is stated as chance.
    usual = Bundle({"y_pred": np.random.default_rng(1).normal(40, 0.5, 60)}, known.rows)
    assert sign * metric.score(target, usual) <= sign * metric.chance(target) + 0.3
    order = np.random.default_rng(2).permutation(60)
    assert metric.score(target[order], known.take(order)) == pytest.approx(metric.score(target, known), abs=1e-12)
    low, high = metric.bounds
    assert low is None or metric.score(target, usual) >= low
    assert high is None or metric.score(*numbers(0)) <= high


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_values_have_the_unit_that_stands_at_the_axis(name):
    metric = made(name)
    target, known = numbers(3)
    # Years become decades: what is in years has a tenth of the value, what has no unit the same.
    in_decades = Bundle({"y_pred": known["y_pred"] / 10}, known.rows)
    ratio = metric.score(target / 10, in_decades) / metric.score(target, known)
    assert ratio == pytest.approx(0.1 if metric.unit == "unit of the target" else 1, rel=1e-9)


@pytest.mark.parametrize("name", OF_FITS)
def test_a_metric_of_fits_says_what_it_can_not_tell(name):
    metric = made(name)
    assert np.isnan(metric.score_fit({}, None))
    assert np.isfinite(metric.chance_fit())


@pytest.mark.parametrize("name", OF_MORE)
def test_a_metric_that_lacks_what_it_compares_has_no_value(name):
    metric = made(name)
    if metric.tasks & {"classify", "regress"}:
        assert np.isnan(metric.score(*numbers(1)))
        assert np.isfinite(metric.chance(numbers(1)[0]))


@pytest.mark.parametrize("name", OF_VOLUMES)
def test_people_nobody_has_seen_are_told_from_what_a_bad_generator_makes(name):
    metric = made(name)
    sign = 1 if metric.greater_is_better else -1
    values = {kind: metric.score(None, generations(kind)) for kind in ("another", "copies", "one", "brighter")}
    low, high = metric.bounds
    assert all((low is None or value >= low) and (high is None or value <= high) for value in values.values())
    # A metric looks at one kind of fault, and not at all; it is clear about that.
    again = [metric.score(None, generations("another", seed=seed)) for seed in (1, 2, 3)]
    worst = min(sign * value for value in values.values())
    assert sign * np.mean(again) > worst + 3 * np.std(again)
    assert sign * values["another"] > sign * metric.chance(np.empty(80))


@pytest.mark.parametrize("name", OF_VOLUMES)
def test_a_metric_of_volumes_looks_at_them_as_a_set(name):
    metric, judged = made(name), generations("brighter")
    for values in judged.arrays.values():
        values.setflags(write=False)
    before = {key: values.copy() for key, values in judged.arrays.items()}
    value = metric.score(None, judged)
    for key, values in before.items():
        np.testing.assert_array_equal(judged[key], values)
    # Which generated volume stands beside which person says nothing.
    order = np.random.default_rng(2).permutation(len(judged))
    apart = {key: values[order] if key in ("y_generated", "nearest") else values for key, values in before.items()}
    assert metric.score(None, judged.take(order)) == pytest.approx(value, rel=1e-9)
    assert metric.score(None, dataclasses.replace(judged, arrays=apart)) == pytest.approx(value, rel=1e-9)
    if not metric.whole:
        shares = pseudo_values(lambda rows: metric.score(None, judged.take(rows)), np.arange(len(judged)))
        assert np.isfinite(shares).all()
        error = np.std(shares) / np.sqrt(len(shares))
        assert abs(np.mean(shares) - value) < 3 * error


@pytest.mark.parametrize("name", OF_VOLUMES)
def test_a_metric_of_volumes_without_what_it_compares_has_no_value(name):
    metric, judged = made(name), generations("another")
    for key in metric.arrays:
        less = {other: values for other, values in judged.arrays.items() if other != key}
        assert np.isnan(metric.score(None, dataclasses.replace(judged, arrays=less)))


def test_area_under_the_curve_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    target, y_score = drawn(2)
    y_score = y_score.round(1)
    expected = roc_auc_score(target == CLASSES[1], y_score[:, 1] - y_score[:, 0])
    assert made("roc_auc").score(target, predicted(y_score, CLASSES[:2])) == pytest.approx(expected, abs=1e-12)


def test_accuracies_are_scikit_learns():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    target, y_score = drawn(3)
    named = CLASSES[y_score.argmax(axis=1)]
    assert made("accuracy").score(target, predicted(y_score)) == pytest.approx(accuracy_score(target, named))
    expected = balanced_accuracy_score(target, named)
    assert made("balanced_accuracy").score(target, predicted(y_score)) == pytest.approx(expected)
