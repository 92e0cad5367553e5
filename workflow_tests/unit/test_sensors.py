"""MEG beside EEG, from the dipoles to windows with sensors."""

from __future__ import annotations

import json
import os
import struct

import mne
import numpy as np
import pytest

from eeg_data import recordings, signals, write_recording
from meg_data import write_meg
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import digest_file, read_tsv
from replicortex.shared.meg_derivative import read_sensors
from replicortex.shared.meg_raw import make_neutral, read_meg
from replicortex.simulators import eeg_meg_sources

EVENTS = [{"onset": 3.0 + 4 * i, "duration": 2.0, "trial_type": "left"} for i in range(3)]


def preprocessed(root, out, **params):
    """Preprocess the one recording of ``root``; return its row, the sidecar and the main file."""
    row = recordings(root)[0]
    (out / "figures").mkdir(parents=True)
    sidecar = make("preprocessing", "mne_sensors", {"l_freq": 1.0, **params}).preprocess(row, root, out)
    (main,) = [path for path in out.iterdir() if path.suffix in (".fif", ".vhdr")]
    return row, sidecar, main


def windows(root, folder, **params):
    row, _, main = preprocessed(root, folder / "out")
    extractor = make("features", "sensor_windows", {"duration": 2.0, "max_channels": 24, **params})
    return extractor.extract(row, main, {"left": ["left"]})


# ---- files


def test_equal_recordings_have_equal_bytes_and_tell_no_machine(tmp_path):
    write_meg(tmp_path / "a")
    write_meg(tmp_path / "b")
    (first,), (second,) = ((tmp_path / name).rglob("*.fif") for name in "ab")
    assert digest_file(first) == digest_file(second)
    content, place, found = first.read_bytes(), 0, 0
    while place < len(content):
        _, kind, size, after = struct.unpack(">iIii", content[place : place + 16])
        if kind == 31:
            found += 1
            assert content[place + 20 : place + 36] == bytes(16)
        place = after if after > 0 else place + 16 + size
        if after == -1:
            break
    assert found >= 2
    other = tmp_path / "c.fif"
    other.write_bytes(b"no tags at all, but quite a few bytes" * 10)
    with pytest.raises(InputError, match=r"c\.fif: is no FIF file"):
        make_neutral(other)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_recording_is_refused(tmp_path, share):
    write_meg(tmp_path)
    row = recordings(tmp_path)[0]
    path = tmp_path / row["path"]
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(InputError, match=r"truncated|not readable"):
        read_meg(row, tmp_path)


def test_what_contradicts_the_tables_is_refused(tmp_path):
    write_meg(tmp_path)
    row = recordings(tmp_path)[0]
    sidecar = tmp_path / json.loads(row["sidecars"])[0]
    text = sidecar.read_text()
    sidecar.write_text(text.replace("256.0", "512.0"))
    with pytest.raises(InputError, match="256 Hz in the file and 512 Hz"):
        read_meg(row, tmp_path)
    sidecar.write_text(text)
    channels = tmp_path / row["channels"]
    channels.write_text("\n".join(channels.read_text().split("\n")[:-3]) + "\n")
    with pytest.raises(InputError, match=r"lacks GRAD009, MAG009"):
        read_meg(row, tmp_path)


# ---- preprocessing


def test_a_noisy_coil_is_found_and_repaired_and_one_that_is_marked_too(tmp_path):
    generator = np.random.default_rng(0)
    spoil = np.zeros((20, 5120))
    spoil[3] = 2e-11 * generator.standard_normal(5120)
    write_meg(tmp_path / "raw", bad=["GRAD004"], spoil=spoil)
    _, sidecar, main = preprocessed(tmp_path / "raw", tmp_path / "out")
    assert set(sidecar["BadChannels"]) == {"MAG001", "GRAD004"}
    assert all(why.endswith("interpolated") for why in sidecar["BadChannels"].values())
    assert sidecar["Quality"] == {"BadChannelsPercent": 10.0}
    raw = read_sensors(main).raw
    assert raw.info["bads"] == []
    write_meg(tmp_path / "clean")
    clean = read_sensors(preprocessed(tmp_path / "clean", tmp_path / "again")[2]).raw
    r = np.corrcoef(raw.get_data(["MAG001"])[0], clean.get_data(["MAG001"])[0])[0, 1]
    assert r > 0.7


def test_the_power_line_goes_and_the_rest_stays(tmp_path):
    write_meg(tmp_path / "raw")
    before = read_meg(recordings(tmp_path / "raw")[0], tmp_path / "raw").raw
    raw = read_sensors(preprocessed(tmp_path / "raw", tmp_path / "out")[2]).raw
    powers = [one.compute_psd(fmin=2, fmax=60, verbose="ERROR") for one in (before, raw)]
    line, middle = (np.argmin(np.abs(powers[0].freqs - at)) for at in (50, 10))
    spectra = [np.median(power.get_data(), axis=0) for power in powers]
    assert spectra[1][line] < 0.1 * spectra[0][line]
    assert spectra[1][middle] == pytest.approx(spectra[0][middle], rel=0.05)


def test_eeg_and_meg_come_out_at_the_same_rate(tmp_path):
    write_meg(tmp_path / "meg")
    write_recording(tmp_path / "eeg", signals())
    sidecars = [preprocessed(tmp_path / name, tmp_path / f"{name}-out")[1] for name in ("meg", "eeg")]
    assert [one["SamplingFrequency"] for one in sidecars] == [256.0, 256.0]
    assert [(one["MEGChannelCount"], one["EEGChannelCount"]) for one in sidecars] == [(20, 0), (0, 14)]


# ---- windows


def test_windows_hold_the_signals_and_the_sensors(tmp_path):
    write_meg(tmp_path / "raw", events=EVENTS)
    bundle = windows(tmp_path / "raw", tmp_path)
    raw = read_sensors(next((tmp_path / "out").glob("*.fif"))).raw
    assert bundle["x"].shape == (3, 24, 512)
    scale = np.where(np.array(raw.get_channel_types()) == "grad", 1e13, 1e15)
    wanted = raw.get_data()[:, 768:1280] * scale[:, None]
    np.testing.assert_allclose(bundle["x"][0, :20], wanted, rtol=1e-5)
    assert not bundle["x"][:, 20:].any()
    assert bundle["present"][0].sum() == 20
    np.testing.assert_array_equal(bundle["sensor_type"][0, :20], np.tile([2, 1], 10))
    assert set(bundle.rows["montage"]) == {"meg-20"}
    place, direction = bundle["position"][0, :20, :3], bundle["position"][0, :20, 3:]
    np.testing.assert_allclose(place.mean(axis=0), 0, atol=1e-6)
    assert np.sqrt((place**2).sum(axis=1).mean()) == pytest.approx(1 / np.sqrt(3), rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, rtol=1e-5)
    at = np.array([channel["loc"][:3] for channel in raw.info["chs"]])
    outward = at - eeg_meg_sources._template()[1]["r0"]
    cosine = (direction * outward).sum(axis=1) / np.linalg.norm(outward, axis=1)
    # Magnetometers look outwards, planar gradiometers along the head.
    np.testing.assert_allclose(cosine, np.tile([0, 1], 10), atol=1e-5)


def test_electrodes_have_places_and_no_direction_in_any_unit(tmp_path):
    write_recording(tmp_path / "raw", signals(), events=EVENTS)
    bundle = windows(tmp_path / "raw", tmp_path)
    assert not bundle["position"][:, :, 3:].any()
    assert set(bundle.rows["montage"]) == {"eeg-14"}
    table = next((tmp_path / "out").glob("*_electrodes.tsv"))
    rows = {row["name"]: [float(row[axis]) for axis in "xyz"] for row in read_tsv(table)}
    names = mne.io.read_raw_brainvision(next((tmp_path / "out").glob("*.vhdr")), verbose="ERROR").ch_names
    places = np.array([rows[name] for name in names])
    for scale in (1.0, 1000.0):
        centred = scale * (places - places.mean(axis=0))
        wanted = centred / np.sqrt(3 * (centred**2).sum(axis=1).mean())
        np.testing.assert_allclose(bundle["position"][0, :14, :3], wanted, atol=1e-5)


def test_windows_of_a_whole_recording_and_what_does_not_fit(tmp_path):
    write_meg(tmp_path / "raw", events=EVENTS)
    bundle = windows(tmp_path / "raw", tmp_path / "a", every=5.0)
    assert bundle.rows["onset"].tolist() == [0, 5, 10, 15]
    assert set(bundle.rows["label"]) == {"n/a"}
    with pytest.raises(InputError, match="has 20 sensors, at most 16 fit"):
        windows(tmp_path / "raw", tmp_path / "b", max_channels=16)
    with pytest.raises(InputError, match="none of 3 windows lies in good parts"):
        windows(tmp_path / "raw", tmp_path / "c", duration=60.0)


# ---- the simulation


def test_devices_see_the_same_sources_and_the_effect_is_where_it_was_planted():
    """Least squares with the lead fields that made them: moments come back, and alpha is on the side attended to."""
    simulator = make("simulators", "eeg_meg_sources", {"n_background": 1, "background": 0.01, "effect": 0.9})
    for subject in (1, 2):
        raw, facts = simulator.recording(subject, "planted", 0)
        info = eeg_meg_sources._info(simulator.device(subject), simulator.sfreq)
        places, directions = simulator.dipoles(subject, 0)
        lead = eeg_meg_sources._lead_field(info, places[:10], directions[:10], np.eye(3))
        data = raw.get_data()
        if simulator.device(subject) in eeg_meg_sources.CAPS:
            lead = lead - lead.mean(axis=0)
        scale = data.std(axis=1)[:, None]
        moments = np.linalg.lstsq(lead / scale, data / scale, rcond=1e-3)[0][8:10]
        moments = mne.filter.filter_data(moments, simulator.sfreq, 9.5, 11.5, verbose="ERROR")
        right = 0
        for trial in facts["trials"]:
            start = round(trial["onset"] * simulator.sfreq)
            power = (moments[:, start : start + 512] ** 2).mean(axis=1)
            right += (power[0] > power[1]) == (trial["kind"] == "left")
        assert right / len(facts["trials"]) > 0.9, simulator.device(subject)


def test_labels_alone_are_drawn_anew_without_the_effect():
    simulator = make("simulators", "eeg_meg_sources", {"n_subjects": 4, "n_trials": 20, "n_background": 2})
    (one, planted), (other, absent) = (simulator.recording(1, truth, 0) for truth in ("planted", "absent"))
    np.testing.assert_array_equal(one.get_data(), other.get_data())
    same = [trial["label"] == trial["kind"] for trial in absent["trials"]]
    assert all(trial["label"] == trial["kind"] for trial in planted["trials"])
    assert 0.2 < np.mean(same) < 0.8


def test_caps_and_helmets_share_no_place():
    at = [
        {tuple(np.round(channel["loc"][:3], 4)) for channel in eeg_meg_sources._info(name, 256.0)["chs"]}
        for name in (*eeg_meg_sources.CAPS, *eeg_meg_sources.HELMETS)
    ]
    assert all(not (one & other) for i, one in enumerate(at) for other in at[:i])
    with pytest.raises(InputError, match="2 participants for 4 devices"):
        make("simulators", "eeg_meg_sources", {"n_subjects": 2})


def test_fewer_areas_have_fewer_rhythms_and_are_named_once():
    params = {"areas": ["central", "occipital"], "n_subjects": 4, "n_background": 3}
    simulator = make("simulators", "eeg_meg_sources", params)
    places = simulator.dipoles(1, 0)[0]
    assert len(places) == 2 * 2 + 3
    # Left before right, in the order that was asked for.
    assert (places[:4, 0] < 0).tolist() == [True, False, True, False]
    assert places[0, 1] > places[2, 1]
    for areas in ([], ["central", "central"]):
        with pytest.raises(InputError, match="name one at least, and each once"):
            make("simulators", "eeg_meg_sources", {"areas": areas})


def test_planar_coils_point_along_and_across_in_turn():
    """A network that learnt from one helmet has seen both directions of the other."""
    info, centre = eeg_meg_sources._info("helmet20", 256.0), eeg_meg_sources._template()[1]["r0"]
    coils = [channel for channel in info["chs"] if channel["ch_name"].startswith("GRAD")]
    for number, channel in enumerate(coils):
        outward = channel["loc"][:3] - centre
        along = np.cross([0.0, 1.0, 0.0], outward)
        cosine = channel["loc"][3:6] @ along / np.linalg.norm(along)
        assert abs(cosine) == pytest.approx(float(number % 2 == 0), abs=1e-6)


# ---- who is held out


def test_a_montage_of_every_modality_is_held_out_at_a_time():
    montage = np.array(["eeg-19", "eeg-22", "meg-20", "meg-24", "meg-30", "n/a"] * 2)
    rows = {"montage": montage, "subject": np.arange(12).astype(str)}
    target = np.repeat(["a", "b"], 6)
    splitter = make("splitters", "leave_montage_out")
    folds = {name: (set(montage[train]), set(montage[test])) for name, train, test in splitter.split(rows, target, 0)}
    assert folds == {
        "eeg-19_meg-20": ({"eeg-22", "meg-24", "meg-30"}, {"eeg-19", "meg-20"}),
        "eeg-22_meg-24": ({"eeg-19", "meg-20", "meg-30"}, {"eeg-22", "meg-24"}),
        "meg-30": ({"eeg-19", "eeg-22", "meg-20", "meg-24"}, {"meg-30"}),
    }
    both = {**rows, "subject": np.array(["a"] * 2 + [str(i) for i in range(10)])}
    for _, train, test in splitter.split(both, target, 0):
        assert not set(both["subject"][train]) & set(both["subject"][test])
    single = {"montage": np.array(["eeg-19", "meg-20"]), "subject": np.array(["1", "2"])}
    assert "one montage at most" in splitter.unfit(single)
    assert "name it under `covariates`" in splitter.unfit({"subject": np.array(["1"])})


# ---- what is handed on


def test_metrics_of_what_is_handed_on_by_hand():
    from replicortex.bundle import Bundle

    rows = {"row_id": np.arange(4), "subject": np.zeros(4, int)}
    arrays = {
        "pcc_all": np.array([0.1, 0.2, 0.3, 0.4]),
        "pcc_withheld": np.array([0.3, 0.3, 0.1, 0.1]),
        "pcc_permuted": np.array([0.1, 0.1, 0.1, -0.1]),
        "masked_right": np.full(4, 0.4),
        "unigram_right": np.full(4, 0.1),
        # The first codebook uses two of four codes alike, the second one.
        "codes": np.stack([np.tile([0, 1], (4, 3)), np.full((4, 6), 2)], axis=-1)[:, None],
    }
    predictions = Bundle(arrays, rows, {"code": [0, 1, 2, 3]})
    wanted = {"reconstruction_pcc": 0.25, "sensor_gain": 0.15, "masked_token_gain": 0.3, "codebook_perplexity": 0.375}
    for name, value in wanted.items():
        metric = make("metrics", name)
        assert metric.score(np.zeros(4), predictions) == pytest.approx(value)
        assert np.isnan(metric.score(np.zeros(4), Bundle({}, rows)))
