"""Snakemake's conda path, with a stand-in for the program: rattler, not conda (workflow_tests/conda_fixture).

Real: the environment files, the solver's answer to them, prefixes, activation, pip's section, pin files, and jobs that
run in all this. Not seen here: conda's own solver, and whether conda-forge has what the files ask for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conda_fixture.channel import cached
from conda_fixture.install import install_front_end
from project import Project
from replicortex.errors import InputError
from replicortex.pins import check_pins
from replicortex.stages.pins import pin_environments
from source_code import ROOT

pytestmark = pytest.mark.conda
TIMEOUT = 600
ENTRIES = yaml.safe_load((ROOT / "envs" / "signal.yaml").read_text())["dependencies"]
#: Distributions of the family; that of base has only pip's.
SIGNAL = [entry.partition("=")[0] for entry in ENTRIES if not entry.startswith("python=")]


@pytest.fixture(scope="session")
def conda(tmp_path_factory) -> dict[str, str]:
    """Environment variables with which Snakemake finds the stand-in."""
    pytest.importorskip("rattler", reason="conda's stand-in needs py-rattler")
    pytest.importorskip("rattler_build", reason="conda's stand-in needs py-rattler-build")
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("conda's stand-in packages what is installed for linux-64 only")
    base = tmp_path_factory.mktemp("conda")
    return install_front_end(base, cached([*SIGNAL, "pip"]))


@pytest.fixture(scope="session")
def prefix(tmp_path_factory) -> Path:
    """Folder of the environments, shared by the tests: each is made once."""
    return tmp_path_factory.mktemp("environments")


def snakemake(project: Project, conda: dict[str, str], prefix: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Snakemake with conda's stand-in, on the profile that is shipped."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--nocolor", "--cores", "2"]
    command += ["--profile", "config/profiles/conda", "--conda-prefix", str(prefix), *arguments]
    return subprocess.run(
        command,
        cwd=project.folder,
        env={**os.environ, **conda},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


def environments(prefix: Path) -> set[str]:
    """Names of the environments that are there, whole or not."""
    return {path.name for path in prefix.iterdir() if path.is_dir()}


def results(project: Project) -> dict[str, bytes]:
    """All that a run leaves but what tells times or versions, and the store, whose keys tell the environment file."""
    return project.results(but=r".*/(checks|\.replicortex)/.*|.*/scan\.json")


def edit(project: Project, family: str, **changes: str) -> None:
    """Change what packages an environment file asks for: None takes one out."""
    path = project.folder / "envs" / f"{family}.yaml"
    content = yaml.safe_load(path.read_text())
    dependencies = []
    for entry in content["dependencies"]:
        name = re.split("=", entry)[0] if isinstance(entry, str) else ""
        wanted = changes.pop(name.replace("-", "_"), entry)
        dependencies += [wanted] if wanted else []
    assert not changes
    path.write_text(yaml.safe_dump({**content, "dependencies": dependencies}))


def test_a_study_in_conda_environments_gives_the_same_bytes(finished, conda, prefix, tmp_path):
    """From raw data to scores in the environments of two families, the one with a section for pip included."""
    project = Project(tmp_path / "project")
    made = shutil.ignore_patterns("results", "logs", ".snakemake")
    shutil.copytree(finished.folder, project.folder, symlinks=True, ignore=made)
    check = "results/runs/tiny/checks/signal.json"
    targets = ["results/datasets/tiny/validation.json", check, "results/runs/tiny/observed/scores.tsv"]
    done = snakemake(project, conda, prefix, *targets)
    assert done.returncode == 0, done.stdout[-5000:] + project.logs()
    assert len(environments(prefix)) == 2
    # What a job of the family finds: its packages, and none of those that only the tests' own environment has.
    versions = {name: json.loads((side.folder / check).read_text())["versions"] for name, side in
                {"conda": project, "host": finished}.items()}  # fmt: skip
    assert versions["conda"].items() < versions["host"].items()
    assert {"mne", "pyriemann"} <= versions["conda"].keys()
    assert versions["host"].keys() - versions["conda"].keys() >= {"antspyx", "nilearn"}
    ours, theirs = results(project), results(finished)
    assert {name.rpartition("/")[2] for name in ours} >= {"scores.tsv", "predictions.npz", "models.zip", "fit.json"}
    assert sorted(name for name in ours if ours[name] != theirs.get(name)) == []


def test_a_package_that_the_environment_lacks_is_not_taken_from_the_host(project, conda, prefix):
    """The host has it, and offers it by PYTHONPATH too."""
    import pyriemann

    edit(project, "signal", pyriemann=None)
    site = str(Path(pyriemann.__file__).parents[1])
    target = "results/runs/tiny/observed/mdm/seed-0_part-0of1/fit.json"
    (project.folder / target).unlink()
    arguments = ["--allowed-rules", "fit", "--rerun-triggers", "mtime", "--", target]
    done = snakemake(project, {**conda, "PYTHONPATH": site}, prefix, *arguments)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "needs the package 'pyriemann', which this environment lacks" in done.stdout + project.logs()


def test_what_can_not_be_solved_says_why_and_leaves_nothing(project, conda, prefix):
    before = environments(prefix)
    edit(project, "signal", numpy="numpy=99.0")
    done = snakemake(project, conda, prefix, "--conda-create-envs-only", "--forceall")
    assert done.returncode == 1
    assert "No candidates were found for numpy 99.0" in done.stdout
    made = environments(prefix) - before
    # The other family's may have been made; none is half there.
    assert all(prefix.joinpath(f"{name}.env_setup_done").is_file() for name in made)
    assert not any("pandas" in str(path) for name in made for path in (prefix / name / "conda-meta").iterdir())


# ---- pins


@pytest.fixture(scope="session")
def pinned(conda, tmp_path_factory) -> Path:
    """Environment files of two families with the pin files that the command writes for them."""
    folder = tmp_path_factory.mktemp("pinned") / "envs"
    shutil.copytree(ROOT / "envs", folder)
    command = [sys.executable, str(ROOT / "scripts" / "pin_environments.py"), "base", "signal", "--envs", str(folder)]
    done = subprocess.run(
        command, env={**os.environ, **conda}, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_pins_are_what_the_environment_file_asks_for(pinned):
    """Judged by rattler's own matching, and every package has its hash."""
    from rattler import BuildString, MatchSpec, PackageRecord

    check_pins(pinned)
    assert sorted(path.name for path in pinned.glob("*.pin.txt")) == [
        "base.linux-64.pin.txt",
        "signal.linux-64.pin.txt",
    ]
    for family in ("base", "signal"):
        lines = (pinned / f"{family}.linux-64.pin.txt").read_text().splitlines()
        pins = {}
        for line in lines[lines.index("@EXPLICIT") + 1 :]:
            match = re.fullmatch(r"file:///.*/(linux-64|noarch)/(.+)-([^-]+)-([^-]+)\.conda#[0-9a-f]{32}", line)
            assert match, line
            subdir, name, version, build = match.groups()
            pins[name] = PackageRecord(name, version, BuildString(build), 0, subdir)
        entries = yaml.safe_load((pinned / f"{family}.yaml").read_text())["dependencies"]
        asked = [MatchSpec(entry) for entry in entries if isinstance(entry, str)]
        assert len(asked) >= 2
        for spec in asked:
            record = pins[spec.name.normalized]
            assert spec.matches(record), (spec, record)
        # Each stands after what it needs.
        assert list(pins).index("python") < list(pins).index("pip" if family == "base" else "numpy")


def test_what_pip_adds_is_pinned_by_hash_beside(pinned):
    text = (pinned / "base.post-deploy.sh").read_text()
    assert "bids-validator-deno==3.0.2 --hash=sha256:" in text
    assert re.search(r"^deno==\S+ --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert not (pinned / "signal.post-deploy.sh").exists()


def test_snakemake_installs_the_pins(project, conda, prefix, pinned):
    before = environments(prefix)
    shutil.copytree(pinned, project.folder / "envs", dirs_exist_ok=True)
    target = "results/datasets/tiny/validation.json"
    (project.folder / target).unlink()
    arguments = ["--allowed-rules", "validate_dataset", "--rerun-triggers", "mtime", "--", target]
    done = snakemake(project, conda, prefix, *arguments)
    assert done.returncode == 0, done.stdout[-5000:] + project.logs()
    assert "Using pinnings from" in done.stdout
    assert "Failed to install conda environment from pin file" not in done.stdout
    (made,) = environments(prefix) - before
    # A file of pins has no place for pip's packages: they came by the script, and the job has run their program.
    program = prefix / made / "bin" / "bids-validator-deno"
    assert program.stat().st_mode & stat.S_IXUSR
    wanted = {line.rpartition("/")[2].partition("#")[0] for line in read_pins(pinned / "base.linux-64.pin.txt")}
    found = {f"{path.stem}.conda" for path in (prefix / made / "conda-meta").glob("*.json")}
    assert found == wanted


def read_pins(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and line[0] not in "#@"]


def test_pins_of_an_earlier_environment_file_are_refused_at_the_start(project, pinned):
    shutil.copytree(pinned, project.folder / "envs", dirs_exist_ok=True)
    with (project.folder / "envs" / "signal.yaml").open("a") as stream:
        stream.write("# edited\n")
    done = project.snakemake("--dry-run")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "signal.linux-64.pin.txt" in line]
    assert len(lines) == 1
    assert "is not of signal.yaml as it is now; run python scripts/pin_environments.py signal, or remove it" in lines[0]
    assert "Traceback" not in done.stdout


def test_an_environment_that_can_not_be_made_leaves_the_pins_as_they_were(pinned, conda, tmp_path, monkeypatch):
    for name, value in conda.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "envs"
    shutil.copytree(pinned, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".yaml"}
    text = (folder / "signal.yaml").read_text()
    (folder / "signal.yaml").write_text(re.sub("numpy=.*", "numpy=99.0", text))
    with pytest.raises(InputError, match=r"No candidates were found for numpy 99\.0"):
        pin_environments(folder, ["signal"])
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".yaml"} == before
