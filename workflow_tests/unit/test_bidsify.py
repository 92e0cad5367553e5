"""Files of other layouts brought to BIDS: what is written is what was read, and nothing else changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pytest

from eeg_data import CHANNELS, SFREQ, signals, validator_errors
from replicortex.errors import InputError
from replicortex.files import digest_file, read_tsv
from replicortex.stages.bidsify import Plan, bidsify, find_recordings

PATTERN = "{subject}/{subject}R{run}.edf"


def command(*arguments: str) -> int:
    """Run ``scripts/bidsify.py``; return its exit status, what it says on standard error."""
    path = Path(__file__).parents[2] / "scripts" / "bidsify.py"
    done = subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    return done.returncode


def write_edf(path: Path, seed: int = 0) -> np.ndarray:
    """Write an EDF with dotted names, three annotations, a date and a subject; return its signals (V)."""
    names = [f"{name[0].upper()}{name[1:].lower()}.." for name in CHANNELS]
    data = signals(10.0, seed=seed)
    raw = mne.io.RawArray(data, mne.create_info(names, SFREQ, "eeg"), verbose="ERROR")
    raw.set_meas_date(946684800)
    raw.info["subject_info"] = {"his_id": "Jane-Doe", "sex": 2}
    raw.set_annotations(mne.Annotations([0.5, 2.0, 4.5], [1.0, 1.0, 1.0], ["T0", "T1", "T2"], raw.info["meas_date"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    mne.export.export_raw(path, raw, verbose="ERROR", overwrite=True)
    return data


@pytest.fixture
def source(tmp_path):
    """Return a folder of four EDF files: two subjects, two runs."""
    for seed, name in enumerate(["S-1/S-1R04", "S-1/S-1R08", "S-2/S-2R04", "S-2/S-2R08"]):
        write_edf(tmp_path / "source" / f"{name}.edf", seed)
    (tmp_path / "source" / "notes.txt").write_text("not a recording")
    return tmp_path / "source"


def plan(**changes) -> Plan:
    return Plan(**{"pattern": PATTERN, "name": "Test", "task": "imagery", "montage": "colin27_1005"} | changes)


def test_signals_events_and_channels_are_those_of_the_files(source, tmp_path):
    before = {path: digest_file(path) for path in source.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    arguments = [source, out, "--pattern", PATTERN, "--task", "imagery", "--name", "Test", "--runs", "4",
                 "--events", "T1=left_hand", "T2=right_hand", "--line-frequency", "60",
                 "--montage", "colin27_1005", "--license", "CC0",
                 "--authors", "A. Author", "B. Author"]  # fmt: skip
    assert command(*arguments) == 0
    assert {path: digest_file(path) for path in source.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    paths = mne_bids.find_matching_paths(out, extensions=".vhdr")
    assert [path.basename for path in paths] == [f"sub-S{n}_task-imagery_run-04_eeg.vhdr" for n in (1, 2)]
    raw = mne_bids.read_raw_bids(paths[1], verbose="ERROR")
    assert raw.ch_names == CHANNELS
    assert raw.info["line_freq"] == 60
    np.testing.assert_allclose(raw.get_data(), signals(10.0, seed=2), atol=2 * np.ptp(signals(10.0)) / 2**16)
    events = read_tsv(next(out.glob("sub-S2/eeg/*_events.tsv")))
    assert [(row["onset"], row["trial_type"]) for row in events] == [
        ("0.5", "T0"), ("2.0", "left_hand"), ("4.5", "right_hand"),
    ]  # fmt: skip
    places = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    found = raw.get_montage().get_positions()["ch_pos"]
    # The head frame is a rotation and shift of the template's: distances between electrodes stay.
    assert np.linalg.norm(found["C3"] - found["C4"]) == pytest.approx(
        np.linalg.norm(places["C3"] - places["C4"]), rel=1e-3
    )
    text = "".join(path.read_text() for path in out.rglob("*") if path.suffix in (".tsv", ".json", ".vhdr", ".vmrk"))
    assert "Jane" not in text
    assert "2000" not in read_tsv(next(out.glob("sub-S2/*_scans.tsv")))[0]["acq_time"]
    assert json.loads((out / "dataset_description.json").read_text())["License"] == "CC0"
    assert validator_errors(out) == []


def test_triggers_of_a_stimulus_channel_become_events(tmp_path):
    trigger = np.zeros((1, 2000))
    for sample, code in ((300, 1), (700, 2), (1100, 1)):
        trigger[0, sample : sample + 20] = code
    info = mne.create_info([*CHANNELS, "EYE", "STI"], SFREQ, [*["eeg"] * 15, "stim"])
    raw = mne.io.RawArray(np.vstack([signals(10.0), signals(10.0)[:1], trigger]), info, verbose="ERROR")
    (tmp_path / "source").mkdir()
    raw.save(tmp_path / "source" / "x_raw.fif", verbose="ERROR")
    chosen = plan(pattern="{subject}_raw.fif", events={"1": "go"}, types={"EYE": "eog"}, montage=None)
    assert bidsify(tmp_path / "source", tmp_path / "out", chosen) == 1
    events = read_tsv(next((tmp_path / "out").rglob("*_events.tsv")))
    assert [(row["sample"], row["trial_type"]) for row in events] == [
        ("300", "go"),
        ("700", "2"),
        ("1100", "go"),
    ]
    channels = read_tsv(next((tmp_path / "out").rglob("*_channels.tsv")))
    assert {row["name"]: row["type"] for row in channels}["EYE"] == "EOG"
    assert validator_errors(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "{subjct}.edf"}, "unknown entity 'subjct'; did you mean 'subject'"),
        ({"pattern": "R{run}.edf"}, "has no {subject}"),
        ({"pattern": "{subject}.bdf"}, "no file matches"),
        ({"pattern": "{subject}/.*"}, "no file matches"),
        ({"runs": ["5"]}, "no file matches"),
        ({"task": None}, "gives no task"),
        (
            {"pattern": "S-{subject}/S-{subject}R{run}.edf", "events": {"T9": "x"}},
            "event 'T9': is in no file",
        ),
        ({"montage": "colin27_100"}, "MNE has no 'colin27_100'; did you mean 'colin27_10"),
        (
            {"pattern": "{acquisition}/S-{subject}R0{run}.edf", "runs": ["4", "8"], "task": "--"},
            "gives no task",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_and_leaves_nothing(source, tmp_path, changes, message):
    with pytest.raises(InputError) as caught:
        bidsify(source, tmp_path / "out", plan(**changes))
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_two_files_may_not_become_one_recording(source):
    write_edf(source / "S1" / "S1R04.edf")
    with pytest.raises(InputError, match=r"would become the same recording as S-1/S-1R04\.edf"):
        find_recordings(source, plan())


def test_an_entity_that_stands_twice_must_be_the_same(source):
    (source / "S-1" / "S-2R04.edf").write_bytes(b"")
    assert len(find_recordings(source, plan())) == 4


def test_a_damaged_file_stops_it_with_one_line_and_nothing_written(source, tmp_path, capsys):
    edf = source / "S-2" / "S-2R08.edf"
    os.truncate(edf, edf.stat().st_size - 100)
    arguments = [source, tmp_path / "out", "--pattern", PATTERN, "--task", "t", "--name", "n"]
    assert command(*arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: S-2/S-2R08.edf: truncated")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unless_asked_and_no_folder_that_is_not_a_dataset(source, tmp_path):
    out = tmp_path / "out"
    bidsify(source, out, plan(runs=["4"]))
    with pytest.raises(InputError, match="exists; choose another folder, or give --overwrite"):
        bidsify(source, out, plan())
    assert bidsify(source, out, plan(runs=["8"]), overwrite=True) == 2
    assert not list(out.rglob("*run-04*"))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is not a BIDS dataset"):
        bidsify(source, precious, plan(), overwrite=True)
    with pytest.raises(InputError, match="holds the source"):
        bidsify(out, out, plan(), overwrite=True)
    assert (precious / "thesis.txt").exists()


def test_the_real_motor_imagery_files_become_valid_bids(tmp_path):
    where = Path(os.environ.get("REPLICORTEX_REAL_DATA") or "/nowhere") / "eeg-motor-imagery-eegbci"
    if not where.is_dir():
        pytest.skip("REPLICORTEX_REAL_DATA names no folder with eeg-motor-imagery-eegbci")
    events = {"T0": "rest", "T1": "left_hand", "T2": "right_hand"}
    out = tmp_path / "out"
    assert bidsify(where, out, plan(runs=["4", "8"], events=events, line_frequency=60, license="ODC-By-1.0")) == 8
    assert validator_errors(out) == []
    edf = mne.io.read_raw_edf(where / "S007" / "S007R08.edf", verbose="ERROR")
    raw = mne_bids.read_raw_bids(
        mne_bids.BIDSPath(subject="S007", task="imagery", run="08", datatype="eeg", root=out), verbose="ERROR"
    )
    np.testing.assert_allclose(raw.get_data(), edf.get_data(), rtol=1e-6, atol=1e-12)
    assert raw.annotations.description.tolist() == [events[kind] for kind in edf.annotations.description]
    np.testing.assert_allclose(raw.annotations.onset, edf.annotations.onset, atol=1e-6)
    assert raw.ch_names[:3] == ["FC5", "FC3", "FC1"]
