"""Calcium traces: rates, gaps, names of neurons; and forecasts of what neurons do next."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.features.activity_windows import ActivityWindows
from replicortex.preprocessing.calcium_traces import band_limited, trailing_means
from replicortex.shared.binned import read_binned
from replicortex.shared.nwb import write_nwb
from replicortex.shared.worm import NEURONS
from replicortex.stages.fit import fit
from replicortex.stages.splits import make_splits


def uneven(seconds, rate, seed=0):
    steps = np.random.default_rng(seed).uniform(0.8, 1.2, round(seconds * rate)) / rate
    return np.cumsum(steps)


# ---- resampling


@pytest.mark.parametrize("rate", [3.0, 10.0])
def test_slow_signals_and_means_are_kept_and_fast_ones_do_not_fold_back(rate):
    clock = uneven(120, 10)
    times = np.arange(20, 100, 1 / rate)
    x = np.stack([np.full(len(clock), 4.2), np.sin(2 * np.pi * 0.3 * clock), np.sin(2 * np.pi * 2.6 * clock)], axis=1)
    found = band_limited(clock, x, times, rate)
    np.testing.assert_allclose(found[:, 0], 4.2, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], np.sin(2 * np.pi * 0.3 * times), atol=0.03)
    even = np.arange(0, 120, 0.1)
    slow = band_limited(even, np.sin(2 * np.pi * 0.3 * even)[:, None], times + 0.01, rate)[:, 0]
    np.testing.assert_allclose(slow, np.sin(2 * np.pi * 0.3 * (times + 0.01)), atol=0.002)
    # 2.6 Hz is above the Nyquist frequency of 3 Hz and below that of 10 Hz.
    strength = found[:, 2].std() / np.sqrt(0.5)
    assert strength < 0.03 if rate == 3.0 else strength > 0.95
    # Picking the nearest sample lets it fold back whole.
    assert x[np.searchsorted(clock, times), 2].std() > 0.6


def test_samples_at_the_new_times_are_left_as_they_are():
    x = np.random.default_rng(1).standard_normal((50, 3))
    np.testing.assert_array_equal(band_limited(np.arange(50) / 3, x, np.arange(50) / 3, 3.0), x)


def test_means_know_nothing_of_what_comes_later():
    clock, times = uneven(30, 6), np.arange(1, 28) / 1.0
    x = np.random.default_rng(2).standard_normal((len(clock), 2))
    found = trailing_means(clock, x, times, 1.0)
    expected = [x[(clock > t - 1) & (clock <= t)].mean(axis=0) for t in times]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    later = x.copy()
    later[clock > 15] += 100
    np.testing.assert_array_equal(trailing_means(clock, later, times, 1.0)[times <= 15], found[times <= 15])


# ---- the engine


def worm(root, series, subject="01"):
    path = root / f"sub-{subject}" / "ephys" / f"sub-{subject}_task-rest_ephys.nwb"
    path.parent.mkdir(parents=True)
    write_nwb(path, series=series, identifier=subject)
    return {"path": str(path.relative_to(root)), "recording": f"sub-{subject}_task-rest", "suffix": "ephys",
            "datatype": "ephys", "extension": ".nwb", "subject": subject, "session": "n/a", "run": "n/a"}  # fmt: skip


def traces(row, root, out, params=None):
    out.mkdir(exist_ok=True)
    made = make("preprocessing", "calcium_traces", params).preprocess(row, root, out)
    return read_binned(out / made["MainFile"], row), made, out / made["MainFile"]


def test_neurons_come_in_one_order_and_those_without_a_name_stay_themselves(tmp_path):
    clock = np.arange(300) / 6.0
    of = {name: np.sin(clock * (i + 1)) for i, name in enumerate(["VB02", "neuron7", "AVAL", "neuron12"])}
    for subject, names in (("01", list(of)), ("02", list(of)[::-1])):
        row = worm(tmp_path / "bids", {name: (of[name], clock, "dF/F") for name in names}, subject)
        binned, made, path = traces(row, tmp_path / "bids", tmp_path / "out")
        assert list(binned.input_units) == ["AVAL", "VB2", "neuron12", "neuron7"]
        assert made["Labelled"] == 2
        np.testing.assert_allclose(binned.inputs.mean(axis=0), 0, atol=1e-7)
        np.testing.assert_allclose(binned.inputs.std(axis=0), 1, rtol=1e-6)
        bundle = ActivityWindows(unlabelled=3).extract(row, path, {})
        there = [bundle.axes["neuron"][i] for i in np.flatnonzero(bundle["present"][0])]
        assert there == ["AVAL", "VB2", "unlabelled1", "unlabelled2"]
        assert bundle.axes["neuron"][:302] == list(NEURONS)
    with pytest.raises(InputError, match="more than 1 neurons without a name"):
        ActivityWindows(unlabelled=1).extract(row, path, {})


def test_nothing_reaches_over_a_gap(tmp_path):
    clock = np.concatenate([np.arange(0, 40, 1 / 6), np.arange(70, 110, 1 / 6), np.arange(130, 133, 1 / 6)])
    level = np.where(clock < 50, 0.0, np.where(clock < 120, 10.0, 99.0))
    place = np.stack([2 * clock, 5 - clock], axis=1)
    row = worm(tmp_path / "bids", {"a": (level, clock, "n.a."), "walk": (place, clock, "m")})
    params = {"resample": "sinc", "zscore": False, "velocity": ["walk"]}
    binned, made, path = traces(row, tmp_path / "bids", tmp_path / "out", params)
    # The last stretch is shorter than ten seconds.
    assert made["Quality"]["n_stretches"] == 2
    assert set(np.round(binned.inputs[:, 0], 9)) == {0.0, 10.0}
    np.testing.assert_allclose(binned.outputs, [[2.0, -1.0]] * len(binned.onset), atol=1e-6)
    assert list(binned.output_units) == ["walk0Velocity", "walk1Velocity"]
    bundle = ActivityWindows(lags=4, horizon=3, labelled=False, unlabelled=2).extract(row, path, {})
    for segment, value in (("stretch1", 0.0), ("stretch2", 10.0)):
        here = bundle.rows["segment"] == segment
        assert np.all(bundle["x"][here, :, 0] == value)
        assert np.all(bundle["y"][here, 0] == value)
        assert here.sum() == (binned.segment == segment).sum() - 6


@pytest.mark.parametrize(
    ("series", "fault"),
    [
        ({"walk": (np.zeros((99, 2)), np.arange(99) / 3.0, "m")}, "no trace"),
        (
            {"a": (np.zeros(99), np.arange(99) / 3.0, "n.a."), "b": (np.zeros(99), np.arange(99) / 4.0, "n.a.")},
            "other times",
        ),
        ({"a": (np.zeros(9), np.arange(9) / 3.0, "n.a.")}, "no stretch of 10 s"),
        ({"a": (np.full(99, np.nan), np.arange(99) / 3.0, "n.a.")}, "not finite"),
    ],
)
def test_what_can_not_be_a_recording_is_refused_in_one_line(tmp_path, series, fault):
    row = worm(tmp_path / "bids", series)
    with pytest.raises(InputError, match=fault) as caught:
        traces(row, tmp_path / "bids", tmp_path / "out")
    assert str(caught.value).startswith("sub-01/ephys/")


def test_two_real_worms_are_read(real_data, tmp_path):
    rows = make("readers", "celegans_activity").read(real_data / "celegans-activity", tmp_path)
    assert [row["n_traces"] for row in rows] == [62, 57]
    assert {row["n_labelled"] for row in rows} == {0}
    row = {"path": "sub-01/ephys/sub-01_task-moving_ephys.nwb", "recording": "sub-01_task-moving", "suffix": "ephys"}
    binned, _, _ = traces(row, tmp_path, tmp_path / "out", {"velocity": ["ss_2D"]})
    assert binned.inputs.shape[1] == 62
    assert binned.outputs.shape[1] == 2
    assert np.isfinite(binned.inputs).all()


# ---- forecasts


def windows_of(n=400, n_neurons=5, n_lags=3, coupled=True, seed=0, subjects=("01",)):
    """Neurons of which the first drives the second; the last slot has no neuron."""
    parts = []
    for number, subject in enumerate(subjects):
        generator = np.random.default_rng([seed, number])
        z = np.zeros((n + n_lags, n_neurons))
        for t in range(1, len(z)):
            z[t] = 0.6 * z[t - 1] + 0.5 * generator.standard_normal(n_neurons)
            z[t, 1] += (0.9 if number == 0 else -0.9) * z[t - 1, 0] * coupled
        z[:, -1] = 0
        now = np.arange(n_lags - 1, n + n_lags - 1)
        rows = {"row_id": np.array([f"{subject}_{i:04d}" for i in range(n)]), "subject": np.full(n, subject),
                "run": np.full(n, "1"), "onset": np.arange(n) / 3.0, "segment": np.full(n, "a")}  # fmt: skip
        arrays = {"x": z[now[:, None] + np.arange(1 - n_lags, 1)], "y": z[now + 1]}
        parts.append(Bundle(arrays, rows, {"neuron": [f"n{i}" for i in range(n_neurons)]}, {}))
    from replicortex.bundle import concatenate

    return concatenate(parts)


def fitted(bundle, **params):
    model = make("methods", params.pop("component", "forecast_ridge"), params)
    model.fit(bundle, 0)
    return model, model.predict(dataclasses.replace(bundle, arrays={"x": bundle["x"]}))["y_pred"]


def test_a_neuron_s_own_history_is_a_ridge_regression_on_it():
    bundle = windows_of()
    _, found = fitted(bundle, inputs="own", penalties=[7.0])
    x, y = bundle["x"][:, :, 1], bundle["y"][:, 1]
    scale = np.sqrt(np.mean((x - x.mean(axis=0)) ** 2))
    np.testing.assert_allclose(found[:, 1], Ridge(7.0).fit(x / scale, y).predict(x / scale), rtol=1e-9)
    np.testing.assert_array_equal(found[:, -1], 0)


def test_all_neurons_foretell_what_their_own_history_leaves():
    bundle = windows_of()
    _, own = fitted(bundle, inputs="own", penalties=[0.1])
    _, none = fitted(bundle, penalties=[1e12], own_penalty=0.1)
    np.testing.assert_allclose(none, own, atol=1e-6)
    _, found = fitted(bundle, penalties=[5.0], own_penalty=0.1)
    x = bundle["x"].reshape(len(bundle), -1)
    moves = x.std(axis=0) > 0
    z = (x[:, moves] - x[:, moves].mean(axis=0)) / x[:, moves].std(axis=0)
    rest = bundle["y"] - own
    np.testing.assert_allclose(found, own + Ridge(5.0).fit(z, rest).predict(z), atol=1e-8)


def test_a_coupled_neuron_is_foretold_and_one_by_itself_is_not():
    for coupled in (True, False):
        train, test = windows_of(800, coupled=coupled), windows_of(800, coupled=coupled, seed=1)
        error = {}
        for name, params in {
            "all": {},
            "own": {"inputs": "own"},
            "net": {"component": "forecast_reservoir", "units": 60},
        }.items():
            model = make(
                "methods",
                params.get("component", "forecast_ridge"),
                {k: v for k, v in params.items() if k != "component"},
            )
            model.fit(train, 0)
            error[name] = np.mean((test["y"][:, 1] - model.predict(test)["y_pred"][:, 1]) ** 2)
        for name in ("all", "net"):
            if coupled:
                assert error[name] < 0.85 * error["own"], name
            else:
                assert error[name] == pytest.approx(error["own"], rel=0.03), name


def test_neurons_of_different_animals_are_never_pooled():
    both, alone = windows_of(subjects=("01", "02")), windows_of(subjects=("01",))
    for params in (
        {"penalties": [3.0]},
        {"inputs": "own", "penalties": [3.0]},
        {"component": "forecast_reservoir", "units": 30},
    ):
        _, together = fitted(both, **dict(params))
        _, single = fitted(alone, **dict(params))
        np.testing.assert_allclose(together[: len(alone)], single, rtol=1e-9, atol=1e-12)
    model, _ = fitted(alone)
    with pytest.raises(InputError, match="subject 02: has no training moments"):
        model.predict(both)


def test_persistence_is_the_last_sample():
    bundle = windows_of()
    np.testing.assert_array_equal(fitted(bundle, inputs="last", penalties=[1.0])[1], bundle["x"][:, -1])


def test_a_null_variant_may_shift_in_what_a_gap_left_out(tmp_path):
    windows_of(120).with_rows(session=np.full(120, "n/a")).save(tmp_path / "x.npz")
    splits, targets = tmp_path / "splits.tsv", tmp_path / "targets.tsv"
    made = [tmp_path / name for name in ("predictions.npz", "models.zip", "fit.json")]
    asked = {"variant": "null-1", "seed": 0, "task": "decode"}
    scheme = {"forward_in_time": {"share": 0.6, "gap": 8.0}}
    make_splits([tmp_path / "x.npz"], splits, targets, scheme, classes=[], exchangeable=["subject"], **asked)
    params = {"inputs": "own", "penalties": [1.0]}
    fit([tmp_path / "x.npz"], splits, targets, *made, "own", "forecast_ridge", params, part="0of1", **asked)
    predicted = Bundle.open(made[0], whole=True)
    assert len(predicted) == 48
    assert np.isfinite(predicted["y_true"]).all()
    used = {line.split("\t")[2] for line in splits.read_text().splitlines()[1:]}
    assert set(predicted.rows["target"]) - used, "no target lies in the gap: the test does not test"
