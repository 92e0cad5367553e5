"""What every command in ``scripts/`` does: it explains itself quickly, and refuses bad input in one line."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from replicortex.cards import Cards
from replicortex.components import KINDS, names
from replicortex.digest import PACKAGE
from replicortex.manual import INTRODUCTION
from source_code import ROOT, RULE_FILES, SCRIPTS, arguments_of, functions, parsed, path_of, stages_of

#: Stands in for parsing: says what a command would take, then ends it. Its first argument is the folder of scripts.
SPY = """
import argparse, json, runpy, sys
from pathlib import Path

def spy(parser, *_):
    kinds = [(a, getattr(a.type, "__name__", None)) for a in parser._actions]
    raise SystemExit([(a.option_strings, a.dest, a.required, a.help, k, list(a.choices or [])) for a, k in kinds])

argparse.ArgumentParser.parse_args = spy
sys.path.insert(0, sys.argv[1])
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        found[path.stem] = end.code
print(json.dumps(found))
"""


class Option(NamedTuple):
    """One option or positional argument of a command."""

    strings: list[str]
    dest: str
    required: bool
    help: str | None
    type: str | None
    choices: list[str]

    @property
    def is_input(self) -> bool:
        """Whether it is a file or folder that must be there; the help of all others says that they are written."""
        return self.required and self.type == "Path" and not re.search(r"\bwrite\b", self.help or "")


@functools.cache
def options() -> dict[str, list[Option]]:
    """Options of every command, all read in one process."""
    command = [sys.executable, "-c", SPY, str(ROOT / "scripts")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: [Option(*entry) for entry in found] for name, found in json.loads(done.stdout).items()}


def call(script: Path, *arguments: str, python: tuple[str, ...] = (), cwd: Path | None = None):
    """Run a command as a rule does."""
    command = [sys.executable, *python, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@functools.cache
def values() -> dict[str, str]:
    """Values that the vocabulary of the commands' options asks for."""
    study = sorted((ROOT / "config" / "studies").glob("*.yaml"))[0].stem
    cards = Cards(ROOT / "config", {"runs": [study]})
    run = cards.runs[study]
    card = cards.to_check(run, "signal") | cards.to_check(run, run.family) | run.for_claims
    plan = {"name": "x", "license": "x", "participants": {"table": "x.csv", "id": "x"}}
    components = {kind.removesuffix("s"): names(kind)[0] for kind in KINDS} | {"engine": names("preprocessing")[0]}
    return components | {
        "card": json.dumps(card),
        "plan": json.dumps(plan),
        "block": "0of1",
        "part": "0of1",
        "variant": "observed",
    }


def required_arguments(script: Path, folder: Path) -> list[str]:
    """Arguments that fit every type, with paths below ``folder``."""
    given = []
    for option in options()[script.stem]:
        if option.required:
            by_type = {"Path": str(folder / option.dest), "json_value": "{}", "int": "0", "float": "0"}
            value = values().get(option.dest) or [*option.choices, by_type.get(option.type, "x")][0]
            given += [*option.strings[:1], value]
    return given


every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@every_script
def test_help_says_what_the_command_does_and_imports_nothing_heavy(script):
    done = call(script, "--help", python=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    docstring = ast.get_docstring(parsed(script))
    assert docstring.splitlines()[0] in done.stdout
    assert packages_imported(done.stderr) - packages_imported(importtime_of_nothing()) == {PACKAGE.name}


def packages_imported(importtime: str) -> set[str]:
    """Packages outside the standard library in what ``python -X importtime`` reports."""
    modules = {line.rpartition("|")[2].strip() for line in importtime.splitlines()}
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


@functools.cache
def importtime_of_nothing() -> str:
    command = [sys.executable, "-X", "importtime", "-c", ""]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


@every_script
def test_every_option_is_explained(script):
    found = options()[script.stem]
    assert [option.dest for option in found if len(option.help or "") < 3] == []
    assert {"--help", "--code"} <= {string for option in found for string in option.strings}


@every_script
def test_an_unknown_option_is_refused(script, tmp_path):
    done = call(script, *required_arguments(script, tmp_path), "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert "unrecognized arguments: --no-such-option" in done.stderr
    assert list(tmp_path.iterdir()) == []


READING = [script for script in SCRIPTS if any(option.is_input for option in options()[script.stem])]


@pytest.mark.parametrize("script", READING, ids=lambda path: path.stem)
def test_a_missing_file_is_one_line_and_leaves_nothing(script, tmp_path):
    folder = tmp_path / "missing"
    done = call(script, *required_arguments(script, folder), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    inputs = [str(folder / option.dest) for option in options()[script.stem] if option.is_input]
    assert any(path in lines[0] for path in inputs)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def stage_calls() -> list[Any]:
    """Each command that hands all of its options to one function of its stage, with that function."""
    found = []
    for script in SCRIPTS:
        called = {
            node.func.id
            for node in ast.walk(parsed(script))
            if isinstance(node, ast.Call) and any(keyword.arg is None for keyword in node.keywords)
        }
        for stage in stages_of(script):
            found += [
                pytest.param(script, function, id=script.stem)
                for function in functions(path_of(stage))
                if function.name in called
            ]
    return found


@pytest.mark.parametrize(("script", "function"), stage_calls())
def test_the_options_are_the_parameters_of_the_stage(script, function):
    taken = arguments_of(function)
    required = taken[: len(taken) - len(function.args.defaults)]
    given = {option.dest for option in options()[script.stem]} - {"help"}
    if "keep_code" not in script.read_text():
        given -= {"code"}
    assert set(required) <= given <= set(taken)


def test_every_command_is_used():
    """By a rule, by make, or as the manual says."""
    rules = "".join(path.read_text() for path in RULE_FILES)
    called = set(re.findall(r'(?:script|asking)\("(\w+)"', rules))
    called |= set(re.findall(r"scripts/(\w+)\.py", (ROOT / "Makefile").read_text() + INTRODUCTION))
    assert called == {path.stem for path in SCRIPTS}
