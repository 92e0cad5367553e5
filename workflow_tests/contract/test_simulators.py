"""What every simulator must do. Runs over the files of the folder; a new file gets all of it."""

from __future__ import annotations

import json

import pytest

from replicortex.components import load, make, names
from replicortex.errors import InputError
from replicortex.files import digest_file, read_json, read_tsv, to_json
from replicortex.stages.validate import validate_dataset

TEXT = {"", ".md", ".txt", ".json", ".tsv", ".vhdr", ".vmrk", ".bvec", ".bval"}
#: Recommended fields that nobody can fill for simulated data without making something up.
UNFILLABLE = {
    *("HEDVersion", "SourceDatasets", "CogAtlasID", "CogPOID", "AssociatedEmptyRoom"),
    *("FiducialsCoordinates", "FiducialsCoordinateSystem", "FiducialsCoordinateUnits"),
    "FiducialsCoordinateSystemDescription",
}


@pytest.fixture(scope="module", params=names("simulators"))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def simulate(name, tmp_path_factory):
    def run(truth, seed):
        root = tmp_path_factory.mktemp("bids")
        simulator = make("simulators", name, load("simulators", name).tiny)
        return root, simulator.simulate(root, truth, seed)

    return run


@pytest.fixture(scope="module")
def planted(simulate):
    return simulate("planted", 0)


def digests(root):
    return {str(p.relative_to(root)): digest_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_bids_validator_finds_no_error(planted, tmp_path):
    validate_dataset(planted[0], tmp_path / "validation.json", tmp_path / "validation.tsv")
    assert read_json(tmp_path / "validation.json")["skipped"] is False
    rows = read_tsv(tmp_path / "validation.tsv")
    left = {row["subCode"] if row["subCode"] != "n/a" else row["code"] for row in rows}
    assert left <= UNFILLABLE | {"TOO_FEW_AUTHORS"}


def test_same_seed_same_bytes(planted, simulate):
    again = simulate("planted", 0)
    assert digests(again[0]) == digests(planted[0])
    assert to_json(again[1]) == to_json(planted[1])


def test_another_seed_gives_other_data(planted, simulate):
    other = digests(simulate("planted", 1)[0])
    assert other.keys() == digests(planted[0]).keys()
    assert other != digests(planted[0])


def test_nothing_in_the_dataset_tells_the_truth(planted, simulate):
    absent, facts = simulate("absent", 0)
    here, there = digests(planted[0]), digests(absent)
    assert here.keys() == there.keys()
    assert here != there or facts != planted[1]
    for path in here:
        assert not any(word in path.lower() for word in ("planted", "absent", "truth"))
        if "/" not in path:
            assert here[path] == there[path], f"{path} differs with the truth"
        file = absent / path
        if file.suffix in TEXT and file.stat().st_size < 1_000_000:
            text = file.read_text(encoding="utf-8").lower()
            assert not any(word in text for word in ("planted", "absent", "truth")), path


def test_facts_are_plain_json(planted):
    assert planted[1]
    assert json.loads(to_json(planted[1])) == planted[1]


def test_the_declared_datatype_is_what_is_written(name, planted):
    datatype = load("simulators", name).datatype
    assert datatype
    assert any(datatype in path.split("/") for path in digests(planted[0]))


def test_unknown_parameters_are_refused(name):
    with pytest.raises(InputError, match="unknown parameter 'no_such_parameter'"):
        make("simulators", name, {"no_such_parameter": 1})
