"""Cards: what is run, on what, and what is claimed. Read and checked when Snakemake starts.

Imports nothing heavier than YAML and jsonschema: this code runs again in every job that a cluster starts.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import bids
from .errors import InputError, did_you_mean
from .files import open_text, read_json

KINDS = ("datasets", "preprocessing", "features", "stimuli", "studies")
NAME = r"[a-z][a-z0-9_]*"
#: Environment that prepares recordings and takes features, by modality; the rules of a modality name it too.
FAMILIES = {
    **dict.fromkeys(["beh", "eeg", "ephys", "meg", "micr"], "signal"),
    **dict.fromkeys(["anat", "func", "pet"], "mri"),
}
#: Datatypes that recipes of a modality take, where that is more than the one of its name.
TAKEN = {"meg": ("meg", "eeg")}
#: What a card may be: bytes, depth, values with aliases unfolded. Nothing that people write comes near.
_MOST_CARD, _DEEPEST, _MOST_VALUES = 1 << 24, 100, 1_000_000
_SURELY_FLAT = 5000  # characters; four times as deep the loader still works
#: Where OpenNeuro publishes its datasets as git repositories, a snapshot a tag; `mirrors` of config.yaml overrides it.
OPENNEURO = "https://github.com/OpenNeuroDatasets/{accession}.git"
#: Keys of a dataset card that say what to fetch.
FETCHED = frozenset(["openneuro", "datalad"])
#: Datatypes that engines which start a container themselves (fMRIPrep) use together.
WITH_CONTAINERS = ("anat", "fmap", "func")
#: A simulated dataset has a twin without the planted effect, under this ending.
ABSENT = "-absent"
#: Tasks whose rows are presentations of stimuli.
SHOWN = ("encode", "retrieve")
#: How a text begins that `replicortex new` leaves for its user to write; what it should say follows.
TO_FILL_IN = "FILL IN"


def check(card: Any, schema: Mapping[str, Any], where: str) -> None:
    """Check a card against its schema.

    Raises
    ------
    InputError
        Naming the file, the key and, for an unknown key, the nearest known one.
    """
    # Imported here: a job on a cluster parses cards that were checked when the run began.
    from jsonschema import Draft202012Validator

    for key, text in _texts(card):
        if text.startswith(TO_FILL_IN):
            raise InputError(where, f"{key} is still to fill in", text.removeprefix(TO_FILL_IN).strip(" :"))
    validator = Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(card), key=lambda e: (len(e.absolute_path), str(e.absolute_path)))
    if not errors:
        return
    error = errors[0]
    if error.validator == "oneOf":
        # The alternative that was meant is the one whose type fits; what is wrong inside it is the better message.
        branches = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        meant = [faults for faults in branches.values() if faults[0].validator not in ("type", "required")]
        error = meant[0][0] if len(meant) == 1 else error
    key = ".".join(str(part) for part in error.absolute_path) or "the card"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))[0]
        place = "" if key == "the card" else f" in {key}"
        raise InputError(where, f"unknown key {unknown!r}{place}", did_you_mean(unknown, known))
    if error.validator == "oneOf":
        branches = [sorted(set(b.get("required", []))) for b in error.validator_value]
        raise InputError(where, f"{key}: needs exactly one of {', '.join(b[0] for b in branches)}", "correct the card")
    raise InputError(where, f"{key}: {error.message[:200]}", "correct the card (config/README.md explains each key)")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a card, with where it stands."""
    if isinstance(value, str):
        yield key or "the card", value
    elif isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, entry in pairs:
            yield from _texts(entry, f"{key}.{name}" if key else str(name))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it: mappings are merged, everything else is replaced."""
    merged = dict(copy.deepcopy(base))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def lay(base: Mapping[str, Any], over: Any, where: str) -> dict[str, Any]:
    """Return a configuration with another laid on it.

    Raises
    ------
    InputError
        If that is no mapping; ``where`` names it.
    """
    if not isinstance(over, Mapping):
        raise InputError(where, "holds no mapping of keys to values", "write KEY: VALUE lines, or a JSON object")
    return merge(base, over)


def typed(value: Any) -> Any:
    """Return parameters with numbers as numbers: what the command line nests in ``--config`` comes as text."""
    if isinstance(value, Mapping):
        return {key: typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    if isinstance(value, str):
        read = yaml.safe_load(value) if re.fullmatch(r"[-+.\w]+", value) else value
        return read if isinstance(read, bool | int | float) or read is None else value
    return value


@functools.cache
def read_yaml(path: Path) -> Any:
    """Read a YAML file with the safe loader; what comes back is what JSON can say.

    Raises
    ------
    InputError
        If it is missing or not YAML, is nested or repeats itself beyond measure, or holds a value that is no text,
        number, list or mapping by text.
    """
    try:
        with open_text(path, _MOST_CARD) as stream:
            text = stream.read()
    except InputError as error:
        raise InputError(path.name, error.fault, "check the file") from None
    except ValueError as error:
        raise InputError(path.name, f"not readable as YAML ({error})", "correct the file") from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text says, as :func:`read_yaml` does for a file; ``where`` names it in errors."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # The loader written in C is faster and dies of deep nesting: no text shorter than that needs a look.
        if text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0) > _SURELY_FLAT:
            depth = 0
            for event in yaml.parse(text, Loader=loader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > _DEEPEST:
                    raise ValueError(f"nested more than {_DEEPEST} deep")
        value = loader(text).get_single_data()
        _check_plain(value, {})
    except RecursionError:
        raise InputError(where, "is nested too deeply", "correct it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(where, f"not readable as YAML ({error})", "correct it") from None
    return value


def _check_plain(value: Any, sizes: dict[int, int]) -> int:
    """Refuse with ``ValueError`` what can not travel as JSON; return how many values there are, aliases unfolded."""
    if isinstance(value, str):
        if "\0" in value or (not value.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in value)):
            raise ValueError(f"the text {value[:40]!r} holds a sign that no file can")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
    elif isinstance(value, Mapping | list):
        if id(value) in sizes:
            if not sizes[id(value)]:
                raise ValueError("a part holds itself")
            return sizes[id(value)]
        sizes[id(value)] = 0
        odd = next((key for key in value if not isinstance(key, str)), None) if isinstance(value, Mapping) else None
        if odd is not None or (isinstance(value, Mapping) and None in value):
            raise ValueError(f"the key {odd!r} is no text: write it in quotes")
        inner = [*value, *value.values()] if isinstance(value, Mapping) else value
        sizes[id(value)] = 1 + sum(_check_plain(entry, sizes) for entry in inner)
        if sizes[id(value)] > _MOST_VALUES:
            raise ValueError(f"aliases make more than {_MOST_VALUES} values of it")
        return sizes[id(value)]
    elif not (value is None or isinstance(value, bool | int)):
        raise ValueError(f"{value!r} is a {type(value).__name__}: write it in quotes")
    return 1


def expand(path: str, where: str) -> str:
    """Return a path with ``${NAME}`` replaced from the environment and ``~`` by the home folder.

    Raises
    ------
    InputError
        If the variable is not set.
    """

    def value(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise InputError(
                where,
                f"the path {path} needs the environment variable {match[1]}",
                f"export {match[1]}=/the/folder",
            )
        return os.environ[match[1]]

    expanded = re.sub(r"\$\{(\w+)\}", value, path)
    try:
        return str(Path(expanded).expanduser())
    except RuntimeError:
        raise InputError(where, f"the path {path} names a user that is not there", "write the folder out") from None


@dataclass(frozen=True)
class Run:
    """One study on one dataset, resolved: scale and the run's own parameters laid over the study card."""

    name: str
    study: str
    dataset: str
    preprocessing: str
    feature: str
    card: Mapping[str, Any]
    simulated: bool
    family: str
    #: Card that says what was shown in numbers, and the environment that this needs; ``None`` if nothing was.
    stimuli: str | None = None
    stimuli_family: str | None = None

    @property
    def methods(self) -> Mapping[str, Any]:
        """The paper's method and its baselines, by their name in the study."""
        return self.card["methods"]

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """Classes, schemes, seeds, metrics, number of null variants."""
        return self.card["evaluation"]

    @property
    def variants(self) -> list[str]:
        """``observed``, permuted labels, networks left untrained, and a simulated dataset's twin without the effect."""
        nulls = [f"null-{k}" for k in range(1, self.evaluation["null_variants"] + 1)]
        twins = [f"random-{k}" for k in range(1, self.evaluation["random_variants"] + 1)]
        # A control that says nothing about any claim is not made.
        told = any(claim["under_null"] != "n/a" for claim in self.card["claims"]) or not self.card["claims"]
        return ["observed", *nulls, *twins, *(["absent"] if self.simulated and told else [])]

    def fitted(self, variant: str, *, scored: bool = False) -> list[str]:
        """Return the methods that a variant fits: with untrained networks those that have any; or only those scored."""
        names = [name for name in self.methods if not (scored and self.methods[name]["role"] == "stage")]
        if not variant.startswith("random-"):
            return names
        return [name for name in names if any(self.methods[one]["twin"] for one in self.line(name))]

    def schemes(self, variant: str) -> dict[str, Any]:
        """Return the schemes of a variant: untrained networks are held out as claims about them ask, all others by all.

        Where no claim is about them they are there to be looked at, by all schemes.
        """
        every = self.evaluation["schemes"]
        twins = [claim for claim in self.card["claims"] if claim["kind"] == "beats_twins"]
        asked = {claim["scheme"] for claim in twins if "random" in claim.get("against", ["random"])}
        if not variant.startswith("random-") or not asked:
            return dict(every)
        return {name: params for name, params in every.items() if name in asked}

    def line(self, method: str) -> list[str]:
        """Return a method and those that it starts from, nearest first."""
        found = [method]
        while "init_from" in self.methods[found[-1]]:
            found.append(self.methods[found[-1]]["init_from"])
        return found

    @property
    def parts(self) -> list[str]:
        """The shares of the folds that are fitted as one job each."""
        return [f"{i}of{self.evaluation['parts']}" for i in range(self.evaluation["parts"])]

    @property
    def families(self) -> list[str]:
        """The environments that the methods and the features need, and that of all the rest."""
        shown = {self.stimuli_family} - {None}
        return sorted({"signal", self.family, *shown, *(method["family"] for method in self.methods.values())})

    @property
    def datasets(self) -> list[str]:
        """The dataset, and its twin without the effect where there is one."""
        return sorted({self.dataset_of(variant) for variant in self.variants})

    @property
    def target(self) -> list[str]:
        """The variable of the participants to predict; none where the rows themselves have labels."""
        return [self.evaluation["target"]] if "target" in self.evaluation else []

    @property
    def scored_together(self) -> bool:
        """Whether the subjects that are held out together are scored together, and not each by itself."""
        return bool(self.target) or self.evaluation["task"] in ("select", "generate")

    def table_of(self, variant: str, name: str) -> str:
        """Return the path of a table of the dataset that a variant runs on."""
        return f"results/datasets/{self.dataset_of(variant)}/{name}.tsv"

    def dataset_of(self, variant: str) -> str:
        """Return the dataset that a variant runs on."""
        return self.dataset + ABSENT if variant == "absent" else self.dataset

    @property
    def for_claims(self) -> dict[str, Any]:
        """What judging the claims needs to know; labels as pairs, since their order is that of the figures."""
        labels = [[name, method["label"]] for name, method in self.methods.items()]
        named = {"run": self.name, "study": self.study, "dataset": self.dataset}
        stated = {"paper": self.card["paper"], "claims": self.card["claims"]}
        return {**named, **stated, "labels": labels, "schemes": list(self.evaluation["schemes"])}

    def fits(self, variant: str, name: str, method: str | None = None, *, scored: bool = False) -> list[str]:
        """Return the paths of file ``name`` of every fit of a variant; of one method, of all, or of those scored."""
        return [
            f"results/runs/{self.name}/{variant}/{one}/seed-{seed}_part-{part}/{name}"
            for one in ([method] if method else self.fitted(variant, scored=scored))
            for seed in self.evaluation["seeds"]
            for part in self.parts
        ]


class Cards:
    """All cards that a configuration needs, checked.

    Parameters
    ----------
    folder : Path
        The ``config`` folder.
    config : mapping
        What Snakemake read: ``config.yaml`` and what the command line laid over it.
    checked : bool
        Whether to check against the schemas; a job of a running workflow need not do it again.

    Raises
    ------
    InputError
        Naming card and key.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, checked: bool = True) -> None:
        self.folder = folder
        self.checked = checked
        self._cards: dict[tuple[str, str], dict[str, Any]] = {}
        self._n_subjects: dict[str, int] = {}
        self.config = merge(self.defaults(), config)
        self._check(self.config, "config", "config.yaml")
        self.runs: dict[str, Run] = {}
        for entry in self.config["runs"]:
            run = self._run({"study": entry} if isinstance(entry, str) else entry)
            if run.name in self.runs:
                raise InputError("config.yaml", f"two runs are called {run.name}", "give one of them a `name`")
            self.runs[run.name] = run

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of ``config.yaml``, from its schema."""
        properties = self.schema("config")["properties"]
        return {key: value["default"] for key, value in properties.items() if "default" in value}

    def schema(self, kind: str) -> dict[str, Any]:
        """Return the schema of a kind of card."""
        return read_yaml(self.folder / "schemas" / f"{kind}.schema.yaml")

    def _check(self, card: Any, kind: str, where: str) -> None:
        if self.checked:
            check(card, self.schema(kind), where)

    def names(self, kind: str) -> list[str]:
        """Return the names of all cards of a kind: files, and datasets that ``config.yaml`` describes itself."""
        written = self.config.get(kind, {}) if kind == "datasets" else {}
        return sorted({*written, *(path.stem for path in (self.folder / kind).glob("*.yaml"))})

    def card(self, kind: str, name: str) -> dict[str, Any]:
        """Return a card, checked.

        Raises
        ------
        InputError
            If there is none of that name, or it does not fit its schema.
        """
        if (kind, name) not in self._cards:
            known = self.names(kind)
            if not re.fullmatch(NAME, str(name)) or name not in known:
                raise InputError(f"config/{kind}/{name}.yaml", "no such card", did_you_mean(str(name), known))
            where, written = f"config/{kind}/{name}.yaml", self.config.get("datasets", {}).get(name)
            if kind == "datasets" and written is not None:
                where, card = f"config.yaml, datasets.{name}", written
            else:
                card = read_yaml(self.folder / kind / f"{name}.yaml")
            self._check(card, kind, where)
            self._cards[kind, name] = card
        return self._cards[kind, name]

    def dataset(self, name: str) -> dict[str, Any]:
        """Return a dataset card; that of the twin without the effect is derived from its original."""
        card = self.card("datasets", name.removesuffix(ABSENT))
        if name.endswith(ABSENT):
            return merge(card, {"simulate": {"truth": "absent"}})
        return card

    def _run(self, entry: Mapping[str, Any]) -> Run:
        study = self.card("studies", entry["study"])
        where = f"config/studies/{entry['study']}.yaml"
        scaled = merge(study, study["scale"][self.config["scale"]])
        unknown = set(entry.get("params", {}).get("methods", {})) - set(study["methods"])
        if unknown:
            name = sorted(unknown)[0]
            raise InputError(
                "config.yaml",
                f"{entry['study']} has no method {name!r}",
                did_you_mean(name, study["methods"]),
            )
        card = merge(scaled, typed(entry.get("params", {})))
        # What was laid over the card must fit it as well as the card itself does.
        self._check(card, "studies", f"config.yaml, params of {entry['study']}")
        del card["scale"]
        sections = {"methods": card["methods"], "figures": card["figures"]}
        sections |= {key: card["evaluation"].get(key, {}) for key in ("schemes", "metrics")}
        for section, names in sections.items():
            for name in names:
                # They become parts of paths and of commands.
                if not re.fullmatch(NAME, str(name)):
                    raise InputError(where, f"{section}: {name!r} is not a name", "use a-z, 0-9 and _ only")
        for name, method in card["methods"].items():
            for key in ("role", "family"):
                if key not in method:
                    raise InputError(where, f"methods.{name}: {key!r} is missing", "say it in the card")
            method.setdefault("component", name)
            method.setdefault("label", name)
            method.setdefault("params", {})
            method.setdefault("resources", {})
            method.setdefault("twin", False)
        self._check_lines(card["methods"], where)
        if "target" in card["evaluation"] or card["evaluation"]["task"] in ("select", *SHOWN):
            card["evaluation"].setdefault("exchangeable", [])
        defaults = self.schema("studies")["properties"]["evaluation"]["properties"]
        for key, value in defaults.items():
            if "default" in value:
                card["evaluation"].setdefault(key, value["default"])
        for claim in card["claims"]:
            for key in ("method", "than"):
                if claim.get(key, next(iter(card["methods"]))) not in card["methods"]:
                    raise InputError(
                        where,
                        f"claim {claim['name']}: no method {claim[key]!r}",
                        did_you_mean(claim[key], card["methods"]),
                    )
        dataset = entry.get("dataset", study["dataset"])
        preprocessing = entry.get("preprocessing", study["preprocessing"])
        feature = entry.get("feature", study["feature"])
        self.recipes(preprocessing)
        self.card("features", feature)
        stimuli = entry.get("stimuli", study.get("stimuli"))
        self._check_target(card["evaluation"], where)
        self._check_stimuli(stimuli, card["evaluation"]["task"], dataset, where)
        self._check_size(dataset)
        default = dataset == study["dataset"]
        return Run(
            name=entry.get("name", entry["study"] if default else f"{entry['study']}-{dataset}"),
            study=entry["study"],
            dataset=dataset,
            preprocessing=preprocessing,
            feature=feature,
            card=card,
            simulated="simulate" in self.dataset(dataset),
            family=self.family(preprocessing),
            stimuli=stimuli,
            stimuli_family=self.card("stimuli", stimuli).get("family", "signal") if stimuli else None,
        )

    def _check_stimuli(self, stimuli: str | None, task: str, dataset: str, where: str) -> None:
        """Refuse a study about stimuli without a card of them, or on a dataset that does not say what it shows."""
        if task in SHOWN and stimuli is None:
            raise InputError(where, f"task {task} without `stimuli`", "name a card of config/stimuli/")
        if stimuli is not None and "stimuli" not in self.dataset(dataset):
            fault = "the study is about stimuli, and the card does not say which column of the events names them"
            raise InputError(f"config/datasets/{dataset}.yaml", fault, "add `stimuli`")

    @staticmethod
    def _check_lines(methods: Mapping[str, Any], where: str) -> None:
        """Refuse methods that start from what is not there, or from themselves."""
        for name, method in methods.items():
            seen = [name]
            while (parent := methods[seen[-1]].get("init_from")) is not None:
                if parent not in methods:
                    fault = f"methods.{seen[-1]}: starts from {parent!r}, which is no method of the study"
                    raise InputError(where, fault, did_you_mean(parent, methods))
                if parent in seen:
                    fault = f"methods.{name}: starts from itself ({' <- '.join([*seen, parent])})"
                    raise InputError(where, fault, "correct init_from")
                if methods[parent]["family"] != methods[seen[-1]]["family"]:
                    fault = f"methods.{seen[-1]}: starts from a method of another family"
                    raise InputError(where, fault, f"give it the family {methods[parent]['family']}")
                seen.append(parent)
            if method["role"] == "stage" and all(one.get("init_from") != name for one in methods.values()):
                raise InputError(
                    where, f"methods.{name}: a stage that no method starts from", "name it in an init_from"
                )

    def _check_size(self, dataset: str) -> None:
        """Refuse a fetched dataset of unknown size: the jobs are planned before it is there."""
        card = self.dataset(dataset)
        if self.is_fetched(dataset) and not {"n_subjects", "blocks"} & set(card):
            where = f"config/datasets/{dataset}.yaml"
            raise InputError(where, "a dataset to fetch, of unknown size", "say n_subjects, about how many there are")

    @staticmethod
    def _check_target(evaluation: Mapping[str, Any], where: str) -> None:
        """Refuse an evaluation whose task and target do not go together."""
        task, target = evaluation["task"], evaluation.get("target")
        if task == "classify" and "classes" not in evaluation:
            raise InputError(where, "evaluation: task classify without classes", "name the classes")
        if task == "regress" and target is None:
            raise InputError(where, "evaluation: task regress without a target", "name a variable of the participants")
        if task in ("select", "decode", "infer") and target is not None:
            raise InputError(where, f"evaluation: task {task} with a target", "leave the target out")
        if task in ("infer", "generate") and target is None and evaluation["null_variants"]:
            fault = f"evaluation: task {task} has no targets to permute"
            raise InputError(where, fault, "set null_variants to 0; a simulated dataset also runs without its effect")

    @property
    def modalities(self) -> list[str]:
        """BIDS datatypes that preprocessing cards may be for."""
        return list(FAMILIES)

    def family(self, preprocessing: str) -> str:
        """Return the environment of a preprocessing card's modality."""
        return FAMILIES[self.card("preprocessing", preprocessing)["modality"]]

    def recipes(self, name: str) -> list[str]:
        """Return a preprocessing card and, before it, the one that it builds on.

        Raises
        ------
        InputError
            If one of them does not exist, or the earlier one builds on a third.
        """
        earlier = self.card("preprocessing", name).get("after")
        if earlier is not None and "after" in self.card("preprocessing", earlier):
            where = f"config/preprocessing/{name}.yaml"
            raise InputError(where, f"after: {earlier} itself builds on another recipe", "name one that does not")
        return [name] if earlier is None else [earlier, name]

    def earlier_option(self, dataset: str, name: str) -> list[str]:
        """Return the option that names the derivative dataset which ``name`` builds on; nothing if there is none."""
        *before, _ = self.recipes(name)
        return ["--earlier", f"results/derivatives/{dataset}/{before[0]}"] if before else []

    def earlier(self, dataset: str, name: str, block: str) -> list[str]:
        """Return the tables of the recipe before ``name`` that hold the subjects of a block."""
        *before, _ = self.recipes(name)
        if not before:
            return []
        number, n = map(int, block.split("of"))
        m = self.n_blocks(dataset, before[0])
        # Both are powers of two: the blocks of the finer division lie whole in those of the coarser. Asked for by
        # every job that is planned, so it does not go through them all.
        step = min(n, m)
        return self.tables(dataset, before[0], range(number % step, m, step))

    def files(self, kind: str, name: str, *, present: bool = True) -> dict[str, str]:
        """Return the files that a card names, by parameter: the user's own, and where downloaded ones are kept.

        With ``present`` all of them must be there.

        Raises
        ------
        InputError
            If one of them is not there: before anything is queued.
        """
        where = f"config/{kind}/{name}.yaml"
        entries = self.card(kind, name).get("files", {})
        found = {
            key: downloaded(entry) if isinstance(entry, Mapping) else expand(entry, where)
            for key, entry in entries.items()
        }
        for key, path in found.items():
            if present and not os.path.isfile(path):  # noqa: PTH113 - no pathlib where Snakemake reads its rules
                if isinstance(entries[key], Mapping):
                    raise InputError(where, f"files.{key}: {path} is not downloaded yet", "run: snakemake prefetch")
                raise InputError(where, f"files.{key}: no file {path}", "correct the path")
        return found

    @property
    def families(self) -> list[str]:
        """The environments that the rules of the runs need."""
        return sorted({"base"}.union(*(run.families for run in self.runs.values())))

    def with_files(self) -> list[tuple[str, str]]:
        """Return kind and name of the cards of the runs that may name files, each once."""
        found = {("preprocessing", name) for run in self.runs.values() for name in self.recipes(run.preprocessing)}
        found |= {("stimuli", run.stimuli) for run in self.runs.values() if run.stimuli}
        return sorted(found | {("features", run.feature) for run in self.runs.values()})

    @property
    def restricted(self) -> list[str]:
        """The datasets of the runs that must stay among those who have access."""
        names = {run.dataset for run in self.runs.values()}
        return sorted(name for name in names if self.dataset(name).get("restricted", False))

    def check_cache(self, cache: Iterable[str] | None) -> None:
        """Refuse Snakemake's cache between workflows, None if there is none, where a dataset is restricted.

        Raises
        ------
        InputError
            Naming the dataset.
        """
        if cache is not None and self.restricted:
            where = f"config/datasets/{self.restricted[0]}.yaml"
            fault = "the dataset is restricted, and the cache that workflows share is open to others"
            raise InputError(where, fault, "run without --cache")

    def is_made(self, dataset: str) -> bool:
        """Return whether a dataset is made by a rule rather than linked."""
        return "root" not in self.dataset(dataset)

    def is_fetched(self, dataset: str) -> bool:
        """Return whether a dataset is fetched by its name from where it is published."""
        return not FETCHED.isdisjoint(self.dataset(dataset))

    def published(self, dataset: str) -> dict[str, str]:
        """Return address (``url``) and ``version`` of a dataset that is fetched."""
        card = self.dataset(dataset)
        if "datalad" in card:
            return dict(card["datalad"])
        mirror = self.config.get("mirrors", {}).get("openneuro", OPENNEURO)
        entry = card["openneuro"]
        return {"url": mirror.replace("{accession}", entry["accession"]), "version": entry["snapshot"]}

    def wanted(self, dataset: str) -> dict[str, Any]:
        """Return which files of a dataset its runs need: ``datatypes``, ``filters`` and ``folders``.

        :func:`replicortex.stages.fetch.selection` explains them. What describes the dataset is needed always.
        """
        datatypes, folders = set(), set()
        for last in {run.preprocessing for run in self.runs.values() if dataset in run.datasets}:
            for card in (self.card("preprocessing", name) for name in self.recipes(last)):
                datatypes |= {*TAKEN.get(card["modality"], (card["modality"],))}
                datatypes |= {*(WITH_CONTAINERS if card.get("on_host") else ())}
                folder = str(card.get("params", {}).get("folder", "."))
                # Anywhere else it is no part of the dataset.
                if folder != "." and not folder.startswith("/") and ".." not in folder.split("/"):
                    folders.add(folder)
        if any(run.stimuli for run in self.runs.values() if dataset in run.datasets):
            folders.add(self.dataset(dataset)["stimuli"].get("folder", "stimuli"))
        filters = {entity: sorted(labels) for entity, labels in self.dataset(dataset).get("filters", {}).items()}
        return {"datatypes": sorted(datatypes), "filters": filters, "folders": sorted(folders)}

    def root(self, dataset: str) -> str:
        """Return the folder of a BIDS dataset."""
        if self.is_made(dataset):
            return f"results/datasets/{dataset}/bids"
        return expand(self.dataset(dataset)["root"], f"config/datasets/{dataset}.yaml")

    def n_blocks(self, dataset: str, preprocessing: str) -> int:
        """Return the number of blocks of subjects, from the cost of one subject; read from the index if linked."""
        card = self.dataset(dataset)
        return card["blocks"] if "blocks" in card else bids.n_blocks(self._size(dataset), self._seconds(preprocessing))

    def minutes(self, dataset: str, preprocessing: str, **_: str) -> int:
        """Return twice what a block is expected to take: blocks are not all of one size, nor are subjects."""
        per_block = self._size(dataset) / self.n_blocks(dataset, preprocessing)
        return math.ceil(2 * per_block * self._seconds(preprocessing) / 60)

    def _seconds(self, preprocessing: str) -> float:
        return self.card("preprocessing", preprocessing).get("seconds_per_subject", 10)

    def _size(self, dataset: str) -> int:
        """Return the number of subjects."""
        card = self.dataset(dataset)
        if "root" in card:
            # Asked for by every job that is planned; the index is refreshed once, before.
            if dataset not in self._n_subjects:
                content = read_json(f"results/datasets/{dataset}/content.json")
                self._n_subjects[dataset] = content["n_subjects"]
            return self._n_subjects[dataset]
        made = card.get("simulate", {}).get("params", {}).get("n_subjects", 1)
        return card.get("n_subjects", made)

    def quality(self, run: Run) -> list[str]:
        """Return the tables of quality of a run, one for each recipe that its recordings go through."""
        recipes = self.recipes(run.preprocessing)
        return [f"results/quality/{dataset}/{name}.tsv" for dataset in run.datasets for name in recipes]

    def is_displayed(self, quality: str) -> bool:
        """Return whether there is a display of the modality that a table of quality is of."""
        modality = self.card("preprocessing", Path(quality).stem)["modality"]
        return (Path(__file__).parent / "displays" / f"{modality}_group.py").is_file()

    def blocks(self, run: Run, variant: str, stage: str, extension: str) -> list[str]:
        """Return the paths of a run's blocks after ``stage``, which is ``preprocessed`` or ``features``."""
        dataset = run.dataset_of(variant)
        parts = [stage, dataset, run.preprocessing, *([run.feature] if stage == "features" else [])]
        n = self.n_blocks(dataset, run.preprocessing)
        return ["/".join(["results", *parts, f"{k}of{n}.{extension}"]) for k in range(n)]

    def all_blocks(self, stage: str, extension: str) -> list[str]:
        """Return the paths of the blocks of all runs after a stage, each once."""
        pairs = [(run, variant) for run in self.runs.values() for variant in run.variants]
        found = (path for pair in pairs for path in self.blocks(*pair, stage, extension))
        return list(dict.fromkeys(found))

    def features_of(self, run: Run, variant: str) -> str:
        """Return the path of the table that lists the feature bundles of a variant, block by block."""
        return f"results/features/{run.dataset_of(variant)}/{run.preprocessing}/{run.feature}/bundles.tsv"

    def stimuli_of(self, run: Run, variant: str) -> list[str]:
        """Return the path of the features of what was shown in a variant; nothing where nothing was."""
        return [f"results/stimuli/{run.dataset_of(variant)}/{run.stimuli}.npz"] if run.stimuli else []

    def presented(self, dataset: str) -> list[str]:
        """Return the path of the table of presentations of a dataset; nothing where its card says of none."""
        return [f"results/stimuli/{dataset}/presentations.tsv"] if "stimuli" in self.dataset(dataset) else []

    def feature_blocks(self, dataset: str, preprocessing: str, feature: str, extension: str) -> list[str]:
        """Return the paths of all blocks of a feature."""
        n = self.n_blocks(dataset, preprocessing)
        return [f"results/features/{dataset}/{preprocessing}/{feature}/{k}of{n}.{extension}" for k in range(n)]

    def readers(self, dataset: str) -> list[str]:
        """Return the module that brings a dataset to BIDS; nothing where no reader of its own does."""
        name = self.dataset(dataset).get("gather", {}).get("reader")
        return [f"readers.{name}"] if name else []

    def tables(self, dataset: str, preprocessing: str, numbers: Iterable[int] | None = None) -> list[str]:
        """Return the tables that preprocessing a dataset writes, one a block; of all blocks, or of some ``numbers``."""
        n = self.n_blocks(dataset, preprocessing)
        wanted = range(n) if numbers is None else numbers
        return [f"results/preprocessed/{dataset}/{preprocessing}/{k}of{n}.tsv" for k in wanted]

    def to_check(self, run: Run, family: str) -> dict[str, Any]:
        """Return what ``check_study`` looks at in one environment.

        That is its methods; where features are taken also these and what the dataset offers; in ``signal`` the rest.
        """
        card: dict[str, Any] = {
            "study": run.study,
            "dataset": run.dataset,
            "task": run.evaluation["task"],
            "methods": {name: method for name, method in run.methods.items() if method["family"] == family},
        }
        if family == run.family:
            dataset = self.dataset(run.dataset)
            card |= {
                "classes": dataset.get("classes", {}),
                "filters": dataset.get("filters", {}),
                "feature": {"params": {}, **self.card("features", run.feature)},
                "files": self.files("features", run.feature),
                "evaluation": {key: run.evaluation.get(key) for key in ("task", "target", "classes", "covariates")},
                "variables": dataset.get("variables", {}),
                "recipes": {name: self._engine(name) for name in self.recipes(run.preprocessing)},
            }
        if run.stimuli and family == run.stimuli_family:
            card["stimuli"] = {"params": {}, **self.card("stimuli", run.stimuli)}
            card["stimuli_files"] = self.files("stimuli", run.stimuli)
        simulate = self.dataset(run.dataset).get("simulate")
        if simulate and simulate.get("family", "signal") == family:
            card["simulate"] = {"simulator": simulate["simulator"], "params": simulate.get("params", {})}
        if family == "signal":
            card |= {
                "schemes": run.evaluation["schemes"],
                "metrics": run.evaluation["metrics"],
                "figures": run.card["figures"],
                "claims": run.card["claims"],
                "all_methods": list(run.methods),
            }
        return card

    def modules_to_check(self, run: Run, family: str) -> list[str]:
        """Return the modules of all components that :meth:`to_check` names."""
        card = self.to_check(run, family)
        modules = [f"methods.{method['component']}" for method in card["methods"].values()]
        for kind, section in {"splitters": "schemes", "metrics": "metrics", "figures": "figures"}.items():
            modules += [f"{kind}.{name}" for name in card.get(section, {})]
        modules += [f"preprocessing.{recipe['engine']}" for recipe in card.get("recipes", {}).values()]
        modules += [f"simulators.{card['simulate']['simulator']}"] if "simulate" in card else []
        modules += [f"providers.{card['stimuli']['provider']}"] if "stimuli" in card else []
        return modules + ([f"features.{card['feature']['extractor']}"] if "feature" in card else [])

    def _engine(self, preprocessing: str) -> dict[str, Any]:
        """Return engine and parameters of a recipe, its files by their names: where they lie is no part of it."""
        card = self.card("preprocessing", preprocessing)
        files = self.files("preprocessing", preprocessing, present=False)
        names = {key: os.path.basename(path) for key, path in files.items()}  # noqa: PTH119 - as in `files`
        return {"engine": card["engine"], "params": {**card.get("params", {}), **names}}


def downloaded(entry: Mapping[str, Any]) -> str:
    """Return where a file is kept that a card names by ``url`` and ``sha256``: below the results, for all runs."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", entry["url"].partition("?")[0].rpartition("/")[2]).lstrip(".-")
    return f"results/downloads/{entry['sha256'][:16]}/{name or 'file'}"


def bidsify_arguments(card: Mapping[str, Any]) -> list[str]:
    """Return the arguments of ``scripts/bidsify.py`` that a dataset card asks for."""
    entry = card["bidsify"]
    given = {
        "--name": [card["title"]],
        "--license": [card["licence"]],
        "--pattern": [entry["pattern"]],
        "--task": [entry["task"]],
        "--datatype": [entry.get("datatype", "eeg")],
        "--runs": entry.get("runs", []),
        "--events": [f"{old}={new}" for old, new in sorted(entry.get("events", {}).items())],
        "--montage": [entry["montage"]] if "montage" in entry else [],
        "--line-frequency": [str(entry["line_frequency"])] if "line_frequency" in entry else [],
    }
    return [part for option, values in given.items() if values for part in (option, *values)]


def gather_plan(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan of ``scripts/gather_dataset.py`` that a dataset card asks for."""
    plan = {key: value for key, value in card["gather"].items() if key != "source"}
    return {"name": card["title"], "license": card["licence"], **plan}
