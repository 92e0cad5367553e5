"""Small pictures inside pages, as SVG text: they need no script, print, and take their colours from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from .words import finite, interval, number, tick

#: Of dots drawn at most for the units of one row; beyond that a bar of the middle 90 % stands for them.
_MOST_DOTS = 300


class Picture(str):
    """SVG text, of which templates know that everything in it is escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return itself: what templates ask for before they escape a text."""
        return self


class Scale(NamedTuple):
    """Maps values to places along an axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value, rounded so that equal values give equal text; clipped to the axis."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def span(values: Sequence[float | None], margin: float = 0.06) -> tuple[float, float]:
    """Return the range of an axis that shows all values."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    room = (high - low or abs(high) or 1.0) * margin
    return low - room, high + room


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers inside a range."""
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((size * unit for size in (1, 2, 5, 10) if size * unit >= raw * 0.999), 10 * unit)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(claim: Mapping[str, Any], low: float, high: float) -> Picture:
    """Return the effect of a claim with its interval, its controls below it, and the value that decides.

    Parameters
    ----------
    claim : mapping
        ``results`` (by variant), ``reference`` (values that decide), as :func:`..site.claims.viewed` has them.
    low, high : float
        Range of the axis, shared by claims of one kind.
    """
    rows = [(name, claim["results"][name]) for name in ("observed", "null", "absent") if name in claim["results"]]
    rows = [(name, result) for name, result in rows if finite(result.get("effect")) is not None]
    if not rows:
        return Picture("")
    scale = Scale(low, high, 6, 194)
    bottom = 12 + 9 * len(rows)
    told, parts = [], []
    for value in claim["reference"]:
        x = scale(value)
        parts.append(f'<line class="reference" x1="{x}" x2="{x}" y1="2" y2="{bottom}"/>')
        anchor = "start" if x < 20 else "end" if x > 180 else "middle"
        parts.append(f'<text x="{x}" y="{bottom + 10}" text-anchor="{anchor}">{tick(value)}</text>')
    for place, (name, result) in enumerate(rows):
        y = 9 + 9 * place
        effect, ends = result["effect"], (finite(result.get("ci_low")), finite(result.get("ci_high")))
        if None not in ends:
            parts.append(f'<line class="ci {name}" x1="{scale(ends[0])}" x2="{scale(ends[1])}" y1="{y}" y2="{y}"/>')
        kind = f'class="point {name}" cx="{scale(effect)}" cy="{y}" r="{3.6 if name == "observed" else 2.4}"'
        parts.append(f"<circle {kind}/>")
        label = {"observed": "effect", "null": "with labels permuted", "absent": "where the effect is absent"}[name]
        told.append(f"{label} {number(effect)} {interval(*ends)}".strip())
    decided = " and ".join(tick(value) for value in claim["reference"])
    text = f"{'; '.join(told)}; the value that decides is {decided}"
    return _svg(200, bottom + 13, text, parts, "forest")


def dots(panel: Mapping[str, Any], title: str) -> Picture:
    """Return scores of methods: a dot a unit, mean and interval, chance, and the means with permuted labels.

    Parameters
    ----------
    panel : mapping
        ``methods`` (each with ``label``, ``mean``, ``low``, ``high``, ``values``, ``nulls``), ``chance``, ``axis``.
    title : str
        What one sees, in words.
    """
    methods = panel["methods"]
    left, width, row = 190, 640, 30
    top, bottom = 8, 8 + row * len(methods)
    scale = Scale(*panel["range"], left, width - 12)
    parts = []
    for value in ticks(*panel["range"], most=7):
        x = scale(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{tick(value)}</text>')
    parts.append(
        f'<text x="{(left + width - 12) / 2}" y="{bottom + 32}" text-anchor="middle">{escape(panel["axis"])}</text>'
    )
    if panel["chance"] is not None:
        x = scale(panel["chance"])
        parts.append(f'<line class="chance" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
    for place, method in enumerate(methods):
        parts += _row_of_dots(method, top + row * (place + 0.5), scale, left)
    return _svg(width, bottom + 40, title, parts, "dots")


def _row_of_dots(method: Mapping[str, Any], y: float, scale: Scale, left: float) -> list[str]:
    label = method["label"] if len(method["label"]) <= 30 else method["label"][:29] + "\N{HORIZONTAL ELLIPSIS}"
    weight = ' class="proposed"' if method["role"] == "proposed" else ""
    parts = [f'<text x="{left - 10}" y="{y + 4}" text-anchor="end"{weight}>{escape(label)}</text>']
    parts += [
        f'<line class="null" x1="{scale(value)}" x2="{scale(value)}" y1="{y - 8}" y2="{y + 8}"/>'
        for value in method["nulls"][:100]
    ]
    values = method["values"]
    if len(values) > _MOST_DOTS:
        ordered = sorted(values)
        ends = [scale(ordered[int(share * (len(ordered) - 1))]) for share in (0.05, 0.95)]
        parts.append(f'<rect class="most" x="{ends[0]}" y="{y - 6}" width="{ends[1] - ends[0]:.1f}" height="12"/>')
        values = []
    for number_of, value in enumerate(values):
        # Spread by the golden ratio: even, and the same every time.
        shift = round(((number_of * 0.618034) % 1 - 0.5) * 14, 1)
        parts.append(f'<circle class="unit" cx="{scale(value)}" cy="{y + shift:.1f}" r="2.4"/>')
    if method["mean"] is not None:
        kind = "mean proposed" if method["role"] == "proposed" else "mean"
        if method["low"] is not None and method["high"] is not None:
            ends = f'x1="{scale(method["low"])}" x2="{scale(method["high"])}"'
            parts.append(f'<line class="{kind}" {ends} y1="{y}" y2="{y}"/>')
        x = scale(method["mean"])
        parts.append(f'<path class="{kind}" d="M{x - 5:.1f} {y}L{x} {y - 5}L{x + 5:.1f} {y}L{x} {y + 5}Z"/>')
    return parts


def bars(labels: Sequence[str], counts: Sequence[float | None], title: str, *, edges: bool = False) -> Picture:
    """Return a column a count, as high as it is; a count of None is one that is not told.

    Labels stand below columns, or with ``edges`` between them: then there is one more label than there are columns.
    """
    n = max(len(counts), 1)
    width, high = 300, 90
    most = max([value for value in counts if value] or [1])
    step = min((width - 24) / n, 70)
    parts = [f'<line class="axis" x1="12" x2="{12 + n * step:.1f}" y1="{high}" y2="{high}"/>']
    for place, value in enumerate(counts):
        height = round((value or 0) / most * (high - 16), 1)
        x, thick = 12 + place * step, step * (0.94 if edges else 0.8)
        if value:
            box = f'x="{x + (step - thick) / 2:.1f}" y="{high - height:.1f}" width="{thick:.1f}" height="{height}"'
            parts.append(f'<rect class="bar" {box}/>')
        if n <= 12:
            shown = escape("<5") if value is None else f"{value:g}"
            at = f'x="{x + step / 2:.1f}" y="{high - 4 - height:.1f}"'
            parts.append(f'<text class="small" {at} text-anchor="middle">{shown}</text>')
    every = math.ceil(len(labels) / 7)
    for place, label in enumerate(labels):
        if place % every == 0:
            x = 12 + step * (place if edges else place + 0.5)
            most_signs = max(4, int(step * every / 6))
            short = label if len(label) <= most_signs else label[: most_signs - 1] + "\N{HORIZONTAL ELLIPSIS}"
            parts.append(f'<text x="{x:.1f}" y="{high + 13}" text-anchor="middle">{escape(short)}</text>')
    return _svg(width, high + 18, title, parts, "bars")


def strip(values: Sequence[float], outlying: Sequence[bool], title: str, axis: str) -> Picture:
    """Return one dot a recording along an axis, outlying ones marked by shape and colour."""
    low, high = span(values)
    scale = Scale(low, high, 8, 292)
    parts = ['<line class="axis" x1="4" x2="296" y1="40" y2="40"/>']
    for value in ticks(low, high, most=4):
        x = scale(value)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="40" y2="44"/>')
        parts.append(f'<text x="{x}" y="55" text-anchor="middle">{tick(value)}</text>')
    for place, (value, far) in enumerate(zip(values, outlying, strict=True)):
        x, y = scale(value), round(20 + ((place * 0.618034) % 1 - 0.5) * 24, 1)
        if far:
            shape = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            parts.append(f'<path class="outlying" d="{shape}"/>')
        else:
            parts.append(f'<circle class="unit" cx="{x}" cy="{y}" r="2.4"/>')
    parts.append(f'<text x="150" y="69" text-anchor="middle">{escape(axis)}</text>')
    return _svg(300, 74, title, parts, "strip")


def spans(rows: Sequence[tuple[str, list[tuple[float, float, str]]]], total: float, title: str) -> Picture:
    """Return a line a rule with a bar for each span of its jobs, against the time since the first (s)."""
    left, width, row = 190, 900, 18
    bottom = 6 + row * len(rows)
    scale = Scale(0.0, total or 1.0, left, width - 12)
    divisor, unit = (3600, "h") if total > 7200 else (60, "min") if total > 120 else (1, "s")
    parts = []
    for value in ticks(0, total / divisor or 1.0, most=8):
        x = scale(value * divisor)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{tick(value)}</text>')
    parts.append(
        f'<text x="{(left + width) / 2}" y="{bottom + 31}" text-anchor="middle">time since the start ({unit})</text>'
    )
    for place, (name, jobs) in enumerate(rows):
        y = 6 + row * place
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        for start, end, status in jobs:
            x = scale(start)
            wide = max(scale(end) - x, 1.5)
            parts.append(f'<rect class="job {status}" x="{x}" y="{y + 3}" width="{wide:.1f}" height="{row - 6}"/>')
    return _svg(width, bottom + 38, title, parts, "spans")


def _svg(width: float, height: float, title: str, parts: Sequence[str], kind: str) -> Picture:
    inner = "".join(parts)
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return Picture(f'<svg class="{kind}" {box} role="img" aria-label="{escape(title)}">{inner}</svg>')
