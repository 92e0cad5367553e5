"""Several modalities of real people, one of them missing in some: every pattern of modalities is scored."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import yaml

from project import SOURCE, Project, copy_sources
from replicortex.bundle import Bundle
from replicortex.files import read_json, read_tsv
from replicortex.shared.modalities import scored_patterns

NAMES = ("cognition", "education", "status", "volume")
#: Of the people whose status of dementia is known, and those of them without a social status, counted in the table.
N_PEOPLE, N_LACKING = 235, 19


@pytest.fixture(scope="module")
def observed(tmp_path_factory, real_data):
    """The study of 3MT on OASIS-1, with two of its methods and a smaller network."""
    project = Project(copy_sources(tmp_path_factory.mktemp("modalities") / "project"))
    study = copy.deepcopy(yaml.safe_load((SOURCE / "config/studies/cascaded_multimodal.yaml").read_text()))
    study["methods"] = {name: study["methods"][name] for name in ("cascaded_multimodal", "imputed_fusion")}
    study["claims"] = [claim for claim in study["claims"] if claim["name"] == "cascade_beats_imputation"]
    small = {"width": 16, "n_tokens": 2, "layers": 1, "heads": 2, "epochs": 20, "learning_rate": 3e-3}
    study["scale"] = {
        "demo": {
            "methods": {"cascaded_multimodal": {"params": small}},
            "evaluation": {"schemes": {"k_fold": {"folds": 2, "repeats": 1}}, "null_variants": 1},
        },
        "paper": {},
    }
    project.card("studies", "modalities", study)
    run = {"study": "modalities", "dataset": "oasis", "feature": "oasis_modalities", "name": "modalities"}
    project.card("", "config", {"runs": [run]})
    done = project.snakemake(REPLICORTEX_REAL_DATA=str(real_data))
    assert done.returncode == 0, done.stdout[-4000:] + project.logs()
    return project.folder / "results/runs/modalities"


@pytest.mark.parametrize("method", ["cascaded_multimodal", "imputed_fusion"])
def test_every_pattern_of_modalities_is_scored(observed, method):
    made = Bundle.open(observed / f"observed/{method}/seed-0_part-0of1/predictions.npz")
    assert len(made) == N_PEOPLE
    assert made.axes["modality"] == list(NAMES)
    lacking = ~made["present"].astype(bool)
    assert lacking.sum(axis=0).tolist() == [0, 0, N_LACKING, 0]
    areas = scored_patterns(made.rows["target"].astype(str), made)
    wanted = {names for size in range(1, 5) for names in itertools.combinations(NAMES, size)}
    assert set(areas) == wanted
    # The mental state is part of how dementia is told; how long somebody went to school is not.
    assert areas["cognition",] > 0.8
    assert areas["cognition",] > areas["education",] + 0.1
    # What a person lacks can not be looked at: the scores are those of the other modalities.
    without, whole = (made[f"y_score_{'+'.join(names)}"] for names in (("cognition", "education", "volume"), NAMES))
    here = lacking[:, 2]
    np.testing.assert_array_equal(made["y_score"][here], without[here])
    np.testing.assert_array_equal(made["y_score"][~here], whole[~here])
    assert (without[~here] != whole[~here]).any()


def test_patterns_have_a_score_and_the_claim_a_verdict(observed):
    rows = [row for row in read_tsv(observed / "summary.tsv") if row["unit"] == "subject"]
    means = {(row["method"], row["metric"], row["variant"]): float(row["mean"]) for row in rows}
    for method in ("cascaded_multimodal", "imputed_fusion"):
        assert means[method, "roc_auc", "observed"] > 0.8
        assert 0.6 < means[method, "pattern_mean", "observed"] < 1
        assert abs(means[method, "roc_auc", "null-1"] - 0.5) < 0.15
    (claim,) = read_json(observed / "claims.json")["claims"]
    # With one permutation a claim may come out as invalid by chance; that it was judged is what counts here.
    assert claim["results"]["observed"]["n"] == N_PEOPLE
    assert claim["results"]["null"]["n"] == N_PEOPLE
