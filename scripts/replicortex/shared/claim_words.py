"""Claims in words and signs, for figures: the test that a claim makes, its criterion, its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import style
from .printed import counted, plain

#: Colour and symbol of each verdict: told apart without colour, too.
VERDICTS = {
    "holds": (style.BLUE, "\N{CHECK MARK}"),
    "fails": (style.ORANGE, "\N{BALLOT X}"),
    "undecided": (style.GREY, "?"),
    "invalid": (style.RED, "!"),
}


def in_words(claim: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return the test that a claim makes as a short sentence."""

    def label(name: str) -> str:
        return labels.get(name) or style.words(name)

    metric = style.words(claim["metric"])
    if claim["kind"] == "better":
        by = f" by {plain(claim['min_effect'])}" if claim["min_effect"] else ""
        return f"{label(claim['method'])} better than {label(claim['than'])}{by}"
    if claim["kind"] == "equals_chance":
        return f"{label(claim['method'])} at chance \N{PLUS-MINUS SIGN} {claim['margin']:g}"
    if claim["kind"] == "monotone":
        return f"{metric} {claim['direction']} along {', '.join(map(label, claim['methods']))}"
    if claim["kind"] == "beats_twins":
        twins = {"random": "its random twins", "null": "its twins on permuted targets"}
        return f"{label(claim['method'])} better than {' and '.join(twins[name] for name in claim['against'])}"
    return f"{label(claim['method'])} reaches {metric} {claim['value']:g}"


def criterion(claim: Mapping[str, Any]) -> tuple[float, float]:
    """Return what the effect of a claim is compared with: a value, as two equal numbers, or a range."""
    if claim["kind"] == "better":
        return claim["min_effect"], claim["min_effect"]
    if claim["kind"] == "equals_chance":
        return -claim["margin"], claim["margin"]
    if claim["kind"] in ("monotone", "beats_twins"):
        return 0.0, 0.0
    return claim["value"], claim["value"]


def quantity(claim: Mapping[str, Any]) -> str:
    """Return what the effect of a claim is, as the label of an axis."""
    metric, unit = style.words(claim["metric"]), style.unit_of(claim["metric"])
    if claim["kind"] == "better":
        return f"{metric}: how much better ({unit})"
    if claim["kind"] == "equals_chance":
        return f"{metric} minus chance ({unit})"
    if claim["kind"] == "monotone":
        return f"{metric}: trend along the methods ({unit})"
    if claim["kind"] == "beats_twins":
        return f"{metric}: above the twins ({unit})"
    return f"{metric} ({unit})"


def how(row: Mapping[str, str]) -> str:
    """Return scheme, metric and number of units of a claim, from its row in a table."""
    return f"{style.words(row['scheme'])}, {style.words(row['metric'])}, {units(row)}"


def units(row: Mapping[str, str]) -> str:
    """Return the number of units of a result: ``n = 6 subjects``."""
    return f"n = {counted(int(row['n']), row['unit'])}" if row["n"] != "0" else "not tested here"
