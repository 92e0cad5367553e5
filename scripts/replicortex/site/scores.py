"""Scores of a run, as pages show them: by unit where units have scores of their own, means with intervals always."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .drawings import dots, span
from .folder import RunFolder
from .words import count, finite, interval, number, p_value, plural, words

#: Of values by unit in one page at most; beyond that only means are shown.
_MOST_VALUES = 60_000


def panels(run: RunFolder, summary: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a panel for each scheme and metric of a run, in the order of the study card.

    Parameters
    ----------
    run : RunFolder
        The run.
    summary : iterable of mapping
        Rows of its ``summary.tsv``.
    """
    rows = [row for row in summary if row["unit"] == "subject"]
    units = _by_unit(run.path / "scores.tsv", restricted=run.restricted)
    nulls: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        mean = finite(row["mean"])
        if row["variant"].startswith("null-") and mean is not None:
            nulls[row["scheme"], row["metric"], row["method"]].append(mean)
    labels = _methods(run)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row["variant"] != "observed":
            continue
        key = row["scheme"], row["metric"]
        panel = found.setdefault(key, {"scheme": key[0], "metric": key[1], "chance": None, "methods": []})
        # Each method may have a level of its own, where it could not score every unit; that of the first is drawn.
        panel["chance"] = finite(row["chance"]) if panel["chance"] is None else panel["chance"]
        own = units.get((*key, row["method"]), {"kind": "subject", "values": [], "lows": [], "highs": [], "who": []})
        panel["methods"].append(
            {
                "name": row["method"],
                "label": labels.get(row["method"], {}).get("label") or words(row["method"]),
                "role": labels.get(row["method"], {}).get("role", ""),
                "mean": finite(row["mean"]),
                "low": finite(row["ci_low"]),
                "high": finite(row["ci_high"]),
                "n": int(float(row["n_units"])),
                "chance": finite(row["chance"]),
                "null": finite(row["null_mean"]),
                "nulls": nulls[*key, row["method"]],
                "p_text": p_value(row["p_permutation"]),
                **own,
            }
        )
    order = {name: place for place, name in enumerate(labels)}
    for panel in found.values():
        panel["methods"].sort(key=lambda method: (order.get(method["name"], len(order)), method["name"]))
        _complete(panel)
    return sorted(found.values(), key=lambda panel: _place(run, panel))


def _complete(panel: dict[str, Any]) -> None:
    """Add words, range, picture, and texts of the numbers."""
    kinds = {method["kind"] for method in panel["methods"]}
    panel["unit"] = kinds.pop() if len(kinds) == 1 else "unit"
    panel["label"] = f"{words(panel['metric'])}, {words(panel['scheme'])}"
    panel["axis"] = words(panel["metric"])
    shown = [panel["chance"]]
    for method in panel["methods"]:
        shown += [method["mean"], method["low"], method["high"], *method["nulls"], *method["values"]]
        method |= {
            "mean_text": number(method["mean"]),
            "interval": interval(method["low"], method["high"]),
            "chance_text": number(method["chance"]),
            "null_text": number(method["null"]),
            "n_text": count(method["n"]),
        }
    panel["range"] = span(shown, 0.04)
    told = "; ".join(f"{method['label']} {method['mean_text']} {method['interval']}" for method in panel["methods"])
    chance = f"; chance is {number(panel['chance'])}" if panel["chance"] is not None else ""
    panel["title"] = f"Mean {panel['label']}, with 95 % intervals: {told}{chance}"
    panel["picture"] = dots(panel, panel["title"])


def _methods(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    """Return label and role of each method, in the order of the study."""
    if run.card:
        return dict(run.card["methods"])
    return {entry["name"]: entry for entry in (run.claims or {}).get("methods", [])}


def _place(run: RunFolder, panel: Mapping[str, Any]) -> tuple[int, ...]:
    evaluation = run.card.get("evaluation", {})
    orders = [list(evaluation.get(key, [])) for key in ("metrics", "schemes")]
    names = panel["metric"], panel["scheme"]
    return tuple(order.index(name) if name in order else len(order) for order, name in zip(orders, names, strict=True))


def _by_unit(path: Path, *, restricted: bool) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the observed score of each unit by scheme, metric and method; nobody is named."""
    if restricted or not path.is_file():
        return {}
    import pandas as pd

    from ..shared.tables import read_scores, unit_means

    columns = ["variant", "scheme", "metric", "method", "seed", "subject", "session", "per", "value", "chance"]
    scores = read_scores([path], [*columns, "ci_low", "ci_high"])
    scores = scores[scores["variant"] == "observed"]
    # Pseudo-values stand for what one subject adds to a score of all: they are no scores.
    scores = scores[scores["per"] != "pseudo"]
    if scores.empty or len(scores) > _MOST_VALUES:
        return {}
    by = ["scheme", "metric", "method", "per"]
    means = unit_means(scores, "subject", by).dropna(subset=["value"])
    numbers = {name: place for place, name in enumerate(sorted(scores["subject"].unique()), start=1)}
    # A unit that was scored once has an interval of its own.
    once = scores.groupby([*by, "subject"]).agg(
        rows=("value", "size"), ci_low=("ci_low", "first"), ci_high=("ci_high", "first")
    )
    means = means.merge(once, left_on=[*by, "subject"], right_index=True, how="left")
    means[["ci_low", "ci_high"]] = means[["ci_low", "ci_high"]].apply(pd.to_numeric).where(means["rows"] == 1)
    found = {}
    for (scheme, metric, method, per), group in means.groupby(by):
        ends = [[finite(value) for value in group[name]] for name in ("ci_low", "ci_high")]
        places = [numbers[name] for name in group["subject"]]
        found[scheme, metric, method] = {
            "kind": per,
            "values": [round(float(value), 6) for value in group["value"]],
            "lows": ends[0],
            "highs": ends[1],
            "who": [f"{per} {place} of {len(numbers)}" for place in places],
        }
    return found


def for_script(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return panels without what only the page itself needs."""
    keys = ("label", "role", "mean", "low", "high", "n", "null", "nulls", "values", "who")
    return [
        {
            **{key: panel[key] for key in ("scheme", "metric", "label", "axis", "chance", "range", "unit")},
            "methods": [{key: method[key] for key in keys} for method in panel["methods"]],
        }
        for panel in found
    ]


def unit_rows(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each unit, method, scheme and metric that has a score of its own."""
    return [
        {
            "method": method["label"],
            "scheme": words(panel["scheme"]),
            "metric": words(panel["metric"]),
            "who": who,
            "value": number(value, digits=3),
            "interval": interval(low, high),
        }
        for panel in found
        for method in panel["methods"]
        for who, value, low, high in zip(method["who"], method["values"], method["lows"], method["highs"], strict=True)
    ]


def in_words(found: list[Mapping[str, Any]]) -> str:
    """Return what a value stands for."""
    if not any(method["values"] for panel in found for method in panel["methods"]):
        return ""
    units = sorted({method["kind"] for panel in found for method in panel["methods"] if method["values"]})
    n = max(len(method["values"]) for panel in found for method in panel["methods"])
    return f"Each dot is one {' or '.join(units)} ({plural(n, 'dot')} a method at most)."
