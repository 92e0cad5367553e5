"""How figures look: one style, colours the colour-blind can tell apart, equal bytes for equal tables.

Figures are 12 cm wide, which journals print in one and a half columns, with text of 5 to 7.5 points; their height
follows from the number of rows, so that more methods or claims make a figure longer and never crowd it. Text is drawn
as outlines in SVG, and with embedded TrueType fonts in PDF, where it can be searched: both look the same everywhere.
"""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..components import load
from ..files import atomic, read_json
from .printed import counted, words

WIDTH = 12.0
_CM = 1 / 2.54
#: Layout of panels, cm: room for a title above the first, a row, from one panel to the next, row labels, legend.
_TOP, _ROW, _GAP, _LABELS, _LEGEND = 0.7, 0.7, 1.2, 3.6, 0.5
#: Height of what is printed on a page, and of rows and room for names where there are too many for it, cm.
_PAGE, _LOW, _LONG = 22.0, 0.42, 5.0
#: Okabe & Ito (2008), Color Universal Design.
BLUE, SKY, ORANGE, RED, GREY = "#0072B2", "#56B4E9", "#E69F00", "#B2182B", "#6E6E6E"
INK, PALE = "#1A1A1A", "#BDBDBD"
#: What the units of a panel are, and what a mean is of, by the ``per`` of scores.
UNITS = {"subject": "subject", "fold": "fold", "pseudo": "subject"}
MEANS = {"subject": "mean over subjects", "fold": "mean over folds", "pseudo": "of all subjects held out together"}
_STYLE = {
    "svg.hashsalt": "replicortex",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
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
def drawing(path: Path | Sequence[Path], height: float, title: str, alt: str = "") -> Iterator[Figure]:
    """Yield an empty figure ``height`` cm high; write it when the block ends.

    The files carry no date and no version, and their element names come from a fixed salt. Nothing outside the
    block is changed, and no window or global figure is made.

    Parameters
    ----------
    path : Path or sequence of Path
        Files to write: SVG or PDF, by their endings.
    height : float
        Height in cm.
    title, alt : str
        What the figure is called, and what one sees in it: told by the SVG file to those who can not see it.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH * _CM, height * _CM))
        FigureCanvasSVG(figure)
        yield figure
        for one in [path] if isinstance(path, Path) else path:
            kind = one.suffix.removeprefix(".")
            unwanted = {"svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}[kind]
            with atomic(one) as temporary:
                metadata = {**dict.fromkeys(unwanted), "Title": title}
                figure.savefig(temporary, format=kind, dpi=300, metadata=metadata)
                if kind == "svg":
                    _describe(temporary, title, alt)


def _describe(svg: Path, title: str, alt: str) -> None:
    """Write title and description into an SVG file, for screen readers."""
    head, opened, rest = svg.read_text(encoding="utf-8").partition("<svg ")
    attributes, end, rest = rest.partition(">")
    told = f"\n <title>{escape(title)}</title>" + (f"\n <desc>{escape(alt)}</desc>" if alt else "")
    svg.write_text(f'{head}{opened}role="img" {attributes}{end}{told}{rest}', encoding="utf-8")


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place given in cm from the left and the top edge."""
    total = figure.get_figheight() / _CM
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def sentence(text: str) -> str:
    """Return ``text`` with a capital at its beginning, unless that is a symbol, as in ``k fold``."""
    return text if text[1:2] == " " else text[:1].upper() + text[1:]


def unit_of(metric: str) -> str:
    """Return the unit of a metric's values."""
    return load("metrics", metric).unit


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """Return ``text`` on at most ``lines`` lines of ``width`` characters; words in its middle go where it is longer.

    Names that are alike mostly differ at their ends.
    """
    parts = text.split()
    for left_out in range(len(parts)):
        n_kept = len(parts) - left_out
        for head in ((n_kept + 1) // 2, n_kept // 2):
            kept = [*parts[:head], *(["\N{HORIZONTAL ELLIPSIS}"] if left_out else []), *parts[head + left_out :]]
            broken = textwrap.wrap(" ".join(kept), width)
            if len(broken) <= lines:
                return "\n".join(broken)
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
    axes.set_yticks(range(len(labels)), labels)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.spines["left"].set_visible(False)
    for row in range(1, len(labels)):
        axes.axhline(row - 0.5, color="#EDEDED", linewidth=0.5, zorder=0)


def schemes_in_order(claims: Path, present: Sequence[str]) -> list[str]:
    """Return the evaluation schemes in ``present``, in the order in which claims name them; the others by name."""
    named = dict.fromkeys(claim["scheme"] for claim in read_json(claims)["claims"])
    return [*(name for name in named if name in present), *sorted(set(present) - set(named))]


def by_scheme(table: Sequence[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """Return the rows of a table by their evaluation scheme, in the order of the table."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in table:
        found.setdefault(row["scheme"], []).append(row)
    return found


def finish_panel(axes: Axes, scheme: str, chance: float, n_units: int, unit: str = "subject") -> None:
    """Draw the chance level, and title the panel with its evaluation scheme and number of subjects or other units."""
    dashed = {"linewidth": 0.7, "linestyle": (0, (4, 3)), "zorder": 0.5}
    axes.axvline(chance, color=GREY, label="chance", **dashed)
    axes.set_title(f"{sentence(words(scheme))} (n = {counted(n_units, unit)})")


def legend_below(figure: Figure, *axes: Axes, columns: int = 4) -> None:
    """Put one legend of some axes at the foot of the figure, each name once, in lines of ``columns`` names."""
    unique: dict[str, Any] = {}
    for one in axes:
        for handle, name in zip(*one.get_legend_handles_labels(), strict=True):
            unique.setdefault(name, handle)
    columns = min(columns, len(unique))
    figure.legend(unique.values(), unique.keys(), loc="lower center", ncols=columns, borderaxespad=0.3)


@dataclass(frozen=True)
class Layout:
    """Axes one under the other, with as many rows as ``counts`` says. Lengths are in cm.

    Parameters
    ----------
    counts : sequence of int
        Rows of each.
    row : float
        Height of a row.
    labels, right : float
        Room to their left, for the names of rows, and to their right, for numbers that stand beside rows.
    gap : float
        From one to the next: room for the numbers of its scale, and a title or the label of its scale.
    foot : float
        Room for a legend.
    share : bool
        Whether they share the horizontal scale.
    """

    counts: Sequence[int]
    row: float = _ROW
    labels: float = _LABELS
    right: float = 0.4
    gap: float = _GAP
    top: float = _TOP
    foot: float = _LEGEND
    share: bool = True

    @classmethod
    def of_methods(cls, counts: Sequence[int], right: float = 0.4) -> Layout:
        """Return a layout with a row a method: low rows and long names on one line where there are many methods."""
        made = cls(counts, right=right)
        return made if made.height <= _PAGE else cls(counts, row=_LOW, labels=_LONG, right=right)

    def fitting(self, least: float) -> Layout:
        """Return this layout with rows so low that it fits on a page, if they need not be lower than ``least``."""
        over = max(self.height - _PAGE, 0.0) / max(sum(self.counts), 1)
        return replace(self, row=max(self.row - over, min(least, self.row)))

    def named(self, label: str) -> str:
        """Return the name of a row in the space that there is for it."""
        return wrapped(label, 24, 2) if self.labels < _LONG else wrapped(label, 36, 1)

    @property
    def height(self) -> float:
        """Height of the figure."""
        return self.top + sum(self.row * count + self.gap for count in self.counts) + self.foot

    def panels(self, figure: Figure) -> list[Axes]:
        """Return the axes."""
        made: list[Axes] = []
        top = self.top
        for count in self.counts:
            axes = place(figure, self.labels, top, WIDTH - self.labels - self.right, self.row * count)
            if made and self.share:
                axes.sharex(made[0])
            made.append(axes)
            top += self.row * count + self.gap
        return made

    def beside(self, axes: Axes, row: float, distance: float, text: str, **look: Any) -> None:
        """Write ``text`` to the left of a row, its right end ``distance`` from the axes."""
        place = (-distance / (WIDTH - self.labels - self.right), row)
        axes.annotate(text, place, xycoords=("axes fraction", "data"), ha="right", **look)
