"""Networks against their twins: exact p values, uniform under the null, adjusted for many claims, with power."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from replicortex.claims import parse_claims
from replicortex.errors import InputError
from replicortex.files import read_json, to_tsv, write_text
from replicortex.shared.dead_salmons import exchange_test, permuted_test, prediction_test, twin_interval
from replicortex.stages.claims import COLUMNS, collect_claims, judge_claims
from replicortex.stages.score import COLUMNS as SCORES


def drawn(generator, n_claims=1, n_strata=3, n_twins=4, effect=0.0):
    """Values of networks and twins: claims of a stratum are correlated, strata differ in level."""
    shared = generator.standard_normal((1, n_strata, 1 + n_twins))
    values = 0.6 * shared + 0.8 * generator.standard_normal((n_claims, n_strata, 1 + n_twins))
    values += 3 * generator.standard_normal((n_claims, n_strata, 1))
    values[:, :, 0] += effect
    return values


def test_the_p_value_is_the_share_of_arrangements_counted_one_by_one():
    values = drawn(np.random.default_rng(0), n_strata=2, n_twins=3, effect=0.5)
    effects = []
    for chosen in itertools.product(range(4), repeat=2):
        picked = [values[0, s, c] - np.delete(values[0, s], c).mean() for s, c in enumerate(chosen)]
        effects.append(np.mean(picked))
    found = exchange_test(values)
    assert found.effect[0] == pytest.approx(effects[0])
    assert found.p[0] == pytest.approx(np.mean(np.array(effects) >= effects[0] - 1e-12))
    assert found.smallest == 1 / 16


def test_one_stratum_gives_the_rank():
    values = np.array([5.0, 1.0, 7.0, 2.0, 3.0])
    assert exchange_test(values[None, None]).p[0] == pytest.approx((1 + 1) / 5)
    assert exchange_test(-values[None, None]).p[0] == pytest.approx((1 + 3) / 5)


def test_many_arrangements_are_drawn_and_agree_with_all_of_them(monkeypatch):
    values = drawn(np.random.default_rng(1), n_strata=4, n_twins=5, effect=0.5)
    whole = exchange_test(values).p[0]
    monkeypatch.setattr("replicortex.shared.dead_salmons.EXACT", 10)
    some = exchange_test(values)
    assert some.p[0] == pytest.approx(whole, abs=4 * math.sqrt(whole * (1 - whole) / 10_000))
    assert some.smallest == pytest.approx(1e-4)


@pytest.mark.parametrize("shape", [(1, 19), (2, 9), (3, 4)], ids=str)
def test_p_values_are_uniform_where_nothing_was_learned(shape):
    n_strata, n_twins = shape
    generator = np.random.default_rng(2)
    p = np.array([exchange_test(drawn(generator, 1, n_strata, n_twins)).p[0] for _ in range(1000)])
    # They are multiples of 1 / number: jittered within a step they are continuous.
    step = 1 / (1 + n_twins) ** n_strata
    assert stats.kstest(p - step * generator.random(1000), "uniform").pvalue > 0.01
    assert np.mean(p <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_the_prediction_test_is_uniform_for_normal_twins_and_is_students():
    generator = np.random.default_rng(3)
    p = prediction_test(generator.standard_normal((2000, 4))).p
    assert stats.kstest(p, "uniform").pvalue > 0.01
    values = generator.standard_normal(6)
    expected = stats.ttest_ind(values[:1].repeat(1), values[1:], equal_var=True, alternative="greater")
    assert prediction_test(values[None]).p[0] == pytest.approx(expected.pvalue)


def test_ranks_take_over_where_they_can_reach_a_verdict():
    values = np.random.default_rng(4).exponential(size=(1, 20))
    values[0, 0] = 30
    assert permuted_test(values).p[0] == 1 / 20
    assert permuted_test(values[:, :19]).p[0] == prediction_test(values[:, :19]).p[0]


def test_the_greatest_statistic_keeps_the_rate_of_any_error_over_all_claims():
    generator = np.random.default_rng(5)
    found = [exchange_test(drawn(generator, n_claims=6)) for _ in range(600)]
    any_plain = np.mean([test.p.min() <= 0.05 for test in found])
    any_adjusted = np.mean([test.p_max.min() <= 0.05 for test in found])
    assert any_plain > 0.1
    assert any_adjusted <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert all((test.p_max >= test.p - 1e-12).all() for test in found)
    # Less is paid than by Bonferroni where claims are correlated: identical claims pay nothing.
    values = drawn(generator, effect=1.0)
    assert exchange_test(np.repeat(values, 5, axis=0)).p_max[0] == pytest.approx(exchange_test(values).p[0])


def test_power_grows_with_the_effect_and_with_the_twins():
    generator = np.random.default_rng(6)

    def power(effect, n_twins):
        return np.mean([exchange_test(drawn(generator, 1, 3, n_twins, effect)).p[0] <= 0.05 for _ in range(200)])

    by_effect = [power(effect, 4) for effect in (0.0, 1.0, 2.0, 4.0)]
    assert by_effect == sorted(by_effect)
    assert by_effect[0] < 0.12
    assert by_effect[-1] > 0.95
    assert power(1.2, 12) > power(1.2, 1)


def test_the_interval_covers_the_difference_of_means():
    generator, hits = np.random.default_rng(7), 0
    for _ in range(200):
        people, twins = generator.standard_normal((30, 1)), 0.5 * generator.standard_normal((1, 12))
        network = 0.7 + people[:, 0] + 0.3 * generator.standard_normal(30)
        low, high = twin_interval(network, people + twins + 0.3 * generator.standard_normal((30, 12)))
        hits += low <= 0.7 <= high
    assert hits / 200 > 0.88
    assert np.isnan(twin_interval(np.zeros(1), np.zeros((1, 3)))).all()


def test_without_twins_there_is_no_p():
    assert np.isnan(exchange_test(np.ones((2, 3, 1))).p).all()
    assert np.isnan(prediction_test(np.ones((2, 2))).p).all()


# ---- the claim


def claim(**given):
    return {
        "name": "maps_are_learned",
        "text": "Maps of the trained network localise better than those of twins.",
        "kind": "beats_twins",
        "method": "maps",
        "metric": "mass",
        "scheme": "k_fold",
        "unit": "fold",
        "under_null": "fails",
    } | given


def score_rows(levels, n_folds=3, n_people=5, seed=0, methods=("maps",)):
    """Scores by subject: ``levels`` gives the mean of each variant."""
    generator = np.random.default_rng(seed)
    rows = []
    for method in methods:
        for variant, level in levels.items():
            for fold in range(n_folds):
                network = level + 0.05 * generator.standard_normal()
                for person in range(n_people):
                    value = network + 0.02 * generator.standard_normal()
                    rows.append(
                        {"run": "r", "method": method, "variant": variant, "scheme": "k_fold", "fold": fold, "seed": 0,
                         "subject": f"{fold}{person}", "session": None, "metric": "mass", "better": "greater",
                         "lowest": 0, "highest": 1, "per": "subject", "value": value, "error": 0.01, "n": 1,
                         "chance": 0.1}
                    )  # fmt: skip
    return rows


def judged(tmp_path, claims, rows):
    write_text(tmp_path / "scores.tsv", to_tsv(rows, SCORES))
    card = {"run": "r", "study": "s", "dataset": "d", "paper": {"title": "T"}, "claims": claims}
    judge_claims({**card, "labels": {"maps": "m"}}, tmp_path / "scores.tsv", tmp_path / "claims.json",
                 folds=[tmp_path / "scores.tsv"])  # fmt: skip
    return read_json(tmp_path / "claims.json")["claims"]


TWINS = {f"random-{k}": 0.2 for k in range(1, 5)}


def test_what_was_learned_holds_and_what_was_not_fails(tmp_path):
    rows = score_rows({"observed": 0.8, "null-1": 0.2, "absent": 0.2, **TWINS})
    (found,) = judged(tmp_path, [claim()], rows)
    result = found["results"]["observed"]
    assert found["verdict"] == "holds"
    assert result["p"] == pytest.approx(1 / 5**3)
    assert result["n"] == 3
    assert result["n_twins"] == {"random": 4}
    assert result["n_subjects"] == 15
    assert result["effect"] == pytest.approx(0.6, abs=0.1)
    assert result["ci_low"] < 0.6 < result["ci_high"]
    assert {name for name, one in found["results"].items() if one["verdict"] == "fails"} == {"absent", "null", "null-1"}
    assert found["results"]["random-1"]["as_expected"] == "n/a"
    (dead,) = judged(tmp_path, [claim()], score_rows({"observed": 0.2, "absent": 0.2, **TWINS}))
    assert dead["verdict"] == "fails"
    collect_claims([tmp_path / "claims.json"], tmp_path / "claims.tsv")
    assert (tmp_path / "claims.tsv").read_text().splitlines()[0].split("\t") == COLUMNS


def test_a_network_that_learned_noise_and_looks_the_same_makes_the_claim_invalid(tmp_path):
    """What a random twin does not show, one on permuted targets does: the control says so, and the claim can ask."""
    levels = {"observed": 0.8, "absent": 0.2, **{f"null-{k}": 0.8 for k in (1, 2, 3)}, **TWINS}
    (found,) = judged(tmp_path, [claim()], score_rows(levels))
    assert found["verdict"] == "invalid"
    assert "holds in null" in found["results"]["observed"]["reason"]
    (both,) = judged(tmp_path, [claim(against=["random", "null"])], score_rows(levels))
    assert both["verdict"] == "fails"
    assert both["results"]["null"]["verdict"] == "undecided"


def test_too_few_twins_are_undecided(tmp_path):
    (found,) = judged(tmp_path, [claim(unit="dataset")], score_rows({"observed": 0.8, **TWINS}))
    assert found["verdict"] == "undecided"
    assert "4 random twin(s): the smallest attainable p is 0.2" in found["results"]["observed"]["reason"]
    (none,) = judged(tmp_path, [claim()], score_rows({"observed": 0.8}))
    assert none["verdict"] == "undecided"
    assert "no mass of maps by k_fold with random twins" in none["results"]["observed"]["reason"]


def test_several_claims_are_adjusted_together(tmp_path):
    names = [f"m{k}" for k in range(8)]
    claims = [claim(name=name, method=name) for name in names]
    levels = {"observed": 0.2, **TWINS}
    (alone,) = judged(tmp_path, claims[:1], score_rows(levels, methods=names))
    many = judged(tmp_path, claims, score_rows(levels, methods=names))
    assert alone["results"]["observed"]["p"] == many[0]["results"]["observed"]["p"]
    assert alone["results"]["observed"]["p_max"] == pytest.approx(alone["results"]["observed"]["p"])
    assert many[0]["results"]["observed"]["p_max"] > many[0]["results"]["observed"]["p"]


def test_smaller_may_be_better(tmp_path):
    rows = [{**row, "better": "smaller"} for row in score_rows({"observed": 0.1, "absent": 0.6, **TWINS}, seed=1)]
    rows = [row | {"value": row["value"] + 0.4 * row["variant"].startswith("random")} for row in rows]
    (found,) = judged(tmp_path, [claim()], rows)
    assert found["verdict"] == "holds"
    assert found["results"]["observed"]["effect"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"unit": "subject"}, "must be `fold`"),
        ({"under_null": "holds"}, "must be `fails`"),
        ({"against": []}, "at least 1"),
        ({"against": ["null", "null"]}, "same twins twice"),
        ({"against": ["shuffled"]}, "'random' or 'null'"),
    ],
)
def test_what_would_weaken_the_test_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        parse_claims([claim(**given)], "card")
