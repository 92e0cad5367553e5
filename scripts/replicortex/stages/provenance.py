"""What ran, by what, from what: a Workflow Run RO-Crate of the results.

It follows the profile Provenance Run Crate 0.5 (Leo et al. 2024, doi:10.1371/journal.pone.0309210) and with it Workflow
Run Crate and Process Run Crate 0.5, Workflow RO-Crate 1.0, and RO-Crate 1.1 (Soiland-Reyes et al. 2022,
doi:10.3233/DS-210053).
"""

from __future__ import annotations

import ast
import hashlib
import json
import mimetypes
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from .. import LICENCE
from ..cards import Cards
from ..errors import InputError
from ..files import read_json, sha256_of, to_json, write_text
from ..history import DONE, FAILED, JobRecord, jobs
from ..origin import doi_of
from .plan import read_cards
from .snapshot import copy_workflow, is_shareable, portable, version

_RESULTS = "results/"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_BIOSCHEMAS = "https://bioschemas.org/profiles/"
_RUN_TERMS = "https://w3id.org/ro/terms/workflow-run#"
#: Terms of the profiles that the context of RO-Crate 1.1 does not have.
_TERMS = {name: _RUN_TERMS + name for name in ("ContainerImage", "containerImage", "registry", "resourceUsage")}
_SNAKEMAKE = "https://snakemake.github.io"
#: What a benchmark measures, by the name of its column: in which unit.
_UNITS = {"s": "SEC", "cpu_time": "SEC", "max_rss": "MegaBYTE"}
#: Of a rule that ran more often, jobs that share the beginning of their names are told of as one.
MOST_ACTIONS = 100
#: Of a parameter that takes more values within what is told of as one, none is told.
_MOST_VALUES = 20
_LONGEST_VALUE = 2000
#: Bytes up to which the content of a file is part of its description.
_LARGEST_HASHED = 1 << 30
_ENCODINGS = {
    ".bib": "application/x-bibtex",
    ".md": "text/markdown",
    ".npz": "application/zip",
    ".py": "text/x-python",
    ".smk": "text/plain",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}
_STATUS = {DONE: "http://schema.org/CompletedActionStatus", FAILED: "http://schema.org/FailedActionStatus"}


def describe_results(
    project: Path, configuration: Mapping[str, Any] | None, out: Path, workflow: Path, snakemake: str
) -> None:
    """Write the crate's description to ``out``, and a copy of the workflow beside it.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    out : Path
        ``results/ro-crate-metadata.json``.
    workflow : Path
        Folder for the workflow as it ran, below that of ``out``.
    snakemake : str
        Version of Snakemake.

    Raises
    ------
    InputError
        If the cards are refused, or nothing has run.
    """
    cards = read_cards(project, configuration)
    history = [job for job in jobs(Path.cwd()) if job.status in _STATUS and job.started and job.ended]
    if not any(job.status == DONE for job in history):
        raise InputError(out.parent, "nothing has run here", "run the workflow first")
    copy_workflow(project, cards, workflow)
    crate = _Crate(out.parent, cards, history)
    crate.describe(workflow.name, version(project), snakemake)
    write_text(out, to_json(crate.document()))


@dataclass
class _Action:
    """Jobs of one rule that are told of as one."""

    rule: str
    target: str
    jobs: list[JobRecord] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"#job/{self.rule}" + (f"/{quote(self.target)}" if self.target else "")

    @property
    def name(self) -> str:
        return f"{self.rule} {self.target}".strip()

    @property
    def failed(self) -> bool:
        return any(job.status == FAILED for job in self.jobs)


def actions(history: Iterable[JobRecord]) -> list[_Action]:
    """Return what is told of as one action each, in the order in which they began.

    That is one job, where a rule has few; else the jobs that have the beginning of their target in common, as long a
    beginning as leaves at most :data:`MOST_ACTIONS` of them.
    """
    by_rule: dict[str, list[JobRecord]] = defaultdict(list)
    for job in history:
        by_rule[job.rule].append(job)
    found: dict[str, _Action] = {}
    for rule, all_of_it in by_rule.items():
        parts = {id(job): job.target.split("/") for job in all_of_it}
        longest = max(map(len, parts.values()))
        depth = next(
            (n for n in range(longest, 0, -1) if len({tuple(p[:n]) for p in parts.values()}) <= MOST_ACTIONS), 0
        )
        for job in all_of_it:
            action = _Action(rule, "/".join(parts[id(job)][:depth]))
            found.setdefault(action.id, action).jobs.append(job)
    return sorted(found.values(), key=lambda action: (action.jobs[0].started, action.id))


def options(command: str) -> dict[str, list[str]]:
    """Return the options of a command that a rule called, by name, with their values; none if it can not be read."""
    try:
        words = shlex.split(command.partition(" > ")[0])
    except ValueError:
        return {}
    found: dict[str, list[str]] = {}
    name = None
    for word in words[2:]:
        if re.fullmatch(r"--[a-z][a-z0-9-]*", word):
            name = word.removeprefix("--")
            found[name] = []
        elif name is not None:
            found[name].append(word)
    return found


def script_of(command: str) -> str | None:
    """Return the name of the script that a command of a rule calls."""
    match = re.match(r"python (\S*?)(\w+\.py)\b", command)
    return match[2] if match else None


class _Crate:
    """The description of a folder of results, entity by entity.

    Parameters
    ----------
    folder : Path
        The results.
    cards : Cards
        Of the runs.
    history : sequence of JobRecord
        What ran.
    """

    def __init__(self, folder: Path, cards: Cards, history: Sequence[JobRecord]) -> None:
        # Here, since it brings much along, and readers of a crate need none of it.
        from rocrate.rocrate import ROCrate

        self.folder, self.cards = folder, cards
        self.actions = actions(history)
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_terms.update(_TERMS)
        self.root = self.crate.root_dataset
        #: Every entity by its identifier: to ask the crate takes long where there are thousands.
        self._known: dict[str, Any] = {}
        self._roots: dict[str, Any] = {}
        self._maker: dict[str, str] = {}
        self._tool_of: dict[str, Any] = {}
        #: Parameters by tool, values by parameter: each is told to the other once all are known.
        self._parameters: dict[str, dict[str, Any]] = defaultdict(dict)
        self._examples: dict[str, dict[str, Any]] = defaultdict(dict)

    def document(self) -> dict[str, Any]:
        """Return the description as JSON-LD; a list of one is that one."""
        told = self.crate.metadata.generate()
        graph = [
            {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}
            for entity in told["@graph"]
        ]
        return {**told, "@graph": graph}

    def describe(self, workflow: str, version_of_it: str, snakemake: str) -> None:
        """Describe everything; ``workflow`` is the folder of its copy."""
        self.workflow = workflow
        self.version = version_of_it
        self._root()
        for dataset in sorted({name for run in self.cards.runs.values() for name in run.datasets}):
            self._dataset(dataset)
        for run in self.cards.runs.values():
            self._run(run)
        main = self._workflow(snakemake)
        steps = self._steps(main)
        made = [self._action(action) for action in self.actions]
        # Once all that was made is known, whatever the order in which its makers seem to have begun.
        for action, entity in zip(self.actions, made, strict=True):
            self._name_objects(action, entity)
        controls = [self._control(*one, steps[one[0].rule]) for one in zip(self.actions, made, strict=True)]
        self.root["mentions"] = [*made, *self._whole(main, controls, snakemake)]
        for tool, kinds in self._parameters.items():
            self._known[tool]["input"] = list(kinds.values())
            for kind in kinds.values():
                kind["workExample"] = list(self._examples[kind.id].values())
        self._readme()

    # ---- entities

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> Any:
        """Add an entity that is no data, or return the one that has the identifier."""
        from rocrate.model import ContextEntity

        if identifier not in self._known:
            given = {name: value for name, value in properties.items() if value not in (None, [], "")}
            entity = ContextEntity(self.crate, identifier, properties={"@type": kind, **given})
            self._known[identifier] = self.crate.add(entity)
        return self._known[identifier]

    def file(self, path: str, **properties: Any) -> Any:
        """Add a file below the results, or return it if it is known."""
        if quote(path) in self._known:
            return self._known[quote(path)]
        place = self.folder / path
        size = place.stat().st_size
        told = {
            "name": PurePosixPath(path).name,
            "encodingFormat": encoding_of(path),
            "contentSize": str(size),
            **self._words(path),
            **properties,
        }
        if size <= _LARGEST_HASHED:
            told["sha256"] = sha256_of(place)
        self._known[quote(path)] = self.crate.add_file(dest_path=path, properties=told)
        return self._known[quote(path)]

    def directory(self, path: str, **properties: Any) -> Any:
        """Add a folder below the results, or return it if it is known."""
        identifier = f"{quote(path)}/"
        if identifier in self._known:
            return self._known[identifier]
        told = {"name": path, **properties}
        description = self.folder / path / "dataset_description.json"
        if description.is_file():
            content = read_json(description)
            if isinstance(content, dict) and isinstance(content.get("Name"), str):
                told["name"] = content["Name"]
        self._known[identifier] = self.crate.add_dataset(dest_path=path, properties=told)
        return self._known[identifier]

    def _words(self, path: str) -> dict[str, str]:
        """Return what the spec of a figure says of its pictures and its table."""
        place = self.folder / path
        spec = place.with_suffix(".json")
        if place.parent.name != "figures" or not spec.is_file():
            return {}
        told = read_json(spec)
        if not isinstance(told, dict):
            return {}
        title, alt = (told.get(name) for name in ("title", "alt"))
        return {key: text for key, text in (("name", title), ("description", alt)) if isinstance(text, str) and text}

    # ---- what was run on

    def _root(self) -> None:
        cards = self.cards
        names = ", ".join(cards.runs)
        last = max(job.ended for action in self.actions for job in action.jobs)
        licences = {cards.dataset(run.dataset)["licence"] for run in cards.runs.values()}
        self.root["name"] = f"Replicortex: {names}"
        self.root["description"] = (
            f"Results of {len(cards.runs)} runs of neuroimaging studies by the Snakemake workflow Replicortex:"
            " verdicts, scores, figures and derivatives, with the workflow, its cards, and the record of its jobs."
        )
        self.root["datePublished"] = last.date().isoformat()
        found = [self._licence(licence) for licence in sorted(licences)]
        self.root["license"] = found[0] if len(found) == 1 else found
        if cards.restricted:
            self.root["conditionsOfAccess"] = "Made from restricted data: only for those who have access to these."
        self.root["conformsTo"] = [
            self.add(identifier, "CreativeWork", name=name, version=number)
            for identifier, (name, number) in _PROFILES.items()
        ]

    def _licence(self, text: str) -> Any:
        """Return the entity of a licence: at SPDX where it is named by its identifier there."""
        name = {"CC0": "CC0-1.0", "PDDL": "PDDL-1.0"}.get(text, text)
        spdx = re.fullmatch(r"(CC0|CC-BY(-[A-Z]+)*|PDDL|ODbL|ODC-By|BSD-\d-Clause|MIT|Apache)(-\d\.\d)?", name)
        identifier = f"https://spdx.org/licenses/{name}" if spdx else f"#licence/{quote(text, safe='')}"
        return self.add(identifier, "CreativeWork", name=text, description=f"The licence {text}.")

    def _dataset(self, name: str) -> None:
        """Describe a dataset: in place where the workflow made or fetched it, else by what others call it."""
        cards, card = self.cards, self.cards.dataset(name)
        place = f"datasets/{name}"
        described = self._read(f"{place}/bids/dataset_description.json")
        told: dict[str, Any] = {"name": card["title"], "license": self._licence(card["licence"])}
        told["description"] = f"BIDS dataset {name} of the workflow."
        if "citation" in card:
            told["creditText"] = card["citation"]
        if card.get("restricted", False):
            told["conditionsOfAccess"] = "Restricted: only for those who have access."
        digest = self._read(f"{place}/content.json").get("digest")
        if digest:
            told["identifier"] = self.add(
                f"#digest/{name}",
                "PropertyValue",
                name="Digest of names, sizes and contents, as the index has them",
                propertyID="blake2b-128",
                value=digest,
            )
        doi = doi_of(described)
        if cards.is_fetched(name):
            told["version"] = cards.published(name)["version"]
            url = portable(cards.published(name)["url"], "url")
            told["url"] = url if url.startswith(("http://", "https://")) else None
        if doi:
            told["sameAs"] = f"https://doi.org/{doi}"
        told = {key: value for key, value in told.items() if value is not None}
        if cards.is_made(name):
            if (self.folder / place / "bids").is_dir():
                entity = self.directory(f"{place}/bids", **told)
                self._roots[f"{_RESULTS}{place}/bids"] = entity
        else:
            # Where a linked dataset is, is nobody's business.
            entity = self.add(f"https://doi.org/{doi}" if doi else f"#dataset/{name}", "Dataset", **told)
            self._roots[cards.root(name)] = entity

    def _read(self, path: str) -> dict[str, Any]:
        place = self.folder / path
        content = read_json(place) if place.is_file() else {}
        return content if isinstance(content, dict) else {}

    def _run(self, run: Any) -> None:
        paper = run.card["paper"]
        doi = str(paper["doi"])
        article = self.add(
            f"https://doi.org/{quote(doi)}",
            "ScholarlyArticle",
            name=paper["title"],
            datePublished=str(paper["year"]),
            creditText=str(paper.get("authors", "")),
        )
        if (self.folder / "runs" / run.name).is_dir():
            words = f"Claims of the paper, checked on the dataset {run.dataset}, with the tables behind them."
            self.directory(f"runs/{run.name}", name=f"Run {run.name}", description=words, about=article)

    # ---- what ran

    def _workflow(self, snakemake: str) -> Any:
        """Describe the workflow that the copy holds, and all that it consists of."""
        path = f"{self.workflow}/Snakefile"
        main = self.crate.add_workflow(
            dest_path=path,
            main=True,
            lang="snakemake",
            lang_version=snakemake,
            properties={
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": "Replicortex",
                "description": "From BIDS datasets to the figures and verdicts of neuroimaging papers.",
                "version": self.version,
                "encodingFormat": "text/plain",
                "contentSize": str((self.folder / path).stat().st_size),
                "sha256": sha256_of(self.folder / path),
                "license": self._licence(LICENCE),
                "conformsTo": {"@id": f"{_BIOSCHEMAS}ComputationalWorkflow/1.0-RELEASE"},
            },
        )
        folder = self.directory(self.workflow, name="The workflow as it ran", license=self._licence(LICENCE))
        folder["hasPart"] = [main]
        return main

    def _steps(self, main: Any) -> dict[str, Any]:
        """Describe each rule as a step, and the command that it calls as a tool; return the steps."""
        environments = self._environments()
        packages = self._packages()
        steps: dict[str, Any] = {}
        tools: dict[str, Any] = {}
        for position, action in enumerate(self._first_of_each_rule(), start=1):
            rule, job = action.rule, action.jobs[0]
            script = script_of(job.command)
            tool = self._tool(script, rule, packages)
            tools[tool.id] = self._tool_of[rule] = tool
            step = self.add(
                f"#step/{rule}", "HowToStep", name=rule, position=str(position), workExample=tool,
            )  # fmt: skip
            environment = environments.get(job.environment)
            if environment is not None:
                step["buildInstructions"] = environment
            steps[rule] = step
        main["step"] = list(steps.values())
        main["hasPart"] = list(tools.values())
        return steps

    def _first_of_each_rule(self) -> Iterator[_Action]:
        seen = set()
        for action in self.actions:
            if action.rule not in seen:
                seen.add(action.rule)
                yield action

    def _tool(self, script: str | None, rule: str, packages: Sequence[Any]) -> Any:
        """Return the command that a rule calls: the file in the copy of the workflow."""
        path = f"{self.workflow}/scripts/{script}"
        if script is None or not (self.folder / path).is_file():
            return self.add(f"#tool/{rule}", "SoftwareApplication", name=rule, softwareVersion=self.version)
        words = ast.get_docstring(ast.parse((self.folder / path).read_text(encoding="utf-8"))) or script
        tool = self.file(path, name=script, description=words.splitlines()[0], version=self.version)
        if tool.type == "File":
            tool.properties()["@type"] = ["File", "SoftwareSourceCode"]
            tool["softwareRequirements"] = list(packages)
        return tool

    def _environments(self) -> dict[str, Any]:
        """Return the files of the environments in the copy of the workflow, by their text."""
        found = {}
        for path in sorted((self.folder / self.workflow / "envs").glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            if any(job.environment == text for action in self.actions for job in action.jobs):
                place = path.relative_to(self.folder).as_posix()
                entity = self.file(place, description=f"Packages of the environment {path.stem}, with their versions.")
                entity["conformsTo"] = {"@id": "https://docs.conda.io/projects/conda/"}
                found[text] = entity
        return found

    def _packages(self) -> list[Any]:
        """Return the packages whose versions the checks of the runs noted where their jobs run."""
        found = set()
        for run in self.cards.runs:
            for path in sorted((self.folder / "runs" / run / "checks").glob("*.json")):
                versions = self._read(path.relative_to(self.folder).as_posix()).get("versions", {})
                found |= {(name, number) for name, number in versions.items() if name != "replicortex"}
        return [
            self.add(
                f"https://pypi.org/project/{quote(name)}/{quote(str(number))}/",
                "SoftwareApplication",
                name=name,
                softwareVersion=str(number),
                url=f"https://pypi.org/project/{quote(name)}/",
            )
            for name, number in sorted(found)
        ]

    def _image(self, image: str) -> Any:
        """Return the container image of a job; of a file its name and content, not where it lies."""
        name, _, digest = image.partition("@sha256:")
        if "://" in name:
            address = name.partition("://")[2]
            registry, _, rest = address.partition("/")
            given = {"registry": registry, "name": rest, "sha256": digest}
            kind, identifier = "DockerImage", image
        else:
            path = Path(image)
            given = {"name": path.name, "sha256": sha256_of(path) if path.is_file() else None}
            kind, identifier = "SIFImage", f"#image/{quote(path.name)}"
        return self.add(identifier, "ContainerImage", additionalType={"@id": _RUN_TERMS + kind}, **given)

    def _action(self, action: _Action) -> Any:
        """Describe the jobs that are told of as one."""
        one = action.jobs[0] if len(action.jobs) == 1 else None
        begun, ended = min(job.started for job in action.jobs), max(job.ended for job in action.jobs)
        number = "One job" if one else f"{len(action.jobs)} jobs"
        entity = self.add(
            action.id,
            "CreateAction",
            name=action.name,
            description=f"{number} of the rule {action.rule}.",
            startTime=stamp(begun),
            endTime=stamp(ended),
            actionStatus=_STATUS[FAILED if action.failed else DONE],
            instrument=self._tool_of[action.rule],
        )
        for key, values in (("result", self._results(action)), ("resourceUsage", self._usage(action))):
            if values:
                entity[key] = values
        images = sorted({job.container for job in action.jobs if job.container is not None})
        if images:
            entity["containerImage"] = [self._image(image) for image in images]
        if action.failed:
            entity["error"] = f"{sum(job.status == FAILED for job in action.jobs)} failed; the log says why."
        return entity

    def _results(self, action: _Action) -> list[Any]:
        """Return what jobs made: files of a job, folders of many; and the folders that a command fills beside them."""
        made = sorted({path for job in action.jobs for path in job.outputs})
        found = self._made(made, is_one=len(action.jobs) == 1)
        for name, entity in self._roots.items():
            if any(
                path.startswith(f"{name}/") or path == f"{PurePosixPath(name).parent}/fetched.json" for path in made
            ):
                found.append(entity)
        roots = {entity.id for entity in self._roots.values()}
        for entity in self._folders(action):
            # The first who name a folder fill it: the others could not take anything from it.
            if entity.id not in roots and self._maker.setdefault(entity.id, action.rule) == action.rule:
                found.append(entity)
        return _unique(found)

    def _name_objects(self, action: _Action, entity: Any) -> None:
        """Say what jobs were made from: files, folders, datasets, parameters."""
        made = {path for job in action.jobs for path in job.outputs}
        results = {one.id for one in _listed(entity.get("result", []))}
        found = self._used({path for job in action.jobs for path in job.inputs} - made)
        found = [one for one in _unique([*found, *self._folders(action)]) if one.id not in results]
        found += self._values(action)
        if found:
            entity["object"] = found

    def _folders(self, action: _Action) -> list[Any]:
        """Return the datasets and the folders below the results that commands name."""
        found = []
        for value in sorted({word for job in action.jobs for words in options(job.command).values() for word in words}):
            if value in self._roots:
                found.append(self._roots[value])
            elif value.startswith(_RESULTS) and (self.folder / value.removeprefix(_RESULTS)).is_dir():
                found.append(self.directory(value.removeprefix(_RESULTS)))
        return found

    def _made(self, paths: Sequence[str], *, is_one: bool) -> list[Any]:
        """Return entities for outputs: each file of one job; of several jobs the folder that they have in common."""
        places = [path.removeprefix(_RESULTS) for path in paths if path.startswith(_RESULTS)]
        if not is_one and len(places) > 1:
            common = os.path.commonpath(places)
            places = [common] if common else sorted({place.split("/")[0] for place in places})
        found = []
        for place in places:
            if (self.folder / place).is_dir():
                found.append(self.directory(place))
            elif (self.folder / place).is_file():
                found.append(self.file(place))
        return found

    def _used(self, paths: Iterable[str]) -> list[Any]:
        """Return entities for inputs, each once: the file where it is told of, else the nearest folder that is."""
        found = {}
        for path in sorted(paths):
            if path.startswith(_RESULTS):
                place = PurePosixPath(path.removeprefix(_RESULTS))
                known = self._known.get(quote(place.as_posix()))
                above = (self._known.get(f"{quote(folder.as_posix())}/") for folder in (place, *place.parents))
                entity = known or next(filter(None, above), None)
                if entity is None and (self.folder / place.parent).is_dir() and len(place.parts) > 1:
                    entity = self.directory(place.parent.as_posix())
                if entity is not None:
                    found[entity.id] = entity
        return list(found.values())

    def _values(self, action: _Action) -> list[Any]:
        """Return the parameters of jobs, those that no path, no label of a person and no user's word stands in."""
        given: dict[str, set[str]] = defaultdict(set)
        for job in action.jobs:
            for name, values in options(job.command).items():
                text = " ".join(values)
                if values and _RESULTS not in text and len(text) <= _LONGEST_VALUE:
                    given[name].add(text)
        found = []
        script = script_of(action.jobs[0].command) or action.rule
        for name, texts in sorted(given.items()):
            if len(texts) > _MOST_VALUES:
                continue
            for text in sorted(texts):
                shown = self._shown(text)
                if shown is not None:
                    digest = hashlib.sha256(shown.encode()).hexdigest()[:16]
                    kind = self.add(
                        f"#parameter/{script}-{name}",
                        "FormalParameter",
                        name=name,
                        additionalType="Text",
                        conformsTo={"@id": f"{_BIOSCHEMAS}FormalParameter/1.0-RELEASE"},
                    )
                    value = self.add(f"{kind.id}/{digest}", "PropertyValue", name=name, value=shown, exampleOfWork=kind)
                    self._parameters[self._tool_of[action.rule].id][kind.id] = kind
                    self._examples[kind.id][value.id] = value
                    found.append(value)
        return found

    def _shown(self, text: str) -> str | None:
        """Return a parameter as others may see it, None if they may not."""
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if isinstance(value, Mapping):
            value = {key: entry for key, entry in portable(value, "path").items() if key != "filters"}
            if not value:
                return None
            text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return text if is_shareable(text) else None

    def _usage(self, action: _Action) -> list[Any]:
        """Return what jobs took together: times add up, memory is that of the largest."""
        done = [job for job in action.jobs if job.status == DONE]
        seconds = [job.seconds for job in done if job.seconds is not None]
        cpu = [job.cpu_seconds for job in done if job.cpu_seconds is not None]
        memory = [job.max_rss_mb for job in done if job.max_rss_mb is not None]
        taken = {
            "s": sum(seconds) if seconds else None,
            "cpu_time": sum(cpu) if cpu else None,
            "max_rss": max(memory) if memory else None,
        }
        return [
            self.add(
                f"{action.id}/{name}",
                "PropertyValue",
                name=name,
                propertyID=f"https://snakemake.readthedocs.io/en/stable/snakefiles/rules.html#benchmark-rules:{name}",
                unitCode=f"https://qudt.org/vocab/unit/{_UNITS[name]}",
                value=str(round(value, 2)),
            )
            for name, value in taken.items()
            if value is not None
        ]

    def _control(self, action: _Action, made: Any, step: Any) -> Any:
        return self.add(
            action.id.replace("#job/", "#control/"),
            "ControlAction",
            name=f"Orchestrate {action.name}",
            instrument=step,
            object=made,
        )

    def _whole(self, main: Any, controls: Sequence[Any], snakemake: str) -> list[Any]:
        """Describe the run of the workflow, and of its engine; return both actions."""
        every = [job for action in self.actions for job in action.jobs]
        begun, ended = min(job.started for job in every), max(job.ended for job in every)
        used = {path for job in every for path in job.inputs}
        # What nothing else is made from; and what lies on top, also where a page shows it.
        last = [path for job in every for path in job.outputs if path not in used or path.count("/") == 1]
        configuration = self.file(f"{self.workflow}/config/config.yaml", description="What was run.")
        n_failed = sum(job.status == FAILED for job in every)
        run = self.add(
            "#run",
            "CreateAction",
            name="Run of Replicortex",
            description=f"{len(every)} jobs, some of them perhaps of earlier calls whose results were still right.",
            startTime=stamp(begun),
            endTime=stamp(ended),
            actionStatus=_STATUS[FAILED if n_failed else DONE],
            instrument=main,
            object=[configuration, *_unique(self._roots.values())],
        )
        run["result"] = self._used(last)
        if n_failed:
            run["error"] = f"{n_failed} jobs failed."
        engine = self.add(
            f"https://pypi.org/project/snakemake/{quote(snakemake)}/",
            "SoftwareApplication",
            name="Snakemake",
            softwareVersion=snakemake,
            url=f"{_SNAKEMAKE}/",
        )
        organized = self.add(
            "#organize",
            "OrganizeAction",
            name="Snakemake",
            startTime=stamp(begun),
            endTime=stamp(ended),
            instrument=engine,
            object=list(controls),
            result=run,
        )
        return [run, organized]

    def _readme(self) -> None:
        """Write what a person who is given the folder needs to know, and describe it."""
        root, runs = self.root, self.cards.runs
        licences = [one["name"] for one in _listed(root["license"])]
        lines = [f"# {root['name']}", "", root["description"], ""]
        lines += ["| run | paper | dataset |", "|---|---|---|"]
        for run in runs.values():
            paper = run.card["paper"]
            title = self.cards.dataset(run.dataset)["title"]
            cells = (f"`{run.name}`", f"{paper['title']}, https://doi.org/{paper['doi']}", title)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        lines += [
            "",
            "`ro-crate-metadata.json` says what made each file, of what, when (RO-Crate 1.1, Provenance Run Crate",
        ]
        lines += [f"0.5). `{self.workflow}/` is the workflow as it ran; with its Python, the same again:", ""]
        lines += ["```bash", f"snakemake --snakefile {self.workflow}/Snakefile --cores 4 --directory again", "```", ""]
        lines += ["A `${NAME}` in one of its cards stands for a path, and is taken from the environment.", ""]
        lines += [f"Licence of the data: {', '.join(licences)}; of the code: {LICENCE}."]
        write_text(self.folder / "README.md", "\n".join(lines) + "\n")
        self.file("README.md", about=root)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _unique(entities: Iterable[Any]) -> list[Any]:
    return list({entity.id: entity for entity in entities}.values())


def encoding_of(path: str) -> str:
    """Return the media type of a file, from its name."""
    suffix = PurePosixPath(path).suffix
    return _ENCODINGS.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"


def stamp(moment: datetime) -> str:
    """Return a time as RO-Crate writes it, to the millisecond, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
