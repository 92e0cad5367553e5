"""The observed mean of every method against its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..components import Figure, component
from ..errors import InputError
from ..files import read_tsv
from ..shared import style
from ..shared.printed import counted, estimate, listed, plain, probability, spread
from ..shared.tables import read_scores


@component
class NullDistribution(Figure):
    """Means over subjects, or folds: observed, with permuted labels, of random networks, and without an effect.

    Parameters
    ----------
    metric : str
        Metric to show, one of the study's.
    """

    metric: str = "roc_auc"

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return a row per scheme, method and variant."""
        rows = [row for row in read_tsv(sources["summary"]) if (row["metric"], row["unit"]) == (self.metric, "subject")]
        if not rows:
            raise InputError(sources["summary"], f"has no {self.metric}", "name a metric of the study")
        scores = read_scores([sources["scores"]], ["metric", "per"])
        per = scores.loc[scores["metric"] == self.metric, "per"].iloc[0]
        labels = style.methods_in_order(sources["claims"], sorted({row["method"] for row in rows}))
        order = list(labels)
        schemes = style.schemes_in_order(sources["claims"], sorted({row["scheme"] for row in rows}))
        columns = ("scheme", "method", "metric", "variant", "mean", "ci_low", "ci_high", "chance", "n_units")
        return [
            {column: row[column] for column in columns}
            | {"label": labels[row["method"]], "per": per, "p_permutation": row["p_permutation"]}
            for row in sorted(rows, key=lambda row: (schemes.index(row["scheme"]), order.index(row["method"])))
        ]

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        metric, over = style.sentence(style.words(table[0]["metric"])), style.MEANS[table[0]["per"]]
        panels = []
        for scheme, rows in style.by_scheme(table).items():
            told = listed([_in_words(method) for method in _by_method(rows).values()], 12, "other methods")
            panels.append(f"{style.sentence(style.words(scheme))}: {told}.")
        n_null = len({row["variant"] for row in table if _is_null(row)})
        n_random = len({row["variant"] for row in table if _is_random(row)})
        random = f", of {counted(n_random, 'network')} that kept random weights (triangles)" if n_random else ""
        absent = any(row["variant"] == "absent" for row in table)
        return {
            "title": f"{metric} against its controls",
            "alt": f"{metric}, {over}, by every method against its controls. {' '.join(panels)}",
            "caption": f"{metric}, {over}, as observed (diamonds, with 95 % bootstrap interval), in"
            f" {counted(n_null, 'evaluation')} with permuted labels (ticks){random}"
            f"{', and on data simulated without the effect (rings)' * absent}. p: share of the observed and permuted"
            f" evaluations that are at least as good as the observed one, with {counted(n_null, 'permutation')} at best"
            f" {plain(1 / (1 + n_null))}. Dashed: chance ({spread([style.number(row, 'chance') for row in table])}).",
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw a diamond for the observed mean, ticks for permuted labels, and what else there is beside them."""
        schemes = style.by_scheme(table)
        layout = style.Layout.of_methods([len(_by_method(rows)) for rows in schemes.values()], right=1.6)
        metric, told = table[0]["metric"], self.told(table)
        with style.drawing(paths, layout.height, told["title"], told["alt"]) as figure:
            axes = layout.panels(figure)
            for panel, (scheme, rows) in zip(axes, schemes.items(), strict=True):
                methods = _by_method(rows)
                self._panel(panel, methods)
                style.rows_axes(panel, [layout.named(rows[0]["label"]) for rows in methods.values()])
                chance = np.mean([style.number(row, "chance") for row in rows])
                n_units = max(int(row["n_units"]) for row in rows)
                style.finish_panel(panel, scheme, chance, n_units, style.UNITS[table[0]["per"]])
            over = style.MEANS[table[0]["per"]]
            axes[-1].set_xlabel(f"{style.words(metric)}, {over} ({style.unit_of(metric)})")
            style.legend_below(figure, axes[0])

    def _panel(self, axes: Axes, methods: Mapping[str, list[dict[str, str]]]) -> None:
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 5.5}
        for place, rows in enumerate(methods.values()):
            null = [style.number(row, "mean") for row in rows if _is_null(row)]
            if null:
                axes.scatter(null, [place] * len(null), zorder=2, label="permuted labels", **_TICK)
            random = [style.number(row, "mean") for row in rows if _is_random(row)]
            if random:
                axes.scatter(random, [place - 0.28] * len(random), zorder=2, label="random weights", **_TRIANGLE)
            for row in rows:
                if row["variant"] in _LOOKS:
                    height, colour, label, marker = _LOOKS[row["variant"]]
                    mean, low, high = (style.number(row, column) for column in ("mean", "ci_low", "ci_high"))
                    axes.hlines(place + height, low, high, color=colour, linewidth=1.0, zorder=2)
                    axes.scatter(mean, place + height, s=13, edgecolors=colour, zorder=3, label=label, **marker)
                if row["p_permutation"] != "n/a":
                    axes.annotate(probability(style.number(row, "p_permutation")), (1.02, place), **beside)
        above = {"xytext": (0, 3), "textcoords": "offset points", "va": "bottom", "fontsize": 5.5}
        axes.annotate("permutation", (1.02, 1), xycoords="axes fraction", **above)


def _is_null(row: Mapping[str, str]) -> bool:
    return row["variant"].startswith("null-")


def _is_random(row: Mapping[str, str]) -> bool:
    return row["variant"].startswith("random-")


def _by_method(rows: Sequence[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def _in_words(rows: Sequence[Mapping[str, str]]) -> str:
    """Return what is observed of a method, and the ranges of its means with permuted labels and random weights."""
    values = {row["variant"]: row for row in rows}
    controls = {"permuted labels": _is_null, "random weights": _is_random}
    found = {name: [style.number(row, "mean") for row in rows if chosen(row)] for name, chosen in controls.items()}
    told = ", ".join(f"{name} {spread(means)}" for name, means in found.items() if means)
    against = f" ({told})" if told else ""
    if "observed" not in values:
        return f"{rows[0]['label']} not observed{against}"
    observed = [style.number(values["observed"], column) for column in ("mean", "ci_low", "ci_high")]
    return f"{rows[0]['label']} {estimate(*observed)}{against}"


_TICK = {"marker": "|", "s": 45, "linewidths": 0.9, "color": style.ORANGE}
_TRIANGLE = {"marker": "^", "s": 10, "linewidths": 0.6, "edgecolors": style.RED, "facecolors": "none"}
#: Height within the row, colour, name and marker of the variants that have an interval.
_LOOKS: dict[str, tuple[float, str, str, dict[str, str]]] = {
    "observed": (0.0, style.INK, "observed, 95 % interval", {"marker": "D", "facecolors": style.INK}),
    "absent": (0.28, style.BLUE, "no effect simulated", {"marker": "o", "facecolors": "white"}),
}
