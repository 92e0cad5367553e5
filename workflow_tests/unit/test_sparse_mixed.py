"""Penalties that are not convex, the accelerated gradient method, and mixed models with heavy tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter
from scipy.stats import multivariate_normal, multivariate_t

from made_data import halves, people
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared.accelerated import Loss, greatest_amount, minimise, solution_path
from replicortex.shared.mixed_models import Likelihood, Sites, conjugate_gradients, mixed_path, without_variables
from replicortex.shared.penalties import SHAPES, Penalty

PENALTIES = [Penalty(kind, shape) for kind, shape in SHAPES.items()]


def regression(seed=0, n=200, p=1000, n_true=10, noise=1.5):
    """Rows of a first-order autoregression, of which every hundredth or so variable counts."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, p))
    x[:, 1:] *= np.sqrt(0.75)
    x = lfilter([1], [1, -0.5], x, axis=1)
    b = np.zeros(p)
    b[np.arange(n_true) * (p // n_true) + generator.integers(0, p // n_true - 5, n_true)] = generator.choice(
        [-1.0, 1.0], n_true
    )
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x, x @ b + noise * generator.standard_normal(n), b


def at_sites(seed=0, n_sites=20, n_each=13, p=6, wrong=0, noise=1.0, between=1.0):
    generator = np.random.default_rng(seed)
    code = np.repeat(np.arange(n_sites), n_each)
    x = generator.standard_normal((len(code), p))
    b = np.where(np.arange(p) < 3, 1.0, 0.0)
    told = np.where(code < wrong, -3.0, 1.0) * (x @ b)
    y = 5 + told + between * generator.standard_normal(n_sites)[code] + noise * generator.standard_normal(len(code))
    return (x - x.mean(axis=0)) / x.std(axis=0), y, b, code


def smooth_of(model):
    every = np.arange(model.x.shape[1])

    def smooth(at):
        value, by_rest, others = model.terms(at, every)
        return value, np.append(model.gradient(by_rest), others)

    return smooth


def unpenalised(x, y, code, freedom):
    model = Likelihood(x, y, Sites.of(code), freedom)
    start = np.append(np.zeros(x.shape[1]), without_variables(model))
    return model, conjugate_gradients(smooth_of(model), start, np.zeros(len(start)), model.bounded, tolerance=1e-8)


# ---- penalties


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.kind)
def test_a_penalty_is_the_absolute_value_and_a_smooth_concave_part(penalty):
    x = np.linspace(-4, 4, 1001) + 1e-4
    amount, h = 0.7, 1e-6
    numeric = [
        (penalty.value(np.array([v + h]), amount) - penalty.value(np.array([v - h]), amount)) / (2 * h) for v in x
    ]
    np.testing.assert_allclose(penalty.slope(x, amount), numeric, atol=1e-5)
    assert np.all(penalty.slope(x, amount) * np.sign(x) >= -1e-12)
    concave = penalty.concave_gradient(x, amount)
    assert np.all(np.diff(concave) <= 1e-12)
    assert np.abs(np.diff(concave) / np.diff(x)).max() <= penalty.concavity + 1e-9
    if penalty.kind != "l1":
        beyond = np.array([penalty.shape * amount + 0.1, 100.0])
        assert np.ptp([penalty.value(beyond[[i]], amount) for i in (0, 1)]) < 1e-12


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.kind)
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_the_proximal_point_is_the_minimum(penalty, step):
    amount = 0.6
    for x in np.linspace(-3, 3, 61):
        at = minimize_scalar(
            lambda z, x=x: (z - x) ** 2 / 2 + step * penalty.value(np.array([z]), amount),
            bounds=(-4, 4),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert penalty.prox(np.array([x]), amount, step)[0] == pytest.approx(at.x, abs=1e-5)


def test_a_step_that_is_too_long_for_the_penalty_is_refused():
    with pytest.raises(ValueError, match="too long"):
        Penalty("mcp", 1.5).prox(np.ones(2), 1.0, 2.0)


# ---- the accelerated gradient method


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.kind)
@pytest.mark.parametrize("logistic", [False, True])
def test_a_path_of_stationary_points_that_both_solvers_find(penalty, logistic):
    x, y, _ = regression(1, n=120, p=300, n_true=5)
    loss = Loss(x, y > 0 if logistic else y)
    amounts = greatest_amount(loss) * np.geomspace(1, 0.4, 6)
    paths = [
        solution_path(loss, penalty, amounts, solver=solver, tolerance=1e-8, most=50_000)
        for solver in ("accelerated", "proximal_gradient")
    ]
    for path in paths:
        # An independent look at the conditions, with the penalty's derivative by differences.
        for b, amount in zip(path.coefficients, amounts, strict=True):
            gradient, free = loss.gradient(b), np.arange(len(b)) < x.shape[1]
            out = free & (b == 0)
            assert np.abs(gradient[out]).max() <= amount + 1e-6
            assert np.abs(gradient[~out] + penalty.slope(b, loss.amounts(amount))[~out]).max(initial=0) < 1e-6
        assert path.residuals.max() < 1e-6
    np.testing.assert_allclose(paths[0].coefficients, paths[1].coefficients, atol=1e-4)
    assert paths[0].iterations.sum() < paths[1].iterations.sum()
    assert np.count_nonzero(paths[0].coefficients[0, : x.shape[1]]) == 0


def test_the_lasso_is_scikit_learns():
    from sklearn.linear_model import Lasso

    x, y, _ = regression(2, n=100, p=150, n_true=5)
    path = solution_path(Loss(x, y), Penalty("l1", np.inf), [0.4, 0.2], tolerance=1e-10)
    for b, amount in zip(path.coefficients, (0.4, 0.2), strict=True):
        expected = Lasso(alpha=amount, tol=1e-12, max_iter=100_000).fit(x, y).coef_
        np.testing.assert_allclose(b, expected, atol=1e-6)


def test_what_the_strong_rule_leaves_out_wrongly_comes_back():
    x, y, _ = regression(0)
    loss, penalty = Loss(x, y), Penalty("mcp", 3.0)
    # Far apart, so that the rule has to guess.
    amounts = greatest_amount(loss) * np.array([1.0, 0.5, 0.3])
    path = solution_path(loss, penalty, amounts, tolerance=1e-8)
    assert path.residuals.max() < 1e-7
    whole = minimise(
        loss.among(np.arange(x.shape[1]))[0], np.linalg.norm(x, 2) ** 2 / len(x), penalty, amounts[-1],
        path.coefficients[-1], tolerance=1e-8,
    )  # fmt: skip
    np.testing.assert_allclose(whole.x, path.coefficients[-1], atol=1e-6)


def test_scad_and_mcp_find_exactly_the_ten_where_the_lasso_shrinks():
    for seed in range(3):
        x, y, b = regression(seed)
        loss = Loss(x, y)
        amounts = greatest_amount(loss) * np.geomspace(1, 0.15, 40)
        exact, error = {}, {}
        for penalty in PENALTIES:
            found = solution_path(loss, penalty, amounts).coefficients
            exact[penalty.kind] = any(np.array_equal(one != 0, b != 0) for one in found)
            error[penalty.kind] = np.linalg.norm(found - b, axis=1).min()
        assert exact["mcp"]
        assert error["scad"] < 0.6 * error["l1"]
        assert error["mcp"] < 0.6 * error["l1"]


# ---- mixed models


@pytest.mark.parametrize("freedom", [np.inf, 3.0])
def test_the_likelihood_is_that_of_the_whole_covariance(freedom):
    x, y, _, code = at_sites(n_sites=4, n_each=3, p=2)
    model = Likelihood(x, y, Sites.of(code), freedom)
    generator = np.random.default_rng(0)

    def direct(at):
        b, m, variance, ratio = model.unpacked(at)
        total = 0.0
        for site in range(4):
            rows = code == site
            cov = variance * (np.eye(3) + ratio)
            mean = x[rows] @ b + m
            if np.isinf(freedom):
                total += multivariate_normal(mean, cov).logpdf(y[rows])
            else:
                total += multivariate_t(mean, cov, df=freedom).logpdf(y[rows])
        return -total / len(y)

    smooth = smooth_of(model)
    first, second = (np.append(generator.standard_normal(3), [1.2, 0.3 + shift]) for shift in (0.0, 0.4))
    assert smooth(first)[0] - smooth(second)[0] == pytest.approx(direct(first) - direct(second), abs=1e-10)
    for entry in np.eye(5):
        numeric = (smooth(first + 1e-6 * entry)[0] - smooth(first - 1e-6 * entry)[0]) / 2e-6
        assert smooth(first)[1] @ entry == pytest.approx(numeric, abs=1e-7)


def test_without_a_penalty_it_is_the_mixed_model_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels, the peer of mixed models, is not installed")
    x, y, _, code = at_sites(2)
    expected = sm.MixedLM(y, sm.add_constant(x), code).fit(reml=False)
    # Many degrees of freedom are a Gaussian.
    for freedom in (np.inf, 1e8):
        model, found = unpenalised(x, y, code, freedom)
        b, m, variance, ratio = model.unpacked(found.at)
        np.testing.assert_allclose(b, expected.fe_params[1:], atol=1e-5)
        assert m == pytest.approx(expected.fe_params[0], abs=1e-5)
        assert variance == pytest.approx(expected.scale, rel=1e-4)
        assert variance * ratio == pytest.approx(expected.cov_re[0, 0], rel=1e-3)
    intercepts = [float(expected.random_effects[site].iloc[0]) for site in range(20)]
    np.testing.assert_allclose(model.intercepts(found.at), intercepts, atol=1e-3)


def test_heavy_tails_are_not_led_by_contaminated_sites():
    biases = {np.inf: [], 4.0: []}
    for seed in range(4):
        for freedom, found in biases.items():
            x, y, b, code = at_sites(seed, wrong=2)
            model, at = unpenalised(x, y, code, freedom)
            found.append(model.unpacked(at.at)[0][b > 0].mean() - 1)
    weights = model.weights(at.at)
    assert weights[:2].max() < 0.3 * weights[2:].min()
    assert abs(np.mean(biases[4.0])) < 0.1
    assert np.mean(biases[np.inf]) < -0.25
    x, y, b, code = at_sites(9)
    gaussian, robust = (
        model.unpacked(at.at)[0] for model, at in (unpenalised(x, y, code, freedom) for freedom in (np.inf, 4.0))
    )
    np.testing.assert_allclose(gaussian, robust, atol=0.06)


@pytest.mark.parametrize("kind", ["l1", "scad"])
def test_a_sparse_mixed_model_is_stationary_and_finds_the_support(kind):
    x, y, b, code = at_sites(3, p=200, noise=0.7)
    model, penalty = Likelihood(x, y, Sites.of(code), 8.0), Penalty(kind, SHAPES[kind])
    path = mixed_path(model, penalty, np.geomspace(1, 0.3, 12)[1:], tolerance=1e-6)
    assert path.residuals.max() < 1e-5
    assert any(set(np.flatnonzero(at[:-3])) == {0, 1, 2} for at in path.arguments)
    smallest = min(np.linalg.norm(model.unpacked(at)[0] - b) for at in path.arguments)
    assert smallest < (0.5 if kind == "l1" else 0.2)


def test_conjugate_gradients_solve_a_quadratic_in_as_many_steps_as_it_has_directions():
    generator = np.random.default_rng(0)
    root = generator.standard_normal((8, 8))
    a, c = root @ root.T + np.eye(8), generator.standard_normal(8)
    found = conjugate_gradients(lambda x: (x @ a @ x / 2 - c @ x, a @ x - c), np.zeros(8), np.zeros(8), tolerance=1e-7)
    np.testing.assert_allclose(found.at, np.linalg.solve(a, c), atol=1e-6)
    assert found.n_iterations < 60
    reach = np.full(8, 0.3)
    found = conjugate_gradients(lambda x: (x @ a @ x / 2 - c @ x, a @ x - c), np.zeros(8), reach, tolerance=1e-9)
    slope = a @ found.at - c
    assert np.abs(slope[found.at == 0]).max(initial=0) <= 0.3 + 1e-7
    np.testing.assert_allclose(slope[found.at != 0], -0.3 * np.sign(found.at[found.at != 0]), atol=1e-7)


# ---- methods and metrics


def test_coefficients_are_in_the_units_of_the_variables():
    train, _ = halves(people("regress"))
    x = 100 * train["x"].astype(float) + 7
    y = 3 + 0.02 * x[:, 0] - 0.01 * x[:, 1]
    scaled = train.with_rows(target=y)
    scaled.arrays["x"] = x.astype(np.float32)
    model = make("methods", "sparse_linear", {"n_amounts": 20, "least_share": 0.02, "n_inner": 2})
    model.fit(scaled, seed=0)
    found = model.found()
    assert found["coefficients"][:2] == pytest.approx([0.02, -0.01], rel=0.05)
    assert model.chosen()["ranking"][:2] == ["V0", "V1"]
    assert len(found["iterations"]) == 20


def test_a_site_without_training_rows_has_the_intercept_of_the_average_site():
    train, test = halves(people("regress"))
    model = make("methods", "tsallis_mixed", {"n_amounts": 6, "n_inner": 2})
    model.fit(train, seed=0)
    other = test.with_rows(site=np.full(len(test), "another"))
    plain = model.predict(other)["y_pred"]
    intercepts = dict(zip(model.found()["site"], model.found()["site_intercept"], strict=True))
    added = np.array([intercepts[site] for site in test.rows["site"]])
    np.testing.assert_allclose(model.predict(test)["y_pred"], plain + added)
    with pytest.raises(InputError, match="no column 'scanner'"):
        make("methods", "gaussian_mixed", {"site": "scanner"}).fit(train, seed=0)


def test_more_than_two_classes_are_refused():
    train, _ = halves(people("classify"))
    three = train.with_rows(target=np.array(["a", "b", "c"])[np.arange(len(train)) % 3])
    with pytest.raises(InputError, match="three classes"):
        make("methods", "sparse_linear", {}).fit(three, seed=0)


def test_metrics_compare_coefficients_by_name():
    truth = {"coefficients": {"V2": 2.0, "V9": -1.0}}
    found = {"variable": ["V1", "V2", "V9"], "coefficients": [0.5, 1.5, 0.0], "gaussian": [0.0, 1.5, 0.0]}
    fold = {"found": {**found, "iterations": [3, 4]}}

    def of(name, params=None):
        return make("metrics", name, params or {}).score_fit(fold, truth)

    assert of("coefficient_error") == pytest.approx(np.sqrt(0.25 + 0.25 + 1) / np.sqrt(5))
    assert of("fixed_effect_bias") == pytest.approx((0.5 + 1) / 3)
    assert of("support_f1", {"expected_by_chance": 0.1}) == pytest.approx(2 * 1 / (2 + 2))
    assert of("robust_change") == pytest.approx(0.5 / np.sqrt(5))
    assert of("solver_iterations") == 7
    fold["found"] = {"variable": ["V2"], "coefficients": [2.0]}
    # A planted variable that was not among the features counts as not found.
    assert of("coefficient_error") == pytest.approx(1 / np.sqrt(5))
    assert np.isnan(of("robust_change"))


def test_contaminated_sites_are_told_and_turned():
    clean, wrong = (make("simulators", "site_scores", {"contrast": one}) for one in ("clean", "contaminated"))
    sites = wrong.wrong_sites(3)
    assert len(sites) == 2
    assert len(clean.wrong_sites(3)) == 0
    for subject in (1, 40, 200, 320):
        here, there = (one.person(subject, "planted", 3) for one in (clean, wrong))
        np.testing.assert_array_equal(here[3], there[3])
        assert (here[1] != there[1]) == (here[0] in sites)
        absent = clean.person(subject, "absent", 3)
        assert absent[:3] == here[:3]
        assert not np.allclose(absent[3], here[3])
