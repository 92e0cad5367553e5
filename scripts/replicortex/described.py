"""A run as it was resolved, in one document beside its results: what the site, and whoever gets the results, reads.

Imports nothing heavy: rules call it while Snakemake reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cards import Cards, Run

#: Keys of cards that say where something lies on this machine.
_PLACES = frozenset(["root", "source"])
_PATH = re.compile(r"(~|/|\.\.?/|[A-Za-z]:\\|file:|ssh:|.*\$\{|\S+@\S+:)")
_CREDENTIALS = re.compile(r"[a-z+]+://[^/\s]*@")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
#: Variable that stands for the folder of a dataset that only the configuration describes.
FOLDER = "DATASET"
#: Stands for what is not told.
HIDDEN = "(a place on this machine)"


def described(cards: Cards, run: Run) -> dict[str, Any]:
    """Return a run with all its cards, resolved by scale, and without a path of this machine.

    Parameters
    ----------
    cards : Cards
        The cards of the configuration.
    run : Run
        One of its runs.

    Returns
    -------
    dict
        ``run``, ``study``, ``variants``; ``card`` is the study card at the scale of the configuration, with the run's
        own parameters; ``datasets`` are the cards of the dataset and of its twin, by name; ``recipes`` those of
        preprocessing, in order; ``feature`` that of the features; ``configuration`` what of ``config.yaml`` asks for
        this run, its dataset's card too where no file holds it; ``environment`` the variables that name folders.
    """
    entry = next(entry for name, entry in zip(cards.runs, cards.config["runs"], strict=True) if cards.runs[name] is run)
    defaults = cards.defaults()
    differing = {
        key: cards.config[key]
        for key in ("scale", "seed", "validation")
        if cards.config[key] != defaults[key] or key == "scale"
    }
    origins = {name: cards.dataset(name) for name in run.datasets}
    found = {
        "run": run.name,
        "study": run.study,
        "dataset": run.dataset,
        "simulated": run.simulated,
        "variants": run.variants,
        "card": run.card,
        "datasets": origins,
        "recipes": [{"name": name, **cards.card("preprocessing", name)} for name in cards.recipes(run.preprocessing)],
        "feature": {"name": run.feature, **cards.card("features", run.feature)},
        "configuration": {**differing, "runs": [entry]},
        "energy": cards.config.get("energy", {}),
    }
    told, variables = shareable(found), set(_variables(origins))
    written = cards.config.get("datasets", {}).get(run.dataset)
    if written is not None:
        # In no file, so that it is part of what asks for the run; its folder is for the reader to name.
        told["configuration"]["datasets"] = {run.dataset: {**shareable(written), "root": f"${{{FOLDER}}}"}}
        variables.add(FOLDER)
    # In one order, however the configuration was written: only in the study's card does the order mean something.
    told |= {key: json.loads(json.dumps(told[key], sort_keys=True)) for key in ("datasets", "configuration")}
    return {**told, "environment": sorted(variables)}


def shareable(value: Any) -> Any:
    """Return a card, or part of one, without what tells where files lie, how to get at them, or who was chosen."""
    if isinstance(value, Mapping):
        kept = {key: shareable(entry) for key, entry in value.items() if key not in _PLACES}
        chosen = kept.get("filters")
        if isinstance(chosen, Mapping) and chosen.get("subject"):
            kept["filters"] = {**chosen, "subject": [f"({len(chosen['subject'])} labels, not told)"]}
        return kept
    if isinstance(value, list | tuple):
        return [shareable(entry) for entry in value]
    if isinstance(value, str) and (_PATH.match(value) or _CREDENTIALS.match(value)):
        return HIDDEN
    return value


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for entry in value.values():
            yield from _variables(entry)
    elif isinstance(value, str):
        yield from _VARIABLE.findall(value)
