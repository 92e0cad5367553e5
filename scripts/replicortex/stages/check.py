"""Check a run before anything is queued: parameters of its components, and what the dataset offers."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..bids import read_recordings
from ..claims import parse_claims
from ..components import make, parameters
from ..errors import InputError
from ..files import read_tsv, to_json, write_text
from ..shared.raw_files import inside
from ..shared.weights import Weights, locate
from .words import words_of


def check_study(recordings: Path, root: Path, card: Mapping[str, Any], out: Path) -> None:
    """Instantiate what the card names, compare the dataset with what it needs, write the resolved card.

    Parameters
    ----------
    recordings : Path
        ``recordings.tsv`` of the dataset.
    root : Path
        The dataset.
    card : mapping
        ``task`` and ``methods``; in the environment of the features also ``feature`` and its ``files``, ``classes``,
        ``filters`` and ``variables`` of the dataset card, and ``evaluation``; in that of all the rest ``schemes``,
        ``metrics``, ``figures``, ``claims`` and ``all_methods``.
    out : Path
        Written: every component with all its parameters, the tuning budget of each method, its words, and versions.

    Raises
    ------
    InputError
        Naming the parameter, or what the dataset lacks.
    """
    resolved: dict[str, Any] = {"methods": {}}
    for name, method in card["methods"].items():
        made = make("methods", method["component"], method["params"])
        for value in vars(made).values():
            if isinstance(value, Weights):
                # Said now, before a GPU is waited for.
                locate(value.source)
        task = "pretrain" if method["role"] == "stage" and "pretrain" in made.tasks else card["task"]
        if task not in made.tasks:
            fault = f"method {name} can not {card['task']}, but {', '.join(sorted(made.tasks))}"
            raise InputError(f"study {card['study']}", fault, "choose another method")
        if method["twin"] and not made.twin:
            fault = f"method {name} has no network that could be left untrained"
            raise InputError(f"study {card['study']}", fault, "take twin out of the card")
        parent = card["methods"].get(method.get("init_from"), {}).get("component")
        if made.starts_from and parent not in made.starts_from:
            fault = f"method {name} starts from {parent or 'nothing'}, needs {' or '.join(made.starts_from)}"
            raise InputError(f"study {card['study']}", fault, "name a method of that component as its init_from")
        resolved["methods"][name] = {
            "component": method["component"],
            "params": parameters(made),
            "n_configurations": made.n_configurations(),
        }
    if "feature" in card:
        extractor = make("features", card["feature"]["extractor"], {**card["feature"]["params"], **card["files"]})
        told = {**parameters(extractor), **{key: Path(path).name for key, path in card["files"].items()}}
        resolved["feature"] = {"extractor": card["feature"]["extractor"], "params": told}
        resolved["offers"] = check_dataset(recordings, root, card, extractor)
    if "stimuli" in card:
        provider = make(
            "providers", card["stimuli"]["provider"], {**card["stimuli"]["params"], **card["stimuli_files"]}
        )
        told = {**parameters(provider), **{key: Path(path).name for key, path in card["stimuli_files"].items()}}
        resolved["stimuli"] = {"provider": card["stimuli"]["provider"], "params": told}
    if "schemes" in card:
        resolved |= _check_rest(card)
    resolved |= words_of(card, recordings)
    resolved["versions"] = versions()
    write_text(out, to_json(resolved))


def _check_rest(card: Mapping[str, Any]) -> dict[str, Any]:
    """Check everything but methods, features and dataset."""
    resolved: dict[str, Any] = {}
    for kind, section in (("splitters", "schemes"), ("metrics", "metrics"), ("figures", "figures")):
        resolved[section] = {name: parameters(make(kind, name, params)) for name, params in card[section].items()}
    for name, params in card["metrics"].items():
        tasks = make("metrics", name, params).tasks
        if card["task"] not in tasks:
            fault = f"metric {name} can not score what is done here ({card['task']}), but {', '.join(sorted(tasks))}"
            raise InputError(f"study {card['study']}", fault, "choose another metric")
    parse_claims(
        card["claims"],
        f"study {card['study']}",
        methods=card["all_methods"],
        schemes=list(card["schemes"]),
        metrics=list(card["metrics"]),
    )
    return resolved


def check_dataset(recordings: Path, root: Path, card: Mapping[str, Any], extractor: Any) -> dict[str, Any]:
    """Return what the dataset offers, or say what is missing.

    Raises
    ------
    InputError
        If no recording has a datatype that the extractor takes, no event means a class of the study, or fewer
        subjects or sessions are there than every scheme needs.
    """
    rows = usable(taken(read_recordings(recordings), card["filters"]), card, extractor)
    offers: dict[str, Any] = {
        "recordings": len(rows),
        "subjects": len({row["subject"] for row in rows}),
        "sessions": len({(row["subject"], row["session"]) for row in rows}),
    }
    if card["evaluation"]["target"] is not None:
        offers["values"] = check_target(rows, root, card)
    elif extractor.needs_events:
        offers["events"] = check_events(rows, root, card)
    return offers


def taken(rows: list[dict], filters: Mapping[str, Sequence[str]]) -> list[dict]:
    """Return the recordings that the filters of a dataset card leave."""
    return [row for row in rows if all(row[entity] in labels for entity, labels in filters.items())]


def usable(rows: list[dict], card: Mapping[str, Any], extractor: Any) -> list[dict]:
    """Return the recordings of a kind that an extractor takes.

    Raises
    ------
    InputError
        If there is none.
    """
    found = [row for row in rows if row["datatype"] in extractor.datatypes]
    found = [row for row in found if not extractor.suffixes or row["suffix"] in extractor.suffixes]
    if not found:
        has = sorted({f"{row['datatype']} ({row['suffix']})" for row in rows if row["datatype"] != "n/a"})
        kinds = f"{' or '.join(extractor.datatypes)} recording"
        kinds += f" ({' or '.join(extractor.suffixes)})" if extractor.suffixes else ""
        raise InputError(
            f"dataset {card['dataset']}",
            f"has no {kinds}, which the feature"
            f" {card['feature']['extractor']} needs (it has {', '.join(has) or 'no recording'})",
            "choose another dataset, or a feature that takes what it has",
        )
    return found


def read_participants(dataset: str, root: Path) -> list[dict[str, str]]:
    """Return the rows of ``participants.tsv``, none if it is not there.

    Raises
    ------
    InputError
        If it does not say who they are.
    """
    listed = inside(root, "participants.tsv")
    table = read_tsv(listed) if listed.is_file() else []
    if table and "participant_id" not in table[0]:
        fault = "its participants.tsv has no column participant_id"
        raise InputError(f"dataset {dataset}", fault, "add it, with values such as sub-01")
    return table


def check_target(rows: list[dict], root: Path, card: Mapping[str, Any]) -> dict[str, int]:
    """Return how many subjects have each class, or how many a number, after what the participants' table says.

    Raises
    ------
    InputError
        If it does not say what the target is, or no subject has a class.
    """
    dataset = f"dataset {card['dataset']}"
    target, classes = card["evaluation"]["target"], card["evaluation"]["classes"] or []
    entry = card["variables"].get(target, {"column": target})
    table = read_participants(card["dataset"], root)
    columns = list(table[0]) if table else []
    here = f"config/datasets/{card['dataset']}.yaml"
    if entry["column"] not in columns:
        shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
        raise InputError(
            dataset,
            f"does not say what {target} is: its participants.tsv has the columns {shown or '(none)'}",
            f"name one under `variables` of {here}",
        )
    subjects = {f"sub-{row['subject']}" for row in rows}
    found = Counter(row[entry["column"]] for row in table if row["participant_id"] in subjects)
    if card["evaluation"]["task"] == "regress":
        return {"known": sum(found.values()) - found["n/a"]}
    meant = entry.get("values", {name: [name] for name in classes})
    counts = {name: sum(found[str(value)] for value in meant.get(name, [])) for name in classes}
    lacking = [name for name, count in counts.items() if not count]
    if lacking:
        raise InputError(
            dataset,
            f"has no subject of class {', '.join(lacking)}: column {entry['column']} of its participants.tsv has"
            f" {', '.join(sorted(found)[:20])}",
            f"say under `variables` of {here} which values of {target} mean {' and '.join(lacking)}",
        )
    return counts


def check_events(rows: list[dict], root: Path, card: Mapping[str, Any]) -> list[str]:
    """Return the ``trial_type`` values found while looking for one event of each class.

    Raises
    ------
    InputError
        If the card does not say which events mean a class, or there is none of a class.
    """
    dataset, meant = f"dataset {card['dataset']}", card["classes"]
    unmapped = sorted(set(card["evaluation"]["classes"]) - set(meant))
    if unmapped:
        found = _trial_types(rows, root, None)
        raise InputError(
            dataset,
            f"does not say which events mean {', '.join(unmapped)}; its events.tsv have the trial_type"
            f" {', '.join(sorted(found)) or '(none)'}",
            f"add them under `classes` of config/datasets/{card['dataset']}.yaml",
        )
    wanted = {value: name for name in card["evaluation"]["classes"] for value in meant[name]}
    found = _trial_types(rows, root, set(card["evaluation"]["classes"]), wanted)
    lacking = sorted(set(card["evaluation"]["classes"]) - {wanted[value] for value in found if value in wanted})
    if lacking:
        raise InputError(
            dataset,
            f"has no event of class {', '.join(lacking)}"
            f" (trial_type {', '.join(value for name in lacking for value in meant[name])});"
            f" its events.tsv have the trial_type {', '.join(sorted(found)) or '(none)'}",
            f"correct `classes` of config/datasets/{card['dataset']}.yaml",
        )
    return sorted(found)


def _trial_types(
    rows: list[dict], root: Path, until: set[str] | None, wanted: Mapping[str, str] | None = None
) -> set[str]:
    """Read events tables until every class of ``until`` has been seen, or all have been read."""
    found: set[str] = set()
    for path in dict.fromkeys(row["events"] for row in rows if row["events"] != "n/a"):
        found |= {row["trial_type"] for row in read_tsv(inside(root, path)) if row.get("trial_type", "n/a") != "n/a"}
        if until is not None and until <= {wanted[value] for value in found if value in wanted}:
            break
    return found


def versions() -> dict[str, str]:
    """Return the versions of this library and of the packages that decide numbers, those that are installed."""
    names = [
        *("numpy", "scipy", "scikit-learn", "pyriemann", "mne", "mne-bids"),
        *("antspyx", "nibabel", "nilearn", "nipype", "torch"),
    ]
    # It need not be installed: jobs run the copy beside the rules.
    found = {"replicortex": __version__}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
