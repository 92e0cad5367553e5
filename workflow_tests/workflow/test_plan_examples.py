"""All 108 datasets of bids-examples by every kind of recipe: planned, or refused in one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from project import Project, copy_sources
from replicortex.bids import read_recordings
from replicortex.components import load, make
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.index import refresh_index
from replicortex.stages.check import check_dataset
from replicortex.stages.preprocess import preprocess_block
from source_code import cards_of

#: Regress age by ridge regression: a study of images that any dataset can be planned for.
CARD = {
    "paper": {"title": "Plan", "doi": "10.0/0", "year": 2026},
    "dataset": "sim_motifs",
    "preprocessing": "native_anat",
    "feature": "grey_matter_4mm",
    "methods": {"linear": {"role": "proposed", "family": "signal"}},
    "evaluation": {
        "task": "regress",
        "target": "age",
        "schemes": {"k_fold": {}},
        "metrics": {"r2": {}},
        "null_variants": 1,
    },
    "claims": [
        {
            "name": "age_is_predicted",
            "text": "Age can be predicted from images.",
            "kind": "at_least",
            "method": "linear",
            "value": 0.1,
            "metric": "r2",
            "scheme": "k_fold",
            "unit": "subject",
            "under_null": "fails",
        }
    ],
    "figures": {},
    "deviations": ["Everything: it is a test."],
    "scale": {"demo": {}, "paper": {}},
}

#: A feature card for each preprocessing card that starts from raw data and starts no container.
RECIPES = {
    "average_reference": "motor_epochs_8_35",
    "native_anat": "grey_matter_4mm",
    "native_func": "dosenbach_correlations",
    "native_pet": "pet_uptake_4mm",
}


@pytest.fixture(scope="module")
def indexed(examples, tmp_path_factory):
    """The index of every dataset, or the line that refused it."""
    folder = tmp_path_factory.mktemp("indexed")
    found = {}
    for root in examples:
        try:
            refresh_index(root, folder / root.name)
            found[root] = folder / root.name
        except InputError as error:
            found[root] = str(error)
    return found


def offered(root: Path, index: Path, feature: str) -> dict | str:
    """What the dataset offers a feature, or the line that says what is missing."""
    card = {"dataset": root.name, "classes": {}, "filters": {}, "variables": {}, "feature": {"extractor": feature},
            "evaluation": {"target": "age", "task": "regress", "classes": [], "covariates": []}}  # fmt: skip
    try:
        return check_dataset(
            index / "recordings.tsv", root, card, make("features", feature, load("features", feature).tiny)
        )
    except InputError as error:
        return str(error)


def test_every_example_is_indexed_and_offers_something_or_says_what_is_missing(indexed):
    lines, offers = [], 0
    for root, index in indexed.items():
        if isinstance(index, str):
            lines.append(index)
            continue
        for feature in RECIPES.values():
            answer = offered(root, index, cards_of("features")[feature]["extractor"])
            offers += isinstance(answer, dict)
            lines += [answer] if isinstance(answer, str) else []
    assert len(indexed) == 108
    assert offers > 20
    for line in lines:
        assert "\n" not in line
        assert "; " in line, f"no remedy: {line}"
        assert len(line) < 600


def test_every_image_of_the_examples_is_refused_in_one_line(indexed, tmp_path):
    """The images are empty: each recording fails by itself, naming its file, and the block goes on."""
    failed, refused = 0, []
    for root, index in indexed.items():
        rows = [] if isinstance(index, str) else read_recordings(index / "recordings.tsv")
        for recipe, datatype in {"native_anat": "anat", "native_func": "func", "native_pet": "pet"}.items():
            if not any(row["datatype"] == datatype for row in rows):
                continue
            manifest = tmp_path / root.name / f"{recipe}.tsv"
            try:
                preprocess_block(index / "recordings.tsv", root, tmp_path / root.name / recipe, manifest,
                                 cards_of("preprocessing")[recipe]["engine"], {}, "code", "0of1")  # fmt: skip
            except InputError as error:
                refused.append(str(error))
                continue
            for line in read_tsv(manifest):
                assert line["status"] == "failed", f"{root.name}: {line}"
                assert line["recording"] in line["reason"] or "dataset" in line["reason"], line["reason"]
                assert str(root) not in line["reason"]
                assert "Error:" not in line["reason"], f"{root.name}: {line['reason']}"
                failed += 1
    assert failed > 500
    # A dataset without a readable description is refused as a whole.
    assert all("dataset_description.json" in line for line in refused)


def test_one_plan_holds_every_example_by_every_recipe_that_it_has_data_for(indexed, tmp_path):
    project = Project(copy_sources(tmp_path / "project"))
    runs, jobs = [], 0
    for root, index in indexed.items():
        if isinstance(index, str):
            continue
        name = "d_" + "".join(sign if sign.isalnum() else "_" for sign in root.name.lower())
        project.card("datasets", name, {"title": root.name, "licence": "CC0", "root": str(root)})
        has = {row["datatype"] for row in read_recordings(index / "recordings.tsv")}
        for recipe, feature in RECIPES.items():
            if cards_of("preprocessing")[recipe]["modality"] in has:
                runs.append({"study": "plan", "name": f"{name}_{recipe}", "dataset": name, "preprocessing": recipe,
                             "feature": feature})  # fmt: skip
                jobs += 1
    project.card("studies", "plan", CARD)
    project.card("", "config", {"runs": runs})
    planned = project.planned()
    assert jobs > 100
    assert planned["judge_claims"] == jobs
    assert {"preprocess_eeg", "preprocess_anat", "preprocess_func", "preprocess_pet"} <= planned.keys()
