"""The project's own source, read and not run: modules, imports, functions, constants."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import yaml

from replicortex.components import KINDS
from replicortex.digest import PACKAGE, closure

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
RULE_FILES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]

#: What may know the truth of a simulated dataset: what makes it, and what scores and judges.
TRUTHFUL = {"stages.simulate", "stages.score", "stages.summarize", "stages.claims"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def path_of(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def modules_in(folder: str = "") -> list[str]:
    """Dotted names, below the package, of the modules of one of its folders; of all of it by default."""
    paths = (path.relative_to(PACKAGE) for path in (PACKAGE / folder).rglob("*.py") if path.name != "__init__.py")
    return sorted(".".join(path.with_suffix("").parts) for path in paths)


def component_modules() -> list[str]:
    return [module for kind in KINDS for module in modules_in(kind)]


def absolute_imports(source: Path | str) -> set[str]:
    """Dotted names that a file, or code, imports absolutely, anywhere in it."""
    found = set()
    for node in ast.walk(parsed(source) if isinstance(source, Path) else ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def third_party(module: str) -> set[str]:
    """Packages outside the standard library that a module imports itself."""
    tops = {name.partition(".")[0] for name in absolute_imports(path_of(module))}
    return tops - sys.stdlib_module_names - {PACKAGE.name}


def third_party_closure(module: str) -> dict[str, str]:
    """Packages that a module needs, itself or by what it imports of the library, and a module that imports each."""
    return {package: name for name in sorted(closure(module)) for package in third_party(name)}


def stages_of(script: Path) -> set[str]:
    """Modules of ``stages`` that a script imports."""
    names = absolute_imports(script)
    return {f"stages.{name.split('.')[2]}" for name in names if name.startswith(f"{PACKAGE.name}.stages.")}


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the nodes that are docstrings, of the module or of anything in it."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = (node.body for node in ast.walk(tree) if isinstance(node, holders) and node.body)
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}


def texts(path: Path) -> list[str]:
    """All string constants of a file except docstrings."""
    tree = parsed(path)
    skipped = docstrings(tree)
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in skipped)
    return [node.value for node in nodes if isinstance(node.value, str)]


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


def arguments_of(function: ast.FunctionDef) -> list[str]:
    every = function.args
    return [entry.arg for entry in (*every.posonlyargs, *every.args, *every.kwonlyargs)]


@functools.cache
def cards_of(kind: str) -> dict[str, dict]:
    """The cards of a kind that are shipped, by name."""
    folder = ROOT / "config" / kind
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))}
