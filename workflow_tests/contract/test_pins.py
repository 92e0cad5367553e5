"""Environment and pin files without any engine: they parse, they are exact, and pins belong to their environment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from replicortex.errors import InputError
from replicortex.pins import check_pins, header
from replicortex.stages.pins import address, installed, pin_environments, write_pins
from source_code import ROOT

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
MD5 = "0123456789abcdef" * 2
PIN = f"https://example.org/conda/linux-64/numpy-2.4.6-py311h0_0.conda#{MD5}"


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_every_dependency_is_one_version_to_a_solver_as_well(path):
    """Beside its text (test_environments.py): rattler reads it as a package of one version and nothing else."""
    rattler = pytest.importorskip("rattler", reason="needs py-rattler")
    entries = [entry for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, str)]
    assert entries
    for entry in entries:
        spec = rattler.MatchSpec(entry, strict=True)
        assert (spec.build, spec.channel, spec.subdir) == (None, None, None), entry
        if entry == "pip":
            continue
        name, _, version = entry.partition("=")
        record = rattler.PackageRecord(name, version, rattler.BuildString("0"), 0, "linux-64")
        other = rattler.PackageRecord(name, "0.0.1", rattler.BuildString("0"), 0, "linux-64")
        assert spec.matches(record), entry
        assert not spec.matches(other), entry


def test_pins_that_are_shipped_belong_to_their_environments():
    """There are none until someone with a channel in reach has made them."""
    check_pins(ROOT / "envs")
    for path in (ROOT / "envs").glob("*.pin.txt"):
        assert "file:" not in path.read_text(), f"{path.name} names packages of one machine"


@pytest.fixture
def envs(tmp_path) -> Path:
    """A folder with one environment file, and a pin file of it."""
    folder = tmp_path / "envs"
    folder.mkdir()
    (folder / "signal.yaml").write_text("channels: [conda-forge]\ndependencies: [python=3.11, numpy=2.4.6]\n")
    (folder / "signal.linux-64.pin.txt").write_text(f"{header(folder / 'signal.yaml')}\n@EXPLICIT\n{PIN}\n")
    check_pins(folder)
    return folder


@pytest.mark.parametrize(
    ("pattern", "replacement", "fault"),
    [
        (r"#[0-9a-f]{32}$", "", "has a package without a hash"),
        (r"@EXPLICIT\n", "", "has no packages"),
        (r"# sha256 of", "# hash of", "does not say of which environment file"),
        (r"(signal\.yaml: )[0-9a-f]{4}", r"\g<1>zzzz", "does not say of which environment file"),
        (r"https.*\n", "", "has no packages"),
    ],
)
def test_a_spoilt_pin_file_is_refused(envs, pattern, replacement, fault):
    path = envs / "signal.linux-64.pin.txt"
    text, n = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    assert n == 1
    path.write_text(text)
    with pytest.raises(InputError, match=fault) as told:
        check_pins(envs)
    assert "pin_environments.py signal" in str(told.value)


def test_pins_and_scripts_of_another_state_are_refused(envs):
    script = envs / "signal.post-deploy.sh"
    script.write_text(f"#!/bin/sh\n{header(envs / 'signal.yaml')}\n")
    check_pins(envs)
    (envs / "signal.yaml").write_text("dependencies: [numpy=2.4.7]\n")
    with pytest.raises(InputError, match=r"signal\.linux-64\.pin\.txt: is not of signal\.yaml as it is now"):
        check_pins(envs)
    (envs / "signal.linux-64.pin.txt").unlink()
    with pytest.raises(InputError, match=r"signal\.post-deploy\.sh: is not of signal\.yaml"):
        check_pins(envs)
    (envs / "signal.yaml").unlink()
    with pytest.raises(InputError, match=r"there is no signal\.yaml"):
        check_pins(envs)


@pytest.mark.parametrize("secret", ["https://user:secret@example.org/", "https://example.org/t/secret/"])
def test_credentials_of_a_private_channel_are_not_handed_on(tmp_path, secret):
    record = {"name": "x", "url": f"{secret}conda/linux-64/x-1-0.conda", "md5": MD5}
    assert address(record, tmp_path / "x.yaml") == f"https://example.org/conda/linux-64/x-1-0.conda#{MD5}"


def test_packages_stand_after_what_they_need(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    needs = {
        "a": ["python >=3.11", "b 1.*"],
        "b": ["python", "__glibc >=2.17"],
        "openssl": [],
        "pip": ["python", "setuptools"],
        "python": ["openssl", "pip"],
        "setuptools": ["python"],
    }
    for name, depends in needs.items():
        text = json.dumps({"name": name, "depends": depends})
        (tmp_path / "conda-meta" / f"{name}-1-0.json").write_text(text)
    order = [record["name"] for record in installed(tmp_path)]
    assert sorted(order) == sorted(needs)
    assert order.index("openssl") < order.index("python") < order.index("b") < order.index("a")
    assert order.index("python") < order.index("setuptools") < order.index("pip")


def test_a_family_without_pips_section_loses_its_script(envs):
    record = {"name": "numpy", "url": PIN.partition("#")[0], "md5": MD5, "subdir": "linux-64"}
    pins, script = write_pins(envs / "signal.yaml", [record], [("deno", "2.9.8", "ab" * 32)])
    assert PIN in pins.read_text()
    assert "deno==2.9.8 --hash=sha256:" in script.read_text()
    check_pins(envs)
    assert write_pins(envs / "signal.yaml", [record], []) == [pins]
    assert not script.exists()
    check_pins(envs)


def test_without_conda_the_command_says_what_it_needs(envs):
    with pytest.raises(InputError, match=r"no-such-conda: no such program; install conda, mamba or micromamba"):
        pin_environments(envs, conda="no-such-conda")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("conda", "env create --quiet --file"),
        ("mamba", "env create --quiet --file"),
        ("micromamba", "create --quiet --file"),
    ],
)
def test_each_program_is_called_in_its_own_words(envs, tmp_path, name, words):
    program = tmp_path / name
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\necho "SolverError: none" >&2\nexit 1\n')
    program.chmod(0o755)
    before = {path.name: path.read_bytes() for path in envs.iterdir()}
    with pytest.raises(InputError, match=r"signal\.yaml: SolverError: none"):
        pin_environments(envs, ["signal"], str(program))
    called = (tmp_path / "called").read_text()
    assert called.startswith(words)
    assert ("--yes" in called) == (name != "conda")
    assert {path.name: path.read_bytes() for path in envs.iterdir()} == before


def test_an_unknown_family_is_refused_with_the_nearest_name(envs):
    with pytest.raises(InputError, match="did you mean 'signal'"):
        pin_environments(envs, ["signl"], "sh")
