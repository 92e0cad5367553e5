"""One set of versions everywhere: what code imports, environments declare; what they pin, constraints.txt pins."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from conda_fixture.channel import ON_PYPI, normal
from replicortex.components import KINDS, load
from source_code import ROOT, component_modules, stages_of, third_party_closure

ENVS = {path.stem: path for path in sorted((ROOT / "envs").glob("*.yaml"))}
#: The environment of all components but methods, whose study cards name theirs.
SIGNAL = "signal"
#: Not libraries: the interpreter and its installer.
PYTHON = {"python", "pip"}
DISTRIBUTIONS = importlib.metadata.packages_distributions()


def requirements(family: str) -> list[str]:
    """Requirements of an environment file, those for pip included."""
    entries = yaml.safe_load(ENVS[family].read_text())["dependencies"]
    return [line for entry in entries for line in (entry["pip"] if isinstance(entry, dict) else [entry])]


def pins(lines: list[str]) -> dict[str, str]:
    """Versions by name; refuse whatever is not one exact version."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)(==?)([0-9][A-Za-z0-9.]*)", line)
        assert match, f"{line!r} is not pinned to one exact version"
        found[normal(ON_PYPI.get(match[1], match[1]))] = match[3]
    return found


def declared(family: str) -> dict[str, str]:
    return pins([line for line in requirements(family) if re.split("=", line)[0] not in PYTHON])


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


def distribution(package: str) -> str:
    """Distribution that an importable package comes from: sklearn is scikit-learn's."""
    return normal(DISTRIBUTIONS.get(package, [package])[0])


def dependencies(*extras: str) -> set[str]:
    """Names of what the project depends on, with some of its optional dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {normal(re.match(r"[A-Za-z0-9_.-]+", line)[0]) for line in lines}


def families_of_methods() -> list[tuple[str, str]]:
    """Each method's module, with each family that a study card names for it."""
    found = set()
    for path in sorted((ROOT / "config" / "studies").glob("*.yaml")):
        study = yaml.safe_load(path.read_text())
        for methods in (study["methods"], *(scale.get("methods", {}) for scale in study["scale"].values())):
            for name, card in methods.items():
                card = {**study["methods"][name], **card}
                found.add((f"methods.{card.get('component', name)}", card["family"]))
    return sorted(found)


def families_of_stages() -> list[tuple[str, str]]:
    """Each stage's module, with the environment of each rule that runs it."""
    found, script_of, environment_of = set(), {}, {}
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    rule = r"^(?:use rule (?P<base>\w+) as (?P<new>\w+) with|rule (?P<name>\w+)):\n(?P<body>.*?)(?=^\S|\Z)"
    for match in re.finditer(rule, text, re.MULTILINE | re.DOTALL):
        if "own_python" in match["body"]:
            continue  # a target for people, in the environment of Snakemake itself
        new = match["new"] or match["name"]
        script = re.search(r'script\("(\w+)"\)', match["body"])
        environment = re.search(r"envs/(\w+)\.yaml", match["body"])
        # A rule that stands in for another one runs the same script, in its own environment or the same one.
        script_of[new] = name = script[1] if script else script_of[match["base"]]
        environment_of[new] = environment[1] if environment else environment_of[match["base"]]
        found |= {(stage, environment_of[new]) for stage in stages_of(ROOT / "scripts" / f"{name}.py")}
    return sorted(found)


def family_of(module: str) -> str:
    """The environment of a component: what it says itself, else that of signals."""
    return getattr(load(*module.split(".")), "family", SIGNAL)


NEEDED = sorted(
    {
        *((module, family_of(module)) for module in component_modules() if not module.startswith("methods.")),
        *families_of_methods(),
        *families_of_stages(),
    }
)


@pytest.mark.parametrize(("module", "family"), NEEDED, ids=[f"{module}-{family}" for module, family in NEEDED])
def test_what_a_module_imports_its_environment_declares(module, family):
    packages = {package: distribution(package) for package in third_party_closure(module)}
    missing = {
        f"{name} (imported by {third_party_closure(module)[package]})"
        for package, name in packages.items()
        if name not in declared(family)
    }
    assert missing == set(), f"envs/{family}.yaml"


def test_the_check_covers_every_component_and_stage():
    covered = {module for module, _ in NEEDED}
    components = {name for name in component_modules() if not name.startswith("methods.")}
    assert components <= covered
    assert {kind for kind in KINDS if any(module.startswith(f"{kind}.") for module in covered)} == set(KINDS)
    # What several stages share is no rule's stage itself, and what only people call runs with Snakemake's own Python.
    rules = "".join(path.read_text() for path in ROOT.glob("rules/*.smk") if path.stem != "targets")
    run_by_rules = {
        stage for name in re.findall(r'script\("(\w+)"', rules) for stage in stages_of(ROOT / "scripts" / f"{name}.py")
    }
    assert run_by_rules
    assert run_by_rules <= covered


@pytest.mark.parametrize("family", ENVS)
def test_an_environment_pins_what_the_constraints_pin(family):
    assert {name: constraints().get(name) for name in declared(family)} == declared(family)


@pytest.mark.parametrize("family", ENVS)
def test_an_environment_takes_packages_from_one_channel(family):
    assert yaml.safe_load(ENVS[family].read_text())["channels"] == ["conda-forge", "nodefaults"]


def test_the_constraints_are_what_is_installed():
    """What the tests run with is what is pinned; what only some families need may be absent."""
    absent, differing = [], {}
    for name, version in constraints().items():
        try:
            # A local version, as in 2.13.0+cpu, is a build of the same.
            installed = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if installed != version:
            differing[name] = f"{installed} is installed, {version} pinned"
    print(f"{len(absent)} of {len(constraints())} not installed: {', '.join(absent)}")
    assert differing == {}
    assert dependencies("test") & set(absent) == set()


def test_what_the_project_depends_on_is_pinned():
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert dependencies(*optional) - set(constraints()) == set()


@pytest.mark.parametrize("family", ENVS)
def test_a_container_is_built_from_the_same_pins(family, tmp_path):
    """The definition's own commands, run on the environment file, name what the file names."""
    text = (ROOT / "containers" / f"{family}.def").read_text()
    copied = dict(re.findall(r"^ +(\S+) /opt/replicortex/(\S+)$", text, re.MULTILINE))
    assert copied == {
        "constraints.txt": "constraints.txt",
        "containers/install.sh": "install.sh",
        f"containers/{family}.def": "image.def",
        f"envs/{family}.yaml": "environment.yaml",
    }
    assert re.search(rf"^ +sh /opt/replicortex/install\.sh {family}$", text, re.MULTILINE)
    script = (ROOT / "containers" / "install.sh").read_text()
    assert '--constraint "$here/constraints.txt" --requirement "$here/packages.txt"' in script
    command = re.search(r'^sed -n .*?packages\.txt"$', script, re.MULTILINE | re.DOTALL)[0]
    shutil.copy2(ENVS[family], tmp_path / "environment.yaml")
    subprocess.run(["/bin/sh", "-c", command], env={**os.environ, "here": str(tmp_path)}, check=True)
    assert {normal(name) for name in (tmp_path / "packages.txt").read_text().split()} == set(declared(family))
    python = next(line.split("=")[1] for line in requirements(family) if line.startswith("python="))
    assert re.search(rf"python:{re.escape(python)}\b", text)


def test_every_container_has_its_environment():
    assert {path.stem for path in (ROOT / "containers").glob("*.def")} == set(ENVS)
