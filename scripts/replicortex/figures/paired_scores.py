"""Every subject's score by every method, beside the mean and what permuted labels give."""

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
from ..shared.printed import estimate, listed, spread
from ..shared.tables import read_scores, unit_means

#: Above this many subjects lines say nothing and dots become ticks, stored as an image.
_MANY = 60


@component
class PairedScores(Figure):
    """Scores of subjects, one panel an evaluation scheme, one row a method; lines join the rows of a subject.

    Where subjects are scored together, and one alone has no score, only the mean and its interval are drawn.

    Parameters
    ----------
    metric : str
        Metric to show, one of the study's.
    """

    metric: str = "roc_auc"

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return a row per scheme and method (``what`` is ``mean``) and per subject of each (``subject``).

        Subjects are numbered, the same in all schemes and methods; so are folds where these are scored as a whole.
        """
        scores = read_scores([sources["scores"]], ["scheme", "method", "variant", "metric", "value", "per"])
        scores = scores[(scores["variant"] == "observed") & (scores["metric"] == self.metric)]
        if scores.empty:
            raise InputError(sources["scores"], f"has no observed {self.metric}", "name a metric of the study")
        per = scores["per"].iloc[0]
        units = unit_means(scores, "subject", ["scheme", "method"]).dropna(subset=["value"])
        numbers = {name: number for number, name in enumerate(sorted(set(units["subject"])), start=1)}
        labels = style.methods_in_order(sources["claims"], list(units["method"].unique()))
        means = {
            (row["scheme"], row["method"]): row
            for row in read_tsv(sources["summary"])
            if (row["variant"], row["metric"], row["unit"]) == ("observed", self.metric, "subject")
        }
        rows: list[dict[str, Any]] = []
        for scheme in style.schemes_in_order(sources["claims"], list(units["scheme"].unique())):
            for method, label in labels.items():
                mean = means.get((scheme, method))
                if mean is None:
                    continue
                named = {"scheme": scheme, "method": method, "label": label, "metric": self.metric, "per": per}
                kept = {key: mean[key] for key in ("ci_low", "ci_high", "chance", "null_mean", "n_units")}
                rows.append({**named, "what": "mean", "subject": None, "value": mean["mean"], **kept})
                if per == "pseudo":
                    continue
                here = units[(units["scheme"] == scheme) & (units["method"] == method)]
                rows += [
                    {**named, "what": "subject", "subject": numbers[unit.subject], "value": unit.value}
                    for unit in here.itertuples(index=False)
                ]
        return rows

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        means, per = [row for row in table if row["what"] == "mean"], table[0]["per"]
        metric, shown = style.words(table[0]["metric"]), len(means) < len(table)
        schemes = style.by_scheme(means)
        title = f"{metric} of every {per} by every method" if shown else f"{metric} by every method"
        panels = [f"{style.sentence(style.words(scheme))}: {_in_words(rows)}" for scheme, rows in schemes.items()]
        chance = spread([style.number(row, "chance") for row in means])
        nulls = [style.number(row, "null_mean") for row in means]
        joined = f"lines join the scores of a {per} by different methods. " if len(table) <= _MANY * len(means) else ""
        dots = f"Each {per} is a dot; {joined}" if shown else "Single subjects are not shown. "
        return {
            "title": style.sentence(title),
            "alt": f"{style.sentence(title)}: a row a method, a panel an evaluation scheme. Mean with 95 % interval."
            f" {' '.join(panels)} Chance is {chance}.",
            "caption": f"{style.sentence(metric)} by method, {_OF[per]}. {dots}Diamonds: mean with 95 % bootstrap"
            f" interval over {style.UNITS[per]}s ({_numbers(schemes)})."
            + (" Crosses: mean with permuted labels." if not np.isnan(nulls).all() else "")
            + f" Dashed: chance ({chance}).",
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw dots for subjects, a diamond and interval for the mean, a cross for permuted labels."""
        schemes = style.by_scheme([row for row in table if row["what"] == "mean"])
        layout = style.Layout.of_methods([len(means) for means in schemes.values()])
        per, told = table[0]["per"], self.told(table)
        with style.drawing(paths, layout.height, told["title"], told["alt"]) as figure:
            axes = layout.panels(figure)
            for panel, (scheme, means) in zip(axes, schemes.items(), strict=True):
                subjects = [row for row in table if row["scheme"] == scheme and row["what"] == "subject"]
                self._panel(panel, means, subjects, per)
                style.rows_axes(panel, [layout.named(row["label"]) for row in means])
                chance = np.mean([style.number(row, "chance") for row in means])
                style.finish_panel(panel, scheme, chance, max(int(row["n_units"]) for row in means), style.UNITS[per])
            metric = table[0]["metric"]
            axes[-1].set_xlabel(f"{style.words(metric)}, {_OF[per]} ({style.unit_of(metric)})")
            style.legend_below(figure, axes[0])

    def _panel(self, axes: Axes, means: list[dict[str, str]], subjects: list[dict[str, str]], per: str) -> None:
        position = {row["method"]: place for place, row in enumerate(means)}
        column = {name: place for place, name in enumerate(sorted({row["subject"] for row in subjects}))}
        values = np.full((len(means), len(column)), np.nan)
        for row in subjects:
            values[position[row["method"]], column[row["subject"]]] = style.number(row, "value")
        # Without subjects the means stand where the name of the method is.
        below, above = np.arange(len(means)) + 0.12, np.arange(len(means)) - (0.22 if subjects else 0.0)
        heights = np.broadcast_to(below[:, None], values.shape)
        if subjects and len(column) <= _MANY:
            axes.plot(values, below, color=style.PALE, linewidth=0.4, zorder=1)
            axes.scatter(values, heights, zorder=2, label=per, **_DOT)
        elif subjects:
            axes.scatter(values, heights, zorder=2, label=per, rasterized=True, **_TICK)
        mean, low, high, null = (
            np.array([style.number(row, name) for row in means]) for name in ("value", "ci_low", "ci_high", "null_mean")
        )
        axes.hlines(above, low, high, color=style.INK, linewidth=1.0, zorder=3)
        axes.scatter(mean, above, marker="D", s=13, color=style.INK, zorder=4, label="mean, 95 % interval")
        if not np.isnan(null).all():
            axes.scatter(null, above, zorder=3, label="mean, permuted labels", **_CROSS)


def _in_words(means: list[dict[str, str]]) -> str:
    """Return the means of a scheme as a sentence."""
    values = [
        f"{row['label']} {estimate(*(style.number(row, column) for column in ('value', 'ci_low', 'ci_high')))}"
        for row in means
    ]
    return f"{listed(values, 12, 'others')}."


def _numbers(schemes: Mapping[str, list[dict[str, str]]]) -> str:
    """Return how many subjects, or folds, the means are over."""
    counts = {max(int(row["n_units"]) for row in means) for means in schemes.values()}
    return f"n = {min(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"


#: What a value is of.
_OF = {
    "subject": "mean over a subject's sessions",
    "fold": "of all subjects held out in a fold",
    "pseudo": style.MEANS["pseudo"],
}
_DOT = {"s": 9, "linewidths": 0.3, "color": style.SKY, "edgecolors": "white"}
_TICK = {"s": 16, "marker": "|", "color": style.SKY, "alpha": 0.4}
_CROSS = {"s": 14, "marker": "x", "linewidths": 0.9, "color": style.ORANGE}
