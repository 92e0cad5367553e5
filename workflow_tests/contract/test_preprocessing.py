"""What holds for every preprocessing engine, on a dataset of each kind of recording that it takes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import bold_data
import fmriprep_tree
import mri_data
import pet_data
from eeg_data import recordings, signals, write_recording
from meg_data import write_meg
from replicortex.bids import read_recordings
from replicortex.components import load, make, names
from replicortex.errors import InputError
from replicortex.files import digest_file, to_json, write_text
from replicortex.index import refresh_index
from replicortex.shared.nwb import write_nwb
from replicortex.stages.preprocess import data_file


class Case(NamedTuple):
    """An engine, the row of a recording, its dataset, and what an earlier recipe made of the subject."""

    name: str
    engine: object
    row: dict[str, str]
    root: Path
    parents: list[Path]


def _eeg(folder):
    write_recording(folder / "raw", signals())
    return {}, recordings(folder / "raw")[0], []


def _meg(folder):
    write_meg(folder / "raw")
    return {}, recordings(folder / "raw")[0], []


def _anat(folder):
    return {}, mri_data.write_t1w(folder / "raw"), []


def _func(folder):
    return {}, bold_data.write_bold(folder / "raw"), pet_data.write_anatomy(folder / "earlier")


def _pet(folder):
    return {}, pet_data.write_pet(folder / "raw", n_frames=2), pet_data.write_anatomy(folder / "earlier")


def _precomputed(datatype):
    def write(folder):
        rows = fmriprep_tree.write_raw(folder / "raw")
        fmriprep_tree.write_fmriprep(folder / "raw" / "derivatives" / "fmriprep")
        row = next(row for row in rows.values() if row["datatype"] == datatype)
        return {"datatype": datatype}, row, []

    return write


def _spikes(folder):
    generator = np.random.default_rng(0)
    path = folder / "raw" / "sub-01" / "ephys" / "sub-01_task-rest_ephys.nwb"
    series = {"AVAL": (generator.standard_normal(200), 10.0, "none"), "place": (np.ones((200, 2)), 10.0, "m")}
    write_nwb(path, spikes=[generator.uniform(0, 20, 300)], series=series, identifier="made")
    return {"velocity": ["place"]}, _indexed(folder)[0], []


def _behaviour(folder):
    path = folder / "raw" / "sub-01" / "beh" / "sub-01_task-choice_beh.tsv"
    path.parent.mkdir(parents=True)
    write_text(path, "trial\tchoice\n1\tleft\n2\tright\n")
    return {}, _indexed(folder)[0], []


def _connectome(folder):
    (folder / "raw").mkdir()
    simulator = load("simulators", "wired_worms")
    make("simulators", "wired_worms", simulator.tiny).simulate(folder / "raw", "planted", 0)
    engine = make("preprocessing", "connectome_pairs", load("preprocessing", "connectome_pairs").tiny)
    return {}, next(row for row in _indexed(folder) if engine.takes(row)), []


def _indexed(folder):
    if not (folder / "raw" / "dataset_description.json").exists():
        write_text(folder / "raw" / "dataset_description.json", to_json({"Name": "made", "BIDSVersion": "1.11.0"}))
    refresh_index(folder / "raw", folder / "index")
    return read_recordings(folder / "index" / "recordings.tsv")


#: A maker of one recording for each engine and kind: writes a dataset; returns parameters, row and parents.
MAKERS = {
    "calcium_traces": {"ephys": _spikes},
    "connectome_pairs": {"micr": _connectome},
    "mne_eeg": {"eeg": _eeg},
    "mne_sensors": {"eeg": _eeg, "meg": _meg},
    "native_anat": {"anat": _anat},
    "native_func": {"func": _func},
    "native_pet": {"pet": _pet},
    "precomputed": {"anat": _precomputed("anat"), "func": _precomputed("func")},
    "spike_counts": {"ephys": _spikes},
    "tables": {"beh": _behaviour},
}
#: They start a container; a stand-in for it drives them in their own tests.
IN_CONTAINERS = {"fmriprep"}
CASES = [(engine, kind) for engine, makers in MAKERS.items() for kind in makers]


def test_every_engine_is_tried():
    assert set(names("preprocessing")) == MAKERS.keys() | IN_CONTAINERS


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request, tmp_path_factory):
    """One recording for an engine; never changed."""
    name, kind = request.param
    folder = tmp_path_factory.mktemp(name)
    params, row, parents = MAKERS[name][kind](folder)
    engine = make("preprocessing", name, {**load("preprocessing", name).tiny, **params})
    assert engine.takes(row)
    return Case(name, engine, row, folder / "raw", parents)


def _files(folder):
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in folder.rglob("*") if path.is_file()}


def _run(case, out, **row):
    (out / "figures").mkdir(parents=True)
    return case.engine.preprocess({**case.row, **row}, case.root, out, parents=case.parents)


@pytest.fixture(scope="module")
def done(case, tmp_path_factory):
    """What a run of the engine returned and wrote, and the dataset before."""
    before = _files(case.root)
    out = tmp_path_factory.mktemp("done") / "out"
    sidecar = _run(case, out)
    assert _files(case.root) == before, "the dataset is only read"
    return sidecar, out


def test_same_input_gives_same_bytes(case, done, tmp_path):
    sidecar, out = done
    assert _run(case, tmp_path / "again") == sidecar
    assert _files(tmp_path / "again") == _files(out)


def test_one_main_file_is_written_under_bids_names(case, done, tmp_path):
    sidecar, out = done
    main = out / sidecar["MainFile"] if "MainFile" in sidecar else data_file(out, case.engine.main)
    assert main.is_file()
    # Tables keep their names; all matrices of an animal become one.
    stem = f"{case.row['recording'].partition('_desc-')[0]}_"
    assert main.name.startswith(stem)
    assert "_desc-" in main.name or case.name == "tables"
    assert all(path.name.startswith(f"sub-{case.row['subject']}_") for path in out.rglob("*") if path.is_file())
    assert all(path.name.startswith(stem) for path in (out / "figures").iterdir())
    text = json.dumps(sidecar)
    assert str(case.root.parent) not in text
    assert all(isinstance(value, float | int) for value in sidecar.get("Quality", {}).values())


def test_a_truncated_data_file_is_refused_in_one_line(case, tmp_path):
    if case.name == "tables":
        pytest.skip("a table of text that ends after a cell is a whole table; its own tests cut cells off")
    folder = tmp_path / "copy"
    shutil.copytree(case.root, folder)
    # The data are the largest file of a recording, whatever its format; an engine that takes derivatives reads those.
    beside = folder / "derivatives" / "fmriprep" if (folder / "derivatives").is_dir() else folder
    place = beside / Path(case.row["path"]).parent
    largest = max((path for path in place.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2 + 1)
    with pytest.raises(InputError) as caught:
        _run(case._replace(root=folder), tmp_path / "a")
    assert case.row["recording"].partition("_desc-")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_path_that_leads_out_of_the_dataset_is_refused(case, tmp_path):
    if case.name == "precomputed":
        pytest.skip("opens the files that it finds by entities, not this path; its own tests try links that lead out")
    for number, path in enumerate(("../outside.vhdr", "/etc/passwd")):
        with pytest.raises(InputError, match="leads out of the dataset"):
            _run(case, tmp_path / str(number), path=path)
