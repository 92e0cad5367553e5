"""Which image an environment has, when it no longer fits, what containers see; building, with a stand-in program."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from project import SOURCE
from replicortex.cards import Cards
from replicortex.errors import InputError
from replicortex.images import (
    check_images,
    definition_digest,
    enter_containers,
    mounts,
    pinned,
    raw_paths,
    read_images,
)

ENVIRONMENTS = sorted(path.stem for path in (SOURCE / "envs").glob("*.yaml"))
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def sources(tmp_path) -> Path:
    """What images are made of, to be changed."""
    for part in ("containers", "envs"):
        shutil.copytree(SOURCE / part, tmp_path / "project" / part, ignore=shutil.ignore_patterns("*.sif"))
    shutil.copy2(SOURCE / "constraints.txt", tmp_path / "project")
    return tmp_path / "project"


def listed(sources: Path, **entries) -> dict[str, str | None]:
    (sources / "containers" / "images.yaml").write_text(yaml.safe_dump(entries))
    return read_images(sources, ENVIRONMENTS)


# ---- which image


def test_every_environment_has_a_definition_and_an_image():
    assert set(yaml.safe_load((SOURCE / "containers" / "images.yaml").read_text())) == set(ENVIRONMENTS)
    assert {path.stem for path in (SOURCE / "containers").glob("*.def")} == set(ENVIRONMENTS)


def test_an_image_is_a_path_or_an_address_with_a_digest(sources, monkeypatch):
    monkeypatch.chdir(sources.parent)
    monkeypatch.setenv("IMAGES", "/scratch/images")
    address = f"docker://registry.example:5000/lab/signal@{DIGEST}"
    images = listed(sources, signal=address, base="${IMAGES}/base.sif", mri="other/mri.sif")
    assert images["signal"] == address
    assert images["base"] == "/scratch/images/base.sif"
    assert images["mri"] == "project/other/mri.sif"
    assert images["torch"] == "project/containers/torch.sif"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("docker://lab/signal:1.2", r"signal: docker://lab/signal:1.2 has no digest; .*@sha256:DIGEST"),
        ("docker://lab/signal", "has no digest"),
        (f"docker://lab/signal:1.2@{DIGEST}", "both a tag and a digest; leave out the tag"),
        (f"docker://lab/signal@{DIGEST[:-1]}", "is no image"),
        (f"docker://lab/signal;id@{DIGEST}", "is no image"),
        (f"https://example.org/signal.sif@{DIGEST}", "is no image"),
        ("$(id).sif", "has other signs than"),
        ("a file.sif", "has other signs than"),
        ("x;id.sif", "has other signs than"),
        (["a"], "is not text"),
    ],
)
def test_what_is_not_pinned_or_not_plain_is_refused(sources, entry, said):
    with pytest.raises(InputError, match=said):
        listed(sources, signal=entry)


def test_an_image_of_no_environment_is_refused(sources):
    with pytest.raises(InputError, match="no environment 'signals'; did you mean 'signal'"):
        listed(sources, signals="x.sif")


def test_a_folder_with_blanks_does_no_harm_without_containers(sources, tmp_path, monkeypatch):
    project = sources.rename(tmp_path / "my project")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert set(read_images(project, ENVIRONMENTS, used=False).values()) == {None}
    with pytest.raises(InputError, match="other signs"):
        read_images(project, ENVIRONMENTS)


# ---- what containers see


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)


def test_raw_data_are_read_only_wherever_they_lie(tmp_path):
    folders(tmp_path, "work/data", "archive/ds1", "archive/ds2", "scratch")
    work = tmp_path / "work"
    (work / "linked").symlink_to(tmp_path / "archive" / "ds2")
    (work / "results").symlink_to(tmp_path / "scratch")
    raw = ["data", str(tmp_path / "archive" / "ds1"), "linked", "not/there"]
    found = mounts(raw, ["results", "logs"], work)
    assert sorted(found) == sorted([
        *(f"{tmp_path}/{name}:{tmp_path}/{name}:ro" for name in ("work/data", "archive/ds1", "archive/ds2")),
        f"{tmp_path}/scratch:{tmp_path}/scratch:rw",
    ])  # fmt: skip


def test_a_working_directory_inside_a_dataset_stays_writable(tmp_path):
    folders(tmp_path, "ds/derivatives/work/results")
    found = mounts([str(tmp_path / "ds")], ["results"], tmp_path / "ds" / "derivatives" / "work")
    work = f"{tmp_path}/ds/derivatives/work"
    assert found == [f"{tmp_path}/ds:{tmp_path}/ds:ro", f"{work}:{work}:rw"]


def test_a_dataset_behind_a_link_is_seen_under_both_names(tmp_path):
    folders(tmp_path, "work", "disk/ds")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    found = mounts([str(tmp_path / "data" / "ds")], [], tmp_path / "work")
    assert sorted(found) == [f"{tmp_path}/disk/ds:{tmp_path}/{name}/ds:ro" for name in ("data", "disk")]


def test_what_can_not_be_kept_apart_or_mounted_is_refused(tmp_path):
    folders(tmp_path, "work", "a,b", "c:d")
    with pytest.raises(InputError, match="is the working directory"):
        mounts([str(tmp_path / "work")], [], tmp_path / "work")
    for name in ("a,b", "c:d"):
        with pytest.raises(InputError, match=f"{name}.*a comma or a colon"):
            mounts([str(tmp_path / name)], [], tmp_path / "work")
        with pytest.raises(InputError, match="a comma or a colon"):
            mounts([], [], tmp_path / name)


def test_the_environment_keeps_what_a_user_mounts_and_forgets_what_another_machine_added(tmp_path, monkeypatch):
    folders(tmp_path, "here", "there")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")  # noqa: S108
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    environment = {"APPTAINER_BIND": "/opt/site:/opt/site"}
    for name in ("there", "here/../there", "gone"):
        enter_containers([str(tmp_path / name)], Path("scripts"), environment, driver=str(tmp_path / "none"))
    assert environment["APPTAINER_BIND"] == "/opt/site:/opt/site"
    enter_containers([str(tmp_path / "there")], Path("scripts"), environment, driver=str(tmp_path / "none"))
    assert environment["APPTAINER_BIND"] == f"/opt/site:/opt/site,{tmp_path}/there:{tmp_path}/there:ro"
    assert "APPTAINER_NV" not in environment
    enter_containers([], Path("scripts"), environment, driver=str(tmp_path / "there"))
    assert environment["APPTAINER_NV"] == "1"


def test_all_that_a_card_names_outside_is_raw(tmp_path, monkeypatch):
    monkeypatch.setenv("EEGBCI", str(tmp_path))
    entry = {"study": "augmented_covariance", "dataset": "eegbci", "feature": "motor_epochs_8_35"}
    cards = Cards(SOURCE / "config", {"runs": [entry]})
    assert raw_paths(cards, ["eegbci"]) == [str(tmp_path)]
    cards = Cards(SOURCE / "config", {"runs": ["augmented_covariance"]})
    assert raw_paths(cards, ["sim_temporal", "sim_temporal-absent"]) == []


# ---- building, and whether an image still fits: with a stand-in for Apptainer

STAND_IN = """#!{python}
import json, os, pathlib, subprocess, sys

if sys.argv[1] == "--version":
    print("apptainer version 1.4.5")
elif sys.argv[1] == "inspect":
    print(json.dumps({{"data": {{"attributes": {{"labels": json.loads(pathlib.Path(sys.argv[-1]).read_text())}}}}}}))
elif os.environ.get("FAILS"):
    pathlib.Path(sys.argv[-2]).write_text("half")
    sys.exit(os.environ["FAILS"])
else:
    family = pathlib.Path(sys.argv[-1]).stem
    content = b"".join(pathlib.Path(p).read_bytes() for p in
                       (f"containers/{{family}}.def", "containers/install.sh", f"envs/{{family}}.yaml"))
    import hashlib
    labels = {{"replicortex.family": family, "replicortex.definition": hashlib.sha256(content).hexdigest(),
               "replicortex.packages": os.environ.get("PACKAGES", "numpy==2.4.6 torch==2.13.0+cpu")}}
    pathlib.Path("asked.json").write_text(json.dumps([sys.argv[1:], {{
        name: value for name, value in os.environ.items() if name.startswith("APPTAINERENV_")}}]))
    print("INFO:    Running post scriptlet")
    pathlib.Path(sys.argv[-2]).write_text(json.dumps(labels))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """A program in Apptainer's place that builds text files."""
    path = tmp_path / "bin" / "apptainer"
    path.parent.mkdir()
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    for name in ("PIP_CERT", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return path


def build(sources: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a user would, of a project whose sources are those."""
    for part in ("build_images.py", "replicortex"):
        link = sources / "scripts" / part
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            copy = shutil.copy2 if part.endswith(".py") else shutil.copytree
            copy(SOURCE / "scripts" / part, link)
    command = [sys.executable, str(sources / "scripts" / "build_images.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60, cwd=sources
    )


def test_an_image_is_built_once_and_again_when_its_pins_change(sources, stand_in, monkeypatch):
    monkeypatch.chdir(sources)
    done = build(sources, "signal")
    assert done.returncode == 0, done.stderr
    assert "signal: installs packages (" in done.stdout
    images = read_images(sources, ENVIRONMENTS)
    check_images(sources, images, ["signal"])
    assert "up to date" in build(sources, "signal").stdout
    with pytest.raises(InputError, match=r"base.sif: no such image; build it: python scripts/build_images.py base"):
        check_images(sources, images, ["base", "signal"])

    constraints = sources / "constraints.txt"
    before = constraints.read_text()
    # What the image does not have may change; what it has may not.
    constraints.write_text(re.sub(r"^ruff==.*$", "ruff==9.9.9", before, flags=re.MULTILINE))
    check_images(sources, images, ["signal"])
    constraints.write_text(re.sub(r"^numpy==.*$", "numpy==2.4.7", before, flags=re.MULTILINE))
    with pytest.raises(
        InputError, match=r"signal\.sif: was built with numpy 2\.4\.6, constraints\.txt pins 2\.4\.7; build"
    ):
        check_images(sources, images, ["signal"])
    assert "up to date" not in build(sources, "signal", PACKAGES="numpy==2.4.7").stdout
    check_images(sources, images, ["signal"])
    for name in ("envs/signal.yaml", "containers/signal.def", "containers/install.sh"):
        text = (sources / name).read_text()
        (sources / name).write_text(f"{text}\n# changed\n")
        with pytest.raises(InputError, match=r"was built before envs/signal\.yaml or containers/signal\.def changed"):
            check_images(sources, images, ["signal"])
        (sources / name).write_text(text)
    check_images(sources, {**images, "mri": images["signal"]}, ["signal"])
    with pytest.raises(InputError, match="is the image of signal, not of mri"):
        check_images(sources, {**images, "mri": images["signal"]}, ["mri"])
    assert stat.S_IMODE((sources / images["signal"]).stat().st_mode) & 0o444 == 0o444


def test_a_build_is_told_its_base_and_what_pip_needs(sources, stand_in, tmp_path):
    import json

    folders(tmp_path, "tree/usr/bin", "wheels")
    (tmp_path / "tree/usr/bin/python3").touch()
    (tmp_path / "bundle.pem").touch()
    options = ["--base-tree", str(tmp_path / "tree"), "--certificates", str(tmp_path / "bundle.pem")]
    done = build(sources, "torch", *options, PIP_INDEX_URL="https://mirror", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads((sources / "asked.json").read_text())
    assert f"FROM={tmp_path}/tree" in arguments
    assert "BOOTSTRAP=localimage" in arguments
    mounted = {entry.split(":")[1]: entry.split(":")[0] for entry in arguments if entry.endswith(":ro")}
    assert environment["APPTAINERENV_PIP_INDEX_URL"] == "https://mirror"
    assert mounted[environment["APPTAINERENV_PIP_FIND_LINKS"]] == str(tmp_path / "wheels")
    certificates = Path(environment["APPTAINERENV_PIP_CERT"])
    assert Path(mounted[str(certificates.parent)], certificates.name) == tmp_path / "bundle.pem"


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (
            "FATAL: could not use fakeroot: no mapping entry in /etc/subuid",
            "may not build here .*copy the .sif",
        ),
        ("mksquashfs: write failed: No space left on device", "the disk is full .*APPTAINER_TMPDIR"),
        ("ERROR: No matching distribution found for numpy==2.4.6", "pip does not find the versions"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "a server is not in reach .*--base-tree"),
        ("SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "does not trust .*--certificates"),
        ("FATAL: something new", r"the build failed \(FATAL: something new\); read .*base.build.log"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_image(sources, stand_in, tmp_path, said, fault):
    done = build(sources, "base", "--out", str(tmp_path / "out"), FAILS=said)
    assert done.returncode == 2
    assert re.fullmatch(f"error: the image of base: .*{fault}.*\n", done.stderr), done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["base.build.log"]


def test_what_can_not_be_built_is_one_line(sources, stand_in, tmp_path):
    entry = f"docker://lab/signal@{DIGEST}"
    listed(sources, signal=entry)
    for arguments, said in {
        ("signals",): "did you mean 'signal'",
        ("signal",): f"signal is {entry}, which is not built here",
        ("base", "--base-tree", "nowhere"): "no folder with a Debian that has python3",
        ("base", "--wheels", "nowhere"): "no such folder",
        ("base", "--certificates", "nowhere"): "no such file",
    }.items():
        done = build(sources, *arguments)
        assert done.returncode == 2
        assert re.fullmatch(f"error: .*{re.escape(said)}.*\n", done.stderr), done.stderr
    done = build(sources, "base", PATH=str(tmp_path))
    assert done.stderr == (
        "error: apptainer: is not installed; install Apptainer 1.2 or newer, or copy images made elsewhere\n"
    )


def test_the_pins_of_an_image_are_read_as_names_compare(sources):
    assert pinned(SOURCE)["connection-pool"] == "0.0.3"
    assert definition_digest(SOURCE, "base") != definition_digest(SOURCE, "signal")
