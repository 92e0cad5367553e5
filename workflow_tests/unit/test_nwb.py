"""Recordings in NWB: what is written is valid, the same twice, and read back; a damaged or hostile file is one line."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from replicortex.errors import InputError
from replicortex.shared.nwb import read_nwb, write_nwb
from source_code import ROOT

SPIKES = [np.array([0.5, 1.25, 3.0]), np.array([]), np.array([0.1])]
SERIES = {
    "velocity": (np.arange(20.0).reshape(10, 2), 5.0, "m/s"),
    "force": (np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.5, 2.0]), "N"),
}
TRIALS = pd.DataFrame(
    {"start_time": [0.0, 5.0], "stop_time": [4.0, 9.0], "kind": ["left", "right"], "angle": [0.5, 2.0]}
)


@pytest.fixture
def path(tmp_path):
    write_nwb(tmp_path / "a.nwb", spikes=SPIKES, series=SERIES, trials=TRIALS, identifier="a")
    return tmp_path / "a.nwb"


def test_what_is_written_is_read_back(path):
    found = read_nwb(path)
    assert [times.tolist() for times in found.spike_times] == [times.tolist() for times in SPIKES]
    assert found.units == ["0", "1", "2"]
    np.testing.assert_array_equal(found.series["velocity"].data, SERIES["velocity"][0])
    np.testing.assert_allclose(found.series["velocity"].timestamps, np.arange(10) / 5)
    assert found.series["velocity"].rate == pytest.approx(5.0)
    assert np.isnan(found.series["force"].rate), "its clock is uneven"
    assert found.series["force"].unit == "N"
    pd.testing.assert_frame_equal(found.trials, TRIALS)
    assert (found.identifier, found.session_start) == ("a", "2000-01-01T00:00:00+00:00")
    assert list(read_nwb(path, wanted={"force"}.__contains__).series) == ["force"]


def test_the_standard_finds_no_fault(path):
    pynwb = pytest.importorskip("pynwb")
    with pynwb.NWBHDF5IO(path, "r") as file:
        assert pynwb.validate(io=file) == []
        assert file.read().units["spike_times"][0].tolist() == SPIKES[0].tolist()


def test_another_process_writes_the_same_bytes(path, tmp_path):
    code = (
        "import sys; sys.path[:0] = ['scripts', 'workflow_tests/unit', 'workflow_tests']\n"
        "import test_nwb as t; from pathlib import Path\n"
        "t.write_nwb(Path(sys.argv[1]), spikes=t.SPIKES, series=t.SERIES, trials=t.TRIALS, identifier='a')"
    )
    other = tmp_path / "b.nwb"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, other], cwd=ROOT, env=environment, check=True)
    assert other.read_bytes() == path.read_bytes()


def test_a_unit_conversion_is_applied(path):
    with h5py.File(path, "r+") as file:
        file["acquisition/force/data"].attrs["conversion"] = 2.0
        file["acquisition/force/data"].attrs["offset"] = 1.0
    assert read_nwb(path).series["force"].data.tolist() == [3.0, 5.0, 9.0]


def test_series_of_one_name_go_by_their_path(path):
    with h5py.File(path, "r+") as file:
        file.copy("acquisition/force", "processing/other/force")
    assert {"acquisition/force", "processing/other/force"} < set(read_nwb(path).series)


def _external_group(file, folder):
    file["acquisition/elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def _external_clock(file, folder):
    del file["acquisition/force/timestamps"]
    file["acquisition/force/timestamps"] = h5py.ExternalLink("other.nwb", "/x")


def _external_by_a_detour(file, folder):
    file["general/out"] = h5py.ExternalLink("other.nwb", "/")
    del file["acquisition/force/timestamps"]
    file["acquisition/force/timestamps"] = h5py.SoftLink("/general/out/x")


def _external_values(file, folder):
    (folder / "raw.bin").write_bytes(bytes(24))
    del file["acquisition/force/data"]
    file["acquisition/force"].create_dataset("data", (3,), "f8", external=[(folder / "raw.bin", 0, 24)])


def _virtual_values(file, folder):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (3,))
    del file["acquisition/force/data"]
    file["acquisition/force"].create_virtual_dataset("data", layout)


def _bomb(file, folder):
    del file["acquisition/force/data"]
    file["acquisition/force"].create_dataset("data", (1 << 40,), "f8", chunks=(1024,))


def _circle(file, folder):
    del file["acquisition/force/timestamps"]
    file["acquisition/force/timestamps"] = h5py.SoftLink("/acquisition/force/timestamps")


def _text(file, folder):
    del file["acquisition/force/data"]
    file["acquisition/force/data"] = np.array([b"a", b"b", b"c"])


def _backwards(file, folder):
    file["acquisition/force/timestamps"][1] = 9.0


def _no_number(file, folder):
    file["units/spike_times"][0] = np.nan


def _cut_wrongly(file, folder):
    file["units/spike_times_index"][-1] = 3


def _short_trial(file, folder):
    file["intervals/trials/stop_time"][0] = -1.0


def _old(file, folder):
    file.attrs["nwb_version"] = "1.0.6"


HOSTILE = {
    _external_group: "leads to another file",
    _external_clock: "leads to another file",
    _external_by_a_detour: "leads to another file",
    _external_values: "lie in another file",
    _virtual_values: "lie in another file",
    _bomb: "far more than the file has",
    _circle: "a link in a circle",
    _text: "holds text",
    _backwards: "a time that follows",
    _no_number: "not finite",
    _cut_wrongly: "does not cut",
    _short_trial: "stops before it starts",
    _old: "NWB version 1.0.6",
}


@pytest.mark.parametrize("damage", HOSTILE, ids=lambda damage: damage.__name__.strip("_"))
def test_a_hostile_file_is_one_line(damage, path, tmp_path):
    with h5py.File(path, "r+") as file:
        damage(file, tmp_path)
    with pytest.raises(InputError, match=HOSTILE[damage]) as caught:
        read_nwb(path, "sub-01/ephys/a.nwb")
    assert str(caught.value).startswith("sub-01/ephys/a.nwb: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_one_line(share, path):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"not readable as NWB|is empty"):
        read_nwb(path)


def test_real_recordings_are_read(real_data):
    for path in sorted((real_data / "celegans-activity").glob("*.nwb")):
        found = read_nwb(path)
        n = len(found.series["ss_2D"].data)
        assert len(found.series) > 50
        assert all(len(series.data) == n for series in found.series.values())
        assert found.series["ss_2D"].unit == "meters"
