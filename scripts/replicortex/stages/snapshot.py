"""A copy of the workflow as it ran: its rules, its code and the cards of its runs, fit to be shown to others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..cards import ABSENT, Cards
from ..files import write_text

#: What is copied as it is. `config` is written anew, and images are too large.
_PARTS = ("Snakefile", "constraints.txt", "LICENSE", "rules", "envs", "containers", "scripts", "config/schemas")
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "*.sif", "images.yaml")
#: Keys of the configuration that are about a machine and not about what was run.
_OF_THE_MACHINE = ("mirrors", "energy", "datasets")
#: Entities whose labels say who took part.
_OF_PEOPLE = frozenset(["subject", "participant"])
#: A path from the root, or from a home folder, at the beginning of a text or after what sets words apart; a subject.
_PRIVATE = re.compile(r"(?:^|[\s\"'=:,\[(])(?:/(?!/)|~|[A-Za-z]:\\)[^\s\"',\])]|\bfile:/|\bsub-[A-Za-z0-9]")


def copy_workflow(project: Path, cards: Cards, folder: Path) -> None:
    """Write the workflow to ``folder``: rules, code and environments as they are, and the cards that the runs use.

    In cards, paths of this machine become ``${NAME}``, which Snakemake takes from the environment; labels of subjects
    that a filter names, addresses of mirrors and what a machine draws are left out.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    cards : Cards
        The cards of the configuration that ran.
    folder : Path
        Replaced, if it is there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for part in _PARTS:
        source, target = project / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=_LEFT_OUT)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    # A family that is not named has containers/<family>.sif; where images are kept is of the machine.
    write_text(folder / "containers" / "images.yaml", "{}\n")
    shown = {key: value for key, value in cards.config.items() if key not in _OF_THE_MACHINE}
    _write(folder / "config" / "config.yaml", portable(shown, "path"))
    for kind, name in used_cards(cards):
        _write(folder / "config" / kind / f"{name}.yaml", portable(cards.card(kind, name), name))


def used_cards(cards: Cards) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every card that the runs use, each once."""
    found = {("studies", run.study) for run in cards.runs.values()}
    found |= {("datasets", run.dataset.removesuffix(ABSENT)) for run in cards.runs.values()}
    yield from sorted(found | set(cards.with_files()))


def portable(value: Any, name: str) -> Any:
    """Return a value of a card as others may see it; ``name`` is what a path in it is called.

    Paths of this machine become ``${NAME}``, addresses lose what signs in, labels of subjects are left out.
    """
    if isinstance(value, Mapping):
        return {key: portable(entry, f"{name}_{key}") for key, entry in value.items() if key not in _OF_PEOPLE}
    if isinstance(value, list):
        return [portable(entry, f"{name}_{number}") for number, entry in enumerate(value, start=1)]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~", "file:", "ssh:")):
        return f"${{{re.sub(r'[^A-Z0-9]+', '_', name.upper()).strip('_')}}}"
    return re.sub(r"(?<=://)[^/@\s]+@", "", value)


def is_shareable(text: str) -> bool:
    """Return whether a text names no path of a machine, and no subject."""
    return _PRIVATE.search(text) is None


def _write(path: Path, card: Any) -> None:
    write_text(path, yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120))


def version(project: Path) -> str:
    """Return the version of the workflow, with the commit where the project is a git checkout.

    It ends in ``.dirty`` where a file that git follows has changed since that commit.
    """
    top = _git(project, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != project.resolve():
        return __version__
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return __version__
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return f"{__version__}+{commit}" + (".dirty" if changed else "")


def _git(project: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    # A name that the system does not know may have no settings, and none of the user's are wanted.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603
            [git, "-C", str(project), *arguments],
            capture_output=True, text=True, check=False, timeout=60, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
