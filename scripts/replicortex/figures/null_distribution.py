"""The observed mean of every method against its controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..components import Figure, component
from ..errors import InputError
from ..files import read_tsv
from ..shared import style


@component
class NullDistribution(Figure):
    """Means over subjects: observed, with permuted labels, and simulated without an effect.

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
        labels = style.methods_in_order(sources["claims"], sorted({row["method"] for row in rows}))
        order = list(labels)
        columns = ("scheme", "method", "metric", "variant", "mean", "ci_low", "ci_high", "chance", "n_units")
        return [
            {column: row[column] for column in columns}
            | {"label": labels[row["method"]], "p_permutation": row["p_permutation"]}
            for row in sorted(rows, key=lambda row: (row["scheme"], order.index(row["method"])))
        ]

    def draw(self, table: list[dict[str, str]], path: Path) -> None:
        """Draw a diamond for the observed mean, ticks for permuted labels, a ring for no effect simulated."""
        schemes: dict[str, dict[str, list[dict[str, str]]]] = {}
        for row in table:
            schemes.setdefault(row["scheme"], {}).setdefault(row["method"], []).append(row)
        counts = [len(methods) for methods in schemes.values()]
        metric = style.words(table[0]["metric"])
        with style.drawing(path, style.panels_height(counts), f"{metric} against its controls") as figure:
            axes = style.panels(figure, counts, right=1.6)
            for panel, (scheme, methods) in zip(axes, schemes.items(), strict=True):
                self._panel(panel, methods)
                rows = [row for method in methods.values() for row in method]
                chance = np.mean([style.number(row, "chance") for row in rows])
                style.finish_panel(panel, scheme, chance, max(int(row["n_units"]) for row in rows))
            axes[-1].set_xlabel(f"{metric}, mean over subjects ({style.unit_of(table[0]['metric'])})")
            style.legend_below(figure, axes[0])

    def _panel(self, axes: Axes, methods: Mapping[str, list[dict[str, str]]]) -> None:
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 5.5}
        for place, rows in enumerate(methods.values()):
            null = [style.number(row, "mean") for row in rows if row["variant"].startswith("null-")]
            if null:
                axes.scatter(null, [place] * len(null), zorder=2, label="permuted labels", **_TICK)
            for row in rows:
                if row["variant"] in _LOOKS:
                    height, colour, label, marker = _LOOKS[row["variant"]]
                    mean, low, high = (style.number(row, column) for column in ("mean", "ci_low", "ci_high"))
                    axes.hlines(place + height, low, high, color=colour, linewidth=1.0, zorder=2)
                    axes.scatter(mean, place + height, s=13, edgecolors=colour, zorder=3, label=label, **marker)
                if row["p_permutation"] != "n/a":
                    p = f"p = {style.number(row, 'p_permutation'):.2g}"
                    axes.annotate(p, (1.02, place), **beside)
        axes.annotate("permutation", (1.02, -0.68), **beside)
        style.rows_axes(axes, [rows[0]["label"] for rows in methods.values()])


_TICK = {"marker": "|", "s": 45, "linewidths": 0.9, "color": style.ORANGE}
#: Height within the row, colour, name and marker of the variants that have an interval.
_LOOKS: dict[str, tuple[float, str, str, dict[str, str]]] = {
    "observed": (0.0, style.INK, "observed, 95 % interval", {"marker": "D", "facecolors": style.INK}),
    "absent": (0.28, style.BLUE, "no effect simulated", {"marker": "o", "facecolors": "white"}),
}
