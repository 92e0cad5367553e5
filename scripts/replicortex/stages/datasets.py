"""A card for a dataset that has none: from its description, and from what the command line says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..asking import LAID
from ..bids import split_name
from ..cards import Cards, merge, read_yaml
from ..errors import InputError, did_you_mean
from ..files import read_json


def laid(configuration: Mapping[str, Any] | None, folder: Path = Path()) -> dict[str, Any]:
    """Return what is laid over ``config.yaml``: what an earlier call left in the folder, and this one on it."""
    before = read_yaml(folder / LAID) if (folder / LAID).is_file() else {}
    return merge(before or {}, configuration or {})


def named(cards: Cards, name: str) -> tuple[str, dict[str, Any], Path]:
    """Return name, card and folder of a dataset that has a card.

    Raises
    ------
    InputError
        If there is no such card, or the dataset is yet to be made.
    """
    card = cards.dataset(name)
    root = Path(cards.root(name))
    if cards.is_made(name) and not (root / "dataset_description.json").is_file():
        fault = "is not there yet: the workflow makes or fetches it"
        raise InputError(f"dataset {name}", fault, f"run: snakemake results/datasets/{name}/recordings.tsv")
    return name, card, root


def card_of_folder(
    root: Path,
    card: Path | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    variables: Sequence[str] = (),
    values: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a card for a BIDS dataset.

    Parameters
    ----------
    root : Path
        Its folder.
    card : Path, optional
        A YAML file with keys of a dataset card.
    before : mapping, optional
        The card of an earlier call: what it said holds as long as nothing else is said.
    classes : sequence of str
        ``left_hand=left,T1``: the ``trial_type`` values of each class.
    variables : sequence of str
        ``diagnosis=group``: the column of participants.tsv that is a variable.
    values : sequence of str
        ``diagnosis.patient=MDD,BD``: the values of that column that mean a class.

    Raises
    ------
    InputError
        If it is no BIDS dataset, or a pair is not written so.
    """
    if not root.is_dir():
        raise InputError(root, "no such folder", "name the folder of a BIDS dataset")
    if not (root / "dataset_description.json").is_file():
        fault = "no dataset_description.json, so no BIDS dataset"
        raise InputError(root, fault, "name the folder that holds it; scripts/bidsify.py brings recordings into BIDS")
    about = read_json(root / "dataset_description.json")
    about = about if isinstance(about, dict) else {}
    made: dict[str, Any] = {
        "title": str(about.get("Name") or root.resolve().name),
        "licence": str(about.get("License") or "not stated"),
    }
    if about.get("DatasetDOI"):
        made["citation"] = str(about["DatasetDOI"])
    # Labels, and whether to validate, are said by each call.
    made |= {key: value for key, value in (before or {}).items() if key not in ("filters", "validation")}
    if card is not None:
        told = read_yaml(card)
        if not isinstance(told, dict):
            raise InputError(card.name, "holds no mapping of keys to values", "write a dataset card")
        # Where it is has just been said.
        made = merge(made, {key: value for key, value in told.items() if key not in _PLACES})
    made["root"] = str(root.resolve())
    for pair in classes:
        name, found = _pair(pair, "--classes", "left_hand=left,T1")
        made.setdefault("classes", {})[name] = found.split(",")
    for pair in variables:
        name, column = _pair(pair, "--variable", "diagnosis=group")
        made.setdefault("variables", {}).setdefault(name, {})["column"] = column
    for pair in values:
        place, found = _pair(pair, "--values", "diagnosis.patient=MDD")
        name, dot, label = place.rpartition(".")
        if not dot or name not in made.get("variables", {}):
            known = sorted(made.get("variables", {}))
            raise InputError(f"--values {pair}", "names no variable that --variable names", did_you_mean(name, known))
        made["variables"][name].setdefault("values", {})[label] = found.split(",")
    return made


#: Keys of a dataset card that say where it is; a folder that is named takes their place.
_PLACES = frozenset(["root", "simulate", "bidsify", "gather", "openneuro", "datalad"])


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise InputError(f"{option} {text}", "not NAME=VALUE", f"write {option} {example}")
    return name, value


def slug(name: str) -> str:
    """Return a name for a card: letters, digits and ``_``, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"dataset_{plain}".rstrip("_")


def filters_of(
    root: Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    runs: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Return the filters of a dataset card that labels ask for, with or without ``sub-``, ``ses-``, ``task-``.

    Raises
    ------
    InputError
        If the dataset has no such subject.
    """
    given = {"subject": ("sub-", participants), "session": ("ses-", sessions), "task": ("task-", tasks)}
    given["run"] = ("run-", runs)
    filters = {
        entity: sorted({label.removeprefix(prefix) for label in labels})
        for entity, (prefix, labels) in given.items()
        if labels
    }
    known = {
        path.name.removeprefix("sub-") for path in root.iterdir() if path.is_dir() and split_name(f"{path.name}_x")
    }
    for label in filters.get("subject", []):
        if label not in known:
            near = did_you_mean(label, known) if len(known) < 20 else f"it has {len(known)} others"
            raise InputError(f"--participant-label {label}", "no such subject in the dataset", near)
    return filters
