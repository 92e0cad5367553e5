"""How datasets say what made them, and of what."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml

from replicortex import LICENCE, __version__
from replicortex.origin import doi_of, generated_by, generated_here, source_dataset
from source_code import ROOT

DEFINITION = "ab" * 32


def test_outside_of_a_container_nothing_is_said_of_one(tmp_path):
    expected = {"Name": "replicortex", "Version": __version__, "Description": "what"}
    assert generated_here("what", tmp_path / "labels.json") == generated_by("what") == expected


@pytest.mark.parametrize(
    ("labels", "container"),
    [
        (
            {"replicortex.family": "mri", "replicortex.definition": DEFINITION, "org.label-schema.build-date": "now"},
            {"Type": "apptainer", "Tag": "mri", "URI": f"urn:sha256:{DEFINITION}"},
        ),
        ({"org.label-schema.build-date": "now"}, None),
        ({"replicortex.family": 3, "replicortex.definition": None}, None),
    ],
)
def test_an_image_is_known_by_what_it_was_made_of(tmp_path, labels, container):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels))
    assert generated_here("what", path).get("Container") == container
    assert "Container" not in generated_by("what")


@pytest.mark.parametrize("text", ["not json", "", "[]"])
def test_labels_that_can_not_be_read_are_none(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text)
    assert "Container" not in generated_here("what", path)


@pytest.mark.parametrize("written", ["10.18112/openneuro.ds004504.v1.0.8", "doi:{}", "https://doi.org/{}", "DOI: {}"])
def test_a_doi_is_found_however_it_is_written(written):
    doi = "10.18112/openneuro.ds004504.v1.0.8"
    assert doi_of({"DatasetDOI": written.format(doi)}) == doi


@pytest.mark.parametrize("description", [{}, {"DatasetDOI": ""}, {"DatasetDOI": None}, {"DatasetDOI": "n/a"}])
def test_no_doi_is_none(description):
    assert doi_of(description) is None


def test_a_source_names_address_doi_and_version(tmp_path):
    fetched = tmp_path / "fetched.json"
    assert source_dataset({}, "../raw", fetched) == {"URL": "../raw"}
    fetched.write_text(json.dumps({"version": "1.0.8", "commit": "c"}))
    told = source_dataset({"DatasetDOI": "doi:10.1/x"}, "https://doi.org/10.1/x", fetched)
    assert told == {"URL": "https://doi.org/10.1/x", "DOI": "doi:10.1/x", "Version": "1.0.8"}
    fetched.write_text("[]")
    assert source_dataset({}, "../raw", fetched) == {"URL": "../raw"}


def test_the_licence_is_stated_once():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == LICENCE
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == LICENCE
