"""The verdict on every claim, beside what its controls say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..components import Figure, component
from ..errors import InputError
from ..files import read_json
from ..shared import style

#: Colour and symbol of each verdict: told apart without colour, too.
_VERDICTS = {
    "holds": (style.BLUE, "\N{CHECK MARK}"),
    "fails": (style.ORANGE, "\N{BALLOT X}"),
    "undecided": (style.PALE, "?"),
    "invalid": (style.RED, "!"),
}
_COLUMNS = {"observed": "observed", "null": "labels\npermuted", "absent": "no effect\nsimulated"}
_EXPECTED = {"yes": "as expected", "no": "NOT as expected", "n/a": ""}
#: Layout, cm: height of the header and of a row, width of the claims' column.
_HEADER, _ROW, _CLAIM = 1.05, 1.2, 4.7


@component
class ClaimsBoard(Figure):
    """One row a claim, one column the observed data and each control; in each cell verdict and effect.

    The column of permuted labels is about each unit's mean over all permuted variants; what every one of them
    says alone is in the table.
    """

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return a row per claim and variant, with the claim in words."""
        document = read_json(sources["claims"])
        if not document["claims"]:
            raise InputError(sources["claims"], "has no claims", "leave this figure out of the study card")
        labels = {entry["name"]: entry["label"] for entry in document["methods"]}
        kept = ("verdict", "as_expected", "effect", "ci_low", "ci_high", "n", "p", "reason")
        return [
            {
                "claim": claim["name"],
                "words": _in_words(claim, labels),
                "scheme": claim["scheme"],
                "metric": claim["metric"],
                "unit": claim["unit"],
                "variant": variant,
                **{key: result[key] for key in kept},
            }
            for claim in document["claims"]
            for variant, result in claim["results"].items()
        ]

    def draw(self, table: list[dict[str, str]], path: Path) -> None:
        """Draw the board."""
        claims: dict[str, dict[str, dict[str, str]]] = {}
        for row in table:
            claims.setdefault(row["claim"], {})[row["variant"]] = row
        columns = [name for name in _COLUMNS if any(name in variants for variants in claims.values())]
        height = _HEADER + _ROW * len(claims) + 0.6
        width = (style.WIDTH - _CLAIM - 0.1) / len(columns)
        with style.drawing(path, height, "Verdicts on the claims and their controls") as figure:
            axes = style.place(figure, 0, 0, style.WIDTH, height)
            axes.set(xlim=(0, style.WIDTH), ylim=(height, 0))
            axes.axis("off")
            axes.text(0.15, _HEADER - 0.12, "claim", va="bottom", fontweight="bold")
            for place, column in enumerate(columns):
                middle = _CLAIM + width * (place + 0.5)
                axes.text(middle, _HEADER - 0.12, _COLUMNS[column], ha="center", va="bottom", fontweight="bold")
            for number, variants in enumerate(claims.values()):
                top = _HEADER + _ROW * number
                _claim(axes, top, variants["observed"])
                for place, column in enumerate(columns):
                    if column in variants:
                        _cell(axes, _CLAIM + width * place, top, width, variants[column])
            told = "Cells: verdict; effect [95 % interval] in units of the metric; is it as expected?"
            axes.text(0.15, height - 0.3, told, va="center", fontsize=5.2, color=style.GREY)


def _claim(axes: Axes, top: float, row: Mapping[str, str]) -> None:
    """Write what is claimed, and how and over how many units it was tested."""
    text = style.wrapped(row["words"], 35, 3)
    units = f"{row['n']} {row['unit']}{'s' * (row['n'] != '1')}"
    how = style.wrapped(f"{style.words(row['scheme'])}, {style.words(row['metric'])}, n = {units}", 46)
    # Two blocks about the middle of the row, so that short and long claims both sit beside their cells.
    middle = top + _ROW / 2 + 0.13 * text.count("\n") - 0.11 * how.count("\n")
    axes.text(0.15, middle - 0.02, text, va="bottom", fontsize=6.2)
    axes.text(0.15, middle + 0.06, how, va="top", fontsize=5.2, color=style.GREY)


def _cell(axes: Axes, left: float, top: float, width: float, row: Mapping[str, str]) -> None:
    """Draw one verdict with its effect; a control that does what it must is pale."""
    colour, symbol = _VERDICTS[row["verdict"]]
    strong = row["variant"] == "observed" or row["as_expected"] == "no"
    box = {"height": _ROW - 0.1, "facecolor": colour, "edgecolor": "none"}
    axes.add_patch(Rectangle((left + 0.05, top + 0.05), width - 0.1, alpha=0.3 if strong else 0.12, **box))
    axes.add_patch(Rectangle((left + 0.05, top + 0.05), 0.09, **box))
    effect, low, high = (style.number(row, column) for column in ("effect", "ci_low", "ci_high"))
    lines = [
        (f"{symbol} {row['verdict']}", 7.0),
        ("" if math.isnan(effect) else f"{_plain(effect)} {_interval(low, high)}", 5.5),
        (_EXPECTED[row["as_expected"]], 5.5),
    ]
    lines = [line for line in lines if line[0].strip()]
    for place, (text, size) in enumerate(lines):
        middle = top + _ROW / 2 + 0.33 * (place - (len(lines) - 1) / 2)
        weight = "bold" if strong and place == 0 else "normal"
        axes.text(left + 0.05 + width / 2, middle, text, ha="center", va="center", fontsize=size, fontweight=weight)


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_plain(low)}, {_plain(high)}]"


def _in_words(claim: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return the test that a claim makes as a short sentence."""

    def label(name: str) -> str:
        return labels.get(name) or style.words(name)

    metric = style.words(claim["metric"])
    if claim["kind"] == "better":
        by = f" by {claim['min_effect']:g}" if claim["min_effect"] else ""
        return f"{label(claim['method'])} better than {label(claim['than'])}{by}"
    if claim["kind"] == "equals_chance":
        return f"{label(claim['method'])} at chance \N{PLUS-MINUS SIGN} {claim['margin']:g}"
    if claim["kind"] == "monotone":
        return f"{metric} {claim['direction']} along {', '.join(map(label, claim['methods']))}"
    return f"{label(claim['method'])} reaches {metric} {claim['value']:g}"
