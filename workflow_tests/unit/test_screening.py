"""Screening against closed forms, direct computations and scikit-learn; and inside the fold, where it belongs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.signal import fftconvolve
from scipy.stats import norm, rankdata
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import Ridge

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.shared import screening
from replicortex.shared.screening import (
    bandwidths,
    binned_information,
    correlation,
    kde_information,
    n_bins,
    neighbour_information,
    ranking,
    screen,
)


def normal_pairs(rho, n, n_variables, seed):
    generator = np.random.default_rng(seed)
    y = generator.standard_normal(n)
    return (rho * y + np.sqrt(1 - rho**2) * generator.standard_normal((n_variables, n))).T, y


def mean_information(rho, n=600, **options):
    """Return the mean over 200 pairs, 20 outcomes of 10 variables: its standard error is 0.005 at most."""
    return np.mean([kde_information(*normal_pairs(rho, n, 10, seed), **options) for seed in range(20)])


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_the_information_of_normal_pairs_is_the_closed_form(kernel):
    for rho, tolerance in ((0.5, 0.05), (0.9, 0.03)):
        truth = -np.log(1 - rho**2) / 2
        assert mean_information(rho, kernel=kernel) == pytest.approx(truth, rel=tolerance)
    assert abs(mean_information(0.0, kernel=kernel)) < 0.001


def test_every_bandwidth_rule_and_its_multiplier_enter_the_information():
    x, y = normal_pairs(0.9, 600, 20, 0)
    # Skewed, so that quartiles and standard deviation disagree.
    x = np.exp(x)
    for discrete, target in ((False, y), (True, y > 0)):
        found = [
            kde_information(x, target, discrete=discrete, rule=rule, multiplier=multiplier, corrected=False).mean()
            for rule in ("silverman", "scott", "isj")
            for multiplier in (0.5, 1.0)
        ]
        assert len(np.unique(np.round(found, 4))) == 6
        # Less smoothing leaves more of the relation.
        assert all(half > whole for half, whole in zip(found[::2], found[1::2], strict=True))


def test_the_grid_and_its_matrix_products_are_the_density_itself():
    """The same sum from kernels evaluated at every row, and from a Fourier transform over the binned rows."""
    x, y = normal_pairs(0.7, 200, 1, 1)
    h_x, h_y = bandwidths(x.T, "silverman", 2)[0], bandwidths(y[None], "silverman", 2)[0]
    grids = [np.arange(v.min() - 4 * h, v.max() + 4 * h, h / 8) for v, h in ((x[:, 0], h_x), (y, h_y))]
    k_x, k_y = (norm.pdf(g[:, None], v, h) for g, v, h in zip(grids, (x[:, 0], y), (h_x, h_y), strict=True))
    mass = k_x @ k_y.T
    mass /= mass.sum()
    expected = np.sum(mass * np.log(mass / np.outer(mass.sum(1), mass.sum(0)) + 1e-300))
    assert kde_information(x, y, corrected=False)[0] == pytest.approx(expected, rel=0.01)

    kernel = screening._Kernel("gaussian", 2.0)
    axes = [screening._Axis.of(v, "silverman", 1.0, 2, kernel, 200) for v in (x.T, y[None])]
    counts = np.zeros([axis.n_nodes for axis in axes])
    for step_x in (0, 1):
        for step_y in (0, 1):
            weight = np.prod(
                [a.share[0] if s else 1 - a.share[0] for a, s in zip(axes, (step_x, step_y), strict=True)], 0
            )
            np.add.at(counts, (axes[0].below[0] + step_x, axes[1].below[0] + step_y), weight)
    full = np.concatenate([kernel.values[:0:-1], kernel.values])
    mass = np.maximum(fftconvolve(counts, np.outer(full, full), mode="same"), 0)
    mass /= mass.sum()
    expected = np.sum(mass * np.log(mass / np.outer(mass.sum(1), mass.sum(0)) + 1e-300))
    assert kde_information(x, y, corrected=False, nodes=2.0)[0] == pytest.approx(expected, rel=1e-5)


def test_the_information_of_two_classes_is_the_integral():
    generator = np.random.default_rng(0)
    for shift in (0.0, 1.0, 3.0):
        y = np.repeat([0, 1], 500)
        x = generator.standard_normal((1000, 40)) + shift * y[:, None]

        def integrand(t, shift=shift):
            f = (norm.pdf(t), norm.pdf(t - shift))
            return sum(0.5 * p * np.log(2 * p / sum(f)) for p in f if p > 0)

        truth = quad(integrand, -12, 15)[0]
        assert kde_information(x, y, discrete=True).mean() == pytest.approx(truth, rel=0.02, abs=0.001)


def test_sheather_and_jones_bandwidth_of_one_and_of_two_modes():
    x = np.random.default_rng(0).standard_normal((30, 2000))
    one = bandwidths(x, "isj")
    # For normal rows the optimum is the normal reference.
    assert one.mean() == pytest.approx(1.06 * 2000**-0.2, rel=0.1)
    two = bandwidths(np.where(np.arange(2000) % 2, x + 20, x), "isj")
    # Each mode has half of the rows; a reference rule would ask for ten times as much.
    assert two.mean() == pytest.approx(1.06 * 1000**-0.2, rel=0.1)
    np.testing.assert_allclose(bandwidths(3 * x, "isj"), 3 * one, rtol=1e-3)


def test_neighbours_are_scikit_learns():
    x, y = normal_pairs(0.6, 300, 5, 2)
    ours = neighbour_information(x, y)
    np.testing.assert_allclose(ours, mutual_info_regression(x, y, random_state=0), atol=1e-6)
    classes = np.digitize(y, [-0.5, 0.8])
    ours = neighbour_information(x, classes, discrete=True)
    np.testing.assert_allclose(ours, mutual_info_classif(x, classes, random_state=0), atol=1e-6)


def test_bins_are_those_of_the_greatest_penalised_likelihood():
    generator = np.random.default_rng(3)
    x = np.stack([generator.standard_normal(250), generator.uniform(size=250), generator.exponential(size=250) ** 2])
    for values, number in zip(x, n_bins(x), strict=True):
        worth = []
        for bins in range(1, int(250 / np.log(250)) + 1):
            counts, edges = np.histogram(values, bins)
            density = counts[counts > 0] / 250 / (edges[1] - edges[0])
            worth.append(np.sum(counts[counts > 0] * np.log(density)) - (bins - 1 + np.log(bins) ** 2.5))
        assert number == 1 + np.argmax(worth)
    assert n_bins(x)[1] == 1
    target = generator.permutation(250) % 2
    counts = np.histogram2d(x[2], target, [n_bins(x)[2], 2])[0] / 250
    counts = counts[counts.any(axis=1)]
    in_both = counts > 0
    information = np.sum(counts[in_both] * np.log((counts / counts.sum(1, keepdims=True) / counts.sum(0))[in_both]))
    found = binned_information(x.T, target, discrete=True, corrected=False)
    assert found[2] == pytest.approx(information, rel=1e-6)


def test_correlations_are_numpys():
    x, y = normal_pairs(0.3, 80, 4, 4)
    x = np.round(x, 1)
    expected = [np.corrcoef(column, y)[0, 1] for column in x.T]
    np.testing.assert_allclose(correlation(x, y), expected, atol=1e-12)
    expected = [np.corrcoef(rankdata(column), rankdata(y))[0, 1] for column in x.T]
    np.testing.assert_allclose(correlation(x, y, ranked=True), expected, atol=1e-12)


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("by", ["kde", "binning", "knn", "pearson", "spearman"])
def test_scores_do_not_depend_on_blocks_units_or_constant_variables(by, discrete):
    x, y = normal_pairs(0.5, 120, 90, 5)
    y = np.where(y > 0, "patient", "control") if discrete else y
    scores = screen(x, y, by, discrete=discrete)
    options = {"threads": 2} if by == "knn" and not discrete else {} if by == "knn" else {"max_mb": 0.3, "threads": 2}
    np.testing.assert_allclose(screen(x, y, by, discrete=discrete, **options), scores, atol=1e-5)
    np.testing.assert_allclose(screen(1000 - 20 * x, y, by, discrete=discrete), scores, atol=2e-3)
    x[:, 7] = 0.1
    assert screen(x, y, by, discrete=discrete)[7] == pytest.approx(0, abs=1e-12)
    x[3, 8] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        screen(x, y, by, discrete=discrete)


def test_memory_is_that_of_a_block_and_not_of_all_variables():
    x = np.random.default_rng(6).standard_normal((200, 6000)).astype(np.float32)
    y = x[:, 0].astype(float)
    tracemalloc.start()
    try:
        kde_information(x, y, max_mb=4)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    # All grids at once would take 130 MB at the least.
    assert peak < 10


def planted(contrast, n=600, seed=0):
    """Return 20 of 1,000 variables that make up the outcome, and its sign as classes."""
    generator = np.random.default_rng([seed, 7])
    x = generator.standard_normal((n, 1000))
    told = x[:, :20] if contrast == "linear" else (x[:, :20] ** 2 - 1) / np.sqrt(2)
    y = told.sum(axis=1) / np.sqrt(20) + 0.3 * generator.standard_normal(n)
    return x, y, np.where(y > 0, "patient", "control")


def auc(scores, k=20):
    return (rankdata(scores)[:k].sum() - k * (k + 1) / 2) / (k * (len(scores) - k))


def test_densities_find_what_is_linear_and_what_is_not():
    """At least what the package fastHDMI reaches on such data: 1.000, 0.986, 0.954 and 0.964, each less 0.02."""
    found = {
        (contrast, by, discrete): np.mean(
            [auc(screen(x, c if discrete else y, by, discrete=discrete)) for x, y, c in data]
        )
        for contrast in ("linear", "quadratic")
        for data in [[planted(contrast, seed=seed) for seed in range(3)]]
        for by in ("kde", "pearson")
        for discrete in (False, True)
    }
    assert found["linear", "kde", False] > 0.98
    assert found["quadratic", "kde", False] > 0.966
    assert found["linear", "kde", True] > 0.934
    assert found["quadratic", "kde", True] > 0.944
    assert found["linear", "pearson", False] > 0.98
    assert abs(found["quadratic", "pearson", False] - 0.5) < 0.15


# Inside the fold.


def table(x, target):
    """Return a bundle of people, with numbered variables."""
    n, p = x.shape
    rows = {"row_id": np.array([f"r{i:03d}" for i in range(n)]), "subject": np.array([f"{i:03d}" for i in range(n)])}
    rows |= {"site": np.array(["a", "b"])[np.arange(n) % 2], "target": target}
    return Bundle({"x": x.astype(np.float32)}, rows, {"variable": [f"V{i}" for i in range(p)]}, {"fitted": []})


def r2(y, predicted):
    return 1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2)


def test_noise_predicts_if_screened_before_the_split_and_does_not_if_screened_inside():
    generator = np.random.default_rng(8)
    x, y = generator.standard_normal((200, 5000)), generator.standard_normal(200)
    folds = np.arange(200) % 5
    first = ranking(screen(x, y, "pearson"))[:100]
    wrong, right = np.empty(200), {"pearson": np.empty(200), "kde": np.empty(200)}
    for fold in range(5):
        train, test = folds != fold, folds == fold
        wrong[test] = Ridge(10.0).fit(x[train][:, first], y[train]).predict(x[test][:, first])
        for by in right:
            model = make(
                "methods", "screened_linear", {"screen": by, "n_selected": [100], "penalties": [10.0], "squares": False}
            )
            model.fit(table(x[train], y[train]), seed=0)
            right[by][test] = model.predict(table(x[test], y[test]).with_rows(target=None))["y_pred"]
    assert r2(y, wrong) > 0.4
    for predicted in right.values():
        assert r2(y, predicted) < 0


@pytest.mark.parametrize("task", ["regress", "classify"])
def test_the_search_sees_the_planted_variables_and_reports_them(task):
    x, y, classes = planted("linear", 900)
    target = classes if task == "classify" else y
    train, test = table(x[:600], target[:600]), table(x[600:], target[600:]).with_rows(target=None)
    parameters = {"screen": "pearson", "n_selected": [5, 20], "penalties": [1.0, 100.0], "squares": False}
    model = make("methods", "screened_linear", parameters)
    model.fit(train, seed=0)
    chosen = model.chosen()
    assert model.n_configurations() == 4
    assert chosen["n_variables"] == 1000
    assert chosen["n_selected"] in (5, 20)
    names = [
        f"V{i}"
        for i in ranking(screen(x[:600].astype(np.float32), target[:600], "pearson", discrete=task == "classify"))
    ]
    assert chosen["ranking"] == names[:100]
    predicted = model.predict(test)
    if task == "regress":
        assert r2(y[600:], predicted["y_pred"]) > 0.5
    else:
        named = np.array(predicted.axes["class"])[predicted["y_score"].argmax(axis=1)]
        assert np.mean(named == classes[600:]) > 0.7
    again = make("methods", "screened_linear", parameters)
    again.restore(model.dump())
    assert again.chosen() == chosen
    key = "y_pred" if task == "regress" else "y_score"
    np.testing.assert_array_equal(again.predict(test)[key], predicted[key])
    alone = model.predict(test.take([5]))[key]
    np.testing.assert_allclose(alone, predicted[key][[5]], rtol=1e-9)


def test_squares_let_the_model_use_what_densities_find_and_correlation_does_not():
    x, y, _ = planted("quadratic", 900)
    x, train = x[:, :200], np.arange(900) < 600
    scores = {}
    for by, squares in (("kde", True), ("kde", False), ("pearson", True)):
        parameters = {"screen": by, "squares": squares, "n_selected": [20], "penalties": [10.0]}
        model = make("methods", "screened_linear", parameters)
        model.fit(table(x[train], y[train]), seed=0)
        held = table(x[~train], y[~train]).with_rows(target=None)
        scores[by, squares] = r2(y[~train], model.predict(held)["y_pred"])
    assert scores["kde", True] > 0.5
    assert scores["kde", False] < 0.1
    assert scores["pearson", True] < 0.2


def test_missing_values_and_sites_are_handled_by_training_rows():
    x, y, _ = planted("linear", 600)
    x = x[:, :100] + 3.0 * (np.arange(600)[:, None] % 2)
    x[::7, 3] = np.nan
    x[:, 50] = 2.0
    held = table(x[450:], y[450:]).with_rows(target=None)
    scores = {}
    for kind in ("none", "combat"):
        parameters = {"n_selected": [20], "penalties": [10.0], "squares": False, "harmonise": {"kind": kind}}
        model = make("methods", "screened_linear", parameters)
        model.fit(table(x[:450], y[:450]), seed=0)
        scores[kind] = r2(y[450:], model.predict(held)["y_pred"])
        assert "V50" not in model.chosen()["ranking"][:20]
    assert scores["combat"] > 0.7
    # The difference between sites hides what the variables tell.
    assert scores["combat"] > scores["none"] + 0.1


def test_recall_counts_the_support_among_as_many():
    metric = make("metrics", "support_recall", {"expected_by_chance": 0.02})
    fold = {"chosen": {"ranking": ["V3", "V9", "V1", "V2"]}}
    assert metric.score_fit(fold, {"support": ["V1", "V2", "V3"]}) == pytest.approx(2 / 3)
    assert metric.score_fit(fold, {"support": ["V3"]}) == 1
    assert np.isnan(metric.score_fit(fold, {"support": [f"V{i}" for i in range(5)]}))
    assert np.isnan(metric.score_fit(fold, None))
    assert metric.chance_fit() == 0.02


# The simulator.


@pytest.mark.parametrize("contrast", ["linear", "quadratic"])
def test_the_planted_variables_carry_what_the_facts_say(contrast):
    simulator = make("simulators", "morphometry_table", {"contrast": contrast, "n_variables": 200, "site_effect": 0.0})
    people = [simulator.person(subject, "planted", 0) for subject in range(1, 1001)]
    x, y = np.array([person.thickness for person in people]), np.array([person.age for person in people])
    indices, signs = simulator.support(0)
    assert len(np.unique(indices)) == 20
    assert np.diff(indices).min() > 1
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    told = x[:, indices] if contrast == "linear" else x[:, indices] ** 2
    site = np.array([[person.site == f"site{k}" for k in range(1, 5)] for person in people], float)
    design = np.column_stack([told @ signs, site])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    within = y - site @ np.linalg.lstsq(site, y, rcond=None)[0]
    assert 1 - residual.var() / within.var() == pytest.approx(0.9, abs=0.03)
    patient = np.array([person.diagnosis == "patient" for person in people])
    assert auc_of(told @ signs, patient) > 0.85
    # Neighbours resemble each other, by the powers of the distance.
    for lag in (1, 2):
        found = np.mean([np.corrcoef(x[:, i], x[:, i + lag])[0, 1] for i in range(150)])
        assert found == pytest.approx(0.5**lag, abs=0.03)
    if contrast == "quadratic":
        assert np.abs(correlation(x, y)).max() < 0.15
    absent = np.array([simulator.person(subject, "absent", 0).thickness for subject in range(1, 1001)])
    assert [simulator.person(subject, "absent", 0).age for subject in (1, 2)] == y[:2].tolist()
    told = absent[:, indices] - absent[:, indices].mean(axis=0)
    told = told if contrast == "linear" else told**2
    assert abs(np.corrcoef(told @ signs, y)[0, 1]) < 0.1


def auc_of(scores, positive):
    ranks = rankdata(scores)
    n = positive.sum()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())
