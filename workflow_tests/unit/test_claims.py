"""Verdicts on scores whose answer is known, and what the vocabulary refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planted_scores import CARD, NULLS, better, planted_scores, run_folder
from replicortex.claims import claim_schema, parse_claims
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv
from replicortex.shared.statistics import minimal_p, spread_p, stouffer
from replicortex.stages.claims import COLUMNS, collect_claims, judge_claims


def claim(kind, method="a", **changes):
    """Return a claim of a kind that speaks of one method."""
    made = better(kind=kind, method=method, **changes)
    del made["than"]
    return {**made, "name": changes.get("name", f"{method}_{kind}")}


def monotone(**changes):
    made = claim("monotone", name="along", methods=["a", "b", "c"], **changes)
    del made["method"]
    return made


def truth_of(contrast, truth="planted"):
    return {"truth": truth, "facts": {"contrast": contrast}}


def judge(folder, claims, means=None, truth=None, **planted):
    """Return the judged claims of a run with planted scores."""
    paths = run_folder(folder, planted_scores(means or {"a": 0.8, "b": 0.7}, **planted), [])
    if truth is not None:
        (folder / "truth.json").write_text(json.dumps(truth))
    judge_claims({**CARD, "claims": claims}, paths["scores"], paths["claims"], truth and folder / "truth.json")
    return read_json(paths["claims"])["claims"]


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (better("a", "b"), "holds"),
        (better("b", "a"), "fails"),
        (better("a", "b", min_effect=0.05), "holds"),
        (better("a", "b", min_effect=0.2), "fails"),
        (better("a", "b", unit="session"), "holds"),
        (better("a", "b", unit="dataset"), "undecided"),
        (claim("at_least", value=0.7), "holds"),
        (claim("at_least", value=0.9), "fails"),
        (claim("recovers", value=0.7), "holds"),
        (claim("equals_chance", margin=0.1, under_null="holds"), "fails"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value['kind']}-{value['unit']}",
)
def test_a_clear_answer_is_found(tmp_path, stated, verdict):
    (judged,) = judge(tmp_path, [stated])
    assert judged["verdict"] == verdict
    result = judged["results"]["observed"]
    assert (result["n"], result["n_subjects"]) == {"subject": (8, 8), "session": (16, 8), "dataset": (1, 8)}[
        stated["unit"]
    ]
    if verdict == "holds":
        assert result["p"] == minimal_p(8)
        assert result["ci_low"] <= result["effect"] <= result["ci_high"]
    if stated["kind"] == "better":
        assert result["effect"] == pytest.approx(0.1 if stated["method"] == "a" else -0.1, abs=0.02)


def test_monotone(tmp_path):
    means = {"a": 0.6, "b": 0.7, "c": 0.8}
    rises, falls = judge(tmp_path, [monotone(), monotone(direction="worsens") | {"name": "falls"}], means)
    assert (rises["verdict"], falls["verdict"]) == ("holds", "fails")
    assert rises["results"]["observed"]["effect"] == pytest.approx(1)


def test_chance_is_told_from_not_knowing(tmp_path):
    narrow, wide = (
        claim("equals_chance", name=f"margin_{i}", margin=margin, under_null="holds")
        for i, margin in enumerate((0.004, 0.1))
    )
    undecided, holds = judge(tmp_path, [narrow, wide], {"a": 0.5}, spread=0.02)
    assert (undecided["verdict"], holds["verdict"]) == ("undecided", "holds")
    assert "does not decide" in undecided["results"]["observed"]["reason"]


def test_a_value_inside_the_interval_is_undecided(tmp_path):
    (judged,) = judge(tmp_path, [claim("at_least", value=0.8)], {"a": 0.8}, seed=3)
    result = judged["results"]["observed"]
    assert judged["verdict"] == "undecided"
    assert result["p"] > 0.05
    assert result["p_against"] > 0.05


@pytest.mark.parametrize(("n_subjects", "verdict"), [(1, "undecided"), (4, "undecided"), (5, "holds")])
def test_too_few_units_decide_nothing(tmp_path, n_subjects, verdict):
    # Many sessions do not make up for few subjects.
    (judged,) = judge(tmp_path, [better(unit="session")], n_subjects=n_subjects, n_sessions=6)
    assert judged["verdict"] == verdict
    if verdict == "undecided":
        assert f"smallest attainable p is {0.5**n_subjects:.3g}" in judged["results"]["observed"]["reason"]


@pytest.mark.parametrize("control", ["null", "absent"])
def test_a_claim_that_holds_in_a_control_is_invalid(tmp_path, control):
    variants = ["observed", *(NULLS if control == "null" else ["absent"])]
    leaky = {"null_means": {"a": 0.6}, "variants": variants}
    (judged,) = judge(tmp_path, [better()], **leaky)
    assert judged["verdict"] == judged["results"]["observed"]["verdict"] == "invalid"
    assert judged["results"][control]["verdict"] == "holds"
    assert judged["results"][control]["as_expected"] == "no"
    assert control in judged["results"]["observed"]["reason"]


def test_of_learners_alone_no_control_says_what_must_come_out(tmp_path):
    leaky = {"null_means": {"a": 0.6}, "variants": ["observed", "absent"]}
    (judged,) = judge(tmp_path, [better(under_null="n/a")], **leaky)
    assert judged["verdict"] == judged["results"]["absent"]["verdict"] == "holds"
    assert "no control was decided" in judged["results"]["observed"]["reason"]


def test_chance_that_the_null_leaves_is_invalid(tmp_path):
    stated = claim("equals_chance", margin=0.05, under_null="holds")
    (judged,) = judge(tmp_path, [stated], {"a": 0.5}, null_means={"a": 0.7})
    assert judged["results"]["null"]["verdict"] == "fails"
    assert judged["verdict"] == "invalid"


def test_controls_keep_their_teeth_with_few_subjects(tmp_path):
    # Five subjects can not reach 0.01; the control is then judged at the smallest p that they can reach.
    (judged,) = judge(tmp_path, [better()], n_subjects=5, null_means={"a": 0.6})
    assert judged["results"]["null"]["alpha"] == minimal_p(5)
    assert judged["verdict"] == "invalid"


def test_the_pooled_null_is_the_mean_of_its_parts(tmp_path):
    (judged,) = judge(tmp_path, [better()])
    results = judged["results"]
    assert list(results) != []
    parts = [results[name]["effect"] for name in NULLS]
    assert results["null"]["effect"] == pytest.approx(np.mean(parts))


def test_no_claim_is_dropped(tmp_path):
    claims = [
        better(scheme="leave_one_subject_out", name="elsewhere"),
        better("a", "z", name="unknown"),
        claim("recovers", value=0.6, applies={"truth": True}),
        claim("at_least", value=0.6, name="planted_only", applies={"truth": ["temporal"]}),
    ]
    judged = judge(tmp_path, claims)
    assert [entry["verdict"] for entry in judged] == ["undecided"] * 4
    reasons = [entry["results"]["observed"]["reason"] for entry in judged]
    assert "does not allow the scheme" in reasons[0]
    assert "no roc_auc of z" in reasons[1]
    assert "only to simulated data" in reasons[2]
    assert "contrast temporal" in reasons[3]
    collect_claims([tmp_path / "claims.json"], tmp_path / "claims.tsv")
    table = read_tsv(tmp_path / "claims.tsv")
    assert list(table[0]) == COLUMNS
    assert len(table) == 4 * (1 + 1 + len(NULLS))


def test_a_verdict_without_control_says_so(tmp_path):
    (judged,) = judge(tmp_path, [better()], variants=["observed"])
    assert (judged["verdict"], judged["results"]["observed"]["reason"]) == ("holds", "no control was decided")


def test_units_without_a_score_are_left_out_and_counted(tmp_path):
    scores = planted_scores({"a": 0.8, "b": 0.7})
    scores.loc[(scores["subject"] == "02") & (scores["method"] == "b"), "value"] = np.nan
    paths = run_folder(tmp_path, scores, [better()])
    (judged,) = read_json(paths["claims"])["claims"]
    result = judged["results"]["observed"]
    assert (judged["verdict"], result["n"]) == ("holds", 7)
    assert "1 of 8 subjects left out" in result["reason"]
    scores["value"] = np.nan
    paths = run_folder(tmp_path / "none", scores, [better()])
    (judged,) = read_json(paths["claims"])["claims"]
    assert judged["verdict"] == "undecided"
    assert "no subject has a defined roc_auc" in judged["results"]["observed"]["reason"]


@pytest.mark.parametrize(
    ("truth", "expected", "as_expected"),
    [
        (truth_of("temporal"), "holds", "yes"),
        (truth_of("spatial"), "n/a", "n/a"),
        (truth_of("temporal", "absent"), "n/a", "n/a"),
        (None, "n/a", "n/a"),
    ],
)
def test_the_truth_says_what_must_hold(tmp_path, truth, expected, as_expected):
    (judged,) = judge(tmp_path, [better(planted=["temporal"])], truth=truth)
    result = judged["results"]["observed"]
    assert (result["expected"], result["as_expected"]) == (expected, as_expected)


def test_a_planted_claim_that_fails_is_told(tmp_path):
    (judged,) = judge(tmp_path, [better("b", "a", planted=["temporal"])], truth=truth_of("temporal"))
    assert (judged["verdict"], judged["results"]["observed"]["as_expected"]) == ("fails", "no")


def test_a_truth_that_tells_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"truth\.json: does not tell 'facts'"):
        judge(tmp_path, [better(planted=["temporal"])], truth={"truth": "planted"})


def test_smaller_may_be_better(tmp_path):
    scores = planted_scores({"a": 0.2, "b": 0.3}, null_means={"a": 0.5, "b": 0.5})
    scores["better"] = "smaller"
    claims = [
        better("a", "b"),
        better("b", "a"),
        claim("at_least", value=0.25),
        claim("at_least", "b", value=0.25),
    ]
    paths = run_folder(tmp_path, scores, claims)
    judged = read_json(paths["claims"])["claims"]
    assert [entry["verdict"] for entry in judged] == ["holds", "fails", "holds", "fails"]


def test_a_value_no_better_than_chance_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"claim a_at_least: value 0.5 is not better than chance"):
        judge(tmp_path, [claim("at_least", value=0.5)])


def test_without_an_effect_claims_hold_no_more_often_than_alpha(tmp_path):
    """Three hundred studies in which nothing is true, each an evaluation scheme of one run."""
    studies = [f"study_{i:03d}" for i in range(300)]
    scores = planted_scores(
        {"a": 0.5, "b": 0.5},
        schemes=studies,
        n_sessions=1,
        spread=0.1,
        noise=0.05,
        variants=["observed", *NULLS],
    )
    claims = [better(scheme=name, name=name) for name in studies]
    judged = read_json(run_folder(tmp_path, scores, claims)["claims"])["claims"]
    verdicts = [entry["verdict"] for entry in judged]
    error = np.sqrt(0.05 * 0.95 / 300)
    assert verdicts.count("holds") / 300 < 0.05 + 3 * error
    # Neither are sound controls often called unsound: 0.01 plus chance.
    assert verdicts.count("invalid") / 300 < 0.01 + 3 * np.sqrt(0.01 * 0.99 / 300)
    adjusted = [entry["results"]["observed"]["p_holm"] for entry in judged]
    assert min(adjusted) > 0.05


def test_a_control_whose_units_train_one_another_is_judged_by_their_dependence(tmp_path):
    """A control at p = 0.003 is wrong where units are independent, and nothing special where they are not."""
    schemes = ["within_session", "leave_one_subject_out"]
    scores = planted_scores(
        {"a": 0.8, "b": 0.5}, n_subjects=12, schemes=schemes, n_sessions=1, variants=["observed", "absent"]
    )
    # Eleven of twelve differences are above zero, all of one size: 13 of the 4,096 flips of signs reach their sum.
    absent, is_a = scores["variant"] == "absent", scores["method"] == "a"
    scores.loc[absent, "value"] = 0.5
    scores.loc[absent & is_a, "value"] = np.where(scores.loc[absent & is_a, "subject"] == "07", 0.4, 0.6)
    claims = [better(scheme=name, name=name) for name in schemes]
    judged = read_json(run_folder(tmp_path, scores, claims, schemes=schemes)["claims"])["claims"]
    assert [entry["verdict"] for entry in judged] == ["invalid", "holds"]
    within, between = (entry["results"]["absent"] for entry in judged)
    assert within["p"] == pytest.approx(13 / 4096)
    assert between["p"] == pytest.approx(spread_p(within["p"]))
    # The observed scores are tested as they are.
    assert judged[0]["results"]["observed"]["p"] == judged[1]["results"]["observed"]["p"]


def test_the_clearest_control_is_wrong_however_few_its_units_are(tmp_path):
    scores = planted_scores(
        {"a": 0.8, "b": 0.5}, n_subjects=5, schemes=["leave_one_subject_out"], null_means={"a": 0.9}
    )
    claims = [better(scheme="leave_one_subject_out")]
    judged = read_json(run_folder(tmp_path, scores, claims, schemes=["leave_one_subject_out"])["claims"])["claims"]
    assert judged[0]["verdict"] == "invalid"


def documents(tmp_path, **changes):
    """Return ``claims.json`` of three datasets in which the effect is real but weak."""
    paths = []
    for number, n_subjects in enumerate((6, 9, 12)):
        scores = planted_scores(
            {"a": 0.72, "b": 0.70},
            n_subjects=n_subjects,
            noise=0.05,
            seed=number,
            variants=["observed", *NULLS],
        )
        card = {"run": f"run_{number}", "dataset": f"dataset_{number}", **changes}
        paths.append(
            run_folder(
                tmp_path / str(number),
                scores,
                [better(), better(name="over_datasets", unit="dataset")],
                **card,
            )
        )
    return [entry["claims"] for entry in paths]


def test_datasets_are_combined_by_stouffer(tmp_path):
    paths = documents(tmp_path)
    collect_claims(paths[::-1], tmp_path / "claims.tsv")
    table = read_tsv(tmp_path / "claims.tsv")
    combined = {(row["claim"], row["variant"]): row for row in table if row["run"] == "planted (all datasets)"}
    assert set(combined) == {(c, v) for c in ("a_beats_b", "over_datasets") for v in ("observed", "null")}
    parts = [read_json(path)["claims"][0]["results"]["observed"] for path in paths]
    row = combined["a_beats_b", "observed"]
    assert float(row["p"]) == pytest.approx(stouffer([part["p"] for part in parts], [6, 9, 12]))
    weights = np.sqrt([6, 9, 12])
    assert float(row["effect"]) == pytest.approx(np.average([part["effect"] for part in parts], weights=weights))
    assert (row["n"], row["verdict"]) == ("27", "holds")
    assert combined["a_beats_b", "null"]["as_expected"] == "yes"
    # Three datasets are three units: too few to decide anything about datasets.
    assert combined["over_datasets", "observed"]["verdict"] == "undecided"
    assert combined["over_datasets", "observed"]["n"] == "3"


def test_what_is_not_independent_is_not_combined(tmp_path):
    collect_claims(documents(tmp_path / "same", dataset="one"), tmp_path / "same.tsv")
    assert not any("all datasets" in row["run"] for row in read_tsv(tmp_path / "same.tsv"))
    paths = documents(tmp_path / "simulated")
    for path in paths[:2]:
        path.write_text(json.dumps({**read_json(path), "simulated": True}))
    collect_claims(paths, tmp_path / "simulated.tsv")
    assert not any("all datasets" in row["run"] for row in read_tsv(tmp_path / "simulated.tsv"))


def test_one_invalid_dataset_makes_the_combination_invalid(tmp_path):
    paths = documents(tmp_path)
    document = read_json(paths[1])
    document["claims"][0]["verdict"] = "invalid"
    paths[1].write_text(json.dumps(document))
    collect_claims(paths, tmp_path / "claims.tsv")
    row = next(row for row in read_tsv(tmp_path / "claims.tsv") if row["run"] == "planted (all datasets)")
    assert (row["verdict"], row["reason"]) == ("invalid", "invalid in run_1")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (better(alpha=0.1), "alpha: Input should be less than or equal to 0.05"),
        (better(aplha=0.01), "unknown key 'aplha' for kind better; did you mean 'alpha'"),
        (better(kind="betr"), "unknown kind 'betr'; did you mean 'better'"),
        (better("a", "a"), "a method can not be better than itself"),
        (better(under_null="holds"), "under_null of `better` must be `fails`"),
        (better(min_effect=-0.1), "min_effect: Input should be greater than or equal to 0"),
        (better("a", "c"), "the study has no method 'c'"),
        (better(scheme="within"), "the study has no scheme 'within'; did you mean 'within_session'"),
        (better(metric="auc"), "the study has no metric 'auc'"),
        (
            claim("equals_chance", margin=0.3, under_null="holds"),
            "margin: Input should be less than or equal to 0.1",
        ),
        (claim("equals_chance", margin=0.1), "under_null of `equals_chance` must be `holds`"),
        (claim("at_least"), "value: Field required"),
        (monotone() | {"methods": ["a", "b"]}, "methods: List should have at least 3 items"),
    ],
)
def test_a_claim_can_not_be_weakened_or_misspelt(stated, message):
    with pytest.raises(InputError) as raised:
        parse_claims([stated], "card", methods=["a", "b"], schemes=["within_session"], metrics=["roc_auc"])
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"card, claim {stated['name']}")


def test_two_claims_of_one_name_are_refused():
    with pytest.raises(InputError, match="there are two claims of this name"):
        parse_claims([better(), better()], "card")


def test_the_schema_accepts_what_the_models_accept():
    import jsonschema

    schema = claim_schema()
    for stated in (better(), claim("at_least", value=0.6), monotone()):
        jsonschema.validate(stated, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(better(alpha=0.2), schema)
