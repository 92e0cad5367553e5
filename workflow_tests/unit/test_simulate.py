"""The motor-imagery simulator against closed forms and a peer's decoder, and the stage that runs it."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
import pytest
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from scipy import signal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from replicortex.components import Simulator, make
from replicortex.errors import InputError
from replicortex.files import read_json
from replicortex.shared.processes import ar2, ar2_coefficients, pink_noise, pink_share
from replicortex.stages import simulate as stage

SFREQ = 160.0
MOTOR = ["FC3", "FCz", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "CP3", "CPz", "CP4"]
#: The hand areas alone: next to no noise, no artefacts.
CLEAN = {"snr": 1e4, "sensor_noise": 0, "line_noise": 0, "blinks": 0, "bursts": 0, "bad_channels": 0}


def simulator(**params):
    return make("simulators", "motor_imagery_eeg", params)


def trials(raw, channels, band=(8, 35)):
    """Return band-passed trials ``(n, n_channels, n_times)`` in uV, and which are right-hand."""
    raw = raw.copy().pick(channels).reorder_channels(channels).filter(*band, verbose="ERROR")
    events, codes = mne.events_from_annotations(raw, {"left_hand": 0, "right_hand": 1}, verbose="ERROR")
    epochs = mne.Epochs(raw, events, codes, 0.5, 3.5, baseline=None, preload=True, verbose="ERROR")
    return epochs.get_data() * 1e6, epochs.events[:, 2] == 1


# Processes


def test_ar2_has_unit_variance_and_the_spectrum_of_its_coefficients():
    x = ar2(np.random.default_rng(0), 11.0, 2.0, (4, 160 * 600), SFREQ)
    assert x.var() == pytest.approx(1, rel=0.03)
    a1, a2 = ar2_coefficients(11.0, 2.0, SFREQ)
    f, power = signal.welch(x, SFREQ, nperseg=1600)
    _, response = signal.freqz([1], [1, -a1, -a2], worN=f, fs=SFREQ)
    near = (f > 8) & (f < 14)
    expected = np.abs(response[near]) ** 2 / np.trapezoid(np.abs(response) ** 2, f)
    np.testing.assert_allclose(power.mean(axis=0)[near], expected, rtol=0.2)
    # The coefficients mean what their arguments say: centre and half-power width.
    half = f[np.abs(response) ** 2 > np.max(np.abs(response) ** 2) / 2]
    assert half.mean() == pytest.approx(11, abs=0.1)
    assert np.ptp(half) == pytest.approx(2, abs=0.2)


def test_pink_noise_falls_as_one_over_f_and_its_share_of_a_band_is_as_stated():
    x = pink_noise(np.random.default_rng(0), (8, 160 * 300), SFREQ)
    assert x.var() == pytest.approx(1, rel=0.03)
    f, power = signal.welch(x, SFREQ, nperseg=1600)
    power = power.mean(axis=0)
    inside = (f > 2) & (f < 70)
    assert np.polyfit(np.log(f[inside]), np.log(power[inside]), 1)[0] == pytest.approx(-1, abs=0.03)
    band = (f >= 8) & (f <= 35)
    assert power[band].sum() / power.sum() == pytest.approx(pink_share((8, 35), SFREQ), rel=0.03)


# Forward model and contrasts


@pytest.mark.parametrize("contrast", ["temporal", "spatial"])
def test_a_hand_area_shows_at_its_own_electrode(contrast):
    made = simulator(contrast=contrast, n_trials=4, **CLEAN)
    raw, _ = made.recording(1, 1, "planted", 0)
    x, _ = trials(raw, ["C5", "C3", "C1", "Cz", "C2", "C4", "C6"])
    patterns = np.cov(np.concatenate(list(x), axis=1))
    _, vectors = np.linalg.eigh(patterns)
    # Two sources explain nearly all, and together they peak left and right, not on the midline.
    power = (vectors[:, -2:] ** 2).sum(axis=1)
    assert set(np.argsort(power)[-2:]) <= {0, 1, 2, 4, 5, 6}
    assert power[:3].max() > 3 * power[3] < power[4:].max()


def test_spatial_contrast_lowers_contralateral_power_by_the_stated_fraction():
    raw, _ = simulator(contrast="spatial", effect=0.6, n_trials=40, **CLEAN).recording(1, 1, "planted", 0)
    x, right = trials(raw, ["C3", "C4"])
    power = (x**2).mean(axis=2)
    left_area, right_area = np.log(power[right].mean(axis=0) / power[~right].mean(axis=0))
    # Right hand: C3 falls to 1 - effect; left hand: C4 does. The areas' fields overlap, hence the margin.
    assert left_area == pytest.approx(np.log(0.4), abs=0.3)
    assert right_area == pytest.approx(-np.log(0.4), abs=0.3)


def test_temporal_contrast_keeps_the_covariance_and_moves_the_spectrum():
    raw, facts = simulator(effect=0.8, n_trials=40, **CLEAN).recording(1, 1, "planted", 0)
    x, right = trials(raw, MOTOR)
    covariances = Covariances("scm").transform(x)
    one, other = covariances[right].mean(axis=0), covariances[~right].mean(axis=0)
    assert np.linalg.norm(one - other) < 0.15 * np.linalg.norm(one)
    f, power = signal.welch(x[:, [MOTOR.index("C3"), MOTOR.index("C4")]], SFREQ, nperseg=320)
    beta_to_mu = power[..., (f > 16) & (f < 24)].sum(-1) / power[..., (f > 8) & (f < 14)].sum(-1)
    ratio = np.log(np.median(beta_to_mu[right], axis=0) / np.median(beta_to_mu[~right], axis=0))
    # Contralateral beta : mu is 0.9 : 0.1, ipsilateral 0.1 : 0.9; overlap of the two fields weakens it.
    assert ratio[0] > 1.5
    assert ratio[1] < -1.5
    assert [trial["label"] == "right_hand" for trial in facts["trials"]] == right.tolist()


def test_absent_truth_changes_labels_alone():
    made = simulator(n_trials=20)
    planted, facts = made.recording(1, 1, "planted", 5)
    absent, none = made.recording(1, 1, "absent", 5)
    np.testing.assert_array_equal(planted.get_data(), absent.get_data())
    kinds = [trial["kind"] for trial in none["trials"]]
    labels = [trial["label"] for trial in none["trials"]]
    assert kinds == [trial["kind"] for trial in facts["trials"]] == [t["label"] for t in facts["trials"]]
    assert labels.count("left_hand") == labels.count("right_hand") == 20
    assert 10 < sum(a == b for a, b in zip(kinds, labels, strict=True)) < 30


def test_delays_decode_the_temporal_contrast_where_plain_covariance_can_not():
    made, lag = simulator(n_trials=20), 4
    decoder = make_pipeline(TangentSpace(), LogisticRegression())
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = {"plain": [], "delays": [], "absent": []}
    for subject in (1, 2, 3, 4):
        x, right = trials(made.recording(subject, 1, "planted", 7)[0], MOTOR)
        _, facts = made.recording(subject, 1, "absent", 7)
        shuffled = np.array([trial["label"] == "right_hand" for trial in facts["trials"]])
        delayed = np.concatenate([x[..., lag * i : x.shape[2] - lag * (2 - i)] for i in range(3)], axis=1)
        for name, signals, labels in (
            ("plain", x, right),
            ("delays", delayed, right),
            ("absent", delayed, shuffled),
        ):
            features = Covariances("oas").transform(signals)
            auc = cross_val_score(decoder, features, labels, cv=folds, scoring="roc_auc")
            scores[name].append(auc.mean())
    assert 0.35 < np.mean(scores["plain"]) < 0.65
    assert np.mean(scores["delays"]) > 0.8
    assert 0.35 < np.mean(scores["absent"]) < 0.65


def test_artefacts_are_where_they_should_be():
    raw, facts = simulator(n_trials=10, bad_channels=2).recording(1, 1, "planted", 0)
    data = raw.get_data() * 1e6
    robust = np.log(np.median(np.abs(data - np.median(data, axis=1, keepdims=True)), axis=1))
    outlying = np.abs(robust - np.median(robust))
    assert sorted(raw.ch_names[i] for i in np.argsort(outlying)[-2:]) == sorted(facts["bad_channels"])
    without = simulator(n_trials=10, bad_channels=2, blinks=0).recording(1, 1, "planted", 0)[0]
    good = [name for name in ("Fp1", "Fp2") if name not in facts["bad_channels"]]
    assert np.abs(raw.get_data(good)).max() * 1e6 > 100
    assert np.abs(raw.get_data(good)).max() > 2 * np.abs(without.get_data(good)).max()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": ["C3", "C4", "Q9"]}, "Q9"),
        ({"channels": ["C3", "C4", "TP9"]}, "TP9"),
        ({"band": [12, 35]}, "misses a rhythm"),
        ({"sfreq": 60}, "raise sfreq"),
        ({"effect": 1.5}, "effect"),
        ({"snr": float("inf")}, "snr"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(InputError, match=message):
        simulator(**params)


# The stage


@dataclass
class Small(Simulator):
    """Writes one file, or fails half-way."""

    fail: bool

    def simulate(self, root, truth, seed):
        (root / "README").write_text(f"seed {seed}")
        if self.fail:
            raise RuntimeError("disk full")
        return {"fact": 1}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(stage, "make", lambda kind, name, params: Small(**params))
    monkeypatch.setattr(stage, "parameters", lambda component: {"fail": component.fail})


@pytest.mark.usefixtures("small")
def test_stage_replaces_the_old_dataset_and_writes_the_truth_beside_it(tmp_path):
    bids, truth = tmp_path / "bids", tmp_path / "truth.json"
    bids.mkdir()
    (bids / "stale").write_text("")
    stage.simulate_dataset("small", {"fail": False}, "planted", 3, bids, truth)
    assert [path.name for path in bids.iterdir()] == ["README"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bids", "truth.json"]
    written = read_json(truth)
    assert written["facts"] == {"fact": 1}
    assert (written["truth"], written["seed"], written["parameters"]) == ("planted", 3, {"fail": False})


@pytest.mark.usefixtures("small")
def test_a_failing_simulator_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        stage.simulate_dataset("small", {"fail": True}, "planted", 0, tmp_path / "bids", tmp_path / "truth.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_a_truth_that_can_not_be_written_leaves_no_dataset(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        stage.simulate_dataset(
            "small", {"fail": False}, "planted", 0, tmp_path / "bids", tmp_path / "file" / "truth.json"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": "plantd"}, "did you mean 'planted'"),
        ({"seed": -1}, "seed"),
        ({"truth_path": "bids/truth.json"}, "inside the dataset"),
        ({"simulator": "../evil"}, "no such component"),
    ],
)
def test_stage_refuses_bad_input(tmp_path, change, message):
    arguments = {
        "simulator": "motor_imagery_eeg",
        "params": {},
        "truth": "planted",
        "seed": 0,
        "bids": "bids",
    }
    arguments |= {"truth_path": "truth.json"} | change
    for key in ("bids", "truth_path"):
        arguments[key] = tmp_path / arguments[key]
    with pytest.raises(InputError, match=message):
        stage.simulate_dataset(**arguments)
    assert list(tmp_path.iterdir()) == []
