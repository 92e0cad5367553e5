"""Cards: what is run, on what, and what is claimed. Read and checked when Snakemake starts.

Imports nothing heavier than YAML and jsonschema: this code runs again in every job that a cluster starts.
"""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import bids
from .errors import InputError, did_you_mean
from .files import read_json

KINDS = ("datasets", "preprocessing", "features", "studies")
NAME = r"[a-z][a-z0-9_]*"
#: Environment that prepares recordings and takes features, by modality; the rules of a modality name it too.
FAMILIES = {"eeg": "signal", "anat": "mri", "func": "mri", "pet": "mri"}
#: A simulated dataset has a twin without the planted effect, under this ending.
ABSENT = "-absent"


def check(card: Any, schema: Mapping[str, Any], where: str) -> None:
    """Check a card against its schema.

    Raises
    ------
    InputError
        Naming the file, the key and, for an unknown key, the nearest known one.
    """
    # Imported here: a job on a cluster parses cards that were checked when the run began.
    from jsonschema import Draft202012Validator

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


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it: mappings are merged, everything else is replaced."""
    merged = dict(copy.deepcopy(base))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


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
    """Read a YAML file with the safe loader.

    Raises
    ------
    InputError
        If it is missing or not YAML.
    """
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise InputError(path.name, "no such file", "check the name") from None
    except yaml.YAMLError as error:
        raise InputError(path.name, f"not readable as YAML ({error})", "correct the file") from None


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

    return str(Path(re.sub(r"\$\{(\w+)\}", value, path)).expanduser())


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
        """``observed``, the label permutations, and for a simulated dataset its twin without the effect."""
        nulls = [f"null-{k}" for k in range(1, self.evaluation["null_variants"] + 1)]
        return ["observed", *nulls, *(["absent"] if self.simulated else [])]

    @property
    def parts(self) -> list[str]:
        """The shares of the folds that are fitted as one job each."""
        return [f"{i}of{self.evaluation['parts']}" for i in range(self.evaluation["parts"])]

    @property
    def families(self) -> list[str]:
        """The environments that the methods and the features need, and that of all the rest."""
        return sorted({"signal", self.family, *(method["family"] for method in self.methods.values())})

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
        return bool(self.target) or self.evaluation["task"] == "select"

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
        return {**named, "paper": self.card["paper"], "claims": self.card["claims"], "labels": labels}

    def fits(self, variant: str, name: str, method: str | None = None) -> list[str]:
        """Return the paths of file ``name`` of every fit of a variant; of one method, or of all."""
        return [
            f"results/runs/{self.name}/{variant}/{one}/seed-{seed}_part-{part}/{name}"
            for one in ([method] if method else self.methods)
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
        """Return the names of all cards of a kind."""
        return sorted(path.stem for path in (self.folder / kind).glob("*.yaml"))

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
            card = read_yaml(self.folder / kind / f"{name}.yaml")
            self._check(card, kind, f"config/{kind}/{name}.yaml")
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
        if "target" in card["evaluation"] or card["evaluation"]["task"] == "select":
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
        self._check_target(card["evaluation"], where)
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
        )

    @staticmethod
    def _check_target(evaluation: Mapping[str, Any], where: str) -> None:
        """Refuse an evaluation whose task and target do not go together."""
        task, target = evaluation["task"], evaluation.get("target")
        if task == "classify" and "classes" not in evaluation:
            raise InputError(where, "evaluation: task classify without classes", "name the classes")
        if task == "regress" and target is None:
            raise InputError(where, "evaluation: task regress without a target", "name a variable of the participants")
        if task == "select" and target is not None:
            raise InputError(where, "evaluation: task select with a target", "leave the target out")

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

    def files(self, kind: str, name: str) -> dict[str, str]:
        """Return the user's files that a card names, by parameter.

        Raises
        ------
        InputError
            If one of them is not there: before anything is queued.
        """
        where = f"config/{kind}/{name}.yaml"
        found = {key: expand(path, where) for key, path in self.card(kind, name).get("files", {}).items()}
        for key, path in found.items():
            if not os.path.isfile(path):  # noqa: PTH113 - no pathlib where Snakemake reads its rules
                raise InputError(where, f"files.{key}: no file {path}", "correct the path")
        return found

    def is_made(self, dataset: str) -> bool:
        """Return whether a dataset is made by a rule rather than linked."""
        return "root" not in self.dataset(dataset)

    def root(self, dataset: str) -> str:
        """Return the folder of a BIDS dataset."""
        if self.is_made(dataset):
            return f"results/datasets/{dataset}/bids"
        return expand(self.dataset(dataset)["root"], f"config/datasets/{dataset}.yaml")

    def n_blocks(self, dataset: str, preprocessing: str) -> int:
        """Return the number of blocks of subjects, from the cost of one subject; read from the index if linked."""
        card = self.dataset(dataset)
        if "blocks" in card:
            return card["blocks"]
        if "root" in card:
            # Asked for by every job that is planned; the index is refreshed once, before.
            if dataset not in self._n_subjects:
                content = read_json(f"results/datasets/{dataset}/content.json")
                self._n_subjects[dataset] = content["n_subjects"]
            n_subjects = self._n_subjects[dataset]
        else:
            n_subjects = card.get("simulate", {}).get("params", {}).get("n_subjects", 1)
        return bids.n_blocks(n_subjects, self.card("preprocessing", preprocessing).get("seconds_per_subject", 10))

    def quality(self, run: Run) -> list[str]:
        """Return the tables of quality of a run, one for each recipe that its recordings go through."""
        recipes = self.recipes(run.preprocessing)
        return [f"results/quality/{dataset}/{name}.tsv" for dataset in run.datasets for name in recipes]

    def blocks(self, run: Run, variant: str, stage: str, extension: str) -> list[str]:
        """Return the paths of a run's blocks after ``stage``, which is ``preprocessed`` or ``features``."""
        dataset = run.dataset_of(variant)
        parts = [stage, dataset, run.preprocessing, *([run.feature] if stage == "features" else [])]
        n = self.n_blocks(dataset, run.preprocessing)
        return ["/".join(["results", *parts, f"{k}of{n}.{extension}"]) for k in range(n)]

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
            }
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
        return modules + ([f"features.{card['feature']['extractor']}"] if "feature" in card else [])


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
