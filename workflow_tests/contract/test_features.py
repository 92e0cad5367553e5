"""What holds for every extractor: it sees one recording, and no statistics of labels."""

import numpy as np
import pandas as pd
import pytest

from eeg_data import signals, write_recording, write_recordings
from meg_data import write_meg
from mri_derivatives import derivative_folder
from replicortex.bundle import Bundle
from replicortex.components import load, make, names, parameters
from replicortex.files import digest_file, read_tsv, to_json, to_tsv, write_text
from replicortex.index import refresh_index
from replicortex.shared.nwb import write_nwb
from replicortex.stages.features import extract_block
from replicortex.stages.preprocess import preprocess_block

CLASSES = {"a": ["left"], "b": ["right"]}
EVENTS = [
    {"onset": 2.0 + 1.5 * i, "duration": 1.0, "trial_type": kind}
    for i, kind in enumerate(["left", "right", "right", "left", "rest", "right"])
]


#: What was shown in each recording, to extractors that need to know.
SHOWN = [{"stim_id": f"picture{i}.png", "onset": 2.0 + 12.0 * i, "duration": 1.0} for i in range(3)]


def _eeg(folder):
    root = folder / "raw"
    for number, subject in enumerate(["01", "02"]):
        write_recording(root, signals(seed=number), subject=subject, events=EVENTS)
    rows = write_recordings(root, folder / "recordings.tsv")
    preprocess_block(rows, root, folder / "deriv", folder / "manifest.tsv", "mne_eeg", {}, "code", "0of1")


def _meg(folder):
    root = folder / "raw"
    for number, subject in enumerate(["01", "02"]):
        write_meg(root, subject=subject, seed=number, events=EVENTS)
    rows = write_recordings(root, folder / "recordings.tsv")
    params = {"l_freq": 1.0}
    preprocess_block(rows, root, folder / "deriv", folder / "manifest.tsv", "mne_sensors", params, "code", "0of1")


def _ephys(folder):
    """Spikes of three neurons in four trials, and a velocity."""
    root = folder / "raw"
    trials = pd.DataFrame({"start_time": 3.0 * np.arange(4), "stop_time": 3.0 * np.arange(4) + 2.0})
    for number, subject in enumerate(["01", "02"]):
        generator = np.random.default_rng(number)
        path = root / f"sub-{subject}" / "ephys" / f"sub-{subject}_task-cursor_ephys.nwb"
        spikes = [generator.uniform(0, 12, 60 + 20 * unit) for unit in range(3)]
        series = {"velocity": (generator.standard_normal((120, 2)), 10.0, "m/s")}
        write_nwb(path, spikes=spikes, series=series, trials=trials, identifier=subject)
    about = {"Name": "Made", "BIDSVersion": "1.10.1"}
    write_text(root / "dataset_description.json", to_json(about))
    refresh_index(root, folder / "index")
    params = {"behaviour": ["velocity"]}
    preprocess_block(
        folder / "index" / "recordings.tsv", root, folder / "deriv", folder / "manifest.tsv",
        "spike_counts", params, "code", "0of1",
    )  # fmt: skip


def _choices(folder):
    simulator = make("simulators", "odd_one_out", load("simulators", "odd_one_out").tiny)
    simulator.simulate(folder / "raw", "planted", 0)
    refresh_index(folder / "raw", folder / "index")
    preprocess_block(folder / "index" / "recordings.tsv", folder / "raw", folder / "deriv", folder / "manifest.tsv",
                     "tables", {"datatype": "beh"}, "code", "0of1")  # fmt: skip


def _images(kind, datatype):
    def make_derivatives(folder):
        derivative_folder(kind, folder)
        (folder / "deriv").rename(folder / "raw")
        (folder / "manifest.tsv").unlink()
        about = {
            "Name": "Made",
            "BIDSVersion": "1.10.1",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "test"}],
        }
        write_text(folder / "raw" / "dataset_description.json", to_json(about))
        refresh_index(folder / "raw", folder / "index")
        params = {"datatype": datatype, "folder": "."}
        preprocess_block(folder / "index" / "recordings.tsv", folder / "raw", folder / "deriv", folder / "manifest.tsv",
                         "precomputed", params, "code", "0of1")  # fmt: skip

    return make_derivatives


def _wiring(folder):
    make("simulators", "wired_worms", {"n_subjects": 2, "n_neurons": 8}).simulate(folder / "raw", "planted", 0)
    refresh_index(folder / "raw", folder / "index")
    preprocess_block(folder / "index" / "recordings.tsv", folder / "raw", folder / "deriv", folder / "manifest.tsv",
                     "connectome_pairs", {}, "code", "0of1")  # fmt: skip


#: A maker of derivatives by the suffix of the recording: fills ``deriv`` and ``manifest.tsv`` of a folder.
MAKERS = {
    "eeg": _eeg,
    "meg": _meg,
    "ephys": _ephys,
    "T1w": _images("anat", "anat"),
    "bold": _images("func", "func"),
    "pet": _images("pet", "pet"),
    "timeseries": _images("timeseries", "func"),
    "relmat": _images("relmat", "func"),
    "morph": _images("morph", "anat"),
    "micr relmat": _wiring,
    "beh": _choices,
}

FEATURES = [
    (name, f"micr {suffix}" if load("features", name).datatypes == ("micr",) else suffix)
    for name in names("features")
    for suffix in load("features", name).suffixes or load("features", name).datatypes
]


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """Return a function that makes the derivatives of recordings of a suffix once."""
    made = {}

    def get(suffix):
        if suffix not in made:
            made[suffix] = tmp_path_factory.mktemp(suffix)
            MAKERS[suffix](made[suffix])
        return made[suffix]

    return get


@pytest.fixture(params=FEATURES, ids=lambda pair: "-".join(pair))
def case(request, derived):
    """Return an extractor, its name, and the folder with the derivatives."""
    name, suffix = request.param
    extractor = make("features", name, load("features", name).tiny)
    if extractor.needs_stimuli:
        extractor.presentations = SHOWN
    return extractor, name, derived(suffix)


def _extract(case, classes=CLASSES, number=0):
    extractor, _, folder = case
    row = read_tsv(folder / "manifest.tsv")[number]
    return extractor.extract(row, folder / "deriv" / row["path"], classes)


def _same(a: Bundle, b: Bundle) -> None:
    assert a.axes == b.axes
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a[name], b[name])


def test_extracting_twice_gives_the_same_and_nothing_is_fitted(case):
    first, second = _extract(case), _extract(case)
    _same(first, second)
    assert first.meta.get("fitted", []) == []
    assert all(np.isfinite(values).all() for values in first.arrays.values() if values.dtype.kind == "f")
    assert all(str(row).startswith("sub-01_") for row in first.rows["row_id"])
    assert {"session", "run", "recording", "subject"} <= first.rows.keys()


def test_labels_do_not_change_values(case):
    _same(_extract(case), _extract(case, {"one": ["right"], "two": ["left"]}))
    _same(_extract(case), _extract(case, {"all": ["left", "right"]}))


def test_the_derivative_is_only_read(case):
    files = [path for path in (case[2] / "deriv").rglob("*") if path.is_file()]
    before = [digest_file(path) for path in files]
    _extract(case)
    assert [digest_file(path) for path in files] == before


def test_a_recording_is_the_same_whatever_else_is_in_the_block(case, tmp_path):
    extractor, name, folder = case
    recordings = [row["recording"] for row in read_tsv(folder / "manifest.tsv")]
    shown = [{"recording": recording, **entry} for recording in recordings for entry in SHOWN]
    write_text(tmp_path / "shown.tsv", to_tsv(shown, ["recording", "stim_id", "onset", "duration"]))
    extract_block(
        folder / "manifest.tsv", folder / "deriv", tmp_path / "0of1.npz", tmp_path / "0of1.tsv", name,
        parameters(extractor), CLASSES, "code", "0of1", presentations=tmp_path / "shown.tsv",
    )  # fmt: skip
    block = Bundle.open(tmp_path / "0of1.npz")
    for number, subject in enumerate(["01", "02"]):
        _same(block.take(block.rows["subject"] == subject), _extract(case, number=number))
