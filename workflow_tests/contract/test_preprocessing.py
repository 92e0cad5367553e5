"""What holds for every preprocessing engine, on a dataset of each datatype that it takes."""

import json
import os

import pytest

from eeg_data import recordings, signals, write_recording
from replicortex.components import load, make, names
from replicortex.errors import InputError
from replicortex.files import digest_file
from replicortex.stages.preprocess import data_file


def _eeg(root):
    write_recording(root, signals())
    return recordings(root)[0]


#: A maker of one recording of a datatype: writes a dataset, returns the row of its recording.
MAKERS = {"eeg": _eeg}

ENGINES = [(name, datatype) for name in names("preprocessing") for datatype in load("preprocessing", name).datatypes]


@pytest.fixture(params=ENGINES, ids=lambda pair: "-".join(pair))
def case(request, tmp_path):
    """Return an engine, a row and the root of its dataset."""
    name, datatype = request.param
    if datatype not in MAKERS:
        pytest.skip(f"no small dataset of datatype {datatype} is made here")
    root = tmp_path / "raw"
    row = MAKERS[datatype](root)
    return make("preprocessing", name, load("preprocessing", name).tiny), row, root


def _run(case, out):
    engine, row, root = case
    out.mkdir()
    sidecar = engine.preprocess(row, root, out)
    return sidecar, {path.name: digest_file(path) for path in out.iterdir()}


def test_same_input_gives_same_bytes(case, tmp_path):
    assert _run(case, tmp_path / "a") == _run(case, tmp_path / "b")


def test_the_dataset_is_only_read(case, tmp_path):
    root = case[2]
    before = {path: digest_file(path) for path in root.rglob("*") if path.is_file()}
    _run(case, tmp_path / "a")
    assert {path: digest_file(path) for path in root.rglob("*") if path.is_file()} == before


def test_one_derivative_is_written_under_bids_names(case, tmp_path):
    _, row, _ = case
    sidecar, files = _run(case, tmp_path / "a")
    made = data_file(tmp_path / "a")
    assert made.name.startswith(f"{row['recording']}_desc-")
    assert made.name.split(".")[0].endswith(f"_{row['suffix']}")
    assert all(name.startswith(f"sub-{row['subject']}_") for name in files)
    assert str(tmp_path) not in json.dumps(sidecar)


def test_a_truncated_data_file_is_refused_in_one_line(case, tmp_path):
    _, row, root = case
    # The data are the largest file of a recording, whatever its format.
    largest = max((root / row["path"]).parent.iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2 + 1)
    with pytest.raises(InputError) as caught:
        _run(case, tmp_path / "a")
    assert row["recording"] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_path_that_leads_out_of_the_dataset_is_refused(case, tmp_path):
    engine, row, root = case
    for path in ("../outside.vhdr", "/etc/passwd"):
        with pytest.raises(InputError, match="leads out of the dataset"):
            engine.preprocess({**row, "path": path}, root, tmp_path)
