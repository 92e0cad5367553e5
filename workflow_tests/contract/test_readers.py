"""What every reader must do, with the source that a dataset card names for it. A new file gets all of it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from replicortex.cards import expand, gather_plan
from replicortex.components import load, names
from replicortex.errors import InputError
from replicortex.files import digest_tree
from replicortex.stages.gather import gather
from replicortex.stages.validate import validate_dataset
from source_code import ROOT

CARDS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "config" / "datasets").glob("*.yaml"))}
READ = {name: card for name, card in CARDS.items() if "reader" in card.get("gather", {})}


@pytest.fixture(params=READ)
def card(request):
    return READ[request.param]


@pytest.fixture
def source(real_data, monkeypatch, card) -> Path:
    monkeypatch.setenv("REPLICORTEX_REAL_DATA", str(real_data))
    return Path(expand(card["gather"]["source"], "card"))


def test_every_reader_has_a_dataset_card():
    assert {card["gather"]["reader"] for card in READ.values()} == set(names("readers"))


@pytest.mark.parametrize("name", names("readers"))
def test_a_folder_without_its_files_is_refused_in_one_line(name, tmp_path):
    empty = tmp_path / "source"
    empty.mkdir()
    plan = {"name": "x", "license": "CC0", "reader": name, "params": load("readers", name).tiny}
    with pytest.raises(InputError) as caught:
        gather(empty, tmp_path / "bids", plan)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_makes_the_same_valid_dataset_twice(card, source, tmp_path):
    for name in ("first", "second"):
        gather(source, tmp_path / name, gather_plan(card))
    found = {name: digest_tree(tmp_path / name, tmp_path / f"{name}.json") for name in ("first", "second")}
    assert found["first"] == found["second"]
    validate_dataset(tmp_path / "first", tmp_path / "validation.json", tmp_path / "validation.tsv")
    told = json.loads((tmp_path / "validation.json").read_text())
    assert "error" not in told["counts"], (tmp_path / "validation.tsv").read_text()


def test_damaged_files_are_refused_or_do_not_matter(card, source, tmp_path):
    """Each file cut in half, in turn; nothing half-made stays."""
    files = sorted(path for path in source.iterdir() if path.is_file() and path.name != "SOURCE.md")
    for damaged in files[:6]:
        copy = tmp_path / "source"
        copy.mkdir()
        for path in files:
            content = path.read_bytes()
            (copy / path.name).write_bytes(content[: len(content) // 2] if path == damaged else content)
        with contextlib.suppress(InputError):
            gather(copy, tmp_path / "bids", gather_plan(card))
        # One that did not matter leaves a whole dataset, one that was refused none.
        left = {path.name for path in tmp_path.iterdir()} - {"source"}
        assert left in (set(), {"bids"})
        shutil.rmtree(copy)
        shutil.rmtree(tmp_path / "bids", ignore_errors=True)
