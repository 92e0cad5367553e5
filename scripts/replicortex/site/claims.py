"""Claims and their verdicts, as pages show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .drawings import forest, span
from .words import CONTROLS, VERDICT_ORDER, VERDICTS, finite, interval, number, p_value, tick, words


def viewed(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims of one ``claims.json`` each, with everything in words, and a picture of the effect.

    Parameters
    ----------
    documents : iterable of mapping
        ``claims.json``, or of the same form.
    """
    found = [_viewed(claim, document) for document in documents for claim in document["claims"]]
    ranges: dict[tuple[str, str], list[float | None]] = {}
    for claim in found:
        values = ranges.setdefault(claim["axis"], [])
        values += claim["reference"]
        for name in ("observed", *CONTROLS):
            result = claim["results"].get(name, {})
            values += [finite(result.get(key)) for key in ("effect", "ci_low", "ci_high")]
    for claim in found:
        claim["picture"] = forest(claim, *span(ranges[claim["axis"]]))
    return found


def _viewed(claim: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    labels = {entry["name"]: entry["label"] for entry in document.get("methods", [])}
    observed = claim["results"]["observed"]
    kind = claim["kind"]
    signed = kind not in ("at_least", "recovers")
    verdict = VERDICTS[observed["verdict"]]
    controls = [
        {
            "name": name,
            "label": label,
            "verdict": VERDICTS[claim["results"][name]["verdict"]],
            "is_wrong": claim["results"][name].get("as_expected") == "no",
        }
        for name, label in CONTROLS.items()
        if name in claim["results"]
    ]
    p, holm = finite(observed.get("p")), finite(observed.get("p_holm"))
    return {
        "name": claim["name"],
        "text": claim["text"],
        "says": _says(claim, labels),
        "metric": words(claim["metric"]),
        "scheme": words(claim["scheme"]),
        "unit": claim["unit"],
        "verdict": verdict,
        "rank": VERDICT_ORDER.index(verdict.name),
        "reason": observed.get("reason") or "",
        "effect": finite(observed.get("effect")),
        "effect_text": number(observed.get("effect"), signed=signed),
        "interval": interval(observed.get("ci_low"), observed.get("ci_high"), signed=signed),
        "measure": _measure(claim),
        "n": observed.get("n") or 0,
        "p": p,
        "p_text": p_value(p),
        "holm_text": p_value(holm),
        "smd_text": number(observed.get("smd"), signed=True),
        "controls": controls,
        "expected": observed.get("expected", "n/a"),
        "as_expected": observed.get("as_expected", "n/a"),
        "surprises": _surprises(claim["results"]),
        "results": {name: _plain(result, signed) for name, result in claim["results"].items()},
        "reference": _reference(claim),
        "axis": (claim["metric"], "level" if kind in ("at_least", "recovers") else kind),
    }


def _plain(result: Mapping[str, Any], signed: bool) -> dict[str, Any]:
    told = {key: finite(result.get(key)) for key in ("effect", "ci_low", "ci_high")}
    return told | {
        "effect_text": number(result.get("effect"), signed=signed),
        "interval": interval(result.get("ci_low"), result.get("ci_high"), signed=signed),
        "verdict": VERDICTS[result["verdict"]],
        "n": result.get("n") or 0,
        "p_text": p_value(result.get("p")),
        "alpha_text": number(result.get("alpha"), digits=3),
        "as_expected": result.get("as_expected", "n/a"),
        "expected": result.get("expected", "n/a"),
        "reason": result.get("reason") or "",
    }


def _surprises(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the variants, in words, in which something else came out than what was expected."""
    named = {"observed": "the data as they are", **CONTROLS}
    return [label for name, label in named.items() if results.get(name, {}).get("as_expected") == "no"]


def _says(claim: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return what a claim compares, in the names of the study."""

    def named(name: str) -> str:
        return labels.get(name) or words(name)

    kind = claim["kind"]
    if kind == "better":
        by = f" by {tick(claim['min_effect'])} or more" if claim.get("min_effect") else ""
        return f"{named(claim['method'])} better than {named(claim['than'])}{by}"
    if kind == "monotone":
        return f"{', '.join(named(name) for name in claim['methods'])}: {claim['direction']} in this order"
    if kind == "equals_chance":
        return f"{named(claim['method'])} within {tick(claim['margin'])} of chance"
    if kind == "beats_twins":
        twins = {"random": "untrained networks", "null": "networks trained on permuted targets"}
        return f"{named(claim['method'])} better than of {' and '.join(twins[name] for name in claim['against'])}"
    side = "at most" if claim["results"]["observed"].get("better") == "smaller" else "at least"
    return f"{named(claim['method'])} {side} {tick(claim['value'])}"


def _measure(claim: Mapping[str, Any]) -> str:
    """Return what the effect of a claim is."""
    metric = words(claim["metric"])
    return {
        "better": f"difference in {metric}",
        "equals_chance": f"{metric} minus chance",
        "monotone": f"trend of {metric} along the methods",
        "beats_twins": f"{metric} less that of twins",
    }.get(claim["kind"], f"mean {metric}")


def _reference(claim: Mapping[str, Any]) -> list[float]:
    """Return the values of the effect that decide about a claim."""
    kind = claim["kind"]
    if kind == "equals_chance":
        return [-claim["margin"], claim["margin"]]
    if kind in ("at_least", "recovers"):
        return [claim["value"]]
    return [claim.get("min_effect") or 0.0]


def counted(claims: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how many claims have each verdict, in order."""
    counts = Counter(claim["verdict"].name for claim in claims)
    return [{"verdict": VERDICTS[name], "n": counts[name]} for name in VERDICT_ORDER]


def combined(rows: Sequence[Mapping[str, str]], stated: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what ``claims.tsv`` says of studies over several datasets, as documents like ``claims.json``.

    Parameters
    ----------
    rows : sequence of mapping
        The table.
    stated : mapping
        A ``claims.json`` of each study, by the study's name: the table has no words.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        study, is_combined, _ = row["run"].rpartition(" (all datasets)")
        if not is_combined or study not in stated:
            continue
        claim = next((entry for entry in stated[study]["claims"] if entry["name"] == row["claim"]), None)
        if claim is None:
            continue
        document = found.setdefault(
            row["run"], {"run": row["run"], "study": study, "methods": stated[study]["methods"], "claims": []}
        )
        if not document["claims"] or document["claims"][-1]["name"] != row["claim"]:
            document["claims"].append({**claim, "results": {}})
        said = {key: (None if value == "n/a" else value) for key, value in row.items()}
        said |= {key: row[key] for key in ("expected", "as_expected")}
        document["claims"][-1]["results"][row["variant"]] = said | {"n": int(row["n"])}
    return {
        name: document
        for name, document in found.items()
        if all("observed" in c["results"] for c in document["claims"])
    }
