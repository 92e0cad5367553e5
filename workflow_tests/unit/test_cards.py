"""Cards: what is refused, and with which words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from replicortex import cards
from replicortex.bids import block_of
from replicortex.cards import Cards
from replicortex.claims import parse_claims
from replicortex.errors import InputError

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def folder(tmp_path):
    """A copy of the config folder that can be edited."""
    shutil.copytree(CONFIG, tmp_path / "config")
    cards.read_yaml.cache_clear()
    yield tmp_path / "config"
    cards.read_yaml.cache_clear()


def edit(path, change):
    card = yaml.safe_load(path.read_text())
    change(card)
    path.write_text(yaml.safe_dump(card))


RUN = {"runs": ["augmented_covariance"]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"runs": []}, "config.yaml: runs: "),
        ({"run": ["augmented_covariance"], **RUN}, "config.yaml: unknown key 'run'; did you mean 'runs'"),
        ({"scale": "big", **RUN}, "config.yaml: scale: 'big' is not one of"),
        (
            {"runs": ["augmented_covarianc"]},
            "config/studies/augmented_covarianc.yaml: no such card; did you mean 'augmented_covariance'",
        ),
        ({"runs": [{"study": "augmented_covariance", "dataset": "eegbc"}]}, "did you mean 'eegbci'"),
        ({"runs": [{"study": "augmented_covariance", "dataset": "../../etc/passwd"}]}, "no such card"),
        (
            {"runs": [{"study": "augmented_covariance", "name": "a; rm -rf /"}]},
            "runs.0.name: 'a; rm -rf /' does not match",
        ),
        ({"runs": [{"study": "augmented_covariance", "datset": "x"}]}, "unknown key 'datset' in runs.0; did you"),
        (
            {"runs": ["augmented_covariance", "augmented_covariance"]},
            "two runs are called augmented_covariance",
        ),
        (
            {"runs": [{"study": "augmented_covariance", "params": {"methods": {"ts_svn": {}}}}]},
            "has no method 'ts_svn'; did you mean 'ts_svm'",
        ),
    ],
)
def test_bad_configuration_is_refused_in_one_line(config, message):
    with pytest.raises(InputError) as error:
        Cards(CONFIG, config)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "change", "message"),
    [
        (
            "studies",
            "augmented_covariance",
            lambda c: c.update(clams=[]),
            "unknown key 'clams'; did you mean 'claims'",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c["evaluation"].update(sheme={}),
            "unknown key 'sheme' in evaluation; did you mean 'schemes'",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c.pop("deviations"),
            "'deviations' is a required property",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c["methods"]["mdm"].pop("family"),
            "methods.mdm: 'family' is missing",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c["methods"]["mdm"].update(init_from="csp_ld"),
            "methods.mdm: starts from 'csp_ld', which is no method of the study; did you mean 'csp_lda'",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: [c["methods"][a].update(init_from=b) for a, b in (("mdm", "csp_lda"), ("csp_lda", "mdm"))],
            "methods.csp_lda: starts from itself (csp_lda <- mdm <- csp_lda)",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c["methods"]["mdm"].update(role="stage"),
            "methods.mdm: a stage that no method starts from",
        ),
        (
            "studies",
            "augmented_covariance",
            lambda c: c["claims"][0].update(than="ts_svn"),
            "claim acm_ts_beats_ts_within_session: no method 'ts_svn'; did you mean 'ts_svm'",
        ),
        (
            "datasets",
            "sim_temporal",
            lambda c: c.update(root="/data"),
            "needs exactly one of root, simulate, bidsify",
        ),
        ("datasets", "sim_temporal", lambda c: c["simulate"].update(truth="maybe"), "simulate.truth"),
        ("preprocessing", "average_reference", lambda c: c.update(modality="smell"), "modality"),
    ],
)
def test_a_bad_card_is_refused_naming_card_and_key(folder, kind, name, change, message):
    edit(folder / kind / f"{name}.yaml", change)
    with pytest.raises(InputError) as error:
        Cards(folder, RUN).dataset("sim_temporal")
    assert message in str(error.value)
    assert name in str(error.value)


def test_a_card_that_is_not_yaml_is_named(folder):
    (folder / "studies" / "augmented_covariance.yaml").write_text("paper: [")
    with pytest.raises(InputError, match=r"augmented_covariance\.yaml: not readable as YAML"):
        Cards(folder, RUN)


def test_yaml_can_not_run_code(folder):
    (folder / "studies" / "augmented_covariance.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(InputError, match="not readable as YAML"):
        Cards(folder, RUN)


def test_a_run_lays_scale_and_its_own_parameters_over_the_study():
    run = {
        "study": "augmented_covariance",
        "dataset": "sim_spatial",
        "params": {"evaluation": {"null_variants": 7}},
    }
    resolved = Cards(CONFIG, {"runs": [run]}).runs["augmented_covariance-sim_spatial"]
    assert resolved.evaluation["null_variants"] == 7
    assert resolved.methods["acm_mdm"]["params"]["orders"] == [1, 2, 3]
    assert resolved.variants == ["observed", *(f"null-{k}" for k in range(1, 8)), "absent"]
    paper = Cards(CONFIG, {"scale": "paper", **RUN}).runs["augmented_covariance"]
    assert paper.methods["acm_mdm"]["params"]["orders"] == list(range(1, 11))
    assert len(paper.fits("observed", "fit.json", "mdm")) == len(paper.parts) == 32


@pytest.mark.parametrize("n_told", [0, 1])
def test_a_control_that_says_nothing_about_any_claim_is_not_made(folder, n_told):
    def change(card):
        for claim in card["claims"][n_told:]:
            claim["under_null"] = "n/a"

    edit(folder / "studies" / "augmented_covariance.yaml", change)
    simulated = {"runs": [{"study": "augmented_covariance", "dataset": "sim_spatial", "name": "made"}]}
    assert ("absent" in Cards(folder, simulated).runs["made"].variants) == bool(n_told)


def test_random_variants_fit_what_has_an_untrained_network_in_its_line(folder):
    def change(card):
        card["evaluation"]["random_variants"] = 2
        card["methods"]["csp_lda"]["twin"] = True
        card["methods"]["mdm"].update(init_from="csp_lda", role="stage")
        card["methods"]["ts_svm"]["init_from"] = "mdm"

    edit(folder / "studies" / "augmented_covariance.yaml", change)
    run = Cards(folder, {"scale": "demo", **RUN}).runs["augmented_covariance"]
    assert [name for name in run.variants if name.startswith("random")] == ["random-1", "random-2"]
    assert run.fitted("random-1") == [name for name in run.methods if name in ("csp_lda", "mdm", "ts_svm")]
    assert run.fitted("random-1", scored=True) == [name for name in run.fitted("random-1") if name != "mdm"]
    assert set(run.fitted("observed")) == set(run.methods)
    assert not any("/mdm/" in path for path in run.fits("observed", "fit.json", scored=True))
    # No claim compares with them: they are looked at in all schemes.
    assert run.schemes("random-1") == run.schemes("observed") == run.evaluation["schemes"]


@pytest.mark.parametrize("against", [None, ["random"], ["null"]])
def test_random_networks_are_held_out_as_the_claims_about_them_ask(folder, against):
    def change(card):
        card["evaluation"]["random_variants"] = 1
        told = {key: value for key, value in card["claims"][0].items() if key not in ("than", "min_effect")}
        twins = {**told, "name": "learnt", "kind": "beats_twins", "unit": "fold", "scheme": "leave_one_subject_out"}
        card["claims"].append({**twins, "against": against} if against else twins)

    edit(folder / "studies" / "augmented_covariance.yaml", change)
    run = Cards(folder, {"scale": "demo", **RUN}).runs["augmented_covariance"]
    every = list(run.evaluation["schemes"])
    assert len(every) > 1
    assert list(run.schemes("random-1")) == (every if against == ["null"] else ["leave_one_subject_out"])
    # What a claim compares with if it does not say so is the same here and where it is judged.
    (judged,) = parse_claims(run.card["claims"][-1:], "card")
    assert ("random" in judged.against) == (list(run.schemes("random-1")) != every)
    assert list(run.schemes("null-1")) == every


def test_numbers_that_the_command_line_gives_as_text_are_numbers_and_others_are_refused():
    run = {
        "study": "augmented_covariance",
        "params": {"evaluation": {"null_variants": "7", "seeds": ["0", "1"]}},
    }
    resolved = Cards(CONFIG, {"runs": [run]}).runs["augmented_covariance"]
    assert resolved.evaluation["null_variants"] == 7
    assert resolved.evaluation["seeds"] == [0, 1]
    run["params"]["evaluation"]["null_variants"] = "many"
    with pytest.raises(InputError, match=r"params of augmented_covariance: evaluation\.null_variants: 'many'"):
        Cards(CONFIG, {"runs": [run]})


def test_the_twin_of_a_simulated_dataset_differs_in_its_truth_only():
    made = Cards(CONFIG, RUN)
    planted, absent = made.dataset("sim_temporal"), made.dataset("sim_temporal-absent")
    assert absent["simulate"].pop("truth") == "absent"
    assert absent == planted


def test_a_path_takes_a_variable_and_says_which_is_missing(monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/some/where")
    assert cards.expand("${SOME_DATA}/bids", "card") == "/some/where/bids"
    monkeypatch.delenv("SOME_DATA")
    with pytest.raises(InputError, match=r"needs the environment variable SOME_DATA; export SOME_DATA="):
        cards.expand("${SOME_DATA}/bids", "card")


def test_bidsify_arguments_are_separate_words():
    card = {
        "title": "a; rm -rf /",
        "licence": "CC0",
        "bidsify": {"source": "x", "pattern": "{subject}.edf", "task": "t"},
    }
    assert cards.bidsify_arguments(card)[:2] == ["--name", "a; rm -rf /"]


@pytest.mark.parametrize(("earlier", "later"), [(1, 8), (8, 1), (4, 4), (2, 8), (8, 2)])
def test_a_block_waits_for_the_earlier_blocks_that_share_a_subject_with_it_and_no_others(monkeypatch, earlier, later):
    made = Cards(CONFIG, {"runs": ["log_euclidean"]})
    monkeypatch.setattr(made, "n_blocks", lambda _, recipe: earlier if recipe == "native_anat" else later)
    subjects = [f"{number:03d}" for number in range(200)]
    for number in range(later):
        mine = {block_of(subject, earlier) for subject in subjects if block_of(subject, later) == number}
        expected = {f"results/preprocessed/d/native_anat/{k}of{earlier}.tsv" for k in mine}
        assert set(made.earlier("d", "native_func", f"{number}of{later}")) == expected
