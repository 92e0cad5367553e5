"""How figures look: one style, colours the colour-blind can tell apart, equal bytes for equal tables.

Figures are 12 cm wide, the width of a text column, with text of 5 to 7.5 points; their height follows from
the number of rows, so that more methods or claims make a figure longer and never crowd it.
"""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..files import atomic, read_json

WIDTH = 12.0
_CM = 1 / 2.54
#: Layout of panels, cm: room for a title above the first, a row, from one panel to the next, row labels.
_TOP, _ROW, _GAP, _LABELS = 0.7, 0.7, 1.2, 3.6
#: Okabe & Ito (2008), Color Universal Design.
BLUE, SKY, ORANGE, RED, GREY = "#0072B2", "#56B4E9", "#E69F00", "#B2182B", "#6E6E6E"
INK, PALE = "#1A1A1A", "#BDBDBD"
_ABBREVIATIONS = {"roc", "auc", "r2", "mae", "rmse", "ari", "eeg", "meg", "ndcg"}
_STYLE = {
    "svg.hashsalt": "replicortex",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 6.5,
    "axes.labelsize": 6.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.fontsize": 6,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "white",
}


@contextlib.contextmanager
def drawing(path: Path, height: float, title: str) -> Iterator[Figure]:
    """Yield an empty figure ``height`` cm high; write it to ``path`` as SVG when the block ends.

    The file carries no date and no version, and its element names come from a fixed salt. Nothing outside the
    block is changed, and no window or global figure is made.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH * _CM, height * _CM))
        FigureCanvasSVG(figure)
        yield figure
        with atomic(path) as temporary:
            figure.savefig(temporary, format="svg", dpi=300, metadata={"Date": None, "Creator": None, "Title": title})


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place given in cm from the left and the top edge."""
    total = figure.get_figheight() / _CM
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def words(name: str) -> str:
    """Return an identifier in plain words: ``leave_one_subject_out`` -> ``leave one subject out``."""
    return " ".join(part.upper() if part in _ABBREVIATIONS else part for part in name.split("_"))


def unit_of(metric: str) -> str:
    """Return the unit of a metric's values: errors have that of what is predicted, all else none."""
    return "unit of the target" if metric.endswith(("mae", "mse", "error")) else "dimensionless"


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """Return ``text`` on at most ``lines`` lines of ``width`` characters."""
    return textwrap.fill(text, width, max_lines=lines, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def methods_in_order(claims: Path, present: Sequence[str]) -> dict[str, str]:
    """Return the label of each method in ``present``, in the study's order; the others follow by name."""
    labels = {entry["name"]: entry["label"] for entry in read_json(claims)["methods"]}
    ordered = [*(name for name in labels if name in present), *sorted(set(present) - set(labels))]
    return {name: labels.get(name) or words(name) for name in ordered}


def number(row: Mapping[str, Any], column: str) -> float:
    """Return a cell as a number, ``n/a`` as ``nan``."""
    return math.nan if row[column] == "n/a" else float(row[column])


def rows_axes(axes: Axes, labels: Sequence[str]) -> None:
    """Give axes one labelled horizontal row each, the first on top, with faint lines between them."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), [wrapped(label, 24) for label in labels])
    axes.spines["left"].set_visible(False)
    for row in range(1, len(labels)):
        axes.axhline(row - 0.5, color="#EDEDED", linewidth=0.5, zorder=0)


def finish_panel(axes: Axes, scheme: str, chance: float, n_subjects: int) -> None:
    """Draw the chance level, and title the panel with its evaluation scheme and number of subjects."""
    dashed = {"linewidth": 0.7, "linestyle": (0, (4, 3)), "zorder": 0.5}
    axes.axvline(chance, color=GREY, label="chance", **dashed)
    axes.set_title(f"{words(scheme)} (n = {n_subjects} subject{'s' * (n_subjects > 1)})")


def legend_below(figure: Figure, axes: Axes) -> None:
    """Put one legend at the foot of the figure, each name once."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="lower center", ncols=len(unique), borderaxespad=0.3)


def panels(figure: Figure, counts: Sequence[int], right: float = 0.4) -> list[Axes]:
    """Return axes one under the other that share the horizontal scale, with as many rows as ``counts`` says.

    ``right`` is the margin in cm to their right, for numbers that stand beside rows.
    """
    made: list[Axes] = []
    top = _TOP
    for count in counts:
        axes = place(figure, _LABELS, top, WIDTH - _LABELS - right, _ROW * count)
        if made:
            axes.sharex(made[0])
        made.append(axes)
        top += _ROW * count + _GAP
    return made


def panels_height(counts: Sequence[int]) -> float:
    """Return the height in cm that :func:`panels` needs, with room for axis label and legend below."""
    return _TOP + sum(_ROW * count + _GAP for count in counts) + 0.5
