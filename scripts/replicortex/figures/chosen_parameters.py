"""What the nested searches chose: how often which value, over the folds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from ..components import Figure, component
from ..errors import InputError
from ..files import read_tsv
from ..shared import style
from ..shared.printed import counted, listed

#: Endings of what a search measured rather than chose.
_MEASURED = ("score", "loss")
#: A bar has at most so many segments, and room for a letter in so many percent of its width.
_MOST, _LETTER = 6, 1.7
#: Layout, cm; the names of methods end as far from the bars, or farther where a parameter's name is long.
_LAYOUT, _NAMES = {"row": 0.5, "labels": 5.6, "foot": 0.05}, 1.75
#: Width of a letter of a parameter's and of a method's name, cm, and most letters of the latter.
_SMALL, _LARGE, _MOST_LETTERS = 0.11, 0.115, 32


@component
class ChosenParameters(Figure):
    """Share of folds in which each value of a hyper-parameter was chosen, a bar a method and parameter."""

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return a row per scheme, method, parameter and value, with the number of folds that chose it.

        Folds of all seeds are counted together. Scores and losses of the search are no choices.
        """
        rows = [row for row in read_tsv(sources["choices"]) if _is_choice(row)]
        if not rows:
            fault = "has no method that chooses a parameter"
            raise InputError(sources["choices"], fault, "leave this figure out of the study card")
        labels = style.methods_in_order(sources["claims"], list(dict.fromkeys(row["method"] for row in rows)))
        schemes = style.schemes_in_order(sources["claims"], sorted({row["scheme"] for row in rows}))
        counts = Counter(tuple(row[key] for key in ("scheme", "method", "parameter", "value")) for row in rows)
        folds: Counter[tuple[str, ...]] = Counter()
        for bar, number in counts.items():
            folds[bar[:3]] += number
        tried = {row["method"]: row["n_configurations"] for row in rows}
        order = list(labels)
        bars = sorted(counts, key=lambda bar: (schemes.index(bar[0]), order.index(bar[1]), bar[2], _place(bar[3])))
        return [
            {
                **dict(zip(("scheme", "method", "parameter", "value"), bar, strict=True)),
                "label": labels[bar[1]],
                "n_folds": counts[bar],
                "share": counts[bar] / folds[bar[:3]],
                "n_configurations": tried[bar[1]],
            }
            for bar in bars
        ]

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        panels = []
        for scheme, rows in style.by_scheme(table).items():
            bars = [_in_words(values) for values in _bars(rows).values()]
            panels.append(f"{style.sentence(style.words(scheme))}: {listed(bars, 16, 'others')}.")
        folds = {scheme: _n_folds(_bars(rows)) for scheme, rows in style.by_scheme(table).items()}
        return {
            "title": "What the nested searches chose",
            "alt": "Stacked bars of the share of folds in which each value of a hyper-parameter was chosen."
            f" {' '.join(panels)}",
            "caption": "Share of folds in which each value of a hyper-parameter was chosen by the nested search, which"
            f" sees training rows only ({', '.join(f'{style.words(name)}: {n}' for name, n in folds.items())}). Values"
            " rise from light to dark; neighbours are put together where a bar would have more than"
            f" {_MOST} segments.",
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw a bar for each method and parameter, a panel for each scheme."""
        schemes = {scheme: _bars(rows) for scheme, rows in style.by_scheme(table).items()}
        layout, told = style.Layout([len(bars) for bars in schemes.values()], **_LAYOUT).fitting(0.4), self.told(table)
        shades = _shades(table)
        with style.drawing(paths, layout.height, told["title"], told["alt"]) as figure:
            axes = layout.panels(figure)
            for panel, (scheme, bars) in zip(axes, schemes.items(), strict=True):
                _panel(panel, bars, layout, shades)
                panel.set_title(f"{style.sentence(style.words(scheme))} (n = {_n_folds(bars)})")
            axes[-1].set_xlabel("share of folds (%)")


def _is_choice(row: Mapping[str, str]) -> bool:
    return row["parameter"] != "n/a" and not row["parameter"].endswith(_MEASURED) and int(row["n_configurations"]) > 1


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _place(value: str) -> tuple[bool, float, str]:
    """Return by what values are sorted: numbers by size, then words."""
    number = _number(value)
    return (number is None, 0.0 if number is None else number, value)


def _bars(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], list[Mapping[str, str]]]:
    """Return the rows of each method and parameter."""
    bars: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        bars.setdefault((row["method"], row["parameter"]), []).append(row)
    return bars


def _n_folds(bars: Mapping[Any, Sequence[Mapping[str, str]]]) -> str:
    """Return the number of folds, counted on one bar."""
    return counted(sum(int(row["n_folds"]) for row in next(iter(bars.values()))), "fold")


def _shown(value: str) -> str:
    """Return a value in few letters."""
    number = _number(value)
    if number is None:
        return style.words(value)
    if number == round(number) and abs(number) < 1e4:
        return f"{number:.0f}"
    return f"{number:.2g}".replace("e+0", "e").replace("e-0", "e-")


def _shades(table: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], float]:
    """Return the place of each value of a parameter, from 0 to 1, among all that are chosen in the figure."""
    values: dict[str, set[str]] = {}
    for row in table:
        values.setdefault(row["parameter"], set()).add(row["value"])
    return {
        (name, value): place / (len(found) - 1) if len(found) > 1 else 0.3
        for name, found in values.items()
        for place, value in enumerate(sorted(found, key=_place))
    }


def _segments(rows: Sequence[Mapping[str, str]]) -> list[tuple[list[str], float]]:
    """Return values and share of the segments of a bar; the rarest neighbours are put together until they are few."""
    segments = [([row["value"]], float(row["share"])) for row in rows]
    while len(segments) > _MOST:
        shares = [one[1] + other[1] for one, other in itertools.pairwise(segments)]
        place = shares.index(min(shares))
        segments[place : place + 2] = [(segments[place][0] + segments[place + 1][0], shares[place])]
    return segments


def _name(values: Sequence[str]) -> str:
    ends = dict.fromkeys(map(_shown, (values[0], values[-1])))
    return "\N{EN DASH}".join(ends)


def _in_words(rows: Sequence[Mapping[str, str]]) -> str:
    """Return what was chosen of one parameter of one method."""
    shares = [f"{_name(values)} in {share:.0%}" for values, share in _segments(rows)]
    return f"{rows[0]['label']}, {style.words(rows[0]['parameter'])} {listed(shares)}"


def _panel(
    axes: Axes,
    bars: Mapping[tuple[str, str], Sequence[Mapping[str, str]]],
    layout: style.Layout,
    shades: Mapping[tuple[str, str], float],
) -> None:
    style.rows_axes(axes, [""] * len(bars))
    axes.set_xlim(0, 100)
    before = None
    names = max(_NAMES, 0.3 + _SMALL * max(len(style.words(parameter)) for _, parameter in bars))
    letters = min(_MOST_LETTERS, int((_LAYOUT["labels"] - names) / _LARGE))
    for place, ((method, parameter), rows) in enumerate(bars.items()):
        left = 0.0
        for values, share in _segments(rows):
            colour = _SHADES(sum(shades[parameter, value] for value in values) / len(values))
            axes.barh(place, 100 * share, left=left, height=0.74, color=colour, edgecolor="white", linewidth=0.6)
            if len(_name(values)) * _LETTER + 1 <= 100 * share:
                ink = "white" if sum(to_rgb(colour)) < 1.55 else style.INK
                middle = {"ha": "center", "va": "center", "fontsize": 5.5}
                axes.text(left + 50 * share, place, _name(values), color=ink, **middle)
            left += 100 * share
        layout.beside(axes, place, 0.12, style.words(parameter), va="center", fontsize=5.5, color=style.GREY)
        if method != before:
            label = style.wrapped(rows[0]["label"], letters, 1)
            layout.beside(axes, place, names, label, va="center", fontsize=5.8)
        before = method


#: From light to the blue of all figures and on to dark.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#DCEBF5", style.SKY, style.BLUE, "#003A5D"])
