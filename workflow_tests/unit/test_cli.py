"""The command line: where it works, what it refuses, what it says a dataset lacks, and the bar over the jobs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from replicortex import cli
from replicortex.asking import LAID
from replicortex.cards import Cards, parse_yaml
from replicortex.errors import InputError
from replicortex.files import to_tsv
from replicortex.job import CALLED_AS
from replicortex.stages.apps import Asked, configured
from replicortex.stages.datasets import card_of_folder, filters_of, slug
from replicortex.stages.scaffold import begin, class_of
from replicortex.stages.suits import look_at, resolved, suits, survey
from source_code import ROOT

CHANNELS = ["FC3", "FCz", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "CP3", "CPz", "CP4"]


def call(*words: str, cwd: Path = ROOT, status: int | None = 0, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "replicortex", *words]
    given = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "COLUMNS": "100", **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=given, timeout=120)
    assert status is None or done.returncode == status, done.stdout + done.stderr
    return done


# ---- how it is called


def test_the_help_names_every_command_and_is_there_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = call("--help").stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert all(f"\n  {name} " in said for name in cli.names())
    assert all(f"\n{heading}:\n  " in said for heading in cli.GROUPS.values()), "a heading without a command"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


@pytest.mark.parametrize("name", cli.names())
def test_a_command_explains_itself_under_its_own_name(name):
    said = " ".join(call(name, "--help").stdout.split())
    assert said.startswith("usage: replicortex")
    assert f"replicortex {name}" in said or name == "bids"
    assert "--help" in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["statsu"], "error: replicortex statsu: no such command; did you mean 'status'?"),
        (["list", "studys"], "error: list studys: no such kind; did you mean 'studies'?"),
        (["describe", "log_euclidian"], "error: describe log_euclidian: nothing is called so; did you mean"),
        (["check", "/no/such/folder"], "error: /no/such/folder: no such folder;"),
        (["check", "sim_temporl"], "did you mean 'sim_temporal'?"),
        (["run", "--profile", "slum"], "error: profile slum: no such profile; did you mean 'slurm'?"),
        (["run", "--config", "scale=big"], "error: config.yaml: scale: 'big' is not one of"),
        (["run", "--config", "runs=[log_euclidian]"], "did you mean 'log_euclidean'?"),
        (["run", "--n-cpus", "0"], "error: --n-cpus: less than one"),
        (["new", "methd", "x"], "error: new methd: nothing that can be begun; did you mean 'method'?"),
        (["new", "method", "../x"], "error: new method ../x: is not a name"),
        (["--project", "/nowhere", "list"], "error: --project /nowhere: has no Snakefile"),
        (["/no/such/folder", "out", "group"], "error: /no/such/folder: no such folder"),
        (["."], "a folder, and no level of analysis"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_remedy(words, line, tmp_path):
    done = call(*words, cwd=tmp_path, status=2, REPLICORTEX_PROJECT=str(ROOT))
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_project_is_the_one_named_then_here_then_beside_the_package(tmp_path, monkeypatch):
    for name in ("here", "named", "told"):
        (tmp_path / name / "config" / "schemas").mkdir(parents=True)
        (tmp_path / name / "config" / "schemas" / "config.schema.yaml").touch()
        (tmp_path / name / "Snakefile").touch()
    monkeypatch.delenv("REPLICORTEX_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.find_project(None) == ROOT
    monkeypatch.chdir("here")
    assert cli.find_project(None) == tmp_path / "here"
    monkeypatch.setenv("REPLICORTEX_PROJECT", str(tmp_path / "told"))
    assert cli.find_project(None) == tmp_path / "told"
    assert cli.find_project(str(tmp_path / "named")) == tmp_path / "named"


def test_a_script_becomes_the_command_with_what_an_earlier_call_left(tmp_path, monkeypatch):
    """Every word goes to it as it is: nothing passes a shell."""
    monkeypatch.chdir(tmp_path)
    Path(LAID).write_text("runs: [log_euclidean]\n")
    started = []

    def execv(path, words):
        started.append((path, words, os.environ.pop(CALLED_AS)))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    odd = "a b; touch x $(touch y)"
    with pytest.raises(SystemExit):
        cli.main(["status", "--project", str(ROOT), "--out", odd])
    path, words, name = started[0]
    assert (path, name) == (sys.executable, "replicortex status")
    given = ["--project", str(ROOT), "--configfile", LAID, "--out", odd]
    assert words == [sys.executable, str(ROOT / "scripts/show_status.py"), *given]


def test_configurations_are_laid_one_on_the_other(tmp_path):
    (tmp_path / "a.yaml").write_text("scale: paper\nseed: 1\n")
    words = ["--configfile", str(tmp_path / "a.yaml"), "--config", "seed=7", "--configuration", '{"storage": "lean"}']
    script = (
        "from replicortex.asking import asking; import json; print(json.dumps(asking('x').parse_args().configuration))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {"scale": "paper", "seed": 7, "storage": "lean"}


def test_the_list_and_descriptions_are_those_of_the_files():
    listed = json.loads(call("list", "--json").stdout)
    for kind in ("studies", "datasets", "preprocessing", "features"):
        assert sorted(listed[kind]) == sorted(path.stem for path in (ROOT / "config" / kind).glob("*.yaml"))
    assert "mdm" in listed["methods"]
    assert "epochs" in listed["extractors"]
    told = json.loads(call("describe", "augmented_covariance", "--json").stdout)
    card = yaml.safe_load((ROOT / "config/studies/augmented_covariance.yaml").read_text())
    assert told["paper"] == card["paper"]
    assert [claim["name"] for claim in told["claims"]] == [claim["name"] for claim in card["claims"]]
    assert told["deviations"] == card["deviations"]
    # 10 orders by 10 lags of which order 1 has no lag, 3 penalties, 2 kernels.
    paper = told["scales"]["paper"]["methods"]
    assert paper["acm_ts_svm"]["configurations"] == (1 + 9 * 10) * 3 * 2
    assert paper["acm_ts_svm"]["configurations"] <= paper["ts_svm"]["configurations"]
    assert told["needs"]["events"] == ["left_hand", "right_hand"]


# ---- a dataset without a card


def eeg_dataset(folder: Path, n_subjects: int = 2, kinds=("left", "right"), channels=tuple(CHANNELS)) -> Path:
    """A BIDS dataset as its index sees it: no signal is ever read here."""
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "Made", "BIDSVersion": "1.9.0", "License": "CC0"}')
    people = []
    for number in range(1, n_subjects + 1):
        stem = folder / f"sub-{number:02d}" / "eeg" / f"sub-{number:02d}_task-x"
        stem.parent.mkdir(parents=True)
        for extension in ("edf", "json"):
            Path(f"{stem}_eeg.{extension}").write_text('{"SamplingFrequency": 100}')
        events = [{"onset": float(i), "duration": 1.0, "trial_type": kinds[i % len(kinds)]} for i in range(12)]
        Path(f"{stem}_events.tsv").write_text(to_tsv(events, ["onset", "duration", "trial_type"]))
        rows = [{"name": name, "type": "EEG", "units": "uV"} for name in channels]
        Path(f"{stem}_channels.tsv").write_text(to_tsv(rows, ["name", "type", "units"]))
        people.append({"participant_id": f"sub-{number:02d}", "age": 20 + number})
    (folder / "participants.tsv").write_text(to_tsv(people, ["participant_id", "age"]))
    return folder


def lacks(root: Path, study: str = "log_euclidean", **told) -> list[str]:
    classes = told.pop("classes", ["left_hand=left", "right_hand=right"])
    card = card_of_folder(root, classes=classes, **told)
    cards = Cards(ROOT / "config", {"runs": [study]})
    return suits(*resolved(cards, "made", card, study=study), look_at("made", card, root)).missing


def test_a_dataset_that_has_all_lacks_nothing(tmp_path):
    assert lacks(eeg_dataset(tmp_path / "d")) == []


@pytest.mark.parametrize(
    ("made", "told", "said"),
    [
        ({"kinds": ["left", "rest"]}, {}, "has no event of class right_hand (trial_type right)"),
        ({}, {"classes": ["left_hand=left"]}, "does not say which events mean right_hand"),
        ({"channels": CHANNELS[2:]}, {}, "they lack channel FC3, FCz"),
    ],
)
def test_what_is_taken_away_is_what_is_missing(made, told, said, tmp_path):
    found = lacks(eeg_dataset(tmp_path / "d", **made), **told)
    assert len(found) == 1
    assert said in found[0]


def test_one_subject_makes_the_scheme_across_subjects_impossible_and_not_the_study(tmp_path):
    root = eeg_dataset(tmp_path / "d", n_subjects=1)
    card = card_of_folder(root, classes=["left_hand=left", "right_hand=right"])
    cards = Cards(ROOT / "config", {"runs": ["augmented_covariance"]})
    found = suits(*resolved(cards, "made", card, study="augmented_covariance"), look_at("made", card, root))
    assert found.missing == []
    assert {note.partition(":")[0] for note in found.notes} == {"scheme cross_session", "scheme leave_one_subject_out"}


def test_images_lack_what_participants_do_not_say_and_another_recipe_is_named(tmp_path):
    root = tmp_path / "d"
    for number in range(1, 9):
        folder = root / f"sub-{number:02d}"
        for kind, name in (("anat", "T1w"), ("func", "task-rest_bold")):
            (folder / kind).mkdir(parents=True)
            (folder / kind / f"sub-{number:02d}_{name}.nii.gz").write_bytes(b"x")
            (folder / kind / f"sub-{number:02d}_{name}.json").write_text('{"RepetitionTime": 2.0}')
    (root / "dataset_description.json").write_text('{"Name": "Made", "BIDSVersion": "1.9.0"}')
    people = [
        {"participant_id": f"sub-{n:02d}", "dx": "MDD" if n % 2 else "HC", "age": 30 + n, "sex": "F", "scanner": n % 3}
        for n in range(1, 9)
    ]
    (root / "participants.tsv").write_text(to_tsv(people, list(people[0])))
    cards = Cards(ROOT / "config", {"runs": ["fc_benchmark"]})

    def ask(**told):
        card = card_of_folder(root, **told)
        return survey(cards, look_at("made", card, root), ["fc_benchmark"])[0]

    found = ask()
    assert "has nothing that the preprocessing derived_func takes" in found.missing[0]
    assert found.nearest["change"] == {"preprocessing": "native_func"}
    assert [line.partition(" is:")[0] for line in found.nearest["missing"]] == [
        "does not say what diagnosis",
        "does not say what site",
    ]
    told = {"variables": ["diagnosis=dx", "site=scanner"], "values": ["diagnosis.patient=MDD", "diagnosis.control=HC"]}
    assert {"preprocessing": "native_func"} in ask(**told).alternatives


@pytest.mark.parametrize(
    ("folder", "study", "said"),
    [
        ("eeg-bids-tiny", "augmented_covariance", ["lack channel FCz", "which events mean left_hand, right_hand"]),
        ("anat-t1w-ds002748", "fc_benchmark", ["has no func recording"]),
    ],
)
def test_real_datasets_lack_what_they_lack(real_data, folder, study, said):
    found = lacks(real_data / folder, study, classes=[])
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_card_is_made_of_the_description_and_of_what_is_said(tmp_path):
    root = eeg_dataset(tmp_path / "My EEG-data (2)")
    assert slug(root.name) == "my_eeg_data_2"
    assert slug("2024_x") == "dataset_2024_x"
    words = {"classes": ["left_hand=left,T1"], "variables": ["diagnosis=dx"], "values": ["diagnosis.patient=MDD,BD"]}
    assert card_of_folder(root, **words) == {
        "title": "Made",
        "licence": "CC0",
        "root": str(root),
        "classes": {"left_hand": ["left", "T1"]},
        "variables": {"diagnosis": {"column": "dx", "values": {"patient": ["MDD", "BD"]}}},
    }
    (tmp_path / "card.yaml").write_text("{title: Mine, licence: ODbL, simulate: {simulator: x}, blocks: 2}")
    card = card_of_folder(root, tmp_path / "card.yaml")
    assert card == {"title": "Mine", "licence": "ODbL", "root": str(root), "blocks": 2}
    for given in ({"classes": ["left_hand"]}, {"variables": ["=x"]}, {"values": ["nothing.a=b"]}):
        with pytest.raises(InputError, match="--"):
            card_of_folder(root, **given)


def test_labels_become_filters_and_strange_ones_are_refused(tmp_path):
    root = eeg_dataset(tmp_path / "d", n_subjects=3)
    assert filters_of(root, ["sub-01", "02"], tasks=["task-x"]) == {"subject": ["01", "02"], "task": ["x"]}
    with pytest.raises(InputError, match="--participant-label 04: no such subject"):
        filters_of(root, ["04"])


def ask(tmp_path, level, before=None, **given) -> dict:
    card = {"title": "x", "licence": "y", "root": str(tmp_path.resolve())}
    named = {"studies": ["log_euclidean"], "dataset": "d", "card": card, **given}
    return configured(Asked(tmp_path, tmp_path / "out", level, before=before or {}, **named))


def test_participants_add_up_and_a_group_is_all_of_them(tmp_path):
    """Else the derivatives of the first participant would go when the second is prepared."""
    first = ask(tmp_path, "participant", filters={"subject": ["01"]})
    second = ask(tmp_path, "participant", first, filters={"subject": ["02"]}, studies=[])
    assert second["datasets"]["d"]["filters"] == {"subject": ["01", "02"]}
    assert second["runs"] == first["runs"] == [{"study": "log_euclidean", "dataset": "d"}]
    everyone = ask(tmp_path, "group", second, studies=[])
    assert "filters" not in everyone["datasets"]["d"]
    again = ask(tmp_path, "participant", everyone, filters={"subject": ["01"]}, studies=[])
    assert "filters" not in again["datasets"]["d"], "what was made of the others would be lost"
    with pytest.raises(InputError, match="no study is named"):
        ask(tmp_path, "group", studies=[])
    with pytest.raises(InputError, match="another dataset"):
        ask(tmp_path / "..", "group", first)


def test_a_dataset_in_the_configuration_is_a_card_like_any_other(tmp_path):
    card = {"title": "x", "licence": "y", "root": "/data"}
    run = {"study": "log_euclidean", "dataset": "inline"}
    cards = Cards(ROOT / "config", {"datasets": {"inline": card}, "runs": [run]})
    assert cards.dataset("inline") == card
    assert cards.runs["log_euclidean-inline"].dataset == "inline"
    assert "inline" in cards.names("datasets")
    # It comes before a file of the same name, and is checked as that is.
    assert Cards(ROOT / "config", {"datasets": {"eegbci": card}, "runs": ["log_euclidean"]}).dataset("eegbci") == card
    for wrong, line in (({**card, "rot": 1}, "unknown key 'rot'; did you mean 'root'"), ({}, "'title' is a required")):
        with pytest.raises(InputError, match=f"config.yaml, datasets.inline: .*{line}"):
            Cards(ROOT / "config", {"datasets": {"inline": wrong}, "runs": [run]})
    with pytest.raises(InputError, match="no such card"):
        Cards(ROOT / "config", {"datasets": {"../x": card}, "runs": [{**run, "dataset": "../x"}]})


def test_a_text_of_yaml_is_checked_as_a_file_is():
    assert parse_yaml("[{study: a, n: 3}]", "runs") == [{"study": "a", "n": 3}]
    with pytest.raises(InputError, match="runs: not readable as YAML"):
        parse_yaml("[1, 2", "runs")
    with pytest.raises(InputError, match="nested"):
        parse_yaml("[" * 6000, "runs")


# ---- what is begun


def test_what_is_begun_lies_where_it_belongs_and_overwrites_nothing(tmp_path):
    assert class_of("my_new_method2") == "MyNewMethod2"
    made = begin(tmp_path, "feature", "my_feature", "func")
    places = ["config/features/my_feature.yaml", "scripts/replicortex/features/my_feature.py"]
    assert [path.relative_to(tmp_path).as_posix() for path in made] == places
    assert "class MyFeature(" in made[1].read_text()
    with pytest.raises(InputError, match="is there already"):
        begin(tmp_path, "feature", "my_feature")


# ---- the bar


@pytest.fixture
def bar():
    return pytest.importorskip("snakemake_logger_plugin_replicortex")


def test_the_bar_counts_jobs_and_knows_how_long_they_take(bar):
    tally = bar.Tally({"fit": 4, "plot": 2})
    assert (tally.total, tally.left(0.0)) == (6, None)
    # Two fits of 10 s at once, twice; a plot is expected to take as long as what is known.
    for job in (1, 2):
        tally.start(job, "fit", 0.0)
    for job in (1, 2):
        tally.end(job, 10.0)
    assert tally.left(10.0) == pytest.approx(4 * 10 / 2)
    tally.start(3, "plot", 10.0)
    tally.end(3, 12.0)
    # 22 s of work in 12 s; left are two fits of 10 s and a plot of 2 s.
    assert tally.left(12.0) == pytest.approx(22 / (22 / 12))
    tally.start(4, "fit", 12.0)
    tally.end(4, 13.0, well=False)
    line = tally.line(13.0, 200)
    assert "3/6 jobs" in line
    assert "1 failed" in line
    assert len(tally.line(13.0, 20)) == 20
