"""Bad input, end to end: one plain line, a failing status, nothing half-written, and the other subjects go on.

Every name that a user or a dataset chooses is hostile here: whatever reaches a shell makes a file ``pwned``.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from project import DATASET, FEATURE, SOURCE, STUDY, Project, copy_sources
from replicortex.cards import Cards
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv

EVIL = "$(touch pwned); touch pwned; `touch pwned` 'a' \"b\" {input} #"
ROOT = "da ta $(touch pwned); touch pwned & 'a' \"b\"\n{input}"
CLASSES = {"left; touch pwned;": [f"left {EVIL}"], "right $(touch pwned)": ["`touch pwned`", "../../right"]}
TASK = "ses-1_task-imagery"


def clone(root: Path, label: str) -> None:
    """Add a subject that has the recording of subject 01."""
    shutil.copytree(root / "sub-01", root / f"sub-{label}")
    for path in sorted((root / f"sub-{label}").rglob("*01*")):
        path = path.rename(path.with_name(path.name.replace("sub-01", f"sub-{label}")))
        if path.suffix != ".eeg":
            path.write_text(path.read_text().replace("sub-01", f"sub-{label}"))


def sidecar(path: Path, **changes) -> None:
    path.write_text(json.dumps(read_json(path) | changes))


def signal_of(path: Path, value: float) -> None:
    path.write_bytes(np.full(path.stat().st_size // 4, value, "<f4").tobytes())


def events(path: Path, *without: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *(line for line in lines[1:] if not any(word in line for word in without))]))


#: By subject: how its recording is damaged (called with the path up to the suffix), in which stage it fails, and the
#: file and the fault that its reason names. Subject 11 is alone in its block of subjects.
FAULTS: dict[str, tuple[Callable[[str], object], str, str, str]] = {
    "11": (lambda stem: os.truncate(f"{stem}_eeg.eeg", 0), "preprocess", "_eeg.eeg", "empty"),
    "12": (lambda stem: os.truncate(f"{stem}_eeg.eeg", 10_001), "preprocess", "_eeg.vhdr", "_eeg.eeg is truncated"),
    "13": (lambda stem: Path(f"{stem}_eeg.vmrk").unlink(), "preprocess", "_eeg.vhdr", "no .vmrk file beside it"),
    "14": (lambda stem: os.truncate(f"{stem}_eeg.json", 40), "preprocess", "_eeg.json", "not readable as JSON"),
    "15": (lambda stem: sidecar(Path(f"{stem}_eeg.json"), SamplingFrequency=None), "preprocess", "_eeg.vhdr",
           "sampling rate is missing"),
    "18": (lambda stem: sidecar(Path(f"{stem}_eeg.json"), SamplingFrequency=100), "preprocess", "_eeg.vhdr",
           "sampling rate is 160 Hz in the file and 100 Hz in the sidecar"),
    "25": (lambda stem: signal_of(Path(f"{stem}_eeg.eeg"), np.nan), "preprocess", "_eeg.vhdr", "not finite"),
    "26": (lambda stem: signal_of(Path(f"{stem}_eeg.eeg"), 3.0), "preprocess", "_eeg.vhdr", "constant"),
    "24": (lambda stem: shutil.copy(f"{stem}_eeg.eeg", f"{stem}_eeg.bdf"), "preprocess", "_eeg.bdf",
           "not readable as .bdf"),
    "21": (lambda stem: events(Path(f"{stem}_events.tsv"), "left", "right"), "features", "_eeg.vhdr", "no event of"),
}  # fmt: skip
ONE_CLASS, UNLISTED, WITHOUT_DATA = "20", "23", "22"
SOUND = ["01", "02", "03", ONE_CLASS, UNLISTED]


def damage(root: Path) -> None:
    """Make of the tiny dataset one with every fault, under hostile names."""
    for label in [*FAULTS, ONE_CLASS, UNLISTED]:
        clone(root, label)
    for label, (harm, *_) in FAULTS.items():
        harm(str(root / f"sub-{label}/ses-1/eeg/sub-{label}_{TASK}"))
    events(root / f"sub-{ONE_CLASS}/ses-1/eeg/sub-{ONE_CLASS}_{TASK}_events.tsv", "right")
    for path in root.rglob("*_events.tsv"):
        left, right = (kinds[0] for kinds in CLASSES.values())
        path.write_text(path.read_text().replace("left_hand", left).replace("right_hand", right))
    with (root / "participants.tsv").open("a") as table:
        table.writelines(f"sub-{label}\t30\tF\tR\n" for label in [*FAULTS, ONE_CLASS, WITHOUT_DATA])
    folder = root / f"sub-{UNLISTED}/ses-1/eeg"
    for name in ("sub-23_run-1_run-2_eeg.edf", "sub-23_$(touch pwned)_eeg.vhdr", "; touch pwned\n_eeg.edf"):
        (folder / name).write_text("x")
    sidecar(root / "dataset_description.json", Name=EVIL)


@pytest.fixture(scope="module")
def strict(tmp_path_factory, tiny_data) -> tuple[Project, subprocess.CompletedProcess]:
    """A project on the faulty dataset after a first run, with validation; one run more has a wrong parameter."""
    project = Project(copy_sources(tmp_path_factory.mktemp("bad") / "pro'ject;$(pwned)"))
    shutil.copytree(tiny_data, project.folder / ROOT)
    damage(project.folder / ROOT)
    project.card("studies", "tiny", STUDY, evaluation={**STUDY["evaluation"], "classes": list(CLASSES)})
    project.card("features", "tiny", FEATURE)
    project.card("datasets", "tiny", DATASET, title=EVIL, root=ROOT, classes=CLASSES, blocks=4)
    wrong = {"methods": {"mdm": {"params": {"n_shrinkages": EVIL}}}}
    project.card("", "config", {"runs": ["tiny", {"study": "tiny", "name": "wrong", "params": wrong}]})
    targets = ["results/runs/tiny/claims.json", "results/status.tsv", "results/runs/wrong/checks/signal.json"]
    return project, project.snakemake("--keep-going", *targets)


@pytest.fixture(scope="module")
def lenient(strict, tmp_path_factory) -> Project:
    """The same project, complete, after the dataset card has switched validation off."""
    project = strict[0].copy(tmp_path_factory.mktemp("lenient") / "project")
    project.card("datasets", "tiny", validation="skip")
    project.card("", "config", {"runs": ["tiny"]})
    project.run("--keep-going")
    return project


def planted(project: Project) -> list[Path]:
    return list(project.folder.rglob("pwned"))


def stray(folder: Path) -> list[Path]:
    """Temporary files: their names begin with a dot, or end in .part."""
    # The last is what Snakemake leaves in a folder that is an output.
    known = {".replicortex", ".bidsignore", ".snakemake", ".snakemake_timestamp"}
    found = (path for path in folder.rglob("*") if not known.intersection(path.relative_to(folder).parts[:-1]))
    return [path for path in found if path.name not in known and (path.name[0] == "." or path.suffix == ".part")]


def test_the_status_table_says_plainly_what_became_of_each_recording(strict):
    project, _ = strict
    table = {(row["stage"], row["subject"]): row for row in read_tsv(project.folder / "results/status.tsv")}
    assert len(table) == 2 * len([*FAULTS, *SOUND])
    for subject in SOUND:
        assert {table[stage, subject]["status"] for stage in ("preprocess", "features")} == {"ok"}
    for subject, (_, stage, file, fault) in FAULTS.items():
        row = table[stage, subject]
        assert row["status"] == table["features", subject]["status"] == "failed"
        assert re.search(rf"sub-{subject}_[^ ]*{re.escape(file)}: .*{re.escape(fault)}.*; \w", row["reason"]), row
        assert fault in table["features", subject]["reason"]
        assert str(project.folder) not in row["reason"]
    assert {table["preprocess", s]["status"] for s, fault in FAULTS.items() if fault[1] == "features"} == {"ok"}
    assert "no trial of right $(touch pwned)" in table["features", ONE_CLASS]["reason"]


def test_the_index_names_what_is_no_recording(strict):
    content = read_json(strict[0].folder / "results/datasets/tiny/content.json")
    told = "\n".join(f"{problem['file']}: {problem['fault']}" for problem in content["problems"])
    assert f"participants.tsv: 1 listed but without a recording: sub-{WITHOUT_DATA}" in told
    assert f"participants.tsv: 1 with recordings but not listed: sub-{UNLISTED}" in told
    assert f"sub-{UNLISTED}/ses-1/eeg: the name 'sub-23_run-1_run-2_eeg.edf' has run- twice" in told
    assert f"sub-24_{TASK}_eeg.vhdr: the same recording is also stored as .bdf" in told


def test_an_invalid_dataset_and_a_wrong_parameter_stop_the_verdict_and_nothing_else(strict):
    project, done = strict
    results = project.folder / "results"
    assert done.returncode == 1
    log = (project.folder / "logs/validate_dataset/tiny.log").read_text()
    assert re.fullmatch(r"error: .* BIDS errors \(.*\); repair what .*errors\.tsv lists, or skip validation.*\n", log)
    assert not [path for path in results.rglob("validation.*") if path.name != "validation.errors.tsv"]
    log = (project.folder / "logs/check_study/wrong/signal.log").read_text()
    assert re.fullmatch(r"error: methods/mdm: n_shrinkages: .*integer.*; correct it in the card\n", log)
    assert not list(results.glob("runs/wrong/**/*.*"))
    assert not list(results.rglob("claims.*"))
    assert (results / "runs/tiny/summary.tsv").exists()
    assert stray(results) == []


def test_verdicts_are_made_from_the_other_subjects(lenient):
    scores = read_tsv(lenient.folder / "results/runs/tiny/scores.tsv")
    assert {row["subject"] for row in scores} == set(SOUND)
    # One class only: that subject can not be scored, and says why.
    assert {row["value"] for row in scores if row["subject"] == ONE_CLASS} == {"n/a"}
    (claim,) = read_json(lenient.folder / "results/runs/tiny/claims.json")["claims"]
    assert claim["verdict"] in ("holds", "fails", "undecided", "invalid")
    assert (lenient.folder / "results/runs/tiny/figures/paired_scores.svg").exists()
    assert lenient.planned() == {}


def test_hostile_names_are_never_executed(strict, lenient):
    assert planted(strict[0]) == []
    assert planted(lenient) == []
    targets = read_tsv(lenient.folder / "results/runs/tiny/observed/targets.tsv")
    assert {row["label"] for row in targets} == set(CLASSES)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"root": "gone"}, (), r"/gone: no readable folder \(No such file or directory\); check the path"),
        ({}, ("runs=['tiny; touch pwned']",), r"config/studies/tiny; touch pwned\.yaml: no such card; choose one of"),
        ({}, ("seed=$(touch pwned)",), r"config\.yaml: seed: '\$\(touch pwned\)' is not of type 'integer'; "),
        ({}, ("runs=[{study: tiny, name: ../../x}]",), r"config\.yaml: runs\.0\.name: .*; "),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_runs(strict, tmp_path, change, config, message):
    project = Project(copy_sources(tmp_path / "project"))
    for kind in ("studies", "features", "datasets"):
        shutil.copy(strict[0].folder / "config" / kind / "tiny.yaml", project.folder / "config" / kind)
    project.card("datasets", "tiny", **change)
    project.card("", "config", {"runs": ["tiny"]})
    done = project.snakemake("results/claims.tsv", *(["--config", *config] if config else []))
    assert done.returncode == 1
    assert re.search(rf"^\S*{message}", done.stdout, re.MULTILINE), done.stdout
    assert not list(project.folder.glob("results/*"))
    assert planted(project) == []


@pytest.mark.parametrize("name", ["x; touch pwned;", "$(touch pwned)", "../../x", "a|b", "a\nb", "{x}"])
@pytest.mark.parametrize("section", ["methods", "figures", "schemes", "metrics"])
def test_a_name_in_a_card_that_is_no_name_is_refused(tmp_path, section, name):
    """These names become parts of paths and commands."""
    study = copy.deepcopy(STUDY)
    place = study if section in study else study["evaluation"]
    place[section][name] = {"component": "mdm", "role": "baseline", "family": "signal"} if section == "methods" else {}
    shutil.copytree(SOURCE / "config", tmp_path / "config")
    Project(tmp_path).card("studies", "tiny", study)
    with pytest.raises(InputError, match=rf"^config/studies/tiny\.yaml: {section}: .* is not a name; use "):
        Cards(tmp_path / "config", {"runs": ["tiny"]})


class Command:
    """The commands of a finished project, writing to a folder of their own."""

    def __init__(self, project: Project, out: Path) -> None:
        self.folder, self.out = project.folder, out
        results = project.folder / "results"
        features = results / "features/tiny/average_reference/tiny"
        run = results / "runs/tiny/observed"
        self.bundles = sorted(features.glob("*of4.npz"), reverse=True)
        self.splits, self.targets = run / "splits.tsv", run / "targets.tsv"
        self.cards = Cards(project.folder / "config", {"runs": ["tiny"]})
        study = self.cards.runs["tiny"]
        self.card = self.cards.to_check(study, "signal")
        tables = ("--splits", self.splits, "--targets", self.targets)
        self.arguments = {
            "preprocess": ["--recordings", results / "datasets/tiny/recordings.tsv", "--root", project.folder / ROOT,
                           "--block", "1of4", "--derivatives", out / "derivatives", "--manifest", out / "1of4.tsv",
                           "--engine", "mne_eeg", "--params", "{}"],
            "extract_features": ["--manifest", results / "preprocessed/tiny/average_reference/1of4.tsv",
                                 "--derivatives", results / "derivatives/tiny/average_reference", "--block", "1of4",
                                 "--bundle", out / "1of4.npz", "--status", out / "1of4.tsv", "--feature", "epochs",
                                 "--params", json.dumps(FEATURE["params"]), "--classes", json.dumps(CLASSES)],
            "make_splits": ["--features", *self.bundles, "--splits", out / "splits.tsv", "--targets",
                            out / "targets.tsv", "--classes", json.dumps(list(CLASSES)), "--exchangeable",
                            '["subject"]', "--variant", "observed", "--seed", "0", "--schemes",
                            '{"leave_one_subject_out": {}}'],
            "fit": ["--features", *self.bundles, *tables, "--predictions", out / "predictions.npz", "--models",
                    out / "models.zip", "--record", out / "fit.json", "--name", "mdm", "--method", "mdm", "--params",
                    '{"n_shrinkages": 2, "n_inner": 2}', "--variant", "observed", "--part", "0of1", "--seed", "0"],
            "check_leaks": ["--records", *sorted(run.glob("*/*/fit.json")), *tables, "--report", out / "guard.json",
                            "--schemes", json.dumps(study.evaluation["schemes"])],
        }  # fmt: skip

    def check(self, recordings: str | Path = "results/datasets/tiny/recordings.tsv", **changes):
        """Run check_study with a changed card."""
        card = json.dumps(self.card | changes)
        self.arguments["check_study"] = ["--recordings", recordings, "--root", ROOT, "--card", card, "--out",
                                         self.out / "check.json"]  # fmt: skip
        return self("check_study")

    def __call__(self, name: str, around: Sequence[str] = ()) -> subprocess.CompletedProcess:
        """Run ``scripts/<name>.py``, as the last arguments of another command if one is given."""
        command = [*around, sys.executable, f"scripts/{name}.py", *self.arguments[name]]
        return subprocess.run(list(map(str, command)), cwd=self.folder, capture_output=True, text=True, check=False)

    def written(self) -> list[str]:
        return sorted(path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())


@pytest.fixture
def command(lenient, tmp_path) -> Command:
    (tmp_path / "out").mkdir()
    return Command(lenient, tmp_path / "out")


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """The command ended with status 2 and one line: where, fault, remedy."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1
    assert re.fullmatch(r"error: .+: .+; .+", lines[0])
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filters": {"task": ["rest"]}}, "dataset tiny: has no eeg recording, which the feature epochs needs"),
        ({"classes": {}}, f"does not say which events mean {', '.join(CLASSES)}; its events.tsv have the trial_type `"),
        (
            {"classes": {name: ["left_hnd"] for name in CLASSES}},
            f"has no event of class {', '.join(CLASSES)} (trial_type left_hnd, left_hnd); its events.tsv have the",
        ),
        (
            {"feature": {"extractor": "epochs", "params": {"$(touch pwned)": 1}}},
            "features/epochs: unknown parameter '$(touch pwned)'; choose one of",
        ),
    ],
)
def test_a_dataset_that_lacks_what_the_study_needs_is_refused(command, changes, words):
    refused(command.check(**changes), words)
    assert command.written() == []


def test_a_dataset_without_eeg_says_what_there_is(command, tmp_path):
    root = tmp_path / "mri"
    (root / "sub-01/anat").mkdir(parents=True)
    (root / "sub-01/anat/sub-01_T1w.nii").write_text("x")
    command.arguments["index_dataset"] = ["--root", root, "--out", tmp_path]
    assert command("index_dataset").returncode == 0
    refused(
        command.check(recordings=tmp_path / "recordings.tsv"),
        "has no eeg recording, which the feature epochs needs (it has anat (T1w))",
    )
    assert command.written() == []


@pytest.mark.parametrize(
    ("name", "input_", "size", "words"),
    [
        ("make_splits", "bundle", 20_000, ".npz: not a readable bundle"),
        ("fit", "bundle", 20_000, ".npz: not a readable bundle"),
        ("fit", "targets", 200, "targets.tsv: "),
        ("check_leaks", "splits", 2_000, "splits.tsv: "),
    ],
)
def test_a_damaged_intermediate_file_is_named(command, tmp_path, name, input_, size, words):
    path = command.bundles[0] if input_ == "bundle" else getattr(command, input_)
    damaged = Path(shutil.copy(path, tmp_path / path.name))
    os.truncate(damaged, size)
    command.arguments[name] = [damaged if argument == path else argument for argument in command.arguments[name]]
    refused(command(name), words, "again")
    assert command.written() == []


#: A command around another that lets it write 20 KB a file, or 28 KB in all; what was written is listed.
THEN_LIST = '"$@"; status=$?; find "$0" -type f; exit $status'
FULL = {
    "limit": ["sh", "-c", f"ulimit -f 40; {THEN_LIST}"],
    "disk": ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
             f'mount -t tmpfs -o size=28k tmpfs "$0" || exit 99; {THEN_LIST}'],
}  # fmt: skip


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize(
    ("name", "where"),
    [("preprocess", "sub-02_"), ("extract_features", "sub-02_"), ("fit", "predictions.npz: ")],
)
def test_a_full_disk_leaves_nothing_and_is_not_the_recordings_fault(command, name, where, kind):
    """A recording recorded as failed for want of space would be missing from all that follows."""
    if kind == "disk" and subprocess.run([*FULL[kind], command.out, "true"], check=False).returncode:
        pytest.skip("this user can not mount a small file system")
    done = command(name, around=[*FULL[kind], str(command.out)])
    refused(done, where, "free disk space, then run again")
    whole = ("dataset_description.json", "README.md", ".bidsignore")
    assert [path for path in done.stdout.splitlines() if path.startswith("/") and not path.endswith(whole)] == []


def without(project: Project, *patterns: str) -> None:
    """Remove what follows the fits, so that what is there afterwards was made afterwards."""
    after = ("claims.tsv", "runs/tiny/*.*", "runs/tiny/figures", "runs/tiny/observed/guard.json")
    for pattern in (*after, "runs/tiny/observed/scores.tsv", *patterns):
        for path in (project.folder / "results").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_splitter_that_leaks_stops_before_anything_is_fitted(command, tmp_path):
    project = Project(copy_sources(tmp_path / "project"))
    splitter = project.folder / "scripts/replicortex/splitters/leave_one_subject_out.py"
    source, said = splitter.read_text(), "np.flatnonzero(subject != name)"
    assert said in source
    splitter.write_text(source.replace(said, "np.arange(len(subject))"))
    command.folder = project.folder
    refused(command("make_splits"), "leave_one_subject_out, fold sub-01", "subject 01 is on both sides")
    assert command.written() == []


def test_a_leak_stops_the_run_without_scores_or_verdict(lenient, tmp_path):
    project = lenient.copy(tmp_path / "project")
    without(project)
    splits = project.folder / "results/runs/tiny/observed/splits.tsv"
    line = next(line for line in splits.read_text().splitlines() if re.match(r"leave.*sub-02\t.*\ttest$", line))
    # With its note of what it made, the next start would see the edited table and make it again.
    (project.folder / ".snakemake/replicortex/outputs.json").unlink()
    with splits.open("a") as table:
        table.write(f"{line.removesuffix('test')}train\n")
    done = project.snakemake("--keep-going", "results/claims.tsv")
    assert done.returncode == 1
    log = (project.folder / "logs/check_leaks/tiny/observed.log").read_text()
    assert re.fullmatch(
        r"error: splits of leave_one_subject_out, fold sub-02: subject 02 is on both sides .*; .*\n", log
    )
    # The pages of the run before still hold its tables.
    paths = (project.folder / "results").rglob("*")
    made = {path.name for path in paths if not {"null-1", "site"} & set(path.parts)}
    assert not made & {"guard.json", "scores.tsv", "summary.tsv", "claims.json", "claims.tsv"}
    assert stray(project.folder / "results") == []


#: Loaded by Python at its start: kills the fit, or all that Snakemake started, before its second file is renamed.
KILLER = """
import os, signal, sys
rename, renamed = os.replace, []
def replace(source, target, **options):
    renamed.append(target)
    if len(renamed) == 2:
        os.kill(os.getpid(), 9) if os.environ["KILL"] == "job" else os.killpg(0, 9)
    return rename(source, target, **options)
if any(argument.endswith("scripts/fit.py") for argument in sys.orig_argv):
    os.replace = replace
"""


def test_what_was_killed_is_made_again_and_is_the_same(lenient, tmp_path):
    project = lenient.copy(tmp_path / "project")
    folder = project.folder / "results/runs/tiny/observed/mdm/seed-0_part-0of1"
    without(project, "runs/tiny/observed/mdm")
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer/sitecustomize.py").write_text(KILLER)

    # The job alone, as by the kernel for want of memory: Snakemake removes what the job had written.
    assert project.snakemake(PYTHONPATH=str(tmp_path / "killer"), KILL="job").returncode == 1
    assert not [path for path in folder.iterdir() if path.name[0] != "."]

    # Everything at once, as by a power cut: one whole output stays, none is half there.
    command = [Path(sys.executable).parent / "snakemake", "--cores", "2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "killer"), "KILL": "all"}
    killed = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True,
                            start_new_session=True, check=False)  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == ["predictions.npz"]

    # An incomplete file is not taken for a result.
    assert "the last run in this folder was killed" in project.run()
    assert lenient.results().items() <= project.results().items()
    assert project.planned() == {}
