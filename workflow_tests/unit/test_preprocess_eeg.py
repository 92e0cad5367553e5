"""EEG preprocessing against closed forms and planted truths, and the block stage around it."""

import json
import os
import re
from pathlib import Path

import mne
import numpy as np
import pytest

from eeg_data import CHANNELS, SFREQ, recordings, signals, validator_errors, write_recording, write_recordings
from replicortex.bids import block_of
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.shared.eeg_derivative import read_derivative
from replicortex.stages.preprocess import preprocess_block, raw_link

UV = 1e6
NOTHING = dict.fromkeys(["l_freq", "h_freq", "reference", "flat_uv", "deviation_z", "min_correlation"])


def preprocess(root: Path, out: Path, **params) -> tuple[dict, mne.io.BaseRaw, list[dict]]:
    """Run the engine on the one recording of ``root``; return sidecar, signals as MNE reads them, events."""
    out.mkdir()
    sidecar = make("preprocessing", "mne_eeg", params).preprocess(recordings(root)[0], root, out)
    (header,) = out.glob("*.vhdr")
    return (
        sidecar,
        mne.io.read_raw_brainvision(header, preload=True, verbose="ERROR"),
        read_derivative(header).events,
    )


def test_filter_keeps_the_pass_band_and_removes_the_rest(tmp_path):
    times = np.arange(round(20 * SFREQ)) / SFREQ
    wanted = 10e-6 * np.sin(2 * np.pi * 10 * times)
    unwanted = 50e-6 + 10e-6 * np.sin(2 * np.pi * 50 * times) + 10e-6 * np.sin(2 * np.pi * 0.1 * times)
    weights = np.linspace(1, 2, len(CHANNELS))[:, None]
    write_recording(tmp_path / "raw", weights * (wanted + unwanted))
    sidecar, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"l_freq": 2.0, "h_freq": 30.0})
    inner = slice(round(3 * SFREQ), -round(3 * SFREQ))
    # A zero-phase filter gives the sine back: neither scaled nor shifted.
    np.testing.assert_allclose(raw.get_data()[:, inner], (weights * wanted)[:, inner], atol=0.2e-6)
    assert sidecar["SoftwareFilters"] == {"Band-pass (zero-phase FIR)": {"low (Hz)": 2.0, "high (Hz)": 30.0}}


def test_notch_takes_the_line_frequency_of_the_sidecar(tmp_path):
    times = np.arange(round(20 * SFREQ)) / SFREQ
    wave = 10e-6 * np.sin(2 * np.pi * 50 * times) + 10e-6 * np.sin(2 * np.pi * 60 * times)
    write_recording(tmp_path / "raw", np.tile(wave, (len(CHANNELS), 1)), sidecar={"PowerLineFrequency": 60})
    _, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"notch": "line"})
    spectrum = np.abs(np.fft.rfft(raw.get_data()[0, round(5 * SFREQ) : round(15 * SFREQ)]))
    # Ten seconds: bin 10 f holds frequency f.
    assert spectrum[600] < 0.02 * spectrum[500]
    assert spectrum[500] == pytest.approx(1000 * 10e-6, rel=0.02)


def test_average_reference_sums_to_zero_and_nothing_else_changes(tmp_path):
    data = signals()
    write_recording(tmp_path / "raw", data)
    _, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"reference": "average"})
    np.testing.assert_allclose(raw.get_data() * UV, (data - data.mean(axis=0)) * UV, atol=1e-4)
    assert np.abs(raw.get_data().sum(axis=0)).max() * UV < 1e-3


def test_resampling_keeps_duration_and_onsets(tmp_path):
    events = [{"onset": o, "duration": 0.5, "trial_type": "left"} for o in (1.0, 2.345, 10.7, 19.99)]
    write_recording(tmp_path / "raw", signals(20.0), events=events)
    sidecar, raw, read = preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"resample": 128.0})
    assert raw.info["sfreq"] == sidecar["SamplingFrequency"] == 128.0
    assert raw.n_times == 20 * 128
    assert [event["onset"] for event in read] == [event["onset"] for event in events]
    markers = raw.annotations.onset[raw.annotations.description == "Comment/left"]
    np.testing.assert_allclose(markers, [event["onset"] for event in events], atol=1 / 128)
    assert [event["sample"] for event in read] == [round(event["onset"] * 128) for event in events]


def test_planted_bad_channels_are_found_and_repaired_and_no_other(tmp_path):
    data = signals(40.0)
    truth = data.copy()
    generator = np.random.default_rng(1)
    data[CHANNELS.index("Cz")] = 0
    data[CHANNELS.index("P4")] *= 30
    data[CHANNELS.index("O1")] = generator.standard_normal(data.shape[1]) * data[0].std()
    write_recording(tmp_path / "raw", data)
    params = {"l_freq": 1.0, "h_freq": 40.0, "reference": None}
    sidecar, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **params)
    assert sidecar["BadChannels"] == {
        "Cz": "flat; interpolated",
        "O1": "uncorrelated; interpolated",
        "P4": "deviating amplitude; interpolated",
    }
    expected = mne.filter.filter_data(truth, SFREQ, 1.0, 40.0, verbose="ERROR")
    pick = CHANNELS.index("Cz")
    assert np.corrcoef(raw.get_data()[pick], expected[pick])[0, 1] > 0.8
    channels = read_tsv(next((tmp_path / "out").glob("*_channels.tsv")))
    assert {row["status"] for row in channels} == {"good"}


def test_without_interpolation_bad_channels_stay_marked(tmp_path):
    data = signals()
    data[3] = 0
    write_recording(tmp_path / "raw", data)
    sidecar, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", interpolate=False)
    assert sidecar["BadChannels"] == {CHANNELS[3]: "flat"}
    channels = read_tsv(next((tmp_path / "out").glob("*_channels.tsv")))
    assert [row["name"] for row in channels if row["status"] == "bad"] == [CHANNELS[3]]
    good = np.delete(raw.get_data(), 3, axis=0)
    assert np.abs(good.sum(axis=0)).max() * UV < 1e-3


def test_ica_removes_a_planted_blink_and_leaves_the_rest(tmp_path):
    clean = signals(60.0)
    times = np.arange(clean.shape[1]) / SFREQ
    blink = sum(np.exp(-((times - t) ** 2) / (2 * 0.08**2)) for t in np.arange(2, 60, 3.1)) * 300e-6
    reach = np.array([1.0 if name.startswith("Fp") else 0.3 if name[0] == "F" else 0.02 for name in CHANNELS])
    write_recording(tmp_path / "raw", clean + reach[:, None] * blink)
    keep = NOTHING | {"l_freq": 1.0, "h_freq": 40.0}
    sidecar, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **keep, ica={"n_components": 10})
    assert sidecar["EyeComponentsRemoved"] >= 1
    assert abs(np.corrcoef(raw.get_data()[0], blink)[0, 1]) < 0.2
    expected = mne.filter.filter_data(clean, SFREQ, 1.0, 40.0, verbose="ERROR")
    pick = CHANNELS.index("O1")
    assert np.corrcoef(raw.get_data()[pick], expected[pick])[0, 1] > 0.95


def test_amplitude_segments_are_marked_where_they_were_planted(tmp_path):
    data = signals()
    data[4, round(8.0 * SFREQ) : round(8.4 * SFREQ) : 2] += 1e-3
    write_recording(tmp_path / "raw", data)
    preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"amplitude_uv": 500.0})
    found = read_derivative(next((tmp_path / "out").glob("*.vhdr"))).raw.annotations
    assert found.description.tolist() == ["BAD_amplitude"]
    assert found.onset[0] == pytest.approx(8.0, abs=1 / SFREQ)
    assert found.duration[0] == pytest.approx(0.4, abs=2 / SFREQ)


def test_eye_channels_are_kept_but_neither_repaired_nor_referenced(tmp_path):
    data = signals()
    types = ["EOG", "EOG", *["EEG"] * 10, "MISC", "TRIG"]
    write_recording(tmp_path / "raw", data, types=types)
    sidecar, raw, _ = preprocess(tmp_path / "raw", tmp_path / "out", **NOTHING | {"reference": "average"})
    assert raw.ch_names == CHANNELS[:12]
    np.testing.assert_allclose(raw.get_data()[:2] * UV, data[:2] * UV, atol=1e-4)
    np.testing.assert_allclose(raw.get_data()[2:].sum(axis=0), 0, atol=1e-9)
    assert (sidecar["EEGChannelCount"], sidecar["EOGChannelCount"], sidecar["MiscChannelCount"]) == (10, 2, 0)


def test_measured_positions_and_true_facts_travel_along(tmp_path):
    root = tmp_path / "raw"
    write_recording(root, signals(), sidecar={"Manufacturer": "Maker", "EEGGround": "AFz"})
    known = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    lines = ["\t".join([name, *(f"{value * 1000:.3f}" for value in known[name])]) for name in CHANNELS]
    folder = root / "sub-01" / "eeg"
    (folder / "sub-01_space-CapTrak_electrodes.tsv").write_text("\n".join(["name\tx\ty\tz", *lines]) + "\n")
    system = {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}
    (folder / "sub-01_space-CapTrak_coordsystem.json").write_text(json.dumps(system))
    sidecar, _, _ = preprocess(root, tmp_path / "out")
    assert json.loads(next((tmp_path / "out").glob("*_coordsystem.json")).read_text()) == system
    written = read_tsv(next((tmp_path / "out").glob("*_electrodes.tsv")))
    assert ["\t".join(row.values()) for row in written] == lines
    assert (sidecar["Manufacturer"], sidecar["EEGGround"], sidecar["EEGReference"]) == (
        "Maker",
        "AFz",
        "average",
    )


def _damage_json(folder: Path) -> None:
    next(folder.glob("*_eeg.json")).write_text("{not json")


def _rename_channel(folder: Path) -> None:
    table = next(folder.glob("*_channels.tsv"))
    table.write_text(table.read_text().replace("Cz\t", "Oops\t"))


def _no_eeg(folder: Path) -> None:
    table = next(folder.glob("*_channels.tsv"))
    table.write_text(table.read_text().replace("\tEEG\t", "\tMISC\t"))


def _shorten(folder: Path) -> None:
    os.truncate(next(folder.glob("*.eeg")), 1001)


def _lead_out(folder: Path) -> None:
    header = next(folder.glob("*.vhdr"))
    header.write_text(re.sub(r"DataFile=.*", "DataFile=../../secret.eeg", header.read_text()))


@pytest.mark.parametrize(
    ("damage", "data", "sidecar", "message"),
    [
        (lambda folder: next(folder.glob("*.vhdr")).unlink(), None, {}, "data file is missing"),
        (lambda folder: os.truncate(next(folder.glob("*.vhdr")), 0), None, {}, "data file is empty"),
        (lambda folder: os.truncate(next(folder.glob("*.eeg")), 0), None, {}, "is missing or empty"),
        (_shorten, None, {}, "truncated"),
        (_lead_out, None, {}, "not a plain file name"),
        (_damage_json, None, {}, "not readable as JSON"),
        (_rename_channel, None, {}, "channels.tsv: lacks Cz and lists Oops"),
        (_no_eeg, None, {}, "has no EEG channel"),
        (None, None, {"SamplingFrequency": "n/a"}, "sampling rate is missing"),
        (None, None, {"SamplingFrequency": 1.01 * SFREQ}, "200 Hz in the file and 202 Hz in the sidecar"),
        (None, None, {"RecordingDuration": 60.0}, "truncated: lasts 20 s where RecordingDuration is 60 s"),
        (None, np.full((len(CHANNELS), 4000), np.nan), {}, "not finite"),
        (None, np.full((len(CHANNELS), 4000), 1e-5), {}, "constant"),
        (None, signals(1.0), {}, "fewer than the"),
        (
            None,
            np.random.default_rng(0).standard_normal((14, 4000)) * 1e-5,
            {},
            "14 of 14 EEG channels are bad",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_the_file(tmp_path, damage, data, sidecar, message):
    root = tmp_path / "raw"
    write_recording(root, signals() if data is None else data, sidecar=sidecar)
    row = recordings(root)[0]
    if damage:
        damage(root / "sub-01" / "eeg")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make("preprocessing", "mne_eeg").preprocess(row, root, tmp_path)
    assert "\n" not in str(caught.value)
    assert "sub-01_task-test_run-1" in str(caught.value)


def test_truncated_edf_is_refused_and_whole_one_read(tmp_path):
    info = mne.create_info(CHANNELS, SFREQ, "eeg")
    root = tmp_path / "raw"
    stem = write_recording(root, signals())
    folder = root / "sub-01" / "eeg"
    for end in ("vhdr", "vmrk", "eeg"):
        (folder / f"{stem}_eeg.{end}").unlink()
    edf = folder / f"{stem}_eeg.edf"
    mne.export.export_raw(edf, mne.io.RawArray(signals(), info, verbose="ERROR"), verbose="ERROR")
    _, raw, _ = preprocess(root, tmp_path / "out", **NOTHING)
    # An EDF holds 16 bits over its physical range.
    np.testing.assert_allclose(raw.get_data(), signals(), atol=2 * np.ptp(signals()) / 2**16)
    os.truncate(edf, edf.stat().st_size - 5000)
    with pytest.raises(InputError, match=r"_eeg\.edf: truncated: \d+ bytes where its header demands"):
        preprocess(root, tmp_path / "other", **NOTHING)


# ------------------------------------------------------------------------------------------------ the stage


@pytest.fixture
def dataset(tmp_path):
    """Return a function that runs the stage on a dataset of three subjects, and the dataset."""
    root = tmp_path / "raw"
    for number, subject in enumerate(["01", "02", "03"]):
        write_recording(root, signals(seed=number), subject=subject)

    def run(params=None, code="code", block="0of1", **kwargs):
        rows = write_recordings(root, tmp_path / "recordings.tsv")
        manifest = tmp_path / "out" / f"{block}.tsv"
        derivatives = tmp_path / "deriv"
        preprocess_block(rows, root, derivatives, manifest, "mne_eeg", params or {}, code, block, **kwargs)
        return read_tsv(manifest)

    return root, tmp_path / "deriv", run


def _times(derivatives: Path) -> dict[str, int]:
    return {path.name[:6]: path.stat().st_mtime_ns for path in derivatives.glob("sub-*/eeg/*_eeg.eeg")}


def test_unchanged_recordings_are_passed_over_and_one_change_costs_one(dataset):
    root, derivatives, run = dataset
    first = run()
    assert [row["status"] for row in first] == ["ok"] * 3
    before = _times(derivatives)
    assert run() == first
    assert _times(derivatives) == before
    write_recording(root, signals(seed=9), subject="02")
    second = run()
    assert {subject for subject in before if _times(derivatives)[subject] != before[subject]} == {"sub-02"}
    assert [a["digest"] == b["digest"] for a, b in zip(first, second, strict=True)] == [True, False, True]


@pytest.mark.parametrize("change", [{"params": {"h_freq": 40.0}}, {"code": "other"}])
def test_a_change_of_parameters_or_code_computes_again(dataset, change):
    _, derivatives, run = dataset
    run()
    before = _times(derivatives)
    run(**change)
    assert all(_times(derivatives)[subject] != before[subject] for subject in before)


def test_a_damaged_derivative_is_made_again(dataset):
    _, derivatives, run = dataset
    first = run()
    data = derivatives / "sub-02" / "eeg" / "sub-02_task-test_run-1_desc-preproc_eeg.eeg"
    content = data.read_bytes()
    data.write_bytes(content[:-4] + b"\0\0\0\1")
    assert run() == first
    assert data.read_bytes() == content


def test_a_failing_recording_does_not_stop_the_others(dataset, tmp_path):
    root, derivatives, run = dataset
    run()
    os.truncate(root / "sub-02" / "eeg" / "sub-02_task-test_run-1_eeg.eeg", 1001)
    rows = run()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert "truncated" in rows[1]["reason"]
    assert (rows[1]["path"], rows[1]["digest"]) == ("n/a", "n/a")
    assert not (derivatives / "sub-02").exists()
    assert not list(derivatives.rglob("*.part"))


def test_an_unexpected_error_is_recorded_with_its_class_and_no_path(dataset, tmp_path, monkeypatch):
    _, _, run = dataset
    engine = type(make("preprocessing", "mne_eeg"))
    original = engine.preprocess

    def broken(self, recording, root, out, parents=()):
        if recording["subject"] == "03":
            raise ZeroDivisionError(f"in {root}/sub-03/x")
        return original(self, recording, root, out)

    monkeypatch.setattr(engine, "preprocess", broken)
    assert run()[2]["reason"] == "ZeroDivisionError: in sub-03/x"


def test_a_block_in_which_everything_fails_still_tells_why(dataset):
    root, _, run = dataset
    for path in root.rglob("*.eeg"):
        os.truncate(path, 0)
    rows = run()
    assert [row["status"] for row in rows] == ["failed"] * 3
    assert all("empty" in row["reason"] for row in rows)


def test_a_subject_that_is_gone_leaves_the_tree_and_other_blocks_are_left_alone(dataset):
    root, derivatives, run = dataset
    run()
    n = next(n for n in range(2, 9) if block_of("02", n) != block_of("03", n))
    for path in sorted((root / "sub-02").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    before = _times(derivatives)
    rows = run(block=f"{block_of('02', n)}of{n}")
    assert "02" not in [row["subject"] for row in rows]
    after = _times(derivatives)
    assert "sub-02" not in after
    assert after["sub-03"] == before["sub-03"]
    assert not (derivatives / "sub-02").exists()


def test_a_block_without_recordings_gives_an_empty_manifest(dataset):
    _, _, run = dataset
    n = 64
    taken = {block_of(subject, n) for subject in ("01", "02", "03")}
    assert run(block=f"{min(set(range(n)) - taken)}of{n}") == []


def test_outputs_are_the_same_bytes_wherever_they_are_made(dataset, tmp_path):
    root, derivatives, run = dataset
    run()
    elsewhere = tmp_path / "elsewhere"
    manifest = elsewhere / "0of1.tsv"
    rows = tmp_path / "recordings.tsv"
    preprocess_block(rows, root, elsewhere / "deriv", manifest, "mne_eeg", {}, "code", "0of1")
    files = sorted(path.relative_to(derivatives) for path in derivatives.rglob("*") if path.is_file())
    assert len(files) > 3 * 8
    for file in files:
        content = (derivatives / file).read_bytes()
        assert content == (elsewhere / "deriv" / file).read_bytes(), file
        assert str(tmp_path).encode() not in content


@pytest.mark.parametrize(
    ("facts", "inside", "link"),
    [
        ({"Name": "A b/c"}, True, "../raw"),
        ({"Name": "A b/c"}, False, "urn:dataset:A%20b%2Fc"),
        ({"Name": "A", "DatasetDOI": "doi:10.1/x"}, True, "https://doi.org/10.1/x"),
    ],
)
def test_the_link_to_the_raw_dataset_names_no_place_of_this_machine(tmp_path, monkeypatch, facts, inside, link):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw" if inside else Path("/somewhere/raw")
    assert raw_link(tmp_path / "deriv", raw, facts) == link


def test_the_derivative_is_valid_bids(dataset):
    _, derivatives, run = dataset
    run({"amplitude_uv": 30.0, "resample": 100.0})
    assert validator_errors(derivatives) == []


def test_a_real_dataset_with_every_table(tmp_path):
    where = os.environ.get("REPLICORTEX_REAL_DATA")
    if not where or not (Path(where) / "eeg-bids-tiny").is_dir():
        pytest.skip("REPLICORTEX_REAL_DATA names no folder with eeg-bids-tiny")
    root = Path(where) / "eeg-bids-tiny"
    # Its signals are white noise, so that no channel correlates with another.
    params = {"l_freq": None, "h_freq": 100.0, "min_correlation": None, "resample": 500.0}
    sidecar, raw, events = preprocess(root, tmp_path / "out", **params)
    assert [event["trial_type"] for event in events] == ["start_experiment", "show_stimulus"]
    assert (raw.info["sfreq"], sidecar["EEGChannelCount"], sidecar["PowerLineFrequency"]) == (500.0, 64, 60)
