"""What holds for every schema and every card that is shipped, at every scale."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from replicortex.cards import KINDS as CARD_KINDS
from replicortex.cards import Cards, Run, check
from replicortex.claims import parse_claims
from replicortex.components import KINDS, load, make, names, parameters
from replicortex.digest import PACKAGE
from replicortex.manual import manual
from source_code import ROOT

CONFIG = ROOT / "config"
SCHEMAS = sorted((CONFIG / "schemas").glob("*.schema.yaml"))
SHIPPED = [(kind, path.stem) for kind in CARD_KINDS for path in sorted((CONFIG / kind).glob("*.yaml"))]
STUDIES = [name for kind, name in SHIPPED if kind == "studies"]
SCALES = yaml.safe_load((CONFIG / "schemas" / "config.schema.yaml").read_text())["properties"]["scale"]["enum"]


def read(kind: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / kind / f"{name}.yaml").read_text(encoding="utf-8"))


def resolved(study: str, scale: str) -> Run:
    return Cards(CONFIG, {"scale": scale, "runs": [study]}).runs[study]


every_run = pytest.mark.parametrize(
    "run", [pytest.param((study, scale), id=f"{study}-{scale}") for study in STUDIES for scale in SCALES], indirect=True
)


@pytest.fixture
def run(request) -> Run:
    """A study on its own dataset, at one scale."""
    return resolved(*request.param)


# ---- schemas


def schemas_in(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All schemas nested in a schema, by where they stand."""
    yield where, schema
    for key, entry in schema.get("properties", {}).items():
        yield from schemas_in(entry, f"{where}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from schemas_in(schema[key], f"{where}.<{key}>")
    for number, entry in enumerate(schema.get("oneOf", [])):
        yield from schemas_in(entry, f"{where}.<{number}>")


@pytest.fixture(params=SCHEMAS, ids=lambda path: path.name.partition(".")[0])
def schema(request) -> dict[str, Any]:
    return yaml.safe_load(request.param.read_text())


def test_there_is_a_schema_for_every_kind_of_card():
    assert {path.name.partition(".")[0] for path in SCHEMAS} == {"config", *CARD_KINDS}


def test_a_schema_is_valid(schema):
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


def test_a_schema_says_of_every_mapping_which_keys_it_takes(schema):
    """``true``, all keys, may stand where something else checks them; it must be written, not left out."""
    silent = [where for where, entry in schemas_in(schema, "") if entry.get("type") == "object"
              and "additionalProperties" not in entry]  # fmt: skip
    assert silent == []
    for where, entry in schemas_in(schema, ""):
        if entry.get("additionalProperties") is True:
            assert "properties" not in entry, f"{where} names keys and takes all others too"


def test_a_schema_describes_every_key(schema):
    keys = {f"{where}.{key}": entry for where, part in schemas_in(schema, "")
            for key, entry in part.get("properties", {}).items()}  # fmt: skip
    assert [where for where, entry in keys.items() if len(entry.get("description", "")) < 5] == []


def test_the_manual_is_that_of_the_schemas():
    assert (CONFIG / "README.md").read_text(encoding="utf-8") == manual(CONFIG / "schemas"), (
        "config/README.md is stale: python scripts/write_manual.py"
    )


# ---- cards


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_a_card_fits_its_schema(kind, name):
    card = read(kind, name)
    check(card, yaml.safe_load((CONFIG / "schemas" / f"{kind}.schema.yaml").read_text()), f"{kind}/{name}")
    any_run = {"runs": [STUDIES[0]]}
    assert Cards(CONFIG, any_run).card(kind, name) == card


def test_the_configuration_shipped_resolves():
    config = yaml.safe_load((CONFIG / "config.yaml").read_text())
    assert len(Cards(CONFIG, config).runs) == len(config["runs"])


def components_of(kind: str, card: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Kind, name and parameters of the components that a card other than a study's names."""
    params = card.get("params", {})
    if kind == "datasets" and "simulate" in card:
        yield "simulators", card["simulate"]["simulator"], card["simulate"].get("params", {})
    elif kind == "datasets" and "reader" in card.get("gather", {}):
        yield "readers", card["gather"]["reader"], card["gather"].get("params", {})
    elif kind == "preprocessing":
        yield "preprocessing", card["engine"], params
        # By the name of its modality, and without parameters.
        yield "displays", f"{card['modality']}_group", {}
    elif kind == "features":
        yield "features", card["extractor"], params
    elif kind == "stimuli":
        yield "providers", card["provider"], params


def components_of_run(run: Run) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for method in run.methods.values():
        yield "methods", method["component"], method["params"]
        if "explainer" in method["params"]:
            yield "explainers", method["params"]["explainer"], method["params"].get("settings", {})
    for kind, section in {"splitters": run.evaluation["schemes"], "metrics": run.evaluation["metrics"],
                          "figures": run.card["figures"]}.items():  # fmt: skip
        for name, params in section.items():
            yield kind, name, params


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_the_components_of_a_card_take_its_parameters(kind, name):
    for component in components_of(kind, read(kind, name)):
        make(*component)


@every_run
def test_the_components_of_a_study_take_its_parameters(run):
    for component in components_of_run(run):
        make(*component)


@every_run
def test_a_study_runs_on_cards_that_exist_and_fit_each_other(run):
    cards = Cards(CONFIG, {"runs": [run.study]})
    preprocessing, feature = cards.card("preprocessing", run.preprocessing), cards.card("features", run.feature)
    extractor = load("features", feature["extractor"])
    assert preprocessing["modality"] in extractor.datatypes
    assert preprocessing["modality"] in load("preprocessing", preprocessing["engine"]).datatypes
    assert load("preprocessing", preprocessing["engine"]).family == extractor.family == run.family
    dataset = cards.dataset(run.dataset)
    assert "simulate" in dataset, "the default dataset of a study must be there for everybody"
    assert load("simulators", dataset["simulate"]["simulator"]).datatype == preprocessing["modality"]
    classes = set(run.evaluation.get("classes", []))
    if not run.target:
        assert classes <= set(dataset.get("classes", {}))
    elif values := dataset.get("variables", {}).get(run.target[0], {}).get("values"):
        assert classes <= set(values)


@every_run
def test_figures_show_a_metric_of_the_study(run):
    for name, params in run.card["figures"].items():
        shown = parameters(make("figures", name, params)).get("metric")
        assert shown is None or shown in run.evaluation["metrics"], name


@every_run
def test_metrics_can_score_the_task(run):
    for name, params in run.evaluation["metrics"].items():
        assert run.evaluation["task"] in make("metrics", name, params).tasks


@every_run
def test_methods_can_do_the_task_on_what_the_feature_gives(run):
    for method in run.methods.values():
        task = "pretrain" if method["role"] == "stage" else run.evaluation["task"]
        assert task in load("methods", method["component"]).tasks
        assert (ROOT / "envs" / f"{method['family']}.yaml").is_file()


@every_run
def test_the_claims_of_a_study_are_about_what_it_has(run):
    claims = parse_claims(
        run.card["claims"],
        run.study,
        methods=run.methods,
        schemes=run.evaluation["schemes"],
        metrics=run.evaluation["metrics"],
    )
    proposed = {name for name, method in run.methods.items() if method["role"] == "proposed"}
    assert proposed, "a study proposes something"
    assert proposed <= {name for claim in claims for name in claim.methods_named}, "and claims something of it"


@every_run
def test_a_baseline_searches_at_least_as_much_as_what_is_compared_with_it(run):
    budgets = {name: make("methods", m["component"], m["params"]).n_configurations() for name, m in run.methods.items()}
    for claim in parse_claims(run.card["claims"], run.study):
        if claim.kind != "better" or run.methods[claim.than]["role"] != "baseline":
            continue
        proposed, baseline = budgets[claim.method], budgets[claim.than]
        assert baseline >= proposed, f"{claim.than} tries {baseline}, {claim.method} {proposed}"
        if baseline > 1.1 * proposed:
            warnings.warn(f"{claim.than} tries {baseline}, {claim.method} only {proposed}", stacklevel=1)


@pytest.mark.parametrize("study", STUDIES)
def test_the_paper_scale_has_the_parameters_of_the_paper(study):
    """They are the defaults of the method whose docstring names the paper."""
    run = resolved(study, "paper")
    doi = run.card["paper"]["doi"]
    reproduced = [
        (name, method["params"])
        for name, method in run.methods.items()
        if name == method["component"] and doi in (PACKAGE / "methods" / f"{name}.py").read_text(encoding="utf-8")
    ]
    assert reproduced, f"no method of this study says that it reproduces {doi}"
    for name, params in reproduced:
        assert parameters(make("methods", name, params)) == parameters(make("methods", name)), name


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_says_where_its_paper_is_and_what_differs(study):
    card = read("studies", study)
    assert card["paper"]["doi"].startswith("10.")
    assert all(len(deviation) > 20 for deviation in card["deviations"])


# ---- nothing is left over


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_used_by_a_card(kind):
    runs = [resolved(study, scale) for study in STUDIES for scale in SCALES]
    used = {component[:2] for run in runs for component in components_of_run(run)}
    used |= {component[:2] for name in SHIPPED for component in components_of(name[0], read(*name))}
    unused = [name for name in names(kind) if (kind, name) not in used]
    assert unused == [], f"{kind} that no card uses"
