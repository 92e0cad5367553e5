"""Who may know whom: rules, scripts, stages, components, what they share. Read from the imports of every file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from replicortex.components import KINDS, names
from replicortex.digest import PACKAGE, closure, imported
from source_code import (
    RULE_FILES,
    SCRIPTS,
    TRUTHFUL,
    absolute_imports,
    arguments_of,
    component_modules,
    functions,
    modules_in,
    parsed,
    path_of,
    stages_of,
    texts,
    third_party,
)

#: What a component may know: the contracts, and what components share.
CONTRACTS = {"bundle", "components", "errors", "files"}
#: Third-party packages that may be imported while Snakemake reads its rules.
LIGHT = {"yaml", "_yaml"}

LOADED = """
import sys
sys.path.insert(0, {scripts!r})
before = set(sys.modules)
{statements}
new = [name for name, module in sys.modules.items() if name not in before and getattr(module, "__file__", None)]
print(*({{name.partition(".")[0] for name in new}} - sys.stdlib_module_names))
"""


def packages_loaded(statements: list[str]) -> set[str]:
    """Packages outside the standard library that are in memory after these import statements, in a fresh Python."""
    code = LOADED.format(scripts=str(PACKAGE.parent), statements="\n".join(statements))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - {PACKAGE.name}


def statements_of_rules() -> list[str]:
    return [
        line for path in RULE_FILES for line in re.findall(r"^\s*((?:from|import) .+)$", path.read_text(), re.MULTILINE)
    ]


def test_rules_import_only_what_is_light():
    """What Snakemake's driver, and again each job on a cluster, imports before it does anything."""
    statements = statements_of_rules()
    own = [line for line in statements if PACKAGE.name in line]
    assert own, "the rules are expected to read cards through the library"
    assert packages_loaded(own) <= LIGHT
    others = {line.split()[1].partition(".")[0] for line in statements} - {PACKAGE.name}
    assert others <= sys.stdlib_module_names | {"snakemake"}


def test_the_check_for_light_imports_sees_heavy_ones():
    assert {"numpy", "pydantic"} <= packages_loaded([f"from {PACKAGE.name}.components import make"])


def test_rules_know_no_component_and_no_stage():
    kinds = "|".join([*KINDS, "stages", "shared"])
    assert [line for line in statements_of_rules() if re.search(rf"{PACKAGE.name}\.({kinds})\b", line)] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_job_and_one_stage(script):
    found = absolute_imports(script)
    tops = {name.partition(".")[0] for name in found}
    assert tops <= sys.stdlib_module_names | {PACKAGE.name}
    modules = {name.split(".")[1] for name in found if name.startswith(f"{PACKAGE.name}.")}
    assert "job" in modules
    stages = stages_of(script)
    if stages:
        assert len(stages) == 1
        assert modules - {"asking"} == {"job", "stages"}
    else:
        # Not a job but a tool for whoever works on the project; it does with the light part of the library.
        assert not modules & {*KINDS, "shared"}
        assert packages_loaded([f"import {PACKAGE.name}.{module}" for module in sorted(modules)]) <= LIGHT


@pytest.mark.parametrize("module", modules_in("stages"))
def test_a_stage_names_no_component(module):
    assert {name.partition(".")[0] for name in imported(module)} & set(KINDS) == set()
    known = {name for kind in KINDS for name in names(kind)}
    assert known & set(texts(path_of(module))) == set()


@pytest.mark.parametrize("module", component_modules())
def test_a_component_knows_the_contracts_and_what_is_shared(module):
    known = {name for name in imported(module) if not name.startswith("shared.")}
    assert known <= CONTRACTS


@pytest.mark.parametrize("module", modules_in("shared"))
def test_shared_code_knows_no_component(module):
    known = {name for name in imported(module) if not name.startswith("shared.")}
    assert known <= CONTRACTS


@pytest.mark.parametrize("module", [name for name in modules_in() if "." not in name])
def test_the_base_knows_nothing_above_it(module):
    assert {name for name in imported(module) if "." in name} == set()


def test_the_library_does_not_know_snakemake():
    assert [module for module in modules_in() if "snakemake" in third_party(module)] == []


def test_modules_import_each_other_relatively():
    """Else the digest of the code that a job runs would not follow them."""
    absolute = {
        module: found
        for module in modules_in()
        if (found := {name for name in absolute_imports(path_of(module)) if name.partition(".")[0] == PACKAGE.name})
    }
    assert absolute == {}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_holds_no_code_of_its_own(path):
    """Importing one component must not import another, and the digest of the code does not read these files."""
    assert all(isinstance(node, ast.Expr | ast.Assign) for node in parsed(path).body)


def test_no_module_is_left_over():
    """Every module is reached from a script, a command, a rule or a component."""
    used = absolute_imports("\n".join(statements_of_rules())).union(*(absolute_imports(path) for path in SCRIPTS))
    start = {module for module in modules_in() if f"{PACKAGE.name}.{module}" in used}
    start |= {"__main__", *modules_in("commands"), *component_modules()}
    reached = {name for module in start for name in closure(module)}
    assert sorted(set(modules_in()) - reached) == []


def test_only_simulation_and_scoring_open_a_truth():
    """Nothing between the simulation and the scores may take the path or the content of a truth."""
    taking = {
        module
        for module in modules_in()
        if any("truth" in name for function in functions(path_of(module)) for name in arguments_of(function))
    }
    allowed = {name for name in taking if name.startswith(("simulators.", "metrics."))}
    # The contracts of simulators and metrics name it, and so does what metrics share.
    allowed |= TRUTHFUL | {"components", "shared.fit_metric", "shared.truth_metric"}
    for module in sorted(taking - allowed):
        users = {name for name in modules_in() if module in closure(name)} - {module}
        allowed |= {module} if users and all(name.startswith("metrics.") for name in users) else set()
    assert taking - allowed == set()
    assert taking & TRUTHFUL, "the stages that score are expected to take a truth"
    opening = {module for module in modules_in() if any("truth.json" in text for text in texts(path_of(module)))}
    assert opening <= TRUTHFUL
