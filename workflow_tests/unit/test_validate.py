"""The validation stage, with the real BIDS validator."""

from __future__ import annotations

import json

import pytest

from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv
from replicortex.stages.validate import validate_dataset

DESCRIPTION = {"Name": "Test", "BIDSVersion": "1.9.0", "Authors": ["A", "B"], "License": "CC0"}


def dataset(root, description=DESCRIPTION):
    """Write a small valid dataset, one table of behaviour."""
    folder = root / "sub-01" / "beh"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("A dataset of one table, made for a test of the validation stage. " * 5)
    (root / "participants.tsv").write_text("participant_id\nsub-01\n")
    (folder / "sub-01_task-wait_beh.tsv").write_text("trial\n1\n")
    (folder / "sub-01_task-wait_beh.json").write_text('{"TaskName": "wait", "trial": {"Description": "-"}}')
    return root


def reports(folder):
    return folder / "validation.json", folder / "validation.tsv"


def test_warnings_are_listed_and_counted(tmp_path):
    validate_dataset(dataset(tmp_path / "bids"), *reports(tmp_path))
    summary, rows = read_json(tmp_path / "validation.json"), read_tsv(tmp_path / "validation.tsv")
    assert summary["skipped"] is False
    assert summary["validator"].startswith("bids-validator-deno ")
    assert summary["counts"] == {"warning": len(rows)}
    assert sum(summary["codes"].values()) == len(rows) > 0
    assert ("GeneratedBy", "dataset_description.json") in {(r["subCode"], r["location"]) for r in rows}


def test_reports_do_not_depend_on_the_place(tmp_path):
    for place in ("one", "two; touch $(echo here) '--help"):
        validate_dataset(dataset(tmp_path / place / "-bids"), *reports(tmp_path / place))
    for name in ("validation.json", "validation.tsv"):
        one, two = ((path.parent / name).read_bytes() for path in sorted(tmp_path.glob("*/-bids")))
        assert one == two
        assert str(tmp_path).encode() not in one
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two; touch $(echo here) '--help"}


def test_errors_stop_and_leave_the_list_but_no_report(tmp_path):
    root = dataset(tmp_path / "bids")
    validate_dataset(root, *reports(tmp_path))
    (root / "sub-01" / "notes.txt").write_text("x")
    (root / "sub-01" / "beh" / "sub-02_task-wait_beh.tsv").write_text("trial\n1\n")
    with pytest.raises(InputError) as caught:
        validate_dataset(root, *reports(tmp_path))
    line = str(caught.value)
    assert "\n" not in line
    for part in (
        str(root),
        "BIDS errors",
        "NOT_INCLUDED in sub-01/notes.txt",
        "validation.errors.tsv",
        "skip",
    ):
        assert part in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bids", "validation.errors.tsv"]
    rows = read_tsv(tmp_path / "validation.errors.tsv")
    assert rows[0]["severity"] == "error"
    assert f"{sum(row['severity'] == 'error' for row in rows)} BIDS errors" in line

    (root / "sub-01" / "notes.txt").unlink()
    (root / "sub-01" / "beh" / "sub-02_task-wait_beh.tsv").unlink()
    validate_dataset(root, *reports(tmp_path))
    assert not (tmp_path / "validation.errors.tsv").exists()


def test_an_error_that_names_no_file_is_reported(tmp_path):
    (tmp_path / "bids").mkdir()
    with pytest.raises(InputError, match=r"MISSING_DATASET_DESCRIPTION in dataset_description\.json"):
        validate_dataset(tmp_path / "bids", *reports(tmp_path))


def test_derivatives_are_validated_as_such(tmp_path):
    kind = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "test"}]}
    root = dataset(tmp_path / "bids", DESCRIPTION | kind)
    (root / "sub-01" / "beh" / "sub-01_task-wait_desc-clean_beh.tsv").write_text("trial\n1\n")
    validate_dataset(root, *reports(tmp_path))
    assert read_json(tmp_path / "validation.json")["skipped"] is False

    (root / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(InputError, match="desc-clean"):
        validate_dataset(root, *reports(tmp_path))


def test_skipping_says_so_and_runs_nothing(tmp_path):
    validate_dataset(tmp_path / "missing", *reports(tmp_path), skip=True, executable="/no/such/program")
    assert read_json(tmp_path / "validation.json") == {"skipped": True}
    assert read_tsv(tmp_path / "validation.tsv") == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "can not be run"),
        ("#!/bin/sh\necho out of memory >&2\nexit 3\n", r"status 3 and no result \(out of memory\)"),
        ("#!/bin/sh\necho '{}'\n", "no result"),
    ],
)
def test_a_validator_that_does_not_work_is_not_taken_for_a_valid_dataset(tmp_path, script, message):
    program = tmp_path / "validator"
    if script:
        program.write_text(script)
        program.chmod(0o755)
    root = dataset(tmp_path / "bids")
    with pytest.raises(InputError, match=message):
        validate_dataset(root, *reports(tmp_path), executable=str(program))
    assert not any(path.exists() for path in reports(tmp_path))


def test_a_missing_dataset_is_named(tmp_path):
    with pytest.raises(InputError, match="no such dataset"):
        validate_dataset(tmp_path / "nowhere", *reports(tmp_path))
