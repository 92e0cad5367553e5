"""The verdict on every claim, beside what its controls say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..components import Figure, component
from ..errors import InputError
from ..files import read_json
from ..shared import style
from ..shared.claim_words import VERDICTS, how, in_words
from ..shared.printed import counted, estimate

_COLUMNS = {"observed": "observed", "null": "labels\npermuted", "absent": "no effect\nsimulated"}
_EXPECTED = {"yes": "as expected", "no": "NOT as expected", "n/a": ""}
#: Layout, cm: height of the header and of the lowest row, width of the claims' column.
_HEADER, _ROW, _CLAIM = 1.05, 1.2, 4.7
#: Height of a line of what is claimed and of how it was tested, and what a row leaves empty, cm.
_LINE, _SMALL, _EMPTY = 0.26, 0.22, 0.28


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
                "words": in_words(claim, labels),
                "scheme": claim["scheme"],
                "metric": claim["metric"],
                "unit": claim["unit"],
                "variant": variant,
                **{key: result[key] for key in kept},
            }
            for claim in document["claims"]
            for variant, result in claim["results"].items()
        ]

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        claims = _by_claim(table)
        verdicts = [variants["observed"]["verdict"] for variants in claims.values()]
        counts = {name: verdicts.count(name) for name in VERDICTS if name in verdicts}
        summary = ", ".join(f"{number} {name}" for name, number in counts.items())
        rows = [_in_words(variants) for variants in claims.values()]
        return {
            "title": "Verdicts on the claims and their controls",
            "alt": f"Table of {counted(len(claims), 'claim')} with the verdict as observed and in each control."
            f" As observed: {summary}. {' '.join(rows)}",
            "caption": f"Verdict on each of {counted(len(claims), 'claim')} as observed, with permuted labels (mean of"
            " each unit over all permutations) and, where the data are simulated, without the effect. In each cell"
            " verdict, effect with 95 % bootstrap interval in units of the metric, and whether it is what must come"
            f" out there. As observed: {summary}.",
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw the board."""
        claims, told = _by_claim(table), self.told(table)
        columns = [name for name in _COLUMNS if any(name in variants for variants in claims.values())]
        heights = [_height(variants["observed"]) for variants in claims.values()]
        height = _HEADER + sum(heights) + 0.6
        width = (style.WIDTH - _CLAIM - 0.1) / len(columns)
        with style.drawing(paths, height, told["title"], told["alt"]) as figure:
            axes = style.place(figure, 0, 0, style.WIDTH, height)
            axes.set(xlim=(0, style.WIDTH), ylim=(height, 0))
            axes.axis("off")
            axes.text(0.15, _HEADER - 0.12, "claim", va="bottom", fontweight="bold")
            for place, column in enumerate(columns):
                middle = _CLAIM + width * (place + 0.5)
                axes.text(middle, _HEADER - 0.12, _COLUMNS[column], ha="center", va="bottom", fontweight="bold")
            top = _HEADER
            for high, variants in zip(heights, claims.values(), strict=True):
                _claim(axes, top + high / 2, variants["observed"])
                for place, column in enumerate(columns):
                    if column in variants:
                        _cell(axes, (_CLAIM + width * place, top), (width, high), variants[column])
                top += high
            note = "Cells: verdict; effect [95 % interval] in units of the metric; is it as expected?"
            axes.text(0.15, height - 0.3, note, va="center", fontsize=5.2, color=style.GREY)


def _by_claim(table: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Mapping[str, str]]]:
    claims: dict[str, dict[str, Mapping[str, str]]] = {}
    for row in table:
        claims.setdefault(row["claim"], {})[row["variant"]] = row
    return claims


def _estimate(row: Mapping[str, str]) -> str:
    """Return effect and interval, nothing where there is no test."""
    effect, low, high = (style.number(row, column) for column in ("effect", "ci_low", "ci_high"))
    return "" if math.isnan(effect) else estimate(effect, low, high)


def _in_words(variants: Mapping[str, Mapping[str, str]]) -> str:
    """Return a claim and its verdicts as a sentence."""
    row = variants["observed"]
    controls = [
        f"{_COLUMNS[name].replace(chr(10), ' ')} {variants[name]['verdict']}" for name in _COLUMNS if name in variants
    ][1:]
    told = f"{row['words']} ({how(row)}): {row['verdict']}{', effect ' * bool(_estimate(row))}{_estimate(row)}"
    return f"{'; '.join([told, *controls])}."


def _written(row: Mapping[str, str]) -> tuple[str, str]:
    """Return what is claimed, and how and over how many units it was tested, in lines."""
    return style.wrapped(row["words"], 35, 3), style.wrapped(how(row), 46)


def _height(row: Mapping[str, str]) -> float:
    """Return the height of a claim's row."""
    text, tested = _written(row)
    return max(_ROW, _EMPTY + _LINE * (1 + text.count("\n")) + _SMALL * (1 + tested.count("\n")))


def _claim(axes: Axes, middle: float, row: Mapping[str, str]) -> None:
    """Write a claim beside its cells."""
    text, tested = _written(row)
    # Two blocks about the middle of the row, so that short and long claims both sit beside their cells.
    middle += 0.13 * text.count("\n") - 0.11 * tested.count("\n")
    axes.text(0.15, middle - 0.02, text, va="bottom", fontsize=6.2)
    axes.text(0.15, middle + 0.06, tested, va="top", fontsize=5.2, color=style.GREY)


def _cell(axes: Axes, corner: tuple[float, float], size: tuple[float, float], row: Mapping[str, str]) -> None:
    """Draw one verdict with its effect; a control that does what it must is grey, one that does not is red."""
    (left, top), (width, high) = corner, size
    colour, symbol = VERDICTS[row["verdict"]]
    surprising = row["as_expected"] == "no"
    strong = row["variant"] == "observed" or surprising
    if row["variant"] != "observed":
        colour = style.RED if surprising else style.PALE
    box = {"height": high - 0.1, "facecolor": colour, "edgecolor": "none"}
    axes.add_patch(Rectangle((left + 0.05, top + 0.05), width - 0.1, alpha=0.3 if strong else 0.18, **box))
    axes.add_patch(Rectangle((left + 0.05, top + 0.05), 0.09, **box))
    lines = [(f"{symbol} {row['verdict']}", 7.0), (_estimate(row), 5.5), (_EXPECTED[row["as_expected"]], 5.5)]
    lines = [line for line in lines if line[0].strip()]
    for place, (text, points) in enumerate(lines):
        middle = top + high / 2 + 0.33 * (place - (len(lines) - 1) / 2)
        weight = "bold" if strong and place == 0 else "normal"
        axes.text(left + 0.05 + width / 2, middle, text, ha="center", va="center", fontsize=points, fontweight=weight)
