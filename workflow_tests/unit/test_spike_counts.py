"""Spikes in bins: counted once each, paired with behaviour of the same time, and with nothing of later times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_json
from replicortex.shared.binned import Binned, read_binned, segment_edges, write_binned
from replicortex.shared.nwb import write_nwb

NAME = "sub-01/ephys/sub-01_ephys.nwb"
ROW = {"path": NAME, "recording": "sub-01", "datatype": "ephys", "suffix": "ephys", "extension": ".nwb"}
ROW |= {"subject": "01", "session": "n/a", "run": "n/a"}
TRIALS = pd.DataFrame({"start_time": [0.3, 1.5], "stop_time": [0.9, 2.0]})
#: Sampled at 20 Hz: its value is the time.
CLOCK = np.arange(0, 3, 0.05)


@pytest.fixture
def binned(tmp_path):
    def run(params, *, spikes=None, series=None, trials=TRIALS):
        root, out = tmp_path / "raw", tmp_path / "out"
        out.mkdir(exist_ok=True)
        given = {"time": (CLOCK, CLOCK, "s"), "plane": (np.stack([CLOCK, 2 * CLOCK], axis=1), CLOCK, "m")}
        given |= series or {}
        write_nwb(root / NAME, spikes=spikes, series=given, trials=trials, identifier="a")
        sidecar = make("preprocessing", "spike_counts", params).preprocess(ROW, root, out)
        return read_binned(out / sidecar["MainFile"], ROW), sidecar

    return run


def test_each_spike_in_a_trial_is_counted_once(binned):
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, 3, 400)), np.array([0.3, 0.4, 0.8999, 0.9, 1.4999, 1.5])]
    found, sidecar = binned({"width": 0.1}, spikes=spikes)
    assert len(found.onset) == 6 + 5, "0.6 s hold six bins of 0.1 s, whatever floats make of it"
    edges = np.append(0.3 + 0.1 * np.arange(6), 0.9)
    np.testing.assert_array_equal(found.inputs[:6, 0], np.histogram(spikes[0], edges)[0])
    # A spike on an edge belongs to the bin that it begins; those outside of trials are nobody's.
    assert found.inputs[:, 1].tolist() == [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert [found.segment[first] for first, _ in segment_edges(found.segment)] == ["trial1", "trial2"]
    assert sidecar["Quality"]["n_units"] == 2


def test_behaviour_is_that_of_the_same_bin(binned):
    found, _ = binned({"width": 0.1, "behaviour": ["time"], "velocity": ["plane"]}, spikes=[np.array([1.0])])
    # Two samples a bin, at its beginning and in its middle.
    np.testing.assert_allclose(found.outputs[:, 0], found.onset + 0.025, atol=1e-6)
    np.testing.assert_allclose(found.outputs[:, 1:], np.tile([1.0, 2.0], (11, 1)), atol=1e-6)
    assert found.output_units == {"time": "s", "plane0Velocity": "m/s", "plane1Velocity": "m/s"}


def test_sparse_behaviour_is_interpolated(binned):
    slow = {"slow": (np.array([0.0, 3.0]), np.array([0.0, 3.0]), "V")}
    found, _ = binned({"width": 0.1, "behaviour": ["slow"]}, spikes=[np.array([1.0])], series=slow)
    np.testing.assert_allclose(found.outputs[:, 0], found.onset + 0.05, atol=1e-6)


def test_a_lag_pairs_spikes_with_later_behaviour_of_the_same_trial(binned):
    spikes = [np.array([0.35, 1.55])]
    plain, _ = binned({"width": 0.1, "behaviour": ["time"]}, spikes=spikes)
    found, _ = binned({"width": 0.1, "behaviour": ["time"], "lag": 2}, spikes=spikes)
    np.testing.assert_allclose(found.outputs[:, 0], found.onset + 0.225, atol=1e-6)
    assert len(found.onset) == len(plain.onset) - 4
    assert found.inputs[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 0]


def test_smoothing_looks_back_only_and_keeps_the_level(binned):
    params = {"width": 0.1, "smoothing": 0.2}
    spikes = [np.arange(0.325, 2, 0.05), np.array([0.65])]
    found, _ = binned(params, spikes=spikes)
    np.testing.assert_allclose(found.inputs[:, 0], 2, atol=1e-6)
    one = found.inputs[:, 1]
    assert not one[:3].any()
    assert not one[6:].any(), "nothing is carried into the next trial"
    np.testing.assert_allclose(one[3:6], (1 - np.exp(-0.5)) * np.exp(-0.5 * np.arange(3)), atol=1e-6)


def test_a_session_without_trials_is_cut_into_stretches(binned):
    found, _ = binned({"width": 0.1, "stretch": 1.0, "signals": ["time"]}, trials=None)
    assert [found.segment[first] for first, _ in segment_edges(found.segment)] == [f"stretch{i}" for i in (1, 2, 3)]
    assert list(found.input_units) == ["time"], "signals may stand alone"


def test_silent_units_are_left_out_and_counted(binned):
    spikes = [np.arange(0, 3, 0.05), np.array([0.5]), np.array([])]
    found, sidecar = binned({"width": 0.1, "min_rate": 2.0}, spikes=spikes)
    assert list(found.input_units) == ["unit0"]
    assert sidecar["UnitsLeftOut"] == 2


@pytest.mark.parametrize(
    ("params", "given", "fault"),
    [
        ({"behaviour": ["tiem"]}, {"spikes": [np.array([1.0])]}, "did you mean 'time'"),
        ({}, {}, "has no units"),
        ({"width": 2.0}, {"spikes": [np.array([1.0])]}, "no trial is as long as a bin"),
        ({"width": 1e-9}, {"spikes": [np.array([1.0])]}, "more than 10000000 bins"),
        ({"behaviour": ["none"]}, {"spikes": [np.array([1.0])], "series": {"none": (np.full(60, np.nan), CLOCK, "")}},
         "no finite value"),
        ({}, {"spikes": [np.array([1.0])], "trials": pd.DataFrame({"start_time": [0.0, 1.0], "stop_time": [2.0, 3.0]})},
         "begins before the one before it ends"),
    ],
    ids=["misspelt", "no-units", "wide", "narrow", "not-finite", "overlap"],
)  # fmt: skip
def test_what_can_not_be_counted_is_one_line(binned, params, given, fault):
    with pytest.raises(InputError, match=fault):
        binned(params, **given)


def test_a_table_of_bins_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    written = Binned(
        inputs=np.stack([rng.poisson(3, 6), rng.standard_normal(6)], axis=1).astype(float),
        outputs=rng.standard_normal((6, 1)),
        onset=0.1 * np.arange(6),
        segment=np.repeat(["trial01", "trial02"], 3),
        width=0.1,
        input_units={"unit0": "spikes", "lfp": "V"},
        output_units={"force": "N"},
    )
    name = write_binned(tmp_path, "sub-01", written)
    found = read_binned(tmp_path / name, ROW)
    for field in ("inputs", "outputs", "onset"):
        np.testing.assert_allclose(getattr(found, field), getattr(written, field), atol=1e-8)
    assert found.segment.tolist() == written.segment.tolist()
    assert (found.input_units, found.output_units, found.width) == (
        {"unit0": "spikes", "lfp": "V"},
        {"force": "N"},
        0.1,
    )
    assert (tmp_path / name).read_text().splitlines()[1].split("\t")[2] == "2", "counts are whole numbers"
    assert read_json(tmp_path / name.replace(".tsv", ".json"))["SamplingFrequency"] == 10


# ---- windows of bins


@pytest.fixture
def windows(tmp_path):
    def run(params, inputs=None, outputs=None):
        n = 7
        inputs = np.arange(n * 2.0).reshape(n, 2) if inputs is None else inputs
        outputs = np.arange(n)[:, None] * 10.0 if outputs is None else outputs
        written = Binned(
            inputs=inputs,
            outputs=outputs,
            onset=0.1 * np.arange(n),
            segment=np.array(["a"] * 4 + ["b"] * 3),
            width=0.1,
            input_units={f"unit{i}": "spikes" for i in range(inputs.shape[1])},
            output_units={f"v{i}": "m/s" for i in range(outputs.shape[1])},
        )
        path = tmp_path / write_binned(tmp_path, "sub-01", written)
        return make("features", "count_windows", params).extract(ROW, path, {})

    return run


def test_a_row_has_its_past_and_none_of_another_segment(windows):
    bundle = windows({"lags": 1})
    assert bundle["y"][:, 0].tolist() == [10, 20, 30, 50, 60]
    assert bundle["x"][:, 0].tolist() == [[2, 0], [4, 2], [6, 4], [10, 8], [12, 10]]
    assert bundle.rows["segment"].tolist() == list("aaabb")
    assert bundle.axes["lag"] == [0.0, 0.1]


def test_bins_without_a_value_are_left_out_and_so_is_what_needs_them(windows):
    inputs = np.arange(14.0).reshape(7, 2)
    inputs[1, 0] = np.nan
    assert windows({}, inputs)["y"][:, 0].tolist() == [0, 20, 30, 40, 50, 60]
    assert windows({"lags": 1}, inputs)["y"][:, 0].tolist() == [30, 50, 60]


def test_roots_and_slots(windows):
    bundle = windows({"transform": "root", "slots": 4})
    np.testing.assert_allclose(bundle["x"][:, :2, 0] ** 2, np.arange(14.0).reshape(7, 2), rtol=1e-6)
    assert not bundle["x"][:, 2:].any()
    assert bundle.axes["slot"] == [0, 1, 2, 3]
    assert "unit" not in bundle.axes, "numbers are no names"
    with pytest.raises(InputError, match="more than one slot"):
        windows({"slots": 1})
    with pytest.raises(InputError, match="no behaviour 'speed'"):
        windows({"outputs": ["speed"]})
