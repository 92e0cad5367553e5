"""Decoders of a moving state: maps against closed forms and scikit-learn, splits in time, and their metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared import observation_maps as maps
from replicortex.shared.state_decoding import edges_within, inputs_of, learn_inputs, left_out_together, stretches


@pytest.fixture(scope="module")
def examples():
    """A curve with noise that grows, in twelve stretches."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (600, 1))
    noise = 0.1 + 0.4 * (x[:, 0] > 0)
    z = np.stack([np.sin(2 * x[:, 0]), x[:, 0] ** 2 - 4 / 3], axis=1) + noise[:, None] * rng.standard_normal((600, 2))
    return x, z, np.repeat(np.char.mod("s%02d", np.arange(12)), 50)


@pytest.mark.parametrize("kind", ["nadaraya_watson", "gaussian_process", "network"])
def test_a_map_finds_mean_and_covariance(kind, examples):
    learned = maps.learn_map(kind, *examples, n_settings=9, most=400, seed=0)
    x = np.array([[-1.0], [1.0]])
    truth = np.stack([np.sin(2 * x[:, 0]), x[:, 0] ** 2 - 4 / 3], axis=1)
    assert np.abs(maps.mean_of(learned, x) - truth).max() < 0.25
    cov = maps.covariance_of(learned, x)
    assert np.all(np.linalg.eigvalsh(cov) > 0)
    quiet, loud = np.trace(cov, axis1=1, axis2=2) / 2
    assert quiet == pytest.approx(0.01, abs=0.03)
    assert loud == pytest.approx(0.25, rel=0.4)


def test_a_smoother_is_a_weighted_mean(examples):
    x, z, _ = examples
    learned = {"kind": "nadaraya_watson", "x": x, "z": z, "bandwidth": 0.3}
    at = np.array([[0.4], [1e4]])
    weights = np.exp(-((at[0] - x[:, 0]) ** 2) / (2 * 0.3**2))
    found = maps._mean(learned, at)
    np.testing.assert_allclose(found[0], weights @ z / weights.sum(), atol=1e-12)
    np.testing.assert_allclose(found[1], z[x[:, 0].argmax()], atol=1e-9, err_msg="far away the nearest example counts")


def test_a_process_is_that_of_scikit_learn(examples):
    x, z, segment = examples
    learned, chosen = maps._learn_mean("gaussian_process", x, z[:, :1], segment, 9, 300, 0)
    share = chosen["noise_share"]
    kernel = ConstantKernel(1 - share) * RBF(chosen["length_scale"]) + WhiteKernel(share)
    kept = np.unique(np.linspace(0, 599, 300).astype(int))
    peer = GaussianProcessRegressor(kernel, optimizer=None, alpha=0).fit(x[kept], z[kept, 0])
    at = np.linspace(-2, 2, 20)[:, None]
    np.testing.assert_allclose(maps._mean(learned, at)[:, 0], peer.predict(at), atol=1e-8)


def test_a_network_descends_by_its_own_slope(examples):
    x, z, segment = examples
    layers, penalty, scale = maps.learn_network(x, z, segment, 4, 0)
    assert penalty > 0
    _, hidden = maps.network_of(layers, x[:5])
    step = 1e-6
    numeric = (maps.network_of(layers, x[:5] + step)[0] - maps.network_of(layers, x[:5] - step)[0]) / (2 * step)
    np.testing.assert_allclose(maps.slope_of(layers, hidden)[:, :, 0], numeric, atol=1e-6)

    def loss(now):
        error = np.mean((maps.network_of(now, x)[0] - z / scale) ** 2)
        return error + penalty * (np.sum(now[0] ** 2) + np.sum(now[2] ** 2)) / (now[0].size + now[2].size)

    rng = np.random.default_rng(0)
    around = [loss([part + 1e-2 * rng.standard_normal(part.shape) for part in layers]) for _ in range(20)]
    assert min(around) > loss(layers) - 1e-5, "no step in any direction is downhill"


def test_a_row_never_tells_of_its_own_stretch():
    rng = np.random.default_rng(0)
    # Each stretch has its own level, which its rows tell of each other and of no other stretch.
    segment = np.repeat(np.char.mod("s%02d", np.arange(30)), 10)
    x = np.repeat(rng.standard_normal((30, 1)), 10, axis=0) + 1e-3 * rng.standard_normal((300, 1))
    z = np.repeat(rng.standard_normal((30, 1)), 10, axis=0)
    honest = maps._bandwidth(x, z, segment, 12)
    row_by_row = maps._bandwidth(x, z, np.arange(300), 12)
    assert honest > 3 * row_by_row


# ---- inputs and stretches


def moments(segments, onset=None):
    n = len(segments)
    rows = {name: np.full(n, "1") for name in ("subject", "session", "run")}
    rows |= {"row_id": np.arange(n).astype(str), "segment": np.array(segments)}
    rows["onset"] = np.arange(n) * 0.1 if onset is None else np.asarray(onset)
    return Bundle({"x": np.zeros((n, 2, 1))}, rows)


def test_a_stretch_with_a_gap_is_two():
    found = stretches(moments(list("bbaaaa"), [0, 0.1, 1.0, 1.1, 1.5, 1.6]))
    assert found.edges == [(0, 2), (2, 4), (4, 6)]
    assert found.order.tolist() == [2, 3, 4, 5, 0, 1]
    edges, rows = edges_within(found, np.array([1, 1, 0, 1, 1, 1], dtype=bool))
    assert edges == [(0, 2), (2, 3), (3, 5)]
    assert rows.tolist() == [0, 1, 3, 4, 5]


def test_one_long_stretch_is_left_out_in_blocks():
    together = left_out_together(stretches(moments(["a"] * 100)))
    assert len(np.unique(together)) == 10
    assert together.tolist() == sorted(together)


def test_components_have_unit_variance_and_drop_what_never_changes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 6))
    x[:, 2] = 3.0
    learned = learn_inputs(x, 10)
    turned = inputs_of(learned, x)
    assert turned.shape[1] == 4, "as many as there are dimensions"
    np.testing.assert_allclose(np.cov(turned, rowvar=False, ddof=0), np.eye(4), atol=1e-8)
    assert inputs_of(learn_inputs(x, None), x).shape[1] == 5
    assert inputs_of(learn_inputs(np.zeros((5, 3)), 10), np.zeros((5, 3))).shape == (5, 1)


@pytest.mark.parametrize("name", ["discriminative_kalman", "kalman_decoder", "observation_regression"])
def test_numbered_inputs_of_two_sessions_are_not_learned_from_at_once(name):
    train = moments(["a"] * 20)
    two = train.with_rows(session=np.repeat(["1", "2"], 10))
    two = dataclasses.replace(two, arrays={**two.arrays, "y": np.zeros((20, 1))}, axes={"slot": [0, 1]})
    with pytest.raises(InputError, match="2 sessions are to be learned from at once"):
        make("methods", name).fit(two, 0)


# ---- splits


def rows_of(n_sessions=2, n_segments=5, length=10):
    n = n_sessions * n_segments * length
    session = np.repeat(np.arange(n_sessions), n_segments * length)
    segment = np.tile(np.repeat(np.arange(n_segments), length), n_sessions)
    onset = np.tile(np.arange(n_segments * length) * 0.1, n_sessions)
    rows = {"subject": np.full(n, "01"), "run": np.full(n, "1"), "session": session, "segment": segment, "onset": onset}
    return {name: column.astype(str) for name, column in rows.items()}


def test_forward_in_time_trains_on_the_past_alone():
    rows = rows_of()
    folds = list(make("splitters", "forward_in_time", {"share": 0.7}).split(rows, np.zeros(100), 0))
    assert [name for name, _, _ in folds] == ["sub-01_ses-0", "sub-01_ses-1"]
    for _, train, test in folds:
        assert rows["onset"][train].astype(float).max() < rows["onset"][test].astype(float).min()
        assert not set(rows["segment"][train]) & set(rows["segment"][test]), "no segment is cut"
        assert (len(train), len(test)) in ((30, 20), (40, 10))


def test_a_gap_is_left_out_before_the_cut():
    rows = {**rows_of(1, 1, 50)}
    ((_, train, test),) = make("splitters", "forward_in_time", {"share": 0.8, "gap": 1.0}).split(rows, np.zeros(50), 0)
    assert test.tolist() == list(range(40, 50))
    assert train.tolist() == list(range(31)), "row 30 is one second before row 40, and stays"


def test_segments_are_held_out_as_a_whole():
    rows = rows_of()
    folds = list(make("splitters", "segment_k_fold", {"folds": 3}).split(rows, np.zeros(100), 0))
    assert len(folds) == 6
    for _, train, test in folds:
        pairs = [set(zip(rows["session"][side], rows["segment"][side], strict=True)) for side in (train, test)]
        assert not pairs[0] & pairs[1]
        assert len(set(rows["session"][np.concatenate([train, test])])) == 1
    assert sorted(np.concatenate([test for _, _, test in folds])) == list(range(100))


# ---- metrics


def scored(metric, true, guess, params=None, **arrays):
    n = len(true)
    rows = {"row_id": np.arange(n), "subject": np.zeros(n, int)}
    bundle = Bundle({"y_true": np.asarray(true, float), "y_pred": np.asarray(guess, float), **arrays}, rows)
    return make("metrics", metric, params).score(np.arange(n).astype(str), bundle)


def test_relative_error():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((50, 2)) * [1, 10] + 5
    assert scored("nrmse", true, np.tile(true.mean(axis=0), (50, 1))) == pytest.approx(1)
    assert scored("nrmse", true, true) == 0
    halfway = true.mean(axis=0) + 0.5 * (true - true.mean(axis=0))
    assert scored("nrmse", true, halfway) == pytest.approx(0.5)
    assert np.isnan(scored("nrmse", np.ones((5, 2)), np.ones((5, 2))))


def test_error_of_direction():
    true = np.array([[1.0, 0], [0, 2], [-1, 0], [0, 0]])
    assert scored("angle_error", true, true, {"slowest": 0}) == pytest.approx(0)
    turned = true @ np.array([[0, 1], [-1, 0]])
    assert scored("angle_error", true, 7 * turned, {"slowest": 0}) == pytest.approx(90)
    assert scored("angle_error", true, -true, {"slowest": 0}) == pytest.approx(180)
    assert scored("angle_error", true, 0 * true, {"slowest": 0}) == pytest.approx(90)
    assert np.isnan(scored("angle_error", true[:, :1], true[:, :1]))


def test_coverage_of_an_honest_region_is_its_level():
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0], [0.8, 0.5]])
    error = rng.standard_normal((20_000, 2)) @ root.T
    cov = np.tile(root @ root.T, (20_000, 1, 1))
    true = 5 * rng.standard_normal((20_000, 2))
    assert scored("coverage", true, true - error, y_cov=cov) == pytest.approx(0.9, abs=0.01)
    narrow = chi2(2).cdf(chi2(2).ppf(0.9) / 4)
    assert scored("coverage", true, true - error, y_cov=cov / 4) == pytest.approx(narrow, abs=0.01)
    assert np.isnan(scored("coverage", true, true))
