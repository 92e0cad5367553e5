"""What components say of themselves: whole sentences, true to their parameters, with sources that there are."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
import types
import typing
import unicodedata
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from replicortex.components import KINDS, Component, load, make, names
from replicortex.errors import InputError
from replicortex.references import BIBLIOGRAPHY, bibliography, cited, of_dataset, of_paper
from replicortex.stages.check import versions
from source_code import cards_of, docstrings, modules_in, parsed, path_of

COMPONENTS = [
    pytest.param(kind, name, id=f"{kind}-{name}")
    for kind in KINDS
    for name in names(kind)
    if issubclass(load(kind, name), Component)
]
#: What text must not hold: values as Python writes them, and what a sentence lost.
PYTHON = re.compile(r"\bNone\b|\bTrue\b|\bFalse\b|\bnan\b|\{|\}|\[(?!@)|\be[-+]\d|  |\.\.| [,.;:]|\(\)")


def plainly(kind: str, name: str) -> Any:
    """The component with its defaults; with those of its tests where some parameter has none."""
    try:
        return make(kind, name)
    except InputError:
        return make(kind, name, load(kind, name).tiny)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_component_has_words_of_its_own(kind, name):
    said = type(plainly(kind, name)).described
    bases = [base for base in Component.__subclasses__() if issubclass(load(kind, name), base)]
    own = said not in [base.described for base in [Component, *bases]]
    assert own, f"{kind}/{name}.py: write described(), the words that the Methods section of a paper has for it"
    for words in all_words(kind, name):
        assert re.fullmatch(r"[A-Z0-9].{40,}\.", words), words
        assert not PYTHON.search(words), words
        assert not re.search(r"[a-z0-9]_[a-z0-9]", re.sub(r"colin27_1005", "", words)), f"a raw name: {words}"
        assert set(cited([words])) <= set(bibliography()), words
        # A citation that is misspelt would be left in the text as it stands.
        assert "@" not in re.sub(r"\[@[\w-]+(; @[\w-]+)*\]", "", words), words


def all_words(kind: str, name: str) -> list[str]:
    """What a component says with its defaults, with those of its tests, and for each task."""
    made = [plainly(kind, name), make(kind, name, load(kind, name).tiny)]
    contexts = [(task,) for task in sorted(made[0].tasks)] if kind == "methods" else [()]
    return [one.described(*context) for one in made for context in contexts]


# ---- every parameter


def alternatives(kind: Any, value: Any) -> list[Any]:
    """Other values of a type, some of which a component may refuse."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return alternatives(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        none = [None] if type(None) in inner and value is not None else []
        return none + [other for one in inner if one is not type(None) for other in alternatives(one, value)]
    if origin is Literal:
        return [other for other in inner if other != value]
    if origin is tuple and Ellipsis not in inner:
        known = list(value or [None] * len(inner))
        others = [alternatives(one, item)[:4] for one, item in zip(inner, known, strict=True)]
        single = [[*known[:i], other, *known[i + 1 :]] for i in range(len(inner)) for other in others[i]]
        return single + [list(both) for both in itertools.product(*others)]
    if origin in (list, tuple):
        known = list(value or [])
        one = [item for item in alternatives(inner[0], known[0] if known else None) if item is not None]
        fewer, more = known[:-1], [*known, *one[:1]]
        return [fewer, more, *([*fewer, other] for other in one), *([other] for other in one)]
    if origin is dict:
        return [{"operator": "pearson"}, {"first": [1], "second": [2, 3]}, {"noise": 0.2}]
    if kind is bool:
        return [not value]
    if kind in (int, float):
        start = value if isinstance(value, int | float) else 1
        return [kind(other) for other in (start * 2, start + 1, start / 2, start - 1, start + 0.1, start * 0.9)]
    if kind is str:
        # A column, a file, a network of an atlas, an operator, an explainer, and what is none of these.
        return ["subject", "other.nii.gz", "default", "pearson", "gradient", f"{value}x"]
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
        return nested(kind, value)
    return []


def nested(kind: Any, value: Any) -> list[Any]:
    """Other values of a parameter that has fields: each with one or two of them changed."""
    base = plain(value) if value is not None else {}
    fields = fields_of(kind)
    found = [base]
    for _ in range(2):
        found += [{**one, name: other} for one in found for name, given in fields.items()
                  for other in alternatives(given, one.get(name))[:3]]  # fmt: skip
    return found[:3000]


def plain(value: Any) -> dict[str, Any]:
    return value.model_dump() if isinstance(value, BaseModel) else dataclasses.asdict(value)


def fields_of(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    if issubclass(kind, BaseModel):
        return {name: hints[name] for name in kind.model_fields}
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def said_with(kind: str, name: str, params: dict[str, Any]) -> str | None:
    try:
        return make(kind, name, params).described()
    except (InputError, ValueError):
        return None


@pytest.mark.parametrize(
    ("kind", "name"), [case for case in COMPONENTS if case.values[0] not in ("simulators", "figures")]
)
def test_the_words_tell_every_parameter(kind, name):
    """Each changes the words, alone or beside one other that was changed; else the component says that it need not."""
    made = plainly(kind, name)
    given = {field: getattr(made, field) for field in fields_of(type(made))}
    start = {} if said_with(kind, name, {}) else dict(type(made).tiny)
    hints = fields_of(type(made))
    changed = [{**start, name: value} for name in given for value in alternatives(hints[name], given[name])[:8]]
    others = {field: [given[field], *alternatives(hints[field], given[field])] for field in given}

    def told(field: str, base: dict[str, Any]) -> bool:
        said = {said_with(kind, name, {**base, field: value}) for value in [base.get(field), *others[field]]}
        return len(said - {None}) > 1

    untold = set(given) - made.untold
    for base in itertools.chain([start], changed, ({**one, **two} for one in changed for two in changed)):
        untold = {field for field in untold if not told(field, base)}
        if not untold:
            break
    assert untold == set(), f"{kind}/{name}.py: described() is the same whatever these are"
    assert made.untold <= set(given)


# ---- the bibliography


def keys_in_code() -> set[str]:
    """Keys in the strings of the library, docstrings left out; pieces of f-strings are strings too."""
    found = set()
    for module in modules_in():
        tree = parsed(path_of(module))
        skipped = docstrings(tree)
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in skipped)
        found |= set(cited(text for text in texts if isinstance(text, str)))
    return found


def test_every_source_in_the_code_is_in_the_bibliography_and_the_reverse():
    papers = {of_paper(card["paper"]).key for card in cards_of("studies").values()}
    packages = {key for key, entry in bibliography().items() if entry.fields.get("software") in versions()}
    assert keys_in_code() - set(bibliography()) == set()
    assert set(bibliography()) - keys_in_code() - papers - packages == set()


def test_the_bibliography_is_read_whole():
    text = BIBLIOGRAPHY.read_text()
    assert len(bibliography()) == len(re.findall(r"^@", text, re.MULTILINE)) > 50
    assert list(bibliography()) == sorted(bibliography())
    # What is written again is what stands in the file, but for the project's own field.
    without = re.sub(r",\n  software = \{.*\}", "", text.partition("\n\n")[2])
    assert "\n".join(entry.bibtex for entry in bibliography().values()) == without


@pytest.mark.parametrize("key", bibliography())
def test_an_entry_says_what_a_reference_needs(key):
    entry = bibliography()[key]
    assert {"author", "title", "year"} <= set(entry.fields)
    assert {"journal", "booktitle", "howpublished", "publisher"} & set(entry.fields)
    family = unicodedata.normalize("NFKD", entry.fields["author"].split(",")[0])
    family = re.sub(r"\W", "", family.partition("-")[0].encode("ascii", "ignore").decode()).lower()
    assert re.fullmatch(rf"{family}{entry.fields['year']}[a-z]*", key)
    if "doi" in entry.fields:
        assert re.fullmatch(r"10\.\d{4,9}/\S+", entry.fields["doi"])
    else:
        assert entry.fields["url"].startswith("https://")
    assert entry.words.count("..") == 0
    assert "{" not in entry.words


def test_no_work_stands_twice():
    dois = [entry.fields["doi"].lower() for entry in bibliography().values() if "doi" in entry.fields]
    titles = [re.sub(r"\W", "", entry.fields["title"]).lower() for entry in bibliography().values()]
    assert len(set(dois)) == len(dois)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("study", cards_of("studies"))
def test_the_paper_of_a_study_has_a_reference(study):
    paper = cards_of("studies")[study]["paper"]
    entry = of_paper(paper)
    assert entry.fields["doi"] == paper["doi"]
    assert entry.fields["year"] == str(paper["year"])
    first = paper["authors"].split()[0].rstrip(",")
    assert entry.fields["author"].startswith(f"{first},")


@pytest.mark.parametrize("dataset", [name for name, card in cards_of("datasets").items() if "simulate" not in card])
def test_a_dataset_has_references(dataset):
    card = cards_of("datasets")[dataset]
    entries = of_dataset(card["title"], card["citation"], dataset)
    dois = re.findall(r"10\.\d{4,9}/\S+", card["citation"].replace(";", " "))
    assert [entry.fields["doi"] for entry in entries if "doi" in entry.fields] == dois
    assert len({entry.key for entry in entries}) == len(entries) > 0
