"""The effect behind every claim with its interval, beside its controls and what it is compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from ..components import Figure, component
from ..errors import InputError
from ..files import read_json
from ..shared import style
from ..shared.claim_words import VERDICTS, criterion, how, in_words, quantity, units
from ..shared.printed import counted, estimate, listed

#: Layout, cm: height of a row, room for what is claimed and for the verdicts.
_LAYOUT = {"row": 1.05, "labels": 4.5, "right": 1.7, "gap": 1.25, "top": 0.3, "foot": 0.75, "share": False}


@component
class ClaimsForest(Figure):
    """A forest plot: claims whose effects are of one kind share a panel, as observed and in every control."""

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return a row per claim and variant; claims of one quantity stand together, in the order of the study."""
        document = read_json(sources["claims"])
        if not document["claims"]:
            raise InputError(sources["claims"], "has no claims", "leave this figure out of the study card")
        labels = {entry["name"]: entry["label"] for entry in document["methods"]}
        order = list(dict.fromkeys(map(quantity, document["claims"])))
        kept = ("effect", "ci_low", "ci_high", "n", "verdict", "as_expected", "reason")
        rows = []
        for claim in sorted(document["claims"], key=lambda claim: order.index(quantity(claim))):
            low, high = criterion(claim)
            named = {"quantity": quantity(claim), "claim": claim["name"], "words": in_words(claim, labels)}
            named |= {key: claim[key] for key in ("scheme", "metric", "unit")}
            for variant, result in claim["results"].items():
                told = {key: result[key] for key in kept}
                rows.append({**named, "variant": variant, **told, "criterion_low": low, "criterion_high": high})
        return rows

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        observed = [row for row in table if row["variant"] == "observed"]
        n_null = len({row["variant"] for row in table if _is_null(row)})
        absent = any(row["variant"] == "absent" for row in table)
        return {
            "title": "Effects behind the claims",
            "alt": f"Forest plot of {counted(len(observed), 'claim')}."
            f" {' '.join(f'{_in_words(row, table)}.' for row in observed)}",
            "caption": f"Effect behind each of {counted(len(observed), 'claim')}, mean over units with 95 % bootstrap"
            " interval (diamonds), and the same with permuted labels (crosses: each unit's mean over"
            f" {counted(n_null, 'permutation')}; ticks: each permutation)"
            f"{' and on data simulated without the effect (rings)' * absent}. Grey line: what the effect must exceed;"
            f" grey band: the range in which it must lie. On the right the verdict.{_not_tested(observed)}",
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw the forest."""
        kinds: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
        tested = {row["claim"] for row in table if row["variant"] == "observed" and row["effect"] != "n/a"}
        for row in table:
            # What has no effect has no place on a scale; the caption names it. Unless there is nothing else.
            if row["claim"] in tested or not tested:
                kinds.setdefault(row["quantity"], {}).setdefault(row["claim"], {})[row["variant"]] = row
        layout, told = style.Layout([len(claims) for claims in kinds.values()], **_LAYOUT), self.told(table)
        with style.drawing(paths, layout.height, told["title"], told["alt"]) as figure:
            axes = layout.panels(figure)
            for panel, (name, claims) in zip(axes, kinds.items(), strict=True):
                _panel(panel, list(claims.values()), layout)
                panel.set_xlabel(name)
            style.legend_below(figure, *axes, columns=3)


def _is_null(row: Mapping[str, str]) -> bool:
    return re.fullmatch(r"null-\d+", row["variant"]) is not None


def _not_tested(observed: Sequence[Mapping[str, str]]) -> str:
    """Return a sentence on the claims that could not be tested, if there are any."""
    lacking = [row["words"] for row in observed if row["effect"] == "n/a"]
    return f" Not tested on this dataset: {listed(lacking)}." if lacking else ""


def _values(row: Mapping[str, str]) -> tuple[float, float, float]:
    effect, low, high = (style.number(row, column) for column in ("effect", "ci_low", "ci_high"))
    return effect, low, high


def _in_words(row: Mapping[str, str], table: Sequence[Mapping[str, str]]) -> str:
    """Return an effect and its controls as part of a sentence."""
    if math.isnan(style.number(row, "effect")):
        return f"{row['words']} ({style.words(row['scheme'])}): not tested"
    controls = {other["variant"]: other for other in table if other["claim"] == row["claim"]}
    names = {"null": "with permuted labels", "absent": "without the effect"}
    told = [
        f"; {words} {estimate(*_values(controls[name]))}"
        for name, words in names.items()
        if name in controls and not math.isnan(style.number(controls[name], "effect"))
    ]
    return f"{row['words']} ({how(row)}): {row['verdict']}, effect {estimate(*_values(row))}{''.join(told)}"


def _panel(axes: Axes, claims: list[dict[str, dict[str, str]]], layout: style.Layout) -> None:
    style.rows_axes(axes, [""] * len(claims))
    beside = {"xycoords": ("axes fraction", "data"), "fontsize": 6, "va": "center"}
    for place, variants in enumerate(claims):
        row = variants["observed"]
        _criterion(axes, place, row)
        _effects(axes, place, variants)
        colour, symbol = VERDICTS[row["verdict"]]
        axes.annotate(symbol, (1.02, place), color=colour, fontweight="bold", **beside)
        axes.annotate(row["verdict"], (1.07, place), **beside)
        # Two blocks about the middle of the row: what is claimed, and how it is tested.
        text = style.wrapped(row["words"], 36, 3)
        middle = place + 0.11 * text.count("\n") - 0.04
        for words, align, shift, look in (
            (text, "bottom", 0.0, {"fontsize": 6}),
            (f"{style.words(row['scheme'])}, {units(row)}", "top", 0.07, {"fontsize": 5.2, "color": style.GREY}),
        ):
            layout.beside(axes, middle + shift, 0.15, words, va=align, **look)


def _effects(axes: Axes, place: int, variants: Mapping[str, Mapping[str, str]]) -> None:
    """Draw the effect of a claim as observed and in its controls."""
    null = [style.number(other, "effect") for other in variants.values() if _is_null(other)]
    axes.scatter(null, [place + 0.21] * len(null), zorder=2, label="each permutation", **_TICK)
    for name, (offset, colour, label, marker) in _LOOKS.items():
        effect, low, high = _values(variants[name]) if name in variants else (math.nan,) * 3
        if not math.isnan(effect):
            axes.hlines(place + offset, low, high, color=colour, linewidth=1.0, zorder=3)
            axes.scatter(effect, place + offset, zorder=4, label=label, s=14, **marker)


def _criterion(axes: Axes, place: int, row: Mapping[str, str]) -> None:
    """Draw what the effect is compared with, over the height of the row."""
    low, high = float(row["criterion_low"]), float(row["criterion_high"])
    if low == high:
        axes.vlines(low, place - 0.45, place + 0.45, color=style.GREY, linewidth=0.8, zorder=1, label="must exceed")
    else:
        axes.fill_between(
            [low, high], place - 0.42, place + 0.42, color=style.PALE, alpha=0.5, zorder=0.6, linewidth=0,
            label="must lie in",
        )  # fmt: skip


_TICK = {"marker": "|", "s": 14, "linewidths": 0.7, "color": style.ORANGE, "alpha": 0.8}
#: Height within the row, colour, name and marker of what has an interval.
_LOOKS: dict[str, tuple[float, str, str, dict[str, Any]]] = {
    "observed": (-0.16, style.INK, "observed, 95 % interval", {"marker": "D", "color": style.INK}),
    "null": (0.08, style.ORANGE, "permuted labels", {"marker": "x", "linewidths": 0.9, "color": style.ORANGE}),
    "absent": (
        0.33,
        style.BLUE,
        "no effect simulated",
        {"marker": "o", "facecolors": "white", "edgecolors": style.BLUE},
    ),
}
