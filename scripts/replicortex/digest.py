"""Digests of source code: what a job's result depends on beside its inputs and parameters.

Snakemake does not see an edit of an imported module. Each rule therefore passes the digest of its stage, of the
components that its card names, of every module of this library that these import, and of its environment file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from .errors import InputError, did_you_mean

PACKAGE = Path(__file__).parent


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Return the modules of this library that ``module`` imports, directly, as dotted names below the package."""
    path = _path(module)
    parents = module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = parents[: len(parents) - node.level + 1]
        target = [*base, *(node.module.split(".") if node.module else [])]
        for name in [".".join(target), *(".".join([*target, alias.name]) for alias in node.names)]:
            if name and _path(name).is_file():
                found.add(name)
    return frozenset(found)


def _path(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


@functools.cache
def closure(module: str) -> frozenset[str]:
    """Return ``module`` and every module of this library that it imports, directly or not."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(imported(name))
    return frozenset(seen)


@functools.cache
def _content(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()


def code_digest(modules: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Return the digest (16 hex digits) of modules, all that they import, and further files.

    Parameters
    ----------
    modules : iterable of str
        Dotted names below the package, such as ``stages.fit`` and ``methods.mdm``.
    files : iterable of Path
        Such as the environment file of the rule.

    Raises
    ------
    InputError
        If a module does not exist; the message suggests the nearest name.
    """
    return _code_digest(tuple(modules), tuple(files))


@functools.cache  # every job asks, and jobs of a rule mostly ask the same
def _code_digest(modules: tuple[str, ...], files: tuple[Path, ...]) -> str:
    names: set[str] = set()
    for module in modules:
        if not _path(module).is_file():
            kind, _, name = module.rpartition(".")
            known = [path.stem for path in (PACKAGE / kind).glob("[a-z]*.py")]
            raise InputError(f"{kind}/{name}", "no such component", did_you_mean(name, known))
        names |= closure(module)
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(names):
        total.update(name.encode() + b"\0" + _content(_path(name)))
    for path in files:
        total.update(Path(path).name.encode() + b"\0" + _content(Path(path)))
    return total.hexdigest()
