"""The numbers of a run, against what is planted and against other arithmetic on the scores."""

from __future__ import annotations

import csv
import re
import statistics

import numpy as np
import pytest

from planted_scores import NULLS, better, planted_scores, run_folder
from replicortex.files import read_json, read_tsv, to_json, to_tsv, write_text
from replicortex.shared.printed import counted, estimate, listed, plain, probability, spread
from replicortex.stages.numbers import COLUMNS, collect_numbers, plain_reason

ABOUT = {"task": "classify", "target": None, "columns": [], "seeds": 1, "null_variants": 3, "version": "1.0.8"}
IDENTITY = ["recording", "subject", "session", "status", "reason"]
FAULT = "sub-{0:02d}/eeg/sub-{0:02d}_eeg.edf: no channel C3 in sub-{0:02d}_channels.tsv; correct /data/x/channels"


def numbers(folder, run, rows, people, about=ABOUT):
    """Return the rows of ``numbers.tsv`` by name: eight recordings found, three lost for two reasons."""
    tables = {
        "targets": to_tsv(rows, ["row_id", "subject", "session", "target"]),
        "participants": to_tsv(people, list(people[0])),
        "preprocessed": to_tsv([recording(i, "ok" if i > 2 else "failed") for i in range(1, 9)], IDENTITY),
        "features": to_tsv([recording(i, "ok" if i > 3 else "failed") for i in range(3, 9)], IDENTITY),
    }
    index = {"digest": "d16e57", "n_files": 40, "n_subjects": 9, "n_recordings": 8}
    validation = {"skipped": False, "counts": {"warning": 12}, "validator": "validator 3"}
    records = {"content": index, "validation": validation, "checks": {"software": {"numpy": "2.1", "mne": "1.9"}}}
    paths = {name: folder / "results" / f"{name}.tsv" for name in tables}
    for name, text in tables.items():
        write_text(paths[name], text)
    for name, content in records.items():
        paths[name] = folder / "results" / f"{name}.json"
        write_text(paths[name], to_json(content))
    many = {name: [paths.pop(name)] for name in ("checks", "preprocessed", "features")}
    collect_numbers(about, **run, **paths, **many, out=folder / "numbers.tsv")
    with (folder / "numbers.tsv").open() as stream:
        table = list(csv.DictReader(stream, delimiter="\t"))
    assert list(table[0]) == COLUMNS
    assert len({row["name"] for row in table}) == len(table)
    return {row["name"]: row for row in table}


def recording(number, status):
    reason = FAULT.format(number) if status != "ok" else None
    return {"recording": f"sub-{number:02d}", "subject": f"{number:02d}", "status": status, "reason": reason}


def rows_of(subjects):
    """Five rows a subject and session, two of class ``left hand``."""
    return [
        {"row_id": f"{s}_{e}_{i}", "subject": s, "session": e, "target": "left hand" if i < 2 else "right/hand"}
        for s in subjects
        for e in "12"
        for i in range(5)
    ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    scores = planted_scores({"a": 0.8, "b": 0.7}, variants=["observed", "absent", *NULLS])
    run = run_folder(folder, scores, [better()], labels={"a": "Ours", "b": "Theirs"})
    subjects = sorted(scores["subject"].unique())
    people = [
        {"participant_id": f"sub-{s}", "age": 20 + 2 * int(s), "sex": "FM"[int(s) < 4], "income": 1} for s in subjects
    ]
    people.append({"participant_id": "sub-99", "age": 99, "sex": "M", "income": 1})
    return folder, run, scores, rows_of(subjects), people


@pytest.fixture(scope="module")
def table(planted):
    folder, run, _, rows, people = planted
    return numbers(folder, run, rows, people)


def test_scores_are_those_of_other_arithmetic(planted, table):
    """Folds to sessions to subjects by hand; the interval holds what a bootstrap of another generator gives."""
    scores, generator = planted[2], np.random.default_rng(5)
    for method in "ab":
        means = {}
        for variant, part in scores[scores["method"] == method].groupby("variant"):
            session = part.groupby(["subject", "session"])["value"].mean()
            means[variant] = session.groupby("subject").mean().to_numpy()
        row = table[f"score.within_session.roc_auc.{method}.mean"]
        assert float(row["value"]) == pytest.approx(means["observed"].mean(), abs=1e-12)
        assert int(row["n"]) == len(means["observed"]) == 8
        drawn = generator.choice(means["observed"], (20000, 8)).mean(axis=1)
        ends = [float(row[name]) for name in ("ci_low", "ci_high")]
        assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)
        assert row["text"] == f"{float(row['value']):.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"
        null = [means[name].mean() for name in NULLS]
        assert float(table[f"score.within_session.roc_auc.{method}.null_mean"]["value"]) == pytest.approx(np.mean(null))
        assert float(table[f"score.within_session.roc_auc.{method}.p_permutation"]["value"]) == 1 / 4
        absent = table[f"score.within_session.roc_auc.{method}.absent_mean"]
        assert float(absent["value"]) == pytest.approx(means["absent"].mean())
    assert table["score.within_session.roc_auc.a.mean"]["where"].startswith("Ours, within session, ROC AUC")


def test_claims_have_effect_p_and_verdict(planted, table):
    scores = planted[2]
    observed = scores[scores["variant"] == "observed"].groupby(["method", "subject", "session"])["value"].mean()
    subjects = observed.groupby(["method", "subject"]).mean().unstack("method")
    difference = (subjects["a"] - subjects["b"]).to_numpy()
    assert float(table["claim.a_beats_b.effect"]["value"]) == pytest.approx(difference.mean())
    # All eight differences are positive: of 256 flips of signs only one is as extreme.
    assert (difference > 0).all()
    assert float(table["claim.a_beats_b.p"]["value"]) == 1 / 256
    assert table["claim.a_beats_b.p"]["text"] == "p = 0.004"
    assert float(table["claim.a_beats_b.p_holm"]["value"]) == 1 / 256
    smd = difference.mean() / difference.std(ddof=1)
    assert float(table["claim.a_beats_b.smd"]["value"]) == pytest.approx(smd, rel=0.15)
    document = read_json(planted[1]["claims"])["claims"][0]
    for name in ("verdict", "null_verdict", "absent_verdict"):
        variant = name.partition("_verdict")[0] if "_" in name else "observed"
        assert table[f"claim.a_beats_b.{name}"]["text"] == document["results"][variant]["verdict"]
    assert table["claims.holds"]["value"] == "1"


def test_the_sample_and_what_was_left_out(table):
    expected = {
        "sample.subjects": 8,
        "sample.sessions": 16,
        "sample.rows": 80,
        "classes": 2,
        "class.left_hand.rows": 32,
        "class.right_hand.rows": 48,
        "class.left_hand.subjects": 8,
        "recordings.preprocessing.found": 8,
        "recordings.preprocessing.used": 6,
        "recordings.preprocessing.excluded": 2,
        "recordings.features.found": 6,
        "recordings.features.excluded": 1,
        "recordings.preprocessing.excluded.1": 2,
        "participants.sex.F": 5,
        "participants.sex.M": 3,
        "folds.within_session": 32,
        "configurations.a": 8,
        "permutations": 3,
        "dataset.subjects": 9,
        "dataset.errors": 0,
        "dataset.warnings": 12,
    }
    assert {name: int(float(table[name]["value"])) for name in expected} == expected
    ages = [22 + 2 * i for i in range(8)]
    assert float(table["participants.age"]["value"]) == statistics.fmean(ages)
    assert table["participants.age"]["text"] == f"29.00 ± {statistics.stdev(ages):.2f} (22.00 to 36.00)"
    assert table["dataset.version"]["text"] == "1.0.8"
    assert table["software.checks.numpy"]["text"] == "2.1"
    assert table["recordings.preprocessing.used"]["text"] == "6 recordings"
    # Not a variable that describes the sample, nor one of the run's.
    assert not [name for name in table if "income" in name]


def test_no_subject_and_no_place_is_named(table):
    text = " ".join(" ".join(row.values()) for row in table.values())
    assert not re.search(r"sub-\w|/data|/tmp", text)
    assert "no channel C3" in table["recordings.preprocessing.excluded.1"]["where"]
    assert {row["source"] for row in table.values()} >= {"targets.tsv", "summary.tsv", "claims.json", "validation.json"}


def test_restricted_data_have_no_small_groups_and_no_extremes(planted, tmp_path):
    _, run, _, rows, people = planted
    about = {**ABOUT, "restricted": True}
    table = numbers(tmp_path, run, [row for row in rows if row["subject"] != "08" or row["target"] != "left hand"],
                    people, about)  # fmt: skip
    assert table["participants.sex.M"]["value"] == "n/a"
    assert table["participants.sex.M"]["text"] == "<5 subjects"
    # It would follow from the number of all.
    assert table["participants.sex.F"]["text"] == "not shown"
    assert table["participants.age"]["text"] == "29.00 ± 4.90"
    assert int(table["class.left_hand.subjects"]["value"]) == 7
    # Most rows are of all subjects together, and stay.
    assert table["score.within_session.roc_auc.a.mean"]["n"] == "8"


def test_alike_names_get_a_number_and_numbers_to_regress_a_distribution(planted, tmp_path):
    _, run, _, rows, people = planted
    twice = [row | {"target": ("a/b", "a b")[i % 2]} for i, row in enumerate(rows)]
    table = numbers(tmp_path / "twice", run, twice, people)
    assert {table["class.a_b.rows"]["where"], table["class.a_b.rows.2"]["where"]} == {"class a/b", "class a b"}
    ages = [row | {"target": str(30 + int(row["subject"]))} for row in rows]
    about = {**ABOUT, "task": "regress", "target": "age"}
    table = numbers(tmp_path / "ages", run, ages, people, about)
    assert table["target"]["text"] == "34.50 ± 2.45 (31.00 to 38.00)"
    assert table["target"]["n"] == "8"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("sub-01/x.edf: has no events; add them", "has no events"),
        ("/data/a/sub-1_eeg.set: subject 01 has two targets; correct it", "… has two targets"),
        ("events: /home/me/x.tsv is empty; fill it", "… is empty"),
        ("no trial of left", "no trial of left"),
    ],
)
def test_reasons_name_nothing(reason, told):
    assert plain_reason(reason) == told


def test_numbers_print_as_in_a_paper():
    assert [plain(x) for x in (0.876, -0.001, -0.126, 123.456, 12345.6, float("nan"))] == [
        *("0.88", "0.00", "\N{MINUS SIGN}0.13", "123.5", "12346", "n/a"),
    ]
    assert estimate(0.876, 0.78, 0.953) == "0.88 [0.78, 0.95]"
    assert estimate(0.5, float("nan"), 0.6) == "0.50"
    assert [probability(p) for p in (0.0004, 0.0156, 0.33, float("nan"))] == [
        *("p < 0.001", "p = 0.016", "p = 0.33", "p not defined"),
    ]
    assert [counted(n, "subject") for n in (1, 2, 12345)] == ["1 subject", "2 subjects", "12,345 subjects"]
    assert [spread([0.1, 0.3]), spread([0.501, 0.502])] == ["0.10 to 0.30", "0.50"]
    assert [listed(["a"]), listed(["a", "b"]), listed(list("abcd"), 3)] == ["a", "a and b", "a, b and 2 more"]


def test_the_table_is_read_back_as_any_other(planted, table):
    assert [row["name"] for row in read_tsv(planted[0] / "numbers.tsv")] == list(table)
