"""What there is: cards and components with their titles, and a study in full."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cards import KINDS as CARDS
from ..cards import Cards, read_yaml
from ..components import KINDS, load, make, names, parameters
from ..errors import InputError, did_you_mean
from ..shared.pricing import in_words, price_of
from ..shared.torch_method import TorchMethod
from .plan import read_cards

#: Components whose kind is also one of cards go by what they are.
_OF_COMPONENTS = {"preprocessing": "engines", "features": "extractors"}
_WIDTH = 110


def kinds() -> dict[str, tuple[str, str]]:
    """Return all kinds by their name here: whether cards or components, and the folder."""
    found = {kind: ("card", kind) for kind in sorted(CARDS, key=lambda kind: kind != "studies")}
    return found | {_OF_COMPONENTS.get(kind, kind): ("component", kind) for kind in KINDS}


def entries(project: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Yield name and title of all cards or components of a kind."""
    sort, folder = kinds()[kind]
    if sort == "component":
        for name in names(folder):
            path = Path(importlib.import_module(f"..{folder}", __package__).__path__[0]) / f"{name}.py"
            yield name, _first_line(path)
        return
    for path in sorted((project / "config" / folder).glob("*.yaml")):
        card = read_yaml(path)
        card = card if isinstance(card, dict) else {}
        title = card.get("paper", {}).get("title") if folder == "studies" else card.get("title")
        yield path.stem, str(title or "(no title)")


def _first_line(path: Path) -> str:
    """Return the first line of a file's docstring: reading it needs none of the packages that the file imports."""
    return (ast.get_docstring(ast.parse(path.read_bytes())) or "(no words)").splitlines()[0]


def show_list(project: Path, wanted: Sequence[str], *, as_json: bool = False) -> None:
    """Print the cards and components of some kinds, all if there is none.

    Raises
    ------
    InputError
        If there is no such kind.
    """
    known = kinds()
    for kind in wanted:
        if kind not in known:
            raise InputError(f"list {kind}", "no such kind", did_you_mean(kind, known))
    found = {kind: dict(entries(project, kind)) for kind in wanted or known}
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for kind, titles in found.items():
        _, folder = known[kind]
        place = f"config/{folder}" if known[kind][0] == "card" else f"scripts/replicortex/{folder}"
        print(f"\n{kind}  ({place})")
        width = max(map(len, titles), default=0)
        for name, title in titles.items():
            print(textwrap.fill(f"  {name:<{width}}  {title}", 150, subsequent_indent=" " * (width + 4)))


def show_description(project: Path, name: str, *, as_json: bool = False) -> None:
    """Print what is known of a study, another card, or a component.

    Raises
    ------
    InputError
        If there is nothing of that name, or two things.
    """
    kind, _, last = name.rpartition("/")
    found = [one for one in kinds() if kind in ("", one) and last in dict(entries(project, one))]
    if not found:
        every = {entry for one in kinds() for entry, _ in entries(project, one)}
        raise InputError(f"describe {name}", "nothing is called so", did_you_mean(last, every))
    # A study is what is asked for most, and cards come before the components that bear the same name.
    kind = found[0]
    sort, folder = kinds()[kind]
    if kind == "studies":
        document = study(project, last)
    elif sort == "card":
        document = {"name": last, "kind": kind, "card": read_yaml(project / "config" / folder / f"{last}.yaml")}
    else:
        document = {"name": last, "kind": kind, **component(folder, last)}
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif kind == "studies":
        _show_study(document)
    else:
        _show_other(document)
    if len(found) > 1 and not as_json:
        print(f"\nof that name there are also: {', '.join(f'{one}/{last}' for one in found[1:])}")


def component(kind: str, name: str) -> dict[str, Any]:
    """Return what a component says of itself, and its parameters with defaults."""
    cls = load(kind, name)
    about = {"words": inspect.getdoc(inspect.getmodule(cls)) or "", "class": inspect.getdoc(cls) or ""}
    try:
        defaults = parameters(cls())
    except Exception:  # a parameter without a default
        defaults = parameters(cls(**cls.tiny)) if cls.tiny else {}
    return about | {"params": defaults}


def study(project: Path, name: str) -> dict[str, Any]:
    """Return a study: paper, claims, methods at both scales, what it needs, what it costs, deviations."""
    by_scale = {scale: _at_scale(project, name, scale) for scale in ("demo", "paper")}
    cards, run = by_scale["demo"]
    feature = cards.card("features", run.feature)
    extractor = load("features", feature["extractor"])
    needs: dict[str, Any] = {
        "datatypes": list(extractor.datatypes),
        "suffixes": list(extractor.suffixes),
        "events": [] if run.target or not extractor.needs_events else run.evaluation["classes"],
        "target": run.evaluation.get("target"),
        "classes": run.evaluation.get("classes", []),
        "covariates": run.evaluation["covariates"],
        "channels": feature.get("params", {}).get("channels") or [],
    }
    return {
        "name": name,
        "paper": run.card["paper"],
        "dataset": run.dataset,
        "preprocessing": {
            one: cards.card("preprocessing", one).get("title") for one in cards.recipes(run.preprocessing)
        },
        "feature": {run.feature: feature.get("title")},
        "needs": needs,
        "task": run.evaluation["task"],
        # Networks are priced with the shapes of the published data, which those of the demonstration are not.
        "scales": {scale: _scale(*pair, priced=scale == "paper") for scale, pair in by_scale.items()},
        "claims": [
            {key: claim.get(key) for key in ("name", "text", "kind", "scheme", "metric")}
            for claim in run.card["claims"]
        ],
        "deviations": run.card["deviations"],
        "seconds_per_subject": sum(
            cards.card("preprocessing", one).get("seconds_per_subject", 10) for one in cards.recipes(run.preprocessing)
        ),
        "measured": _measured(cards, run.name, run.dataset),
    }


def _at_scale(project: Path, name: str, scale: str) -> tuple[Cards, Any]:
    cards = read_cards(project, {"runs": [name], "scale": scale})
    return cards, next(iter(cards.runs.values()))


def _scale(cards: Cards, run: Any, *, priced: bool) -> dict[str, Any]:
    """Return methods and evaluation of a study at one scale, with the number of fits."""
    n_fits = sum(len(run.fits(variant, "fit.json")) for variant in run.variants)
    return {
        "methods": {name: _method(method, priced=priced) for name, method in run.methods.items()},
        "schemes": run.evaluation["schemes"],
        "metrics": list(run.evaluation["metrics"]),
        "null_variants": run.evaluation["null_variants"],
        "fit_jobs": n_fits,
    }


def _method(method: Mapping[str, Any], *, priced: bool) -> dict[str, Any]:
    """Return a method with all its parameters, its tuning budget, and its size and price where it can say them."""
    found = {key: method[key] for key in ("component", "label", "role", "family", "resources")}
    try:
        made = make("methods", method["component"], method["params"])
    except InputError as error:
        return {**found, "params": method["params"], "configurations": None, "fault": error.fault}
    found |= {"params": parameters(made), "configurations": made.n_configurations()}
    if hasattr(made, "n_parameters"):
        found["parameters"] = made.n_parameters()
    if priced and isinstance(made, TorchMethod) and made.paper_shapes and importlib.util.find_spec("torch"):
        try:
            found["price"] = price_of(made).told()
        except Exception as error:
            # A network fails in as many ways as it is built; what else is known of the study stands.
            found["price"] = {"fault": " ".join(str(error).split())[:200]}
    return found


def _price(told: Mapping[str, Any]) -> list[str]:
    return [f"can not be priced: {told['fault']}"] if "fault" in told else in_words(told)


def _measured(cards: Cards, run: str, dataset: str) -> dict[str, float]:
    """Return the seconds that jobs of this run and dataset took, by rule, from benchmarks in the working directory."""
    found: dict[str, float] = {}
    for path in Path("results/benchmarks").glob("*/**/*.tsv"):
        parts = path.relative_to("results/benchmarks").with_suffix("").parts
        if parts[1] in (run, dataset, f"{dataset}-absent"):
            rows = path.read_text(encoding="utf-8").splitlines()[1:]
            found[parts[0]] = found.get(parts[0], 0.0) + sum(float(row.split("\t")[0]) for row in rows)
    return {rule: round(seconds, 1) for rule, seconds in sorted(found.items(), key=lambda pair: -pair[1])}


def _show_study(told: Mapping[str, Any]) -> None:
    paper = told["paper"]
    _say(f"{told['name']}: {paper['title']}")
    _say(f"{paper.get('authors', '')} {paper['year']}, doi:{paper['doi']}".strip(), 2)
    needs = told["needs"]
    kinds_ = " or ".join(needs["datatypes"]) + (f" ({' or '.join(needs['suffixes'])})" if needs["suffixes"] else "")
    print("\nneeds")
    _say(f"recordings: {kinds_}", 2)
    if needs["events"]:
        _say(f"events of the classes {', '.join(needs['events'])}", 2)
    if needs["target"]:
        of = f" with the classes {', '.join(needs['classes'])}" if needs["classes"] else ", a number"
        _say(f"a variable of the participants: {needs['target']}{of}", 2)
    if needs["covariates"]:
        _say(f"covariates: {', '.join(needs['covariates'])}", 2)
    if needs["channels"]:
        _say(f"channels: {', '.join(needs['channels'])}", 2)
    print("\nby default")
    _say(f"dataset: {told['dataset']}", 2)
    for kind in ("preprocessing", "feature"):
        for name, title in told[kind].items():
            _say(f"{kind}: {name}. {title or ''}", 2)
    for scale, at in told["scales"].items():
        print(f"\nat scale {scale}: {at['fit_jobs']} jobs of fits, {at['null_variants']} null variants")
        _say(f"schemes: {', '.join(_called(name, params) for name, params in at['schemes'].items())}", 2)
        _say(f"metrics: {', '.join(at['metrics'])}", 2)
        for name, method in at["methods"].items():
            budget = method["configurations"]
            size = f", {method['parameters']:,} trained parameters" if "parameters" in method else ""
            tried = method.get("fault") or f"{budget} configuration{'' if budget == 1 else 's'} tried{size}"
            _say(f"{name} ({method['role']}, {method['family']}): {method['label']}; {tried}", 2)
            if method["params"]:
                _say(", ".join(f"{key}={_short(value)}" for key, value in method["params"].items()), 6)
            for line in _price(method["price"]) if "price" in method else []:
                _say(line, 6)
    print("\nclaims")
    for claim in told["claims"]:
        _say(f"{claim['name']}: {claim['text']}", 2)
    print("\nnot as in the paper")
    for line in told["deviations"]:
        _say(f"- {line}", 2)
    print("\ncosts")
    _say(f"preprocessing: about {told['seconds_per_subject']} s a subject on one core, as its cards say", 2)
    if told["measured"]:
        total = sum(told["measured"].values())
        most = ", ".join(f"{rule} {seconds:.0f} s" for rule, seconds in list(told["measured"].items())[:4])
        _say(f"measured here: {total / 3600:.2f} h in all; most of it {most}", 2)
    else:
        _say(f"no benchmark of a run is here; replicortex plan --config 'runs=[{told['name']}]' counts the jobs", 2)


def _called(name: str, params: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_short(value)}' for key, value in params.items())})" if params else name


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _show_other(told: Mapping[str, Any]) -> None:
    print(f"{told['kind']}/{told['name']}")
    if "card" in told:
        import yaml

        print(textwrap.indent(yaml.safe_dump(told["card"], sort_keys=False, allow_unicode=True, width=_WIDTH), "  "))
        return
    print(textwrap.indent(f"{told['words']}\n\n{told['class']}", "  "))
    for key, value in told["params"].items():
        _say(f"{key} = {json.dumps(value)}", 2)


def _say(text: str, indent: int = 0) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2)))
