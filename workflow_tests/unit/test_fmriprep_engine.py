"""The engine that runs fMRIPrep, with a program that stands in for Apptainer or Docker.

The stand-in is no fMRIPrep: it checks its command line, writes what fMRIPrep would leave, and fails as told. What is
tested is the command, what a container sees, when it runs, and that outputs, not exit codes, say whether it worked.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmriprep_tree import AFFINE, IN_SPACE, RUN, write_fmriprep, write_raw
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared.nifti import save_image

STAND_IN = """#!{python}
# Stands in for {name}: records its words, and makes or withholds what fMRIPrep would leave.
import json, os, pathlib, shutil, sys
plan = json.loads(pathlib.Path({plan!r}).read_text())
words = sys.argv[1:]
if words[:2] == ["image", "inspect"]:
    sys.exit(plan.get("inspect", 0))
log = pathlib.Path({calls!r})
calls = json.loads(log.read_text()) if log.is_file() else []
opened = [name for name in os.environ if name.startswith(("APPTAINERENV_", "APPTAINER_BIND"))]
log.write_text(json.dumps([*calls, {{"words": words, "opened": opened, "cwd": os.getcwd()}}]))
print("stand-in")
binds = dict(words[n + 1].split(":")[1::-1] for n, word in enumerate(words) if word in ("--bind", "--volume"))
shutil.copytree(plan["outputs"], binds["/out"], dirs_exist_ok=True)
for name in plan.get("without", []):
    (pathlib.Path(binds["/out"]) / name).unlink()
sys.exit(plan.get("status", 0))
"""


class Bench:
    """A raw dataset, a stand-in on PATH, and what it is told to do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.folder = folder / "raw", folder
        self.rows = write_raw(self.root)
        write_fmriprep(folder / "outputs")
        self.calls_file, self.plan_file = folder / "calls.json", folder / "plan.json"
        (folder / "bin").mkdir()
        for name in ("apptainer", "docker"):
            program = folder / "bin" / name
            facts = {"plan": str(self.plan_file), "calls": str(self.calls_file), "name": name}
            program.write_text(STAND_IN.format(python=sys.executable, **facts))
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setenv("APPTAINERENV_SECRET", "1")
        monkeypatch.delenv("TEMPLATEFLOW_HOME", raising=False)
        (folder / "license.txt").write_text("me@example.org\n")
        (folder / "fmriprep-25.2.5.sif").write_bytes(b"image")
        self.plan()

    def plan(self, **plan):
        self.plan_file.write_text(json.dumps({"outputs": str(self.folder / "outputs"), **plan}))

    def engine(self, **params):
        files = {"image": str(self.folder / "fmriprep-25.2.5.sif"), "fs_license": str(self.folder / "license.txt")}
        return make("preprocessing", "fmriprep", {**files, **params})

    def run(self, engine, datatype="func", derivatives="derivatives", parents=()):
        out = self.folder / derivatives / ".replicortex" / "sub-01" / "x.part"
        out.mkdir(parents=True, exist_ok=True)
        for path in out.iterdir():
            path.unlink()
        sidecar = engine.preprocess(self.rows[datatype], self.root, out, parents)
        return sidecar, sorted(path.name for path in out.iterdir())

    @property
    def calls(self):
        return json.loads(self.calls_file.read_text()) if self.calls_file.is_file() else []


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def after(words, flag):
    return words[words.index(flag) + 1]


def test_the_command_is_what_fmriprep_understands(bench):
    bench.run(bench.engine(extra=["--ignore", "slicetiming", "--dummy-scans=2"], mem_mb=8000, nprocs=3))
    (call,) = bench.calls
    words = call["words"]
    assert words[:3] == ["run", "--cleanenv", "--containall"]
    image = words.index(str(bench.folder / "fmriprep-25.2.5.sif"))
    assert words[image + 1 : image + 6] == ["/data", "/out", "participant", "--participant-label", "01"]
    inner = words[image + 1 :]
    assert {"--notrack", "--skip-bids-validation", "--skull-strip-fixed-seed"} <= set(inner)
    pairs = {"--level": "full", "--output-spaces": "MNI152NLin2009cAsym:res-2", "--random-seed": "0", "--mem": "8000"}
    pairs |= {"--nprocs": "3", "--omp-nthreads": "1", "--work-dir": "/work", "--fs-license-file": "/license.txt"}
    assert {flag: after(inner, flag) for flag in pairs} == pairs
    assert inner[-3:] == ["--ignore", "slicetiming", "--dummy-scans=2"]
    assert "--anat-only" not in inner
    assert "--session-label" not in inner
    binds = [words[number + 1] for number, word in enumerate(words) if word == "--bind"]
    assert f"{bench.root}:/data:ro" in binds
    assert f"{bench.folder / 'license.txt'}:/license.txt:ro" in binds
    assert {"NO_ET=1", "TEMPLATEFLOW_HOME=/templateflow"} <= {words[n + 1] for n, w in enumerate(words) if w == "--env"}
    assert call["opened"] == []


def test_the_words_are_those_of_the_real_parser(bench):
    """Flags as ``fmriprep/cli/parser.py`` of release 23.2 to 25.2 declares them; a misspelt one would end the run."""
    known = {"--participant-label", "--session-label", "--subject-anatomical-reference", "--work-dir", "--notrack",
             "--fs-license-file", "--skip-bids-validation", "--level", "--output-spaces", "--output-layout", "--nprocs",
             "--omp-nthreads", "--mem", "--random-seed", "--skull-strip-fixed-seed", "--anat-only", "--fs-no-reconall",
             "--derivatives", "--fs-subjects-dir"}  # fmt: skip
    bench.run(bench.engine(datatype="anat", freesurfer=False), "anat")
    words = bench.calls[0]["words"]
    inner = words[words.index("participant") :]
    assert {word for word in inner if word.startswith("--")} <= known
    assert {"--anat-only", "--fs-no-reconall"} <= set(inner)


def test_docker_is_called_in_its_own_words(bench):
    bench.run(bench.engine(runtime="docker", image="nipreps/fmriprep:25.2.5"))
    words = bench.calls[0]["words"]
    assert words[:5] == ["run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}", "--env"]
    assert f"{bench.root}:/data:ro" in words
    assert words[words.index("nipreps/fmriprep:25.2.5") + 1] == "/data"
    bench.plan(inspect=1)
    with pytest.raises(InputError, match=r"no such container image; fetch it: docker pull nipreps/fmriprep:25.2.5"):
        bench.run(bench.engine(runtime="docker", image="nipreps/fmriprep:25.2.5"), derivatives="other")
    assert len(bench.calls) == 1


def test_outputs_get_the_names_that_the_native_engine_gives(bench):
    sidecar, files = bench.run(bench.engine())
    space = "space-MNI152NLin2009cAsym"
    assert files == sorted([
        f"{RUN}_{space}_desc-preproc_bold.nii.gz", f"{RUN}_{space}_desc-brain_mask.nii.gz",
        f"{RUN}_{space}_boldref.nii.gz",
        f"{RUN}_desc-confounds_timeseries.tsv", f"{RUN}_desc-confounds_timeseries.json",
        f"{RUN}_from-boldref_to-T1w_mode-image_xfm.txt",
    ])  # fmt: skip
    assert sidecar["MainFile"] == f"{RUN}_{space}_desc-preproc_bold.nii.gz"
    assert sidecar["ProcessingSoftware"] == "fMRIPrep 25.2.5"
    assert sidecar["RepetitionTime"] == 2.0
    assert "Notes" not in sidecar
    assert str(bench.folder) not in json.dumps(sidecar)
    sidecar, files = bench.run(bench.engine(datatype="anat"), "anat", "anatomy")
    assert sidecar["MainFile"] == "sub-01_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"
    assert len(files) == 15


def test_a_subject_is_run_once_and_again_when_its_data_change(bench):
    engine = bench.engine()
    bench.run(engine)
    bench.run(engine)
    bench.run(bench.engine(nprocs=1, mem_mb=4000))
    assert len(bench.calls) == 1
    # The same content under a new time is the same data.
    raw = bench.root / bench.rows["func"]["path"]
    os.utime(raw, (1, 1))
    bench.run(bench.engine())
    assert len(bench.calls) == 1
    bench.run(bench.engine(output_spaces=["MNI152NLin2009cAsym:res-2", "MNI152NLin6Asym"]))
    assert len(bench.calls) == 2
    save_image(nib.load(raw).get_fdata() + 1, AFFINE, raw)
    stale = next(bench.folder.glob(f"derivatives/.fmriprep/*/out/sub-01/func/{RUN}_desc-confounds_timeseries.tsv"))
    marker = stale.with_name("stale.txt")
    marker.write_text("of other data")
    for number in (3, 3):
        bench.run(bench.engine())
        bench.run(bench.engine(output_spaces=["MNI152NLin2009cAsym:res-2", "MNI152NLin6Asym"]))
        assert len(bench.calls) == number + 1
    assert not marker.exists()


def test_success_without_outputs_is_a_failure_that_names_the_file(bench):
    missing = f"sub-01/func/{RUN}_{IN_SPACE}_desc-brain_mask.nii.gz"
    bench.plan(without=[missing], status=0)
    engine = bench.engine()
    with pytest.raises(InputError, match=r"^sub-01/func: lacks \*_desc-brain_mask.nii.gz.*exit status 0") as caught:
        bench.run(engine)
    log = str(caught.value).partition("; see ")[2].partition(",")[0]
    assert (bench.folder / "derivatives" / ".fmriprep" / log).read_text() == "stand-in\n"
    assert str(bench.folder) not in str(caught.value)
    # The other recordings of the subject do not each try again; the next start of the workflow does.
    with pytest.raises(InputError, match="exit status 0"):
        bench.run(engine)
    assert len(bench.calls) == 1
    bench.plan()
    bench.run(bench.engine())
    assert len(bench.calls) == 2


def test_whole_outputs_of_a_run_that_ended_in_error_are_taken_with_a_note(bench):
    bench.plan(status=1)
    sidecar, files = bench.run(bench.engine())
    assert sidecar["Notes"] == ["fMRIPrep ended with exit status 1; its outputs of this recording are whole"]
    assert len(files) == 6
    again, _ = bench.run(bench.engine())
    assert again == sidecar
    assert len(bench.calls) == 1


@pytest.mark.parametrize("kind", ["volumes", "truncated", "mask", "rows"])
def test_damaged_outputs_are_refused_whatever_the_exit_status(bench, kind):
    func = bench.folder / "outputs" / "sub-01" / "func"
    bold = func / f"{RUN}_{IN_SPACE}_desc-preproc_bold.nii.gz"
    if kind == "volumes":
        save_image(nib.load(bold).get_fdata()[..., :5], AFFINE, bold)
    elif kind == "truncated":
        os.truncate(bold, bold.stat().st_size - 100)
    elif kind == "mask":
        save_image(np.eye(8)[..., None] * np.ones(3), AFFINE, func / f"{RUN}_{IN_SPACE}_desc-brain_mask.nii.gz")
    else:
        table = func / f"{RUN}_desc-confounds_timeseries.tsv"
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="its outputs are not whole"):
        bench.run(bench.engine())
    assert not list((bench.folder / "derivatives" / ".replicortex" / "sub-01" / "x.part").iterdir())


def test_an_interrupted_run_goes_on_from_its_work_folder(bench):
    bench.run(bench.engine())
    record = next(bench.folder.glob("derivatives/.fmriprep/*/state/sub-01.json"))
    state = json.loads(record.read_text())
    record.write_text(json.dumps({"inputs": state["inputs"], "finished": False}))
    work = next(bench.folder.glob("derivatives/.fmriprep/*/work/sub-01"))
    (work / "half").write_text("intermediate")
    bench.run(bench.engine())
    assert len(bench.calls) == 2
    assert (work / "half").is_file()


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"fs_license": ""}, "fs_license: is not given"),
        ({"fs_license": "/nowhere/license.txt"}, "^license.txt: no such FreeSurfer licence"),
        ({"image": "/nowhere/fmriprep-25.2.5.sif"}, r"fetch it: apptainer build fmriprep-25.2.5.sif docker://nipreps"),
        ({"image": ""}, "image: is not given; apptainer build"),
        ({"templateflow": "/nowhere/flow"}, "^flow: no such TemplateFlow folder"),
    ],
)
def test_what_a_run_lacks_is_said_before_it_starts(bench, params, fault):
    with pytest.raises(InputError, match=fault):
        bench.run(bench.engine(**params))
    assert bench.calls == []


def test_an_empty_licence_and_a_missing_program_are_said_before_it_starts(bench, monkeypatch):
    (bench.folder / "license.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"license.txt: is empty"):
        bench.run(bench.engine())
    (bench.folder / "license.txt").write_text("me\n")
    monkeypatch.setenv("PATH", str(bench.folder))
    with pytest.raises(InputError, match="apptainer: is not installed"):
        bench.run(bench.engine())
    assert bench.calls == []


@pytest.mark.parametrize(
    "params",
    [
        {"extra": ["--ignore slicetiming"]},
        {"extra": ["; rm -rf /"]},
        {"extra": ["$(id)"]},
        {"extra": ["-w"]},
        {"extra": ["--output-sp", "x"]},
        {"extra": ["--participant_label", "02"]},
        {"extra": ["--config-file=/x"]},
        {"output_spaces": ["--notrack"]},
        {"output_spaces": ["fsaverage5"]},
        {"level": "minimal"},
    ],
)
def test_parameters_that_could_undo_the_command_are_refused(params):
    with pytest.raises(InputError):
        make("preprocessing", "fmriprep", params)


def test_sessions_one_by_one(bench):
    source = bench.root / "sub-01"
    (source / "ses-A").mkdir()
    (source / "func").rename(source / "ses-A" / "func")
    name = bench.root / "sub-01" / "ses-A" / "func" / f"{RUN}_bold.nii.gz"
    stem = RUN.replace("sub-01_", "sub-01_ses-A_")
    name.rename(name.with_name(f"{stem}_bold.nii.gz"))
    made = bench.folder / "outputs" / "sub-01"
    (made / "ses-A").mkdir()
    (made / "func").rename(made / "ses-A" / "func")
    for path in (made / "ses-A" / "func").iterdir():
        path.rename(path.with_name(path.name.replace("sub-01_", "sub-01_ses-A_")))
    facts = {"recording": stem, "path": f"sub-01/ses-A/func/{stem}_bold.nii.gz", "session": "A"}
    bench.rows["func"] |= facts
    sidecar, _ = bench.run(bench.engine(session_by_session=True))
    assert sidecar["MainFile"].startswith(f"{stem}_space-")
    words = bench.calls[0]["words"]
    assert after(words, "--session-label") == "A"
    assert after(words, "--subject-anatomical-reference") == "sessionwise"


def test_bold_uses_the_anatomy_that_an_earlier_recipe_made(bench):
    bench.run(bench.engine(datatype="anat"), "anat", "anatomy")
    main = bench.folder / "anatomy" / "sub-01" / "anat" / "sub-01_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"
    main.parent.mkdir(parents=True)
    main.write_bytes(b"main")
    bench.run(bench.engine(), parents=[main])
    words = bench.calls[1]["words"]
    assert after(words, "--derivatives") == "anat=/anatomy"
    made = next(bench.folder.glob("anatomy/.fmriprep/*/out"))
    assert f"{made}:/anatomy:ro" in words
    # Other anatomy, other BOLD.
    main.write_bytes(b"other")
    bench.run(bench.engine(), parents=[main])
    assert len(bench.calls) == 3


def test_which_recordings_are_taken(bench):
    engine = bench.engine()
    row = bench.rows["func"]
    assert engine.takes(row)
    assert not engine.takes(bench.rows["anat"])
    assert not engine.takes({**row, "suffix": "sbref"})
    assert not engine.takes({**row, "recording": "sub-01_task-rest_echo-2"})
    with pytest.raises(InputError, match="leads out of the dataset"):
        engine.preprocess({**row, "path": "/etc/passwd"}, bench.root, bench.folder)
    with pytest.raises(InputError, match="no BIDS label"):
        engine.preprocess({**row, "subject": "01;id"}, bench.root, bench.folder)
