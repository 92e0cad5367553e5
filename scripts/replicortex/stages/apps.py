"""Studies on a BIDS dataset, called as a BIDS App: its configuration, the check before anything runs, the run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..asking import LAID
from ..cards import Cards, merge, read_yaml
from ..errors import InputError
from ..files import write_text
from .launch import How, launch
from .plan import read_cards
from .suits import HOW_TO_SAY, Suits, look_at, resolved, suits

#: How far the levels of a BIDS App go: names of rules.
TARGETS: dict[str, list[str]] = {"participant": ["features"], "group": []}


@dataclass(frozen=True)
class Asked:
    """What a call asks for.

    Parameters
    ----------
    bids, out : Path
        The dataset and the output folder.
    level : {"participant", "group"}
        How far.
    dataset : str
        Name of the dataset's card.
    card : mapping
        The card.
    filters : mapping
        Labels to take, by entity.
    studies : sequence of str
        Which studies; those of the last call if there is none.
    change : mapping
        ``preprocessing`` and ``feature`` to take instead of the studies' own.
    scale : str or None
        Scale of the studies.
    configuration : mapping or None
        What is laid over the configuration in any case.
    before : mapping
        What the last call on the same output folder left there.
    """

    bids: Path
    out: Path
    level: str
    dataset: str
    card: Mapping[str, Any]
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    studies: Sequence[str] = ()
    change: Mapping[str, str] = field(default_factory=dict)
    scale: str | None = None
    configuration: Mapping[str, Any] | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


def run_app(project: Path, asked: Asked, how: How) -> int:
    """Check that the studies can run on the dataset, write the configuration to the output folder, and run them there.

    Returns
    -------
    int
        0 if all was done, 1 if jobs failed, 2 if it was refused before any job ran.

    Raises
    ------
    InputError
        If a card is refused, the dataset lacks what a study needs, or the output folder lies in the dataset.
    """
    bids, out = asked.bids.resolve(), asked.out.resolve()
    if out.is_relative_to(bids) and not out.is_relative_to(bids / "derivatives"):
        raise InputError(asked.out, "lies in the dataset, which is only read", "name another, or one in derivatives/")
    configuration = configured(asked)
    cards = read_cards(project, configuration)
    _check(cards, asked, configuration)
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    text = "# Written by the last call on this folder; laid over config/config.yaml.\n"
    write_text(LAID, text + yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True), only_if_changed=True)
    read_yaml.cache_clear()
    words = ["--snakefile", str(project / "Snakefile"), "--configfile", LAID, "--cores", "all", *TARGETS[asked.level]]
    print(f"in {out}: {shlex.join(['snakemake', *words])}", file=sys.stderr)
    return launch(project, configuration, TARGETS[asked.level], how)


def configured(asked: Asked) -> dict[str, Any]:
    """Return the configuration of a call.

    Raises
    ------
    InputError
        If no study is named, here or before, or the folder holds another dataset.
    """
    known = asked.before.get("datasets", {}).get(asked.dataset)
    if known is not None and known["root"] != str(asked.bids.resolve()):
        fault = f"holds results of another dataset called {asked.dataset}"
        raise InputError(asked.out, fault, "name another OUTPUT_DIR")
    filters = {entity: list(labels) for entity, labels in asked.filters.items()}
    if asked.level == "participant" and known is not None:
        filters = _together(filters, known.get("filters", {}))
    card = {**asked.card, "filters": filters} if filters else dict(asked.card)
    runs = [{"study": study, "dataset": asked.dataset, **asked.change} for study in asked.studies]
    runs = runs or [run for run in asked.before.get("runs", []) if run["dataset"] == asked.dataset]
    if not runs:
        raise InputError("--study", "no study is named", f"replicortex check {asked.bids} says which can run")
    made: dict[str, Any] = {"datasets": {asked.dataset: card}, "runs": runs}
    scale = asked.scale or asked.before.get("scale")
    return merge(made | ({"scale": scale} if scale else {}), asked.configuration or {})


def _together(filters: Mapping[str, Sequence[str]], before: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return filters that also leave what those before did: subjects are prepared one after the other."""
    return {entity: sorted({*labels, *before[entity]}) for entity, labels in filters.items() if entity in before}


def _check(cards: Cards, asked: Asked, configuration: Mapping[str, Any]) -> None:
    """Refuse, in one line, studies that the dataset lacks something for.

    Raises
    ------
    InputError
        Naming the study, and everything that is missing.
    """
    card = configuration["datasets"][asked.dataset]
    dataset = look_at(asked.dataset, card, asked.bids)
    if not dataset.recordings:
        raise InputError(asked.bids, "no recording is left by the labels given", "correct the labels")
    for entry in configuration["runs"]:
        # At the level of participants not all of them need be there.
        one, run = resolved(cards, asked.dataset, card, **{key: entry[key] for key in entry if key != "dataset"})
        found = suits(one, run, dataset)
        for note in found.notes:
            print(f"note: {run.study}: {note}", file=sys.stderr)
        if found.missing and not (asked.level == "participant" and _is_of_group(found)):
            remedy = f"{HOW_TO_SAY}; replicortex check {shlex.quote(str(asked.bids))} says what could run"
            raise InputError(f"{run.study} on {asked.dataset}", "; ".join(found.missing), remedy)


def _is_of_group(found: Suits) -> bool:
    """Return whether all that is missing are schemes, which need more subjects than a call on some of them has."""
    return all(line.startswith("no scheme is possible") for line in found.missing)
