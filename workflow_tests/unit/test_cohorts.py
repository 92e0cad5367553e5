"""Two cohorts: the reader of OASIS, the features that must not hold the label, who is held out, what is planted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv, write_text
from replicortex.readers.oasis_cohorts import CROSS, LONGITUDINAL, level_of, same_person
from replicortex.simulators.cohort_table import SUPPORT, VARIABLES
from replicortex.stages.gather import gather

FIRST = {
    "ID": "OAS1_0001_MR1", "M/F": "F", "Hand": "R", "Age": "74", "Educ": "2", "SES": "3", "MMSE": "29", "CDR": "0",
    "eTIV": "1344", "nWBV": "0.743", "ASF": "1.306", "Delay": "N/A",
}  # fmt: skip
VISIT = {
    "Subject ID": "OAS2_0001", "MRI ID": "OAS2_0001_MR1", "Group": "Nondemented", "Visit": "1", "MR Delay": "0",
    "Sex": "M", "Hand": "R", "Age": "80", "EDUC": "14", "SES": "2", "MMSE": "27", "CDR": "0.5", "eTIV": "1987",
    "nWBV": "0.696", "ASF": "0.883",
}  # fmt: skip


def write_tables(folder: Path, first: list[dict], visits: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows, of in ((CROSS, first, FIRST), (LONGITUDINAL, visits, VISIT)):
        with (folder / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(of))
            writer.writeheader()
            writer.writerows({**of, **row} for row in rows)
    return folder


def read(source: Path, out: Path, **params) -> dict[str, dict[str, str]]:
    plan = {"name": "OASIS", "license": "terms", "reader": "oasis_cohorts", "params": params}
    gather(source, out, plan)
    return {row["participant_id"]: row for row in read_tsv(out / "participants.tsv")}


def values(out: Path, subject: str) -> dict[str, str]:
    table = read_tsv(out / subject / "anat" / f"{subject}_desc-clinical_morph.tsv")
    return {row["variable"]: row["value"] for row in table}


def test_first_scans_and_first_visits_are_taken_and_missing_values_kept(tmp_path):
    source = write_tables(
        tmp_path / "source",
        [{}, {"ID": "OAS1_0001_MR2"}, {"ID": "OAS1_0003_MR1", "MMSE": "", "CDR": "", "SES": "", "Educ": ""}],
        [{"Visit": "2", "Age": "82", "MMSE": "20"}, {}],
    )
    people = read(source, tmp_path / "out")
    assert list(people) == ["sub-OAS10001", "sub-OAS10003", "sub-OAS20001"]
    assert people["sub-OAS20001"]["n_visits"] == "2"
    assert people["sub-OAS10003"]["cdr"] == "n/a"
    assert values(tmp_path / "out", "sub-OAS20001")["MMSE"] == "27"
    assert values(tmp_path / "out", "sub-OAS20001")["education"] == "3"
    assert values(tmp_path / "out", "sub-OAS10003")["MMSE"] == "n/a"
    # The label is nowhere among what a model is given.
    assert not {name for name in values(tmp_path / "out", "sub-OAS10001") if name.lower() in ("cdr", "group")}


def test_somebody_who_is_in_both_under_another_name_counts_once(tmp_path):
    same = {
        "Sex": "F",
        "Age": "74",
        "EDUC": "12",
        "SES": "3",
        "MMSE": "29",
        "CDR": "0",
        "eTIV": "1344",
        "nWBV": "0.747",
    }
    source = write_tables(tmp_path / "source", [{}], [{}, {"Subject ID": "OAS2_0002", "Visit": "2", **same},
                                                       {"Subject ID": "OAS2_0002"}])  # fmt: skip
    assert list(read(source, tmp_path / "merged")) == ["sub-OAS10001", "sub-OAS20001"]
    kept = read(source, tmp_path / "kept", same_people="keep")
    assert kept["sub-OAS20002"]["also"] == "sub-OAS10001"
    assert kept["sub-OAS20001"]["also"] == "n/a"
    for key, other in {"Age": "75", "MMSE": "28", "EDUC": "16", "CDR": "0.5", "eTIV": "1360", "nWBV": "0.77"}.items():
        changed = write_tables(tmp_path / f"of_{key}", [{}], [{**same, key: other}])
        assert len(read(changed, tmp_path / f"out_{key}")) == 2, f"another {key} is another person"


def test_years_of_education_become_levels():
    assert [level_of(years) for years in (8, 12, 14, 16, 18)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("first", "visits", "fault"),
    [
        ([{"ID": "OAS1_1"}], [{}], "names the scan"),
        ([{"ID": "../../x_MR1"}], [{}], "names the scan"),
        ([{}, {}], [{}], "twice"),
        ([{"Age": "n"}], [{}], "Age is 'n'"),
        ([{"Age": "1e999"}], [{}], "Age is '1e999'"),
        ([{"eTIV": "nan"}], [{}], "eTIV is 'nan'"),
        ([{"nWBV": ""}], [{}], "has no nWBV"),
        ([{"MMSE": "31"}], [{}], "MMSE is '31'"),
        ([{"M/F": "x"}], [{}], "sex is 'x'"),
        ([{}], [{}, {}], "visit of OAS2_0001 twice"),
        ([{}], [{"Subject ID": "x/y"}], "names the person"),
        ([], [{}], "has no row"),
    ],
)
def test_damaged_tables_are_refused_in_one_line(tmp_path, first, visits, fault):
    source = write_tables(tmp_path / "source", first, visits)
    with pytest.raises(InputError, match=fault) as error:
        read(source, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xff\xfe\x00", "no readable table|has no column"),
        (b"ID,M/F\na,b\n", "has no column"),
        (",".join(FIRST).encode() + b"\na,b\n", "another number of cells"),
        (b"", "has no column|has no row"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, content, fault):
    source = write_tables(tmp_path / "source", [{}], [{}])
    (source / CROSS).write_bytes(content)
    with pytest.raises(InputError, match=fault):
        read(source, tmp_path / "out")
    (source / CROSS).unlink()
    (source / CROSS).symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="no such file"):
        read(source, tmp_path / "out")


def test_the_published_tables_have_150_people_of_whom_112_are_in_both(tmp_path, real_data):
    source = real_data / "tabular-oasis"
    people = read(source, tmp_path / "out")
    rated = [row for row in people.values() if row["cdr"] != "n/a"]
    assert len(people) == 416 + 38
    assert sum(row["site"] == "oasis1" for row in rated) == 235
    kept = read(source, tmp_path / "kept", same_people="keep")
    assert sum(row["site"] == "oasis2" for row in kept.values()) == 150
    assert len({row["also"] for row in kept.values()} - {"n/a"}) == 112


def test_people_of_another_age_are_hardly_ever_taken_for_the_same(real_data):
    """The control of the match: the same comparison with ages shifted finds next to nobody."""
    from replicortex.readers.oasis_cohorts import _table

    source = real_data / "tabular-oasis"
    first = [row for row in _table(source, CROSS) if not row["id"].endswith("_MR2")]
    visits = _table(source, LONGITUDINAL)
    found = [sum(same_person([{**visit, "age": visit["age"] + shift}], first) is not None for visit in visits)
             for shift in (-3, 3)]  # fmt: skip
    assert max(found) <= 3


# ---- features


def extracted(tmp_path: Path, lines: list[str], **params):
    path = tmp_path / "sub-01_desc-x_morph.tsv"
    write_text(path, "\n".join(["variable\tvalue", *lines]) + "\n")
    recording = {"recording": "sub-01_desc-x", "suffix": "morph", "subject": "01", "session": "n/a", "run": "n/a",
                 "path": path.name}  # fmt: skip
    return make("features", "clinical_measures", params).extract(recording, path, {})


def test_groups_come_in_the_order_of_the_table_and_missing_values_stay_missing(tmp_path):
    lines = ["MMSE\t29", "hip_volume\tn/a", "age\t70", "amy_volume\t2"]
    bundle = extracted(tmp_path, lines, groups={"volume": "*_volume", "cognition": ["MMSE"]})
    assert bundle.axes == {"variable": ["MMSE", "hip_volume", "amy_volume"], "group": ["cognition", "volume", "volume"]}
    np.testing.assert_array_equal(bundle["x"], np.array([[29, np.nan, 2]], np.float32))


@pytest.mark.parametrize(
    ("lines", "params", "fault"),
    [
        (["CDR\t1", "a\t2"], {"groups": {"all": "*"}, "defining": ["CDR*"]}, "CDR defines the diagnosis"),
        (["a\t1", "a\t2"], {"groups": {"all": "*"}}, "gives 'a' twice"),
        (["a\tx"], {"groups": {"all": "*"}}, "a is 'x'"),
        (["a\tinf"], {"groups": {"all": "*"}}, "not finite"),
        (["a\t1e300"], {"groups": {"all": "*"}}, "not finite"),
        (["a\tn/a"], {"groups": {"all": "*"}}, "no value of any"),
        (["a\t1"], {"groups": {"one": "a", "two": "b"}}, "no variable of group two"),
    ],
)
def test_a_table_that_can_not_be_taken_says_why(tmp_path, lines, params, fault):
    with pytest.raises(InputError, match=fault):
        extracted(tmp_path, lines, **params)


# ---- who is held out


def test_an_external_cohort_is_tested_by_what_was_learnt_in_another():
    site = np.array(["a"] * 6 + ["b"] * 4 + ["n/a"] + ["c"] * 2)
    subject = np.array([f"{i:02d}" for i in range(13)])
    subject[12] = subject[0]
    rows = {"site": site, "subject": subject}
    target = np.array(["x", "y"] * 6 + ["x"])
    folds = {name: (train, test) for name, train, test in make("splitters", "external_cohort").split(rows, target, 0)}
    assert list(folds) == ["site-b-1", "site-c-2"]
    assert folds["site-b-1"][0].tolist() == list(range(6))
    assert folds["site-b-1"][1].tolist() == [6, 7, 8, 9]
    # Who is in the cohort that is held out is not trained on.
    assert folds["site-c-2"][0].tolist() == list(range(1, 6))
    named = make("splitters", "external_cohort", {"train": "b"})
    assert next(test.tolist() for _, _, test in named.split(rows, target, 0)) == list(range(6))
    assert "no row is of site d" in make("splitters", "external_cohort", {"train": "d"}).unfit(rows)


# ---- the simulation


def people(contrast: str, truth: str = "planted", n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    simulator = make(
        "simulators", "cohort_table", {"contrast": contrast, "n_study": n, "n_external": 1, "missing": 0.0}
    )
    made = [simulator.person(subject, truth, 7) for subject in range(1, n + 1)]
    x = np.array([[person.values[name] for name, *_ in VARIABLES] for person in made])
    return (x - x.mean(axis=0)) / x.std(axis=0), np.array([person.diagnosis == "patient" for person in made])


@pytest.mark.parametrize("contrast", ["threshold", "additive"])
def test_what_counts_counts_and_copies_only_follow(contrast):
    x, sick = people(contrast)
    names = [name for name, *_ in VARIABLES]
    difference = dict(zip(names, x[sick].mean(axis=0) - x[~sick].mean(axis=0), strict=True))
    for name, sign in SUPPORT.items():
        if name != "age":
            assert sign * difference[name] > 0.2, name
    for name in ("left_caudate", "pallidum", "education", "fluency"):
        assert abs(difference[name]) < 0.3, name
    # Given the variable that counts, its copy tells nothing more.
    left, right = names.index("left_hippocampus"), names.index("right_hippocampus")
    rest = x[:, right] - np.corrcoef(x[:, left], x[:, right])[0, 1] * x[:, left]
    assert abs(rest[sick].mean() - rest[~sick].mean()) < 0.15
    x, again = people(contrast, "absent")
    assert (again == sick).all()
    assert np.abs(x[sick].mean(axis=0) - x[~sick].mean(axis=0)).max() < 0.3
