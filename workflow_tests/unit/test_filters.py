"""Filters of a linear-Gaussian state, against algebra that knows nothing of recursion and against published errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag, solve_discrete_are
from scipy.stats import multivariate_normal

from replicortex.shared.filters import (
    StateModel,
    discriminative_filter,
    extended_filter,
    fit_state,
    kalman_filter,
    log_likelihood,
    unscented_filter,
)

EDGES = [(0, 7), (7, 8), (8, 20)]


def stationary(d=3, seed=0):
    """A state model whose three matrices belong together."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((d, d))
    a *= 0.9 / np.abs(np.linalg.eigvals(a)).max()
    g = np.cov(rng.standard_normal((d, 3 * d)))
    s = g
    for _ in range(2000):
        s = a @ s @ a.T + g
    return StateModel(a, g, s)


def drawn(model, edges, rng):
    z = np.zeros((edges[-1][1], len(model.a)))
    for first, last in edges:
        z[first] = rng.multivariate_normal(np.zeros(len(model.a)), model.s)
        for t in range(first + 1, last):
            z[t] = model.a @ z[t - 1] + rng.multivariate_normal(np.zeros(len(model.a)), model.g)
    return z


@pytest.fixture
def linear():
    """State, observations x = C z + noise, and both matrices."""
    rng = np.random.default_rng(1)
    model = stationary()
    c, r = rng.standard_normal((5, 3)), np.diag(rng.uniform(0.5, 2, 5)) + 0.2
    z = drawn(model, EDGES, rng)
    return model, c, r, z @ c.T + rng.multivariate_normal(np.zeros(5), r, len(z))


def jointly(model, c, r, n):
    """Covariance of all states of a stretch, and of all observations with all."""
    d = len(model.a)
    cov = np.zeros((n * d, n * d))
    for i in range(n):
        for j in range(i + 1):
            block = np.linalg.matrix_power(model.a, i - j) @ model.s
            cov[i * d : (i + 1) * d, j * d : (j + 1) * d] = block
            cov[j * d : (j + 1) * d, i * d : (i + 1) * d] = block.T
    seen = block_diag(*[c] * n)
    return cov, seen @ cov @ seen.T + block_diag(*[r] * n), cov @ seen.T


def test_the_kalman_filter_conditions_on_all_that_came_before(linear):
    model, c, r, x = linear
    mean, cov = kalman_filter(x, EDGES, model, c, r)
    d, k = 3, 5
    for first, last in EDGES:
        states, seen, across = jointly(model, c, r, last - first)
        for n in range(1, last - first + 1):
            gain = across[(n - 1) * d : n * d, : n * k] @ np.linalg.inv(seen[: n * k, : n * k])
            now = slice((n - 1) * d, n * d)
            np.testing.assert_allclose(mean[first + n - 1], gain @ x[first : first + n].ravel(), atol=1e-10)
            expected = states[now, now] - gain @ across[now, : n * k].T
            np.testing.assert_allclose(cov[first + n - 1], expected, atol=1e-10)


def test_the_likelihood_is_that_of_all_observations_at_once(linear):
    model, c, r, x = linear
    direct = 0.0
    for first, last in EDGES:
        direct += multivariate_normal(cov=jointly(model, c, r, last - first)[1]).logpdf(x[first:last].ravel())
    assert log_likelihood(x, EDGES, model, c, r) == pytest.approx(direct, rel=1e-10)


def test_with_exact_mean_and_covariance_the_discriminative_filter_is_the_kalman_filter(linear):
    model, c, r, x = linear
    gain = model.s @ c.T @ np.linalg.inv(c @ model.s @ c.T + r)
    f, q = x @ gain.T, model.s - gain @ c @ model.s
    for mine, theirs in zip(
        discriminative_filter(f, q, EDGES, model), kalman_filter(x, EDGES, model, c, r), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-11)
    # The robust variant adds what it should take off: it is more certain, and not the same.
    assert np.all(np.trace(discriminative_filter(f, q, EDGES, model, robust=True)[1][1:], axis1=1, axis2=2)
                  < np.trace(kalman_filter(x, EDGES, model, c, r)[1][1:], axis1=1, axis2=2))  # fmt: skip


def test_filters_for_nonlinear_observations_are_the_kalman_filter_where_they_are_linear(linear):
    model, c, r, x = linear

    def observe(z):
        return z @ c.T, np.broadcast_to(c, (len(z), *c.shape))

    expected = kalman_filter(x, EDGES, model, c, r)
    for run, tolerance in ((extended_filter, 1e-11), (unscented_filter, 1e-7)):
        for mine, theirs in zip(run(x, EDGES, model, observe, r), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


def test_the_unscented_filter_is_right_about_the_mean_of_a_square():
    # E[z^2] of a Gaussian is its variance; one made linear about 0 expects nothing and learns nothing.
    model = StateModel(np.zeros((1, 1)), np.eye(1), np.eye(1))

    def observe(z):
        return z**2, 2 * z[:, :, None]

    x, noise = np.array([[1.0]]), np.eye(1)
    mean, cov = unscented_filter(x, [(0, 1)], model, observe, noise)
    assert mean[0, 0] == pytest.approx(0, abs=1e-9)
    assert cov[0, 0, 0] == pytest.approx(1, abs=1e-6)
    shifted, _ = unscented_filter(x + 1, [(0, 1)], model, lambda z: (z**2 + 1, 2 * z[:, :, None]), noise)
    assert shifted[0, 0] == pytest.approx(0, abs=1e-9)


def test_after_many_steps_the_covariance_solves_the_riccati_equation(linear):
    model, c, r, _ = linear
    before = solve_discrete_are(model.a.T, c.T, model.g, r)
    settled = np.linalg.inv(np.linalg.inv(before) + c.T @ np.linalg.inv(r) @ c)
    _, cov = kalman_filter(np.zeros((200, 5)), [(0, 200)], model, c, r)
    np.testing.assert_allclose(cov[-1], settled, atol=1e-12)


def test_stretches_know_nothing_of_each_other(linear):
    model, c, r, x = linear
    mean, _ = kalman_filter(x, EDGES, model, c, r)
    alone, _ = kalman_filter(x[8:20], [(0, 12)], model, c, r)
    np.testing.assert_allclose(mean[8:20], alone, atol=1e-12)


def test_what_says_less_than_nothing_does_not_move_the_state():
    model = StateModel(0.9 * np.eye(2), 0.19 * np.eye(2), np.eye(2))
    # Along the first axis observations say much, along the second less than the state's own spread.
    f, q, edges = np.ones((200, 2)), np.diag([0.1, 1.5]), [(0, 200)]
    ignored, cov = discriminative_filter(f, q, edges, model, wider="ignored")
    np.testing.assert_allclose(ignored[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(cov[:, 1, 1], 1, atol=1e-12)
    alone, _ = discriminative_filter(
        f[:, :1], q[:1, :1], edges, StateModel(*(m[:1, :1] for m in (model.a, model.g, model.s)))
    )
    np.testing.assert_allclose(ignored[:, :1], alone, atol=1e-12)
    drifted, _ = discriminative_filter(f, q, edges, model, wider="limited")
    assert drifted[-1, 1] == pytest.approx(10, abs=0.01), "pushed by 1 at each moment, of which 0.9 is carried on"
    robust, _ = discriminative_filter(f, q, edges, model, wider="robust")
    assert 0 < robust[-1, 1] < 1


def test_where_all_is_below_the_spread_of_the_state_all_variants_agree(linear):
    model, c, r, x = linear
    gain = model.s @ c.T @ np.linalg.inv(c @ model.s @ c.T + r)
    f, q = x @ gain.T, model.s - gain @ c @ model.s
    first, *others = (
        discriminative_filter(f, q, EDGES, model, wider=kind)[0] for kind in ("ignored", "limited", "robust")
    )
    for other in others:
        np.testing.assert_allclose(first, other, atol=1e-10)


def test_a_state_is_found_again():
    model = stationary(d=2, seed=3)
    edges = [(i * 500, (i + 1) * 500) for i in range(40)]
    z = drawn(model, edges, np.random.default_rng(0))
    found = fit_state(z, edges)
    np.testing.assert_allclose(found.a, model.a, atol=0.02)
    np.testing.assert_allclose(found.g, model.g, atol=0.05 * np.trace(model.g))
    np.testing.assert_allclose(found.s, model.s, atol=0.1 * np.trace(model.s))
    one_step = fit_state(z, [(i, i + 1) for i in range(len(z))])
    assert not one_step.a.any(), "stretches of one moment say nothing of the next"


# ---- the first example of the paper


def mixture(n, seed, d=10, length=1000):
    """A mixture of two components of opposite sign and noise of variance 1 and 5, by the authors' first script."""
    rng = np.random.default_rng(seed)
    a = 0.95 * np.eye(d) - 0.05
    model = StateModel(a, np.eye(d) - a @ a.T, np.eye(d))
    z = drawn(model, [(0, length)], rng)
    loadings = rng.standard_normal((n, d)) / np.sqrt(d)
    first = rng.random(length) < 0.5
    noise = np.sqrt(np.where(first, 1.0, 5.0))[:, None] * rng.standard_normal((length, n))
    return model, z, loadings, np.where(first, 1, -1)[:, None] * (z @ loadings.T) + noise


def exactly(x, loadings):
    """Mean and covariance of the state given one observation, in closed form."""
    d = loadings.shape[1]
    means, covs, logs = [], [], []
    for sign, variance in ((1, 1.0), (-1, 5.0)):
        seen = loadings @ loadings.T + variance * np.eye(len(loadings))
        gain = loadings.T @ np.linalg.inv(seen)
        means.append(sign * x @ gain.T)
        covs.append(np.eye(d) - gain @ loadings)
        logs.append(multivariate_normal(cov=seen).logpdf(x))
    weights = np.exp(np.array(logs) - np.max(logs, axis=0))
    weights /= weights.sum(axis=0)
    mean = sum(w[:, None] * m for w, m in zip(weights, means, strict=True))
    away = [m - mean for m in means]
    cov = sum(w[:, None, None] * (c + m[:, :, None] * m[:, None]) for w, c, m in zip(weights, covs, away, strict=True))
    return mean, cov


#: Root mean squared errors of the study's notes on this model: naming the mean, Kalman, no filter, discriminative.
EXPECTED = {3: (1.02, 1.03, 1.00, 0.97), 10: (1.02, 1.05, 0.93, 0.77), 32: (0.95, 1.02, 0.66, 0.47),
            100: (0.97, 1.09, 0.47, 0.33)}  # fmt: skip


@pytest.mark.parametrize("n", EXPECTED)
def test_the_errors_of_the_papers_first_example_are_met(n):
    errors = []
    for seed in range(3):
        model, z, loadings, x = mixture(n, seed)
        f, q = exactly(x, loadings)
        half = len(z) // 2
        c = np.linalg.lstsq(z[:half], x[:half], rcond=None)[0].T
        residual = x[:half] - z[:half] @ c.T
        r = residual.T @ residual / half
        test = [(0, half)]
        kalman = kalman_filter(x[half:], test, model, c, r)[0]
        filtered = discriminative_filter(f[half:], q[half:], test, model)[0]
        guesses = (0 * z[half:], kalman, f[half:], filtered)
        errors.append([np.sqrt(np.mean((guess - z[half:]) ** 2)) for guess in guesses])
    zero, kalman, alone, filtered = np.mean(errors, axis=0)
    np.testing.assert_allclose([zero, alone, filtered], np.array(EXPECTED[n])[[0, 2, 3]], atol=0.07)
    assert kalman > zero, "the Kalman filter knows nothing"
    assert filtered < alone < zero
