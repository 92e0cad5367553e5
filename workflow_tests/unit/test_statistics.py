"""Tests and intervals against scipy, closed forms and simulated nulls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from replicortex.shared import statistics as own


@pytest.mark.parametrize("n", [3, 7, 13])
def test_few_units_are_tested_by_all_sign_flips(n):
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    peer = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert own.paired_p(differences) == pytest.approx(peer.pvalue, abs=1e-12)


def test_some_units_are_tested_by_random_sign_flips():
    differences = np.random.default_rng(1).normal(0.4, 1, 15)
    flips = 1 - 2 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    exact = np.mean(flips @ differences >= differences.sum() - 1e-9)
    error = np.sqrt(exact * (1 - exact) / own.N_PERMUTATIONS)
    assert own.paired_p(differences) == pytest.approx(exact, abs=4 * error)
    assert own.paired_p(differences) == own.paired_p(differences)


def test_many_units_are_tested_by_ranks():
    differences = np.random.default_rng(2).normal(0.2, 1, 25)
    assert own.paired_p(differences) == stats.wilcoxon(differences, alternative="greater").pvalue


@pytest.mark.parametrize("n", [1, 5, 13, 14, 19, 20, 40])
def test_the_clearest_result_reaches_the_smallest_p(n):
    clearest = own.paired_p(np.linspace(1, 2, n))
    # Random flips may hit the observed one again: then p is a little above the smallest.
    assert own.minimal_p(n) <= clearest <= own.minimal_p(n) + 3 / own.N_PERMUTATIONS * (13 < n < 20)
    assert own.paired_p(np.zeros(n)) == 1 - own.minimal_p(n)


def test_ties_are_not_broken_by_rounding():
    # 0.1 + 0.2 - 0.3 is not zero in binary: of 8 flips, 5 sum to at least the observed zero.
    assert own.paired_p(np.array([0.1, 0.2, -0.3])) == 5 / 8


@pytest.mark.parametrize("n", [8, 16, 25])
def test_a_true_null_is_rejected_as_often_as_stated(n):
    generator = np.random.default_rng(n)
    p = np.array([own.paired_p(generator.standard_normal(n)) for _ in range(600)])
    rejected = np.mean(p <= 0.05)
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 600)


def test_sessions_of_one_subject_do_not_count_as_subjects():
    generator = np.random.default_rng(5)
    subject = np.repeat(np.arange(8), 10)

    def rejects(clusters):
        # Subjects differ, sessions of a subject hardly do, and there is no effect.
        values = (generator.standard_normal(8)[subject] + 0.1 * generator.standard_normal(80) for _ in range(200))
        return np.mean([own.paired_p(entry, clusters) <= 0.05 for entry in values])

    assert rejects(subject) < 0.12
    assert rejects(None) > 0.3


def test_effect_sizes():
    differences = np.array([0.1, 0.2, 0.6])
    assert own.standardised_mean_difference(differences) == pytest.approx(0.3 / np.std(differences, ddof=1))
    assert own.standardised_mean_difference(np.full(4, -0.1)) == -np.inf
    assert own.standardised_mean_difference(np.zeros(4)) == 0
    assert own.combined_effect([1.0, 4.0], [4, 16]) == pytest.approx((2 * 1 + 4 * 4) / 6)


def test_combining_datasets_is_stouffers_method():
    p, n = [0.02, 0.4, 0.11], [9, 52, 4]
    peer = stats.combine_pvalues(p, method="stouffer", weights=np.sqrt(n))
    assert own.stouffer(p, n) == pytest.approx(peer.pvalue, rel=1e-12)


def test_holm():
    adjusted = own.holm([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06, 0.02])


def test_permutation_p():
    null = np.array([0.5, 0.6, 0.4, np.nan])
    assert own.permutation_p(0.6, null) == 2 / 4
    assert own.permutation_p(0.4, null, greater_is_better=False) == 2 / 4
    assert np.isnan(own.permutation_p(0.6, np.array([])))


def test_equivalence_needs_both_sides():
    near, far = np.linspace(-0.02, 0.03, 8), np.linspace(0.03, 0.2, 8)
    assert own.equivalence_p(near, 0.05) == own.minimal_p(8)
    assert own.equivalence_p(far, 0.05) > 0.5
    assert own.equivalence_p(-far, 0.05) > 0.5


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(3).gamma(2, 1, 30)
    # The level at which the plain interval is as wide as ours, which is widened for small samples.
    level = 1 - 2 * stats.norm.cdf(stats.t.ppf(0.025, 29) * np.sqrt(30 / 29))
    options = {"n_resamples": 20_000, "method": "BCa", "confidence_level": level}
    peer = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0), **options)
    mine = own.bootstrap_mean(values, n_resamples=20_000)
    width = peer.confidence_interval.high - peer.confidence_interval.low
    np.testing.assert_allclose(mine, peer.confidence_interval, atol=0.03 * width)


def test_bootstrap_interval_of_clusters():
    values = np.random.default_rng(4).normal(size=12)
    repeated, subject = np.repeat(values, 5), np.repeat(np.arange(12), 5)
    # Five copies of each value are no new information.
    assert own.bootstrap_mean(repeated, subject) == pytest.approx(own.bootstrap_mean(values))
    large = np.random.default_rng(4).normal(size=300)
    np.testing.assert_allclose(
        own.bootstrap_mean(large), stats.t.interval(0.95, 299, large.mean(), stats.sem(large)), rtol=1e-12
    )


@pytest.mark.parametrize("n", [3, 6, 12, 25])
def test_bootstrap_interval_covers(n):
    generator = np.random.default_rng(n)
    intervals = [own.bootstrap_mean(generator.standard_normal(n), n_resamples=1000) for _ in range(600)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.91 < covered < 0.98


def test_degenerate_intervals():
    assert own.bootstrap_mean(np.full(5, 0.7)) == (0.7, 0.7)
    assert np.isnan(own.bootstrap_mean(np.array([0.7]))).all()
    assert np.isnan(own.bootstrap_mean(np.array([0.7, 0.8]), np.array(["01", "01"]))).all()


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(7).normal(size=40)
    assert own.jackknife_error(lambda rows: values[rows].mean(), 40) == pytest.approx(stats.sem(values))


def test_jackknife_of_the_area_under_the_curve_is_close_to_delong():
    generator = np.random.default_rng(8)
    negative, positive = generator.normal(size=30), generator.normal(1, 1, 25)
    scores, is_positive = np.r_[negative, positive], np.r_[np.zeros(30, bool), np.ones(25, bool)]
    wins = np.array([[float(b > a) for a in negative] for b in positive])
    delong = np.sqrt(wins.mean(1).var(ddof=1) / 25 + wins.mean(0).var(ddof=1) / 30)

    def area(rows):
        pairs = itertools.product(scores[rows][is_positive[rows]], scores[rows][~is_positive[rows]])
        return np.mean([b > a for b, a in pairs])

    assert own.jackknife_error(area, 55) == pytest.approx(delong, rel=0.03)


@pytest.mark.parametrize(("n", "symmetric"), [(12, True), (40, True), (40, False)])
def test_units_that_train_one_another_are_tested_at_their_level_where_there_is_nothing_to_learn(n, symmetric):
    """Leave-one-unit-out scores of a classifier by class means, on features that say nothing of the labels."""
    generator = np.random.default_rng(n)
    naive, spread = [], []
    for _ in range(1500):
        x, label = generator.normal(size=(n, 15)), generator.choice([-1.0, 1.0], n)
        alike = (x @ x.T) * np.outer(label, label)
        np.fill_diagonal(alike, 0)
        p = own.paired_p(alike.mean(axis=1), symmetric=symmetric)
        naive.append(p <= 0.01)
        spread.append(own.spread_p(p) <= 0.01)
    assert np.mean(naive) > 0.025
    assert np.mean(spread) < 0.01 + 3 * np.sqrt(0.01 * 0.99 / 1500)
    assert np.mean(spread) > 0 or n < 20


def test_the_p_of_dependent_units_keeps_its_side_and_its_order():
    p = np.array([1e-300, 1e-6, 0.01, 0.5, 0.9, 1.0])
    spread = [own.spread_p(one) for one in p]
    assert spread == sorted(spread)
    assert spread[3] == pytest.approx(0.5)
    assert all((one < 0.5) == (other < 0.5) for one, other in zip(p, spread, strict=True))
    assert own.spread_p(0.01) == pytest.approx(stats.norm(scale=np.sqrt(2)).sf(stats.norm.isf(0.01)))
