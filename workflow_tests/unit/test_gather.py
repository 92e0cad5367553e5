"""Published tables and images that become BIDS datasets, value for value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from replicortex.bids import read_recordings
from replicortex.cards import expand, gather_plan
from replicortex.errors import InputError
from replicortex.files import digest_file, read_json, read_tsv, write_text
from replicortex.index import refresh_index
from replicortex.stages.gather import gather, label_of
from replicortex.stages.validate import validate_dataset
from source_code import ROOT

PEOPLE = "id,site,age\nX-1,A,20.5\nX-2,B,31\nX-3,A,\n"
PLAN = {"name": "Made", "license": "CC0", "participants": {"table": "people.csv", "id": "id"}}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_text(folder / "people.csv", PEOPLE)
    generator = np.random.default_rng(0)
    series = {name: generator.standard_normal((30, 4)).astype(np.float32) for name in ("X-1", "X-3", "nobody")}
    np.savez(folder / "series.npz", **series)
    np.savez(folder / "edges.npz", a=generator.uniform(-1, 1, (3, 6)))
    write_text(folder / "thickness.csv", "who,v1,v2\nX-2,2.5,\nX-1,1.25,3\n")
    return folder


def test_series_keep_their_values_and_say_their_repetition_time(source, tmp_path):
    plan = {
        **PLAN,
        "series": {"file": "series.npz", "atlas": "MY4"},
        "metadata_by": {"site": {"A": {"RepetitionTime": 2.0}}},
    }
    assert gather(source, tmp_path / "bids", plan) == 2
    table = tmp_path / "bids" / "sub-X1" / "func" / "sub-X1_task-rest_atlas-MY4_timeseries.tsv"
    rows = read_tsv(table)
    assert list(rows[0]) == ["MY4001", "MY4002", "MY4003", "MY4004"]
    values = np.array([list(row.values()) for row in rows], dtype=float)
    np.testing.assert_allclose(values, np.load(source / "series.npz")["X-1"], rtol=1e-6)
    assert read_json(table.with_suffix(".json"))["RepetitionTime"] == 2.0
    people = read_tsv(tmp_path / "bids" / "participants.tsv")
    assert [(row["participant_id"], row["age"]) for row in people] == [("sub-X1", "20.5"), ("sub-X3", "n/a")]
    refresh_index(tmp_path / "bids", tmp_path / "index")
    found = read_recordings(tmp_path / "index" / "recordings.tsv")
    assert [(row["subject"], row["suffix"], row["repetition_time"]) for row in found] == [
        ("X1", "timeseries", "2.0"),
        ("X3", "timeseries", "2.0"),
    ]


def test_lower_triangles_become_symmetric_matrices(source, tmp_path):
    gather(source, tmp_path / "bids", {**PLAN, "matrices": {"file": "edges.npz", "atlas": "MY4"}})
    rows = read_tsv(tmp_path / "bids" / "sub-X2" / "func" / "sub-X2_task-rest_atlas-MY4_relmat.tsv")
    assert [row.pop("Node") for row in rows] == list(rows[0])
    matrix = np.array([list(row.values()) for row in rows], dtype=float)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix[[1, 2, 2], [0, 0, 1]], np.load(source / "edges.npz")["a"][1, :3], rtol=1e-6)


def test_measures_become_a_table_a_person(source, tmp_path):
    plan = {**PLAN, "measures": {"table": "thickness.csv", "id": "who", "name": "fs"}}
    assert gather(source, tmp_path / "bids", plan) == 2
    rows = read_tsv(tmp_path / "bids" / "sub-X2" / "anat" / "sub-X2_desc-fs_morph.tsv")
    assert [(row["variable"], row["value"]) for row in rows] == [("v1", "2.5"), ("v2", "n/a")]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"participants": {"table": "people.csv", "id": "ID"}}, "no column 'ID'; choose one of: age, id, site"),
        ({"participants": {"table": "../people.csv", "id": "id"}}, "leads out of the source folder"),
        ({"series": {"file": "series.npz", "atlas": "a/b"}}, "gather.series.atlas"),
        ({"series": {"file": "people.csv", "atlas": "A"}}, "not a readable .npz file"),
        ({"matrices": {"file": "edges.npz", "atlas": "A", "x": "y"}}, "gather.matrices.x"),
        ({"measures": {"table": "thickness.csv", "id": "v2", "name": "fs"}}, "no person of the table has any data"),
        ({"images": {"pattern": "T1.nii.gz", "datatype": "anat", "suffix": "T1w"}}, "has no {id}"),
        (
            {"series": {"file": "series.npz", "atlas": "A"}, "metadata_by": {"sites": {}}},
            "no column 'sites'; did you mean 'site'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_left(source, tmp_path, change, fault):
    with pytest.raises(InputError) as caught:
        gather(source, tmp_path / "bids", {**PLAN, **change})
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["abide_cc200", "development_basc64", "ixi"])
def test_real_tables_give_valid_datasets(real_data, tmp_path, monkeypatch, name):
    monkeypatch.setenv("REPLICORTEX_REAL_DATA", str(real_data))
    card = yaml.safe_load((ROOT / "config" / "datasets" / f"{name}.yaml").read_text())
    source = expand(card["gather"]["source"], name)
    n = gather(Path(source), tmp_path / "bids", gather_plan(card))
    assert n == {"abide_cc200": 104, "development_basc64": 155, "ixi": 16}[name]
    validate_dataset(tmp_path / "bids", tmp_path / "validation.json", tmp_path / "validation.tsv")
    assert "error" not in json.loads((tmp_path / "validation.json").read_text())["counts"]
    people = read_tsv(tmp_path / "bids" / "participants.tsv")
    for variable in card["variables"].values():
        told = {row[variable["column"]] for row in people}
        assert told >= {str(value) for values in variable.get("values", {}).values() for value in values}
    if name == "ixi":
        mine = tmp_path / "bids" / f"sub-{label_of('IXI056-HH-1327')}" / "anat"
        (image,) = mine.glob("*.nii.gz")
        assert digest_file(image) == digest_file(Path(source) / "T1" / "IXI056-HH-1327_T1.nii.gz")
