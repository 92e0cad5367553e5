"""The words of the components of a run, said in the environment in which each of them works."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bids import read_recordings
from ..components import PACKAGE, make
from ..digest import closure


def words_of(card: Mapping[str, Any], recordings: Path) -> dict[str, Any]:
    """Return what the components of a run say of themselves, and the packages that they import.

    Parameters
    ----------
    card : mapping
        As of :func:`replicortex.stages.check.check_study`.
    recordings : Path
        ``recordings.tsv`` of the dataset.

    Returns
    -------
    dict
        ``words``, by kind and name in the cards; ``software``, the version of each package that is imported with these
        components.
    """
    said: dict[str, dict[str, str]] = {}
    modules = []
    for kind, name, component, params in _named(card):
        made = make(kind, component, params)
        # Two kinds ask for more than their parameters: a model is another one for another task.
        if kind == "methods":
            words = made.described(card["task"])
        else:
            words = made.described(_suffixes(recordings, made)) if kind == "features" else made.described()
        said.setdefault(kind, {})[name] = words
        modules.append(f"{kind}.{component}")
    return {"words": said, "software": _software(modules)}


def _named(card: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Yield kind, name in the card, component and parameters of all that a card names."""
    for name, method in card["methods"].items():
        yield "methods", name, method["component"], method["params"]
    for kind, section in (("splitters", "schemes"), ("metrics", "metrics")):
        for name, params in card.get(section, {}).items():
            yield kind, name, name, params
    for name, recipe in card.get("recipes", {}).items():
        yield "preprocessing", name, recipe["engine"], recipe["params"]
    if "feature" in card:
        feature = card["feature"]
        yield "features", feature["extractor"], feature["extractor"], {**feature["params"], **card["files"]}
    if "stimuli" in card:
        provider = card["stimuli"]["provider"]
        yield "providers", provider, provider, {**card["stimuli"]["params"], **card["stimuli_files"]}
    if "simulate" in card:
        simulate = card["simulate"]
        yield "simulators", simulate["simulator"], simulate["simulator"], simulate["params"]


def _suffixes(recordings: Path, extractor: Any) -> list[str]:
    """Return the suffixes of the recordings that an extractor may take."""
    found = {row["suffix"] for row in read_recordings(recordings) if row["datatype"] in extractor.datatypes}
    return sorted(found & set(extractor.suffixes or found))


def _software(modules: list[str]) -> dict[str, str]:
    """Return the versions of the packages that modules of this library, and all that they import of it, import."""
    names = {name for module in modules for inner in closure(module) for name in _packages(inner)}
    distributions = importlib.metadata.packages_distributions()
    found = {distributions[name][0] for name in names if name in distributions}
    return {name: importlib.metadata.version(name) for name in sorted(found)}


@functools.cache
def _packages(module: str) -> frozenset[str]:
    """Return the packages outside the standard library that a module imports when it is imported itself.

    What functions import is left out: who imports a module need not call them, and says so where it does.
    """
    found = set()
    for node in ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_bytes()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return frozenset({name.partition(".")[0] for name in found} - sys.stdlib_module_names)
