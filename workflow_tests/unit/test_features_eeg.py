"""Trials and covariances against MNE and scikit-learn, and the block stage around them."""

import re
from pathlib import Path

import mne
import numpy as np
import pytest
from sklearn.covariance import oas

from eeg_data import CHANNELS, SFREQ, signals, write_recording, write_recordings
from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import DamagedError, InputError
from replicortex.files import read_tsv, to_tsv, write_text
from replicortex.stages.features import extract_block
from replicortex.stages.preprocess import preprocess_block

CLASSES = {"left_hand": ["left"], "right_hand": ["right", "right2"]}
EVENTS = [
    {"onset": 2.0 + 1.5 * i, "duration": 1.0, "trial_type": kind}
    for i, kind in enumerate(["left", "right", "rest", "right2", "left", "rest", "right", "left"])
]
WINDOW = {"tmin": -0.2, "tmax": 0.8}


def derive(folder: Path, params: dict | None = None, **recordings: dict) -> tuple[Path, Path]:
    """Preprocess recordings (subject to arguments of ``write_recording``); return derivatives, manifest."""
    root = folder / "raw"
    for number, (subject, arguments) in enumerate(recordings.items()):
        write_recording(root, subject=subject.removeprefix("s"), **{"data": signals(seed=number), **arguments})
    rows = write_recordings(root, folder / "recordings.tsv")
    manifest = folder / "manifest.tsv"
    preprocess_block(rows, root, folder / "deriv", manifest, "mne_eeg", params or {}, "code", "0of1")
    return folder / "deriv", manifest


@pytest.fixture
def one(tmp_path):
    """Return the derivative file and the manifest row of one recording with all events."""
    derivatives, manifest = derive(tmp_path, s01={"events": EVENTS})
    (row,) = read_tsv(manifest)
    return derivatives / row["path"], row


def extract(one, name="epochs", **params) -> Bundle:
    path, row = one
    return make("features", name, WINDOW | params).extract(row, path, CLASSES)


def reference(path: Path) -> np.ndarray:
    """Return the trials (uV) that MNE cuts out of the file as it was written."""
    raw = mne.io.read_raw_brainvision(path, preload=True, verbose="ERROR")
    events = np.array([[round(event["onset"] * SFREQ), 0, 1] for event in EVENTS if event["trial_type"] != "rest"])
    return mne.Epochs(raw, events, **WINDOW, baseline=None, preload=True, verbose="ERROR").get_data() * 1e6


def test_trials_are_those_of_mne_with_rows_and_axes(one):
    bundle = extract(one)
    np.testing.assert_allclose(bundle["x"], reference(one[0]), rtol=1e-5, atol=1e-4)
    assert bundle["x"].dtype == np.float32
    assert bundle.rows["label"].tolist() == [
        "left_hand", "right_hand", "right_hand", "left_hand", "right_hand", "left_hand",
    ]  # fmt: skip
    assert bundle.rows["onset"].tolist() == [event["onset"] for event in EVENTS if event["trial_type"] != "rest"]
    assert bundle.rows["row_id"][0] == "sub-01_task-test_run-1_000000400"
    assert bundle.axes["channel"] == CHANNELS
    assert bundle.axes["sfreq"] == [SFREQ]
    np.testing.assert_allclose(bundle.axes["time"], np.arange(-40, 161) / SFREQ, atol=1e-9)


def test_microvolts_of_a_known_wave(tmp_path):
    times = np.arange(round(20 * SFREQ)) / SFREQ
    wave = np.outer(np.arange(1, len(CHANNELS) + 1), 1e-6 * np.sin(2 * np.pi * 10 * times))
    off = {"l_freq": None, "h_freq": None, "reference": None, "deviation_z": None}
    derivatives, manifest = derive(tmp_path, off, s01={"data": wave, "events": EVENTS})
    (row,) = read_tsv(manifest)
    bundle = extract((derivatives / row["path"], row), l_freq=5.0, h_freq=15.0, resample=100.0)
    assert bundle["x"].shape == (6, len(CHANNELS), 101)
    np.testing.assert_allclose(np.abs(bundle["x"]).max(axis=(0, 2)), np.arange(1, len(CHANNELS) + 1), rtol=0.06)


def test_baseline_is_subtracted(one):
    x = extract(one, baseline=[None, 0.0])["x"]
    np.testing.assert_allclose(x[:, :, :41].mean(axis=2), 0, atol=1e-3)
    plain = extract(one)["x"]
    np.testing.assert_allclose(x, plain - plain[:, :, :41].mean(axis=2, keepdims=True), atol=1e-3)


def test_covariances_are_those_of_scikit_learn(one):
    expected = [oas(trial.T, assume_centered=False)[0] for trial in reference(one[0])]
    bundle = extract(one, "covariances")
    np.testing.assert_allclose(bundle["x"], expected, rtol=1e-4, atol=1e-3)
    assert (np.linalg.eigvalsh(bundle["x"]) > 0).all()
    plain = extract(one, "covariances", estimator="scm")
    trials = reference(one[0])
    trials = trials - trials.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(plain["x"], trials @ trials.transpose(0, 2, 1) / trials.shape[2], rtol=1e-4, atol=1e-3)


def test_channels_come_in_the_order_asked_for(one):
    everything, some = extract(one), extract(one, channels=["C4", "C3"])
    assert some.axes["channel"] == ["C4", "C3"]
    np.testing.assert_array_equal(some["x"], everything["x"][:, [CHANNELS.index("C4"), CHANNELS.index("C3")]])
    assert extract(one, channels=["C4", "XX", "C3"], min_channels=2).axes["channel"] == ["C4", "C3"]
    with pytest.raises(InputError, match=r"lacks channel XX, YY \(has 1 of the 3 demanded\)"):
        extract(one, channels=["C4", "XX", "YY"])


def test_trials_are_dropped_for_amplitude_bad_segments_and_edges(tmp_path):
    data = signals()
    data[5, round(3.6 * SFREQ)] += 3e-3
    events = [*EVENTS, {"onset": 19.5, "duration": 1, "trial_type": "left"}]
    keep = {"l_freq": None, "h_freq": None, "reference": None}
    derivatives, manifest = derive(tmp_path, keep | {"amplitude_uv": 1e3}, s01={"data": data, "events": events})
    (row,) = read_tsv(manifest)
    one = (derivatives / row["path"], row)
    every = [event["onset"] for event in EVENTS if event["trial_type"] != "rest"]
    # The second trial holds the artefact; the last event is too near to the end.
    assert extract(one, drop_bad=False).rows["onset"].tolist() == every
    assert extract(one).rows["onset"].tolist() == [every[0], *every[2:]]
    assert extract(one, drop_bad=False, reject_uv=1500.0).rows["onset"].tolist() == [every[0], *every[2:]]
    with pytest.raises(InputError, match=r"all 7 trials were dropped \(.*TOO_SHORT"):
        extract(one, reject_uv=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"h_freq": 150.0}, "150 Hz is not below 100 Hz"),
        ({"tmin": 1.0, "tmax": 0.5}, "tmin is not below tmax"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(one, params, message):
    with pytest.raises(InputError, match=re.escape(message)):
        extract(one, **params)


def test_no_event_of_any_class_names_what_there_is(one):
    path, row = one
    with pytest.raises(InputError, match=r"no event of up \(its trial_type values: left, rest, right, right2\)"):
        make("features", "epochs", WINDOW).extract(row, path, {"up": ["up"]})


def test_two_events_of_classes_at_one_time_are_refused(tmp_path):
    derivatives, manifest = derive(tmp_path, s01={"events": [*EVENTS, {**EVENTS[0], "trial_type": "right"}]})
    (row,) = read_tsv(manifest)
    with pytest.raises(InputError, match=r"2 events of classes at the same time \(left, right, first at 2 s\)"):
        extract((derivatives / row["path"], row))


# ------------------------------------------------------------------------------------------------ the stage


class Stage:
    """The feature stage on the derivatives in a folder."""

    def __init__(self, folder: Path, manifest: Path) -> None:
        self.folder, self.manifest, self.bundle = folder, manifest, folder / "features" / "0of1.npz"

    def __call__(self, feature="epochs", params=WINDOW, classes=CLASSES, code="code", **kwargs):
        status = self.folder / "features" / "0of1.tsv"
        extract_block(
            self.manifest,
            self.folder / "deriv",
            self.bundle,
            status,
            feature,
            params,
            classes,
            code,
            "0of1",
            **kwargs,
        )
        return Bundle.open(self.bundle), read_tsv(status)

    def times(self) -> dict[str, int]:
        return {path.name[:6]: path.stat().st_mtime_ns for path in self.bundle.parent.glob("store/sub-*/*.npz")}


@pytest.fixture
def stage(tmp_path):
    """Return the stage over three recordings, the second with one class only."""
    left = [event for event in EVENTS if event["trial_type"] != "right" and event["trial_type"] != "right2"]
    _, manifest = derive(tmp_path, s01={"events": EVENTS}, s02={"events": left}, s03={"events": EVENTS})
    return Stage(tmp_path, manifest)


def test_a_block_is_its_recordings_one_after_the_other(stage):
    bundle, status = stage()
    assert [row["n_rows"] for row in status] == ["6", "3", "6"]
    assert [row["reason"] for row in status] == ["n/a", "no trial of right_hand", "n/a"]
    assert bundle.rows["subject"].tolist() == ["01"] * 6 + ["02"] * 3 + ["03"] * 6
    assert len(set(bundle.rows["row_id"])) == 15
    assert bundle.meta["feature"] == "epochs"
    assert bundle.meta["fitted"] == []
    rows = read_tsv(stage.manifest)
    alone = make("features", "epochs", WINDOW).extract(rows[2], stage.folder / "deriv" / rows[2]["path"], CLASSES)
    np.testing.assert_array_equal(bundle["x"][9:], alone["x"])


def test_unchanged_recordings_come_from_the_store(stage):
    _, status = stage()
    before, content = stage.times(), stage.bundle.read_bytes()
    _, status_again = stage()
    assert stage.times() == before
    assert status_again == status
    assert stage.bundle.read_bytes() == content
    for change in (
        {"params": {**WINDOW, "tmax": 0.9}},
        {"code": "new"},
        {"classes": {"a": ["left"], "b": ["rest"]}},
    ):
        before = stage.times()
        stage(**change)
        assert all(stage.times()[subject] != before[subject] for subject in before), change


def test_a_damaged_derivative_is_named_with_its_remedy(stage):
    data = next((stage.folder / "deriv" / "sub-02").rglob("*.eeg"))
    content = bytearray(data.read_bytes())
    content[100] ^= 255
    data.write_bytes(content)
    # No fault of the recording, which would then be missing from all that follows: the stage stops.
    with pytest.raises(DamagedError, match=f"{data.name}: is missing or has changed") as met:
        stage()
    assert str(data) in map(str, met.value.paths)
    assert str(stage.manifest) in map(str, met.value.paths)


def test_other_channels_are_recorded_as_failed(tmp_path):
    fewer = {"data": signals()[:-1], "names": CHANNELS[:-1], "events": EVENTS}
    _, manifest = derive(tmp_path, s01={"events": EVENTS}, s02=fewer, s03={"events": EVENTS})
    bundle, status = Stage(tmp_path, manifest)()
    assert [row["status"] for row in status] == ["ok", "failed", "ok"]
    assert "lacks channel O2, unlike the other recordings" in status[1]["reason"]
    assert set(bundle.rows["subject"]) == {"01", "03"}
    assert bundle["x"].shape[1] == len(CHANNELS)
    chosen, status = Stage(tmp_path, manifest)(params={**WINDOW, "channels": ["C3", "C4"]})
    assert [row["status"] for row in status] == ["ok"] * 3
    assert chosen["x"].shape[1] == 2


def test_what_preprocessing_failed_on_stays_failed_and_an_empty_block_is_a_bundle(stage):
    rows = read_tsv(stage.manifest)
    rows[0] |= {"status": "failed", "reason": "was truncated", "path": "n/a", "digest": "n/a"}
    write_text(stage.manifest, to_tsv(rows, list(rows[0])))
    _, status = stage()
    assert status[0]["status"] == "failed"
    assert "was truncated" in status[0]["reason"]
    bundle, status = stage(classes={"up": ["up"]})
    assert (len(bundle), {row["status"] for row in status}) == (0, {"failed"})
    write_text(stage.manifest, to_tsv([], list(rows[0])))
    bundle, status = stage()
    assert (len(bundle), status) == (0, [])
    assert not list(stage.bundle.parent.glob("store/sub-*"))


def test_what_an_extractor_fitted_reaches_the_leak_guard(stage, monkeypatch):
    """The mark of something fitted must not be lost on its way into the block's bundle."""
    from replicortex import guard
    from replicortex.components import load

    extractor = load("features", "epochs")
    real = extractor.extract

    def fitted(self, recording, path, classes):
        bundle = real(self, recording, path, classes)
        return guard.fitted_transform("Scaler", bundle, bundle)

    monkeypatch.setattr(extractor, "extract", fitted)
    bundle, _ = stage()
    assert {entry["artefact"] for entry in bundle.meta["fitted"]} == {"Scaler"}
    assert {row for entry in bundle.meta["fitted"] for row in entry["rows"]} == set(bundle.rows["row_id"])
