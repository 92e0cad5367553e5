"""A dataset, as its page shows it: card, validation, quality, participants as distributions. Nobody is named."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .drawings import bars, strip, ticks
from .folder import ABSENT, Folder
from .words import finite, hidden, number, plural, rounded, shortened, tick, words

#: Cells of a restricted dataset with fewer people than this are not told.
FEW = 5
_MOST_COLUMNS, _MOST_LEVELS = 12, 12
#: Columns that may name people, or tell their birthdays.
_NAMING = re.compile(
    r"(^|_)(id|ids|sub|subject|participant|name|initials|birth\w*|dob|date|day|mail|email|phone|address|zip|code|guid|key)(_|$)",
    re.I,
)
_ENTITIES = ("recording", "subject", "session", "task", "acquisition", "run", "datatype", "suffix")
_ORIGINS = {
    "simulate": "simulated by this workflow",
    "bidsify": "brought into BIDS from recordings in another form",
    "gather": "brought into BIDS from published tables and images",
    "openneuro": "fetched from OpenNeuro",
    "datalad": "fetched with git-annex",
}


def origin(name: str, card: Mapping[str, Any]) -> str:
    """Return where a dataset comes from, in words."""
    kind = next((key for key in _ORIGINS if key in card), None)
    if kind is None:
        return "an existing BIDS dataset" if card else ""
    told = _ORIGINS[kind]
    if kind == "simulate":
        told += f" ({words(card['simulate']['simulator'])})"
        return f"{told}, without the effect" if name.endswith(ABSENT) else told
    if kind == "openneuro":
        return f"{told}: {card['openneuro']['accession']}, version {card['openneuro']['snapshot']}"
    return told


def validation(folder: Folder, name: str) -> dict[str, Any] | None:
    """Return what the BIDS validator says, by code, errors first; None where it has not said anything."""
    said = folder.document("datasets", name, "validation.json")
    if not isinstance(said, Mapping):
        return None
    rows = folder.table("datasets", name, "validation.tsv")
    counts = Counter((row["severity"], row["code"]) for row in rows)
    messages = {(row["severity"], row["code"]): shortened(hidden(row["message"])) for row in reversed(rows)}
    order = ["error", "warning"]
    found = [
        {"severity": severity, "code": code, "n": n, "message": messages[severity, code]}
        for (severity, code), n in counts.items()
    ]
    found.sort(
        key=lambda row: (order.index(row["severity"]) if row["severity"] in order else 2, -row["n"], row["code"])
    )
    told = said.get("counts", {})
    return {
        "skipped": said.get("skipped", False),
        "validator": said.get("validator", ""),
        "schema": said.get("schema", ""),
        "errors": told.get("error", 0),
        "warnings": told.get("warning", 0),
        "codes": found,
    }


def problems(folder: Folder, name: str) -> list[dict[str, Any]]:
    """Return what the index says is wrong, a row for each kind."""
    content = folder.document("datasets", name, "content.json") or {}
    told = [hidden(str(entry)) for entry in content.get("problems", [])]
    rows = folder.table("datasets", name, "recordings.tsv")
    told += [hidden(row["problem"]) for row in rows if row.get("problem", "n/a") != "n/a"]
    return [{"problem": problem, "n": n} for problem, n in Counter(told).most_common()]


# ---- people


def participants(folder: Folder, name: str, card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the distribution of each column of ``participants.tsv``; cells of few people hidden where restricted."""
    rows = folder.table("datasets", name, "participants.tsv")
    columns = [column for column in (rows[0] if rows else {}) if column != "participant_id"]
    shown, left_out = [], []
    for column in columns:
        drawn = _column(column, [row[column] for row in rows], _named(card, column), bool(card.get("restricted")))
        if drawn is None or len(shown) == _MOST_COLUMNS:
            left_out.append(column)
        else:
            shown.append(drawn)
    return {"n": len(rows), "columns": shown, "left_out": left_out} if rows else None


def _named(card: Mapping[str, Any], column: str) -> tuple[str, Mapping[str, str]]:
    """Return what studies call a column, and what its values mean to them."""
    for variable, entry in card.get("variables", {}).items():
        if entry.get("column") == column:
            meanings = {str(value): label for label, values in entry.get("values", {}).items() for value in values}
            return variable, meanings
    return column, {}


def _column(
    column: str, values: Sequence[str], named: tuple[str, Mapping[str, str]], restricted: bool
) -> dict[str, Any] | None:
    """Return how the values of a column are distributed; None if they may say who somebody is, or say nothing."""
    told = [value for value in values if value not in ("n/a", "")]
    title, meanings = named
    # A column that the card names stands for a variable, whatever it is called.
    if not told or (not meanings and title == column and _NAMING.search(column)):
        return None
    n_missing = len(values) - len(told)
    numbers = [finite(value) for value in told]
    levels = Counter(meanings.get(value, value) for value in told)
    is_number = None not in numbers and len(levels) > min(_MOST_LEVELS, 6) and not meanings
    if is_number and not _enumerates(numbers):
        drawn = _histogram(words(title), numbers, restricted)
    elif len(levels) <= _MOST_LEVELS and (len(levels) < len(told) or len(told) == 1) and not is_number:
        drawn = _levels(words(title), levels, restricted)
    elif None not in numbers and len(numbers) < 10 and not _enumerates(numbers):
        drawn = _histogram(words(title), numbers, restricted)
    else:
        return None
    missing = "fewer than 5" if restricted and 0 < n_missing < FEW else f"{n_missing:,}"
    return {"title": words(title), "column": column if column != title else "", "missing": missing, **drawn}


def _enumerates(numbers: Sequence[float]) -> bool:
    """Return whether numbers look like labels of people: whole, all different, and many or long."""
    different = len(set(numbers)) == len(numbers) and all(value == int(value) for value in numbers)
    return different and (len(numbers) >= 10 or max(numbers) >= 1000)


def _levels(title: str, levels: Counter, restricted: bool) -> dict[str, Any]:
    labels = [label for label, _ in levels.most_common()]
    counts = hide_few([levels[label] for label in labels]) if restricted else [levels[label] for label in labels]
    rows = [{"label": label, "n": "<5" if n is None else f"{n:,}"} for label, n in zip(labels, counts, strict=True)]
    told = ", ".join(f"{row['label']} {row['n']}" for row in rows)
    return {"kind": "levels", "rows": rows, "picture": bars(labels, counts, f"{title}: {told}"), "told": ""}


def _histogram(title: str, numbers: Sequence[float], restricted: bool) -> dict[str, Any]:
    edges = _edges(numbers)
    counts: list[int | None] = [0] * (len(edges) - 1)
    for value in numbers:
        place = min(int((value - edges[0]) / (edges[1] - edges[0]) + 1e-9), len(counts) - 1)
        counts[place] += 1
    counts = hide_few(counts) if restricted else counts
    labels = [f"{tick(low)} to {tick(high)}" for low, high in itertools.pairwise(edges)]
    rows = [{"label": label, "n": "<5" if n is None else f"{n:,}"} for label, n in zip(labels, counts, strict=True)]
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    told = f"mean {number(statistics.fmean(numbers))}, SD {number(spread)}"
    if restricted and len(numbers) < FEW:
        told = ""
    elif not restricted:
        told += f", {rounded(min(numbers))} to {rounded(max(numbers))}"
    alt = f"{title}: {told}; " + ", ".join(f"{row['label']}: {row['n']}" for row in rows if row["n"] != "0")
    return {
        "kind": "numbers",
        "rows": rows,
        "picture": bars([tick(edge) for edge in edges], counts, alt, edges=True),
        "told": told,
    }


def _edges(numbers: Sequence[float]) -> list[float]:
    """Return round edges of at most some twelve bins of equal width, about the root of the number of values."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return [low, low + 1]
    found = ticks(low, high, most=min(12, max(4, round(math.sqrt(len(numbers))))))
    step = found[1] - found[0] if len(found) > 1 else high - low
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    if last * step <= high:
        last += 1
    return [round(k * step, 10) for k in range(first, last + 1)]


def hide_few(counts: Sequence[int]) -> list[int | None]:
    """Return counts with those from 1 to 4 as None; where that hides one only, the next smallest goes too.

    Else whoever knows how many people there are could work the hidden one out.
    """
    hidden_places = [place for place, n in enumerate(counts) if 0 < n < FEW]
    if len(hidden_places) == 1:
        others = [place for place, n in enumerate(counts) if n >= FEW]
        if others:
            hidden_places.append(min(others, key=lambda place: (counts[place], place)))
    return [None if place in hidden_places else n for place, n in enumerate(counts)]


# ---- recordings


def quality(folder: Folder, name: str, *, restricted: bool) -> list[dict[str, Any]]:
    """Return what each recipe measured of the recordings of a dataset: numbered, outlying ones first."""
    tables = sorted((folder.path / "quality" / name).glob("*.tsv"))
    return [_recipe(table.stem, folder.table("quality", name, table.name), restricted) for table in tables]


def _recipe(recipe: str, rows: list[dict[str, str]], restricted: bool) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: row["recording"])
    fixed = {*_ENTITIES, "status", "reason", "n_outlying", "outlying"}
    names = [column for column in (rows[0] if rows else {}) if column not in fixed]
    names = [column for column in names if any(finite(row[column]) is not None for row in rows)]
    numbered = [(place, row) for place, row in enumerate(rows, start=1)]
    numbered.sort(key=lambda pair: (pair[1]["status"] == "ok", -(finite(pair[1].get("n_outlying")) or 0), pair[0]))
    measures = [_measure(column, rows, restricted) for column in names]
    shown = [
        {
            "number": place,
            "ok": row["status"] == "ok",
            "reason": hidden(row["reason"]) if row["reason"] != "n/a" else "",
            "outlying": ""
            if row.get("outlying", "n/a") == "n/a"
            else ", ".join(map(words, row["outlying"].split(","))),
            "values": [{"text": rounded(row[column], 3), "value": finite(row[column])} for column in names],
        }
        for place, row in numbered
    ]
    return {
        "name": recipe,
        "n": len(rows),
        "n_failed": sum(row["status"] != "ok" for row in rows),
        "n_outlying": sum((finite(row.get("n_outlying")) or 0) > 0 for row in rows),
        "reasons": _reasons(rows),
        "columns": [words(column) for column in names],
        "rows": [] if restricted else shown,
        "measures": [measure for measure in measures if measure],
        "data": [] if restricted else _for_script(names, numbered),
    }


def _reasons(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    counts = Counter(hidden(row["reason"]) for row in rows if row["status"] != "ok")
    return [{"reason": reason, "n": n} for reason, n in counts.most_common()]


def _measure(column: str, rows: Sequence[Mapping[str, str]], restricted: bool) -> dict[str, Any] | None:
    """Return median and middle 90 % of a number over recordings; nothing of a restricted dataset with few."""
    pairs = [(finite(row[column]), column in row.get("outlying", "").replace(" ", "").split(",")) for row in rows]
    pairs = [(value, far) for value, far in pairs if value is not None]
    if restricted and len(pairs) < 4 * FEW:
        return None
    values = sorted(value for value, _ in pairs)
    low, middle, high = (_quantile(values, share) for share in (0.05, 0.5, 0.95))
    told = f"median {rounded(middle)}, 5 to 95 %: {rounded(low)} to {rounded(high)}"
    picture = ""
    if not restricted and values[0] < values[-1]:
        title = f"{words(column)} of {plural(len(values), 'recording')}: {told}"
        picture = strip([value for value, _ in pairs], [far for _, far in pairs], title, words(column))
    return {
        "label": words(column),
        "n": len(values),
        "median": rounded(middle, 3),
        "low": rounded(low, 3),
        "high": rounded(high, 3),
        "n_outlying": sum(far for _, far in pairs),
        "picture": picture,
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _for_script(names: Sequence[str], numbered: Sequence[tuple[int, Mapping[str, str]]]) -> list[dict[str, Any]]:
    found = []
    for column in names:
        told = [
            (place, finite(row[column]), column in row.get("outlying", "").replace(" ", "").split(","))
            for place, row in numbered
        ]
        told = [entry for entry in told if entry[1] is not None]
        if len({value for _, value, _ in told}) < 2:  # nothing to see
            continue
        found.append(
            {
                "label": words(column),
                "values": [value for _, value, _ in told],
                "outlying": [far for _, _, far in told],
                "who": [f"recording {place} of {len(numbered)}" for place, _, _ in told],
            }
        )
    return found


# ---- displays


def displays(folder: Folder, name: str) -> list[dict[str, Any]]:
    """Return the pictures that whole datasets have, recipe by recipe; their files lie inside their folder."""
    found = []
    for path in sorted((folder.path / "quality" / name).glob("*.displays")):
        index = folder.document("quality", name, path.name, "index.json")
        for entry in index if isinstance(index, list) else []:
            file = path / str(entry.get("file", ""))
            # What an index names is copied: nothing from elsewhere.
            if file.is_file() and file.resolve().is_relative_to(path.resolve()):
                found.append({**entry, "recipe": path.name.removesuffix(".displays"), "path": file})
    return found
