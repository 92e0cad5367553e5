"""Which studies can run on a dataset, and what exactly the others lack; asked of the dataset itself, before any run."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..bids import read_recordings
from ..cards import Cards, Run
from ..components import make
from ..errors import InputError
from ..files import read_tsv
from ..index import refresh_index
from ..shared.raw_files import inside
from ..shared.stimuli import presented
from .blocks import with_files
from .check import check_events, check_target, read_participants, taken, usable
from .plan import read_cards
from .splits import SHOWN, UNLABELLED
from .stimuli import stimulus_rule

#: How to say on the command line what a card would say.
HOW_TO_SAY = (
    "--classes CLASS=TRIAL_TYPE,... says what events mean, --variable NAME=COLUMN and --values NAME.CLASS=VALUE,..."
    " what participants.tsv means"
)
_MOST_ALTERNATIVES = 3


@dataclass
class Suits:
    """Whether a study can run on a dataset.

    Parameters
    ----------
    study, preprocessing, feature : str
        What would run.
    missing : list of str
        What the dataset lacks, in words; it can run if there is nothing.
    notes : list of str
        What will be left out.
    offers : dict of str to int
        Number of recordings, subjects and sessions that can be used, and of subjects or rows by class.
    alternatives : list of dict
        Other preprocessing or feature cards with which it could run.
    nearest : dict
        Where there is none: the cards that get furthest (``change``), and what is then still ``missing``.
    """

    study: str
    preprocessing: str
    feature: str
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    offers: dict[str, int] = field(default_factory=dict)
    alternatives: list[dict[str, str]] = field(default_factory=list)
    nearest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A dataset that was looked at.

    Parameters
    ----------
    name : str
        Name of its card.
    card : mapping
        Its card.
    root : Path
        Its folder.
    recordings : list of dict
        Rows of ``recordings.tsv``.
    participants : list of dict
        Rows of ``participants.tsv``.
    n_problems : int
        Problems that the index found.
    """

    name: str
    card: Mapping[str, Any]
    root: Path
    recordings: list[dict[str, str]]
    participants: list[dict[str, str]]
    n_problems: int


def look_at(name: str, card: Mapping[str, Any], root: Path) -> Dataset:
    """Index a dataset in a folder that is thrown away, by size and time of its files, and read who takes part.

    Raises
    ------
    InputError
        If it is not there, or has no subject.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = refresh_index(root, folder, fingerprint="stat")
        recordings = read_recordings(Path(folder) / "recordings.tsv")
    recordings = taken(recordings, card.get("filters", {}))
    return Dataset(name, card, root, recordings, read_participants(name, root), len(content["problems"]))


def suits(cards: Cards, run: Run, dataset: Dataset) -> Suits:
    """Return whether a run can be done on a dataset, by the same checks that the run itself begins with.

    Parameters
    ----------
    cards : Cards
        Cards that know the dataset.
    run : Run
        The study on this dataset.
    dataset : Dataset
        What was found of it.
    """
    found = Suits(run.study, run.preprocessing, run.feature)
    try:
        rows, extractor, card = _usable(cards, run, dataset)
    except InputError as error:
        found.missing.append(_plain(error))
        return found
    found.offers = {
        "recordings": len(rows),
        "subjects": len({row["subject"] for row in rows}),
        "sessions": len({(row["subject"], row["session"]) for row in rows}),
    }
    found.missing += _channels(rows, extractor, dataset, found.notes)
    broken = [row["problem"] for row in rows if row["problem"] != "n/a"]
    if len(broken) == len(rows):
        found.missing.append(f"every recording has a problem, such as {broken[0]}")
    elif broken:
        found.notes.append(f"{len(broken)} of {len(rows)} recordings have a problem and are left out")
    labels = _labels(rows, extractor, card, dataset, found)
    covariates = _covariates(run, rows, extractor, dataset, found.missing)
    if labels is not None:
        _schemes(cards, run, rows, labels, covariates, found)
    return found


def _plain(error: InputError) -> str:
    """Return a fault without the name of the dataset, which stands above it."""
    return error.fault


def _usable(cards: Cards, run: Run, dataset: Dataset) -> tuple[list[dict[str, str]], Any, dict[str, Any]]:
    """Return the recordings that the last recipe and the feature take, the extractor, and the card of the check."""
    feature = {"params": {}, **cards.card("features", run.feature)}
    extractor, _ = with_files("features", feature["extractor"], feature["params"], cards.files("features", run.feature))
    card = {
        "dataset": dataset.name,
        "classes": dataset.card.get("classes", {}),
        "variables": dataset.card.get("variables", {}),
        "feature": feature,
        "evaluation": {key: run.evaluation.get(key) for key in ("task", "target", "classes", "covariates")},
    }
    usable(dataset.recordings, card, extractor)
    rows: list[dict[str, str]] = []
    for name in cards.recipes(run.preprocessing):
        recipe = {"params": {}, **cards.card("preprocessing", name)}
        folder = recipe["params"].get("folder")
        if folder not in (None, ".") and not (dataset.root / folder).is_dir():
            raise InputError(name, f"has no folder {folder}, which the preprocessing {name} takes", "choose another")
        engine, _ = with_files("preprocessing", recipe["engine"], recipe["params"], cards.files("preprocessing", name))
        rows = [row for row in dataset.recordings if engine.takes(row)]
        if not rows:
            kinds = sorted({f"{row['datatype']} ({row['suffix']})" for row in dataset.recordings})
            fault = f"has nothing that the preprocessing {name} takes (it has {', '.join(kinds) or 'no recording'})"
            raise InputError(name, fault, "choose another")
    return usable(rows, card, extractor), extractor, card


def _channels(rows: Sequence[Mapping[str, str]], extractor: Any, dataset: Dataset, notes: list[str]) -> Iterator[str]:
    """Yield the channels that all recordings lack; note how many lack some."""
    lacking: dict[tuple[str, ...], int] = {}
    n_known = 0
    for row in rows:
        if row["channels"] == "n/a":
            continue
        table = read_tsv(inside(dataset.root, row["channels"]))
        n_known += 1
        missing = tuple(extractor.lacks({line.get("name", "") for line in table}))
        if missing:
            lacking[missing] = lacking.get(missing, 0) + 1
    n_lacking = sum(lacking.values())
    if not n_lacking:
        return
    most = max(lacking, key=lacking.__getitem__)
    text = f"channel {', '.join(most)}"
    if n_lacking == n_known:
        yield f"no recording has all channels that the feature needs: they lack {text}"
    else:
        notes.append(f"{n_lacking} of {n_known} recordings lack channels ({text}) and are left out")


def _labels(
    rows: Sequence[dict[str, str]], extractor: Any, card: Mapping[str, Any], dataset: Dataset, found: Suits
) -> list[tuple[dict[str, str], str]] | None:
    """Return pairs of recording and label: an event each, or the subject's target; None where it is not known."""
    evaluation = card["evaluation"]
    try:
        if evaluation["target"] is not None:
            values = check_target(rows, dataset.root, card)
            found.offers |= values
            if values.get("known", 1) == 0:
                raise InputError(dataset.name, f"knows {evaluation['target']} of no subject", "fill participants.tsv")
            return _of_participants(rows, card, dataset)
        if extractor.needs_stimuli:
            return _of_stimuli(rows, dataset)
        if extractor.needs_events:
            check_events(rows, dataset.root, card)
            return list(_of_events(rows, card, dataset))
    except InputError as error:
        found.missing.append(_plain(error))
        return None
    return [(row, row["subject"]) for row in rows]


def _of_participants(
    rows: Sequence[dict[str, str]], card: Mapping[str, Any], dataset: Dataset
) -> list[tuple[dict[str, str], str]]:
    entry = card["variables"].get(card["evaluation"]["target"], {"column": card["evaluation"]["target"]})
    classes = card["evaluation"]["classes"]
    meaning = {str(value): name for name, values in entry.get("values", {}).items() for value in values}
    told = {line["participant_id"]: line[entry["column"]] for line in dataset.participants}
    pairs = [(row, told.get(f"sub-{row['subject']}", "n/a")) for row in rows]
    if card["evaluation"]["task"] == "regress":
        return [(row, value) for row, value in pairs if value != "n/a"]
    named = [(row, meaning.get(value, "n/a") if meaning else value) for row, value in pairs]
    return [(row, label) for row, label in named if label in classes]


def _of_stimuli(rows: Sequence[dict[str, str]], dataset: Dataset) -> list[tuple[dict[str, str], str]]:
    rule = stimulus_rule(dataset.card.get("stimuli", {}))
    found = []
    for row in rows:
        if row["events"] != "n/a":
            events = read_tsv(inside(dataset.root, row["events"]))
            found += [(row, entry["stim_id"]) for entry in presented(events, rule, row["events"])]
    if not found:
        raise InputError(dataset.name, "has no event that names a stimulus", "say which column does")
    return found


def _of_events(
    rows: Sequence[dict[str, str]], card: Mapping[str, Any], dataset: Dataset
) -> Iterator[tuple[dict[str, str], str]]:
    meaning = {value: name for name in card["evaluation"]["classes"] for value in card["classes"][name]}
    for row in rows:
        if row["events"] != "n/a":
            for event in read_tsv(inside(dataset.root, row["events"])):
                if event.get("trial_type") in meaning:
                    yield row, meaning[event["trial_type"]]


def _covariates(
    run: Run, rows: Sequence[Mapping[str, str]], extractor: Any, dataset: Dataset, missing: list[str]
) -> dict[str, dict[str, str]]:
    """Return the covariates that participants.tsv has, by subject; say which nobody knows."""
    variables = dataset.card.get("variables", {})
    # Tables hold no volumes to measure.
    measured = extractor.measures if any(row["suffix"] == "bold" for row in rows) else frozenset()
    found = {}
    for name in run.evaluation["covariates"]:
        column = variables.get(name, {"column": name})["column"]
        if dataset.participants and column in dataset.participants[0]:
            found[name] = {line["participant_id"]: line[column] for line in dataset.participants}
        elif name not in measured:
            columns = ", ".join(dataset.participants[0]) if dataset.participants else "(none)"
            missing.append(f"does not say what {name} is: its participants.tsv has the columns {columns}")
    return found


def _schemes(
    cards: Cards,
    run: Run,
    rows: Sequence[Mapping[str, str]],
    labels: Sequence[tuple[Mapping[str, str], str]],
    covariates: Mapping[str, Mapping[str, str]],
    found: Suits,
) -> None:
    """Say which schemes make no fold of rows such as the features will give."""
    columns = {key: np.array([row[key] for row, _ in labels]) for key in ("subject", "session", "run", "recording")}
    columns["row_id"] = np.arange(len(labels)).astype(str)
    for name, values in covariates.items():
        columns[name] = np.array([values.get(f"sub-{row['subject']}", "n/a") for row, _ in labels])
    target = np.array([label for _, label in labels])
    if run.evaluation["task"] == "regress":
        target = np.array([_number(label) for label in target])
        keep = np.isfinite(target)
        target, columns = target[keep], {key: values[keep] for key, values in columns.items()}
    elif run.evaluation["task"] in ("select", *SHOWN, *UNLABELLED) and "target" not in run.evaluation:
        columns["label"] = target
        target = np.zeros(len(target))
    reasons = {}
    for scheme, params in run.evaluation["schemes"].items():
        splitter = make("splitters", scheme, params)
        if not {*splitter.columns} <= {*columns}:
            found.notes.append(f"whether scheme {scheme} is possible shows once there are features")
            continue
        reason = splitter.unfit(columns) if len(target) else "there is no row"
        if reason is None and next(splitter.split(columns, target, cards.config["seed"]), None) is None:
            reason = "it makes no fold of these rows, each class would have to be in every one"
        if reason is not None:
            reasons[scheme] = reason
    told = [f"scheme {scheme}: {reason}" for scheme, reason in reasons.items()]
    if len(reasons) == len(run.evaluation["schemes"]):
        found.missing.append("no scheme is possible: " + "; ".join(told))
    else:
        found.notes += [f"{line}; its claims stay undecided" for line in told]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def resolved(cards: Cards, dataset: str, card: Mapping[str, Any], **entry: Any) -> tuple[Cards, Run]:
    """Return cards with one run, of a study on a dataset whose card is given."""
    # What other runs of the configuration may lack is not asked here.
    inline = {**cards.config.get("datasets", {}), dataset: dict(card)}
    one = Cards(cards.folder, {**cards.config, "datasets": inline, "runs": [{**entry, "dataset": dataset}]})
    return one, next(iter(one.runs.values()))


def alternatives(cards: Cards, dataset: Dataset, study: str) -> Iterator[tuple[dict[str, str], Suits]]:
    """Yield other recipes, and feature cards of the same extractor, that find recordings; and what they then lack."""
    card = cards.card("studies", study)
    extractor = cards.card("features", card["feature"])["extractor"]
    features = [name for name in cards.names("features") if cards.card("features", name)["extractor"] == extractor]
    modalities = {row["datatype"] for row in dataset.recordings}
    recipes = [
        name for name in cards.names("preprocessing") if cards.card("preprocessing", name)["modality"] in modalities
    ]
    for preprocessing in sorted(recipes, key=lambda name: name != card["preprocessing"]):
        for feature in sorted(features, key=lambda name: name != card["feature"]):
            change = {"preprocessing": preprocessing, "feature": feature}
            change = {key: value for key, value in change.items() if value != card[key]}
            if change:
                entry = {"study": study, **change}
                try:
                    found = suits(*resolved(cards, dataset.name, dataset.card, **entry), dataset)
                except InputError:
                    continue
                if found.offers:
                    yield change, found


def survey(cards: Cards, dataset: Dataset, studies: Sequence[str], **change: str) -> list[Suits]:
    """Return for each study whether it can run on a dataset, and what would make it run."""
    found = []
    for study in studies:
        try:
            one, run = resolved(cards, dataset.name, dataset.card, study=study, **change)
        except InputError as error:
            if cards.card("studies", study).get("stimuli") is None or "stimuli" in dataset.card:
                raise
            named = [change.get(key, cards.card("studies", study)[key]) for key in ("preprocessing", "feature")]
            found.append(Suits(study, *named, missing=[error.fault]))
            continue
        result = suits(one, run, dataset)
        if result.missing and not change:
            others = list(alternatives(cards, dataset, study))
            result.alternatives = [entry for entry, other in others if not other.missing][:_MOST_ALTERNATIVES]
            if others and not result.alternatives and not result.offers:
                entry, other = min(others, key=lambda pair: len(pair[1].missing))
                result.nearest = {"change": entry, "missing": other.missing}
        found.append(result)
    return found


def check_dataset(
    project: Path,
    name: str,
    card: Mapping[str, Any],
    root: Path,
    studies: Sequence[str] = (),
    change: Mapping[str, str] | None = None,
    configuration: Mapping[str, Any] | None = None,
    as_json: bool = False,
) -> bool:
    """Print which studies can run on a dataset, and what the others lack.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    name, card, root
        The dataset.
    studies : sequence of str
        Which studies to ask; all if there is none.
    change : mapping, optional
        ``preprocessing`` and ``feature`` to take instead of the study's own.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    as_json : bool
        Print JSON instead of text.

    Returns
    -------
    bool
        Whether any of the studies can run.

    Raises
    ------
    InputError
        If the dataset is not there, or a card is refused.
    """
    cards = read_cards(project, configuration)
    dataset = look_at(name, card, root)
    found = survey(cards, dataset, studies or cards.names("studies"), **(change or {}))
    if as_json:
        about = {"dataset": name, "kinds": _kinds(dataset), "participants": len(dataset.participants)}
        about |= {"problems": dataset.n_problems, "studies": [asdict(one) for one in found]}
        print(json.dumps(about, indent=2))
    else:
        _show(dataset, found)
    return any(not one.missing for one in found)


def _options(change: Mapping[str, str]) -> str:
    return " ".join(f"--{key} {value}" for key, value in change.items())


def _kinds(dataset: Dataset) -> dict[str, int]:
    kinds = [f"{row['datatype']} ({row['suffix']})" for row in dataset.recordings]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _show(dataset: Dataset, found: Sequence[Suits]) -> None:
    subjects = {row["subject"] for row in dataset.recordings}
    kinds = ", ".join(f"{n} {kind}" for kind, n in _kinds(dataset).items()) or "no recording"
    print(f"{dataset.name}: {len(subjects)} subjects; {kinds}")
    if dataset.participants:
        print(f"participants.tsv: {', '.join(dataset.participants[0])}")
    if dataset.n_problems:
        print(f"{dataset.n_problems} problems that the index found; they stand in its content.json after a run")
    for one in found:
        runs = not one.missing
        print(f"\n{'yes' if runs else 'no '}  {one.study}  ({one.preprocessing}, {one.feature})")
        if one.offers:
            print("     offers " + ", ".join(f"{value} {key}" for key, value in one.offers.items()))
        for sign, lines in (("-", one.missing), ("?", one.notes)):
            for line in lines:
                print(textwrap.fill(line, 110, initial_indent=f"     {sign} ", subsequent_indent="       "))
        for change in one.alternatives:
            print(f"     + it could run with {_options(change)}")
        if one.nearest:
            print(f"     - with {_options(one.nearest['change'])} still:")
            for line in one.nearest["missing"]:
                print(textwrap.fill(line, 110, initial_indent="       - ", subsequent_indent="         "))
    if any(one.missing for one in found):
        print("\n" + textwrap.fill(HOW_TO_SAY, 110))
