"""What displays of a whole dataset share: means over recordings one at a time, words of captions, quality numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..components import Audience
from .printed import counted
from .style import BLUE, GREY, INK, ORANGE, PALE, WIDTH, drawing, place, words

#: Units in the names of numbers, as their last part.
_UNITS = {"ml": "mL", "mm": "mm", "s": "s", "hz": "Hz", "uv": "µV", "percent": "%"}
#: Words in the names of numbers that are written in capitals.
_CAPITALS = ("bbr", "cjv", "cnr", "csf", "efc", "epi", "fber", "fd", "fwhm", "gm", "icv", "inu", "nmi", "snr", "wm")
#: Layout, cm: row labels, one row, its axes, room above and below.
_LABELS, _ROW, _AXES, _TOP, _BOTTOM, _NOTES = 3.5, 0.95, 0.42, 0.75, 0.75, 1.5
#: Points beyond are drawn as one picture and not as a shape each.
_MANY = 400


class Running:
    """Mean and standard deviation of arrays of one shape that come one at a time.

    Welford (1962, doi:10.1080/00401706.1962.10490022): stable where the mean is large against the deviation.

    Parameters
    ----------
    shape : tuple of int
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = np.zeros(shape, dtype=np.int32)
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: np.ndarray, known: np.ndarray | None = None) -> None:
        """Take in ``values`` where ``known`` (boolean) says so, by default where they are finite."""
        known = np.isfinite(values) if known is None else known
        self.count += known
        step = np.where(known, values - self.mean, 0.0)
        self.mean += step / np.maximum(self.count, 1)
        self._squares += np.where(known, step * (values - self.mean), 0.0)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation with n - 1; NaN where fewer than two values came."""
        squares = np.where(self.count > 1, self._squares, np.nan)
        return np.sqrt(squares / np.maximum(self.count - 1, 1))


class Summary(NamedTuple):
    """What is shown of one number over recordings."""

    name: str
    values: np.ndarray
    outlying: np.ndarray


def entry(name: str, title: str, kind: str, file: str, alt: str, caption: str) -> dict[str, str]:
    """Return a line of the index of displays."""
    return {"name": name, "title": title, "kind": kind, "file": file, "alt": alt, "caption": caption}


def titled(name: str) -> str:
    """Return the name of a number in words, with the unit that its name states."""
    # Displacement is in mm by its definition (Power 2012, doi:10.1016/j.neuroimage.2011.10.018).
    name = f"{name}_mm" if re.fullmatch(r"fd_(mean|median|max)", name) else name
    head, _, last = name.rpartition("_")
    plain, unit = (head, f" ({_UNITS[last]})") if head and last in _UNITS else (name, "")
    capital = {"t1w": "T1w", "dvars": "DVARS", "tsnr": "tSNR", **{word: word.upper() for word in _CAPITALS}}
    return " ".join(capital.get(word, word) for word in words(plain).split()) + unit


def numbers_display(folder: Path, numbers: Sequence[Summary], audience: Audience) -> list[dict[str, str]]:
    """Draw each number of quality over the recordings, the outlying ones marked; nothing if there is no number.

    Parameters
    ----------
    folder : Path
        Written: ``numbers.svg``.
    numbers : sequence of Summary
        With NaN where a recording has no such number.
    audience : Audience
        Decides whether recordings are drawn, or their mean and standard deviation alone.
    """
    enough = [number for number in numbers if np.isfinite(number.values).sum() >= audience.fewest]
    if not enough:
        return []
    said = "; ".join(_told(number, audience.means_only) for number in enough)
    alt = f"{counted(len(enough), 'number')} of quality. {said}."
    title = "Quality of the recordings"
    height = _TOP + _ROW * len(enough) + _BOTTOM
    with drawing(folder / "numbers.svg", height, title, alt) as figure:
        headed(figure, title)
        for row, number in enumerate(enough):
            axes = place(figure, _LABELS, _TOP + row * _ROW, WIDTH - _LABELS - _NOTES, _AXES)
            _row(axes, number, audience.means_only)
        _legend(figure, audience.means_only, height)
    what = "Mean (point) and one standard deviation on each side (line) of each number of quality"
    if not audience.means_only:
        what = (
            "Each number of quality of each recording (points), with median, quartiles (box) and 5th to 95th "
            "percentile (line). Diamonds: more than 3.5 robust standard deviations from the median, where eight "
            "recordings or more say what is usual"
        )
    return [entry("numbers", title, "svg", "numbers.svg", alt, f"{what}. {audience.sample}")]


def headed(figure: Figure, title: str) -> None:
    """Write a title over all axes of a figure."""
    height = figure.get_figheight() * 2.54
    figure.text(0.1 / WIDTH, 1 - 0.45 / height, title, fontsize=7.5)


def _row(axes: Axes, number: Summary, means_only: bool) -> None:
    known = np.isfinite(number.values)
    values, odd = number.values[known], number.outlying[known]
    if means_only:
        axes.errorbar(values.mean(), 0, xerr=values.std(ddof=1), color=BLUE, marker="o", markersize=3, linewidth=1)
    else:
        low, first, middle, third, high = np.percentile(values, [5, 25, 50, 75, 95])
        # Golden ratio: neighbours in the table are far apart in the strip, and the same each time.
        height = ((np.arange(values.size) * 0.6180339887) % 1 - 0.5) * 0.7
        many = values.size > _MANY
        style = {"linewidths": 0, "rasterized": many, "zorder": 1}
        axes.scatter(values[~odd], height[~odd], s=4 if many else 7, color=GREY, alpha=0.25 if many else 0.5, **style)
        axes.plot([low, high], [0, 0], color=BLUE, linewidth=0.8, zorder=2)
        axes.barh(0, third - first, left=first, height=0.5, facecolor="none", edgecolor=BLUE, linewidth=0.9, zorder=3)
        axes.plot([middle, middle], [-0.25, 0.25], color=BLUE, linewidth=1.6, zorder=4)
        axes.scatter(values[odd], height[odd], s=13, marker="D", color=ORANGE, edgecolors=INK, linewidths=0.4, zorder=5)
        if odd.any():
            axes.text(1.03, 0.5, f"{odd.sum()} outlying", transform=axes.transAxes, va="center", fontsize=6)
    axes.set_ylim(-0.6, 0.6)
    axes.margins(x=0.04)
    axes.set_yticks([0], [titled(number.name)])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_edgecolor(PALE)
    if np.ptp(values) > 0:
        axes.locator_params(axis="x", nbins=5)
    else:
        axes.set_xticks([values[0]], [f"{values[0]:.4g}, all"])


def _legend(figure: Figure, means_only: bool, height: float) -> None:
    from matplotlib.lines import Line2D

    line = {"linestyle": "none", "markersize": 3}
    drawn = {"mean and standard deviation": Line2D([], [], color=BLUE, marker="o", markersize=3, linewidth=1)}
    if not means_only:
        drawn = {
            "recording": Line2D([], [], color=GREY, marker="o", **line),
            "median, quartiles, 5 to 95 %": Line2D([], [], color=BLUE, linewidth=1.6),
            "outlying": Line2D([], [], color=ORANGE, marker="D", markeredgecolor=INK, markeredgewidth=0.4, **line),
        }
    figure.legend(drawn.values(), drawn.keys(), loc="lower left", ncols=3, bbox_to_anchor=(0, 0.08 / height))


def _told(number: Summary, means_only: bool) -> str:
    """Return what a row shows, in words."""
    values = number.values[np.isfinite(number.values)]
    n = f"{titled(number.name)}, n {values.size}"
    if means_only:
        return f"{n}: mean {shown(values.mean())}, standard deviation {shown(values.std(ddof=1))}"
    low, middle, high = np.percentile(values, [5, 50, 95])
    odd = f", {number.outlying.sum()} outlying" if number.outlying.any() else ""
    return f"{n}: median {shown(middle)}, 5 to 95 % {shown(low)} to {shown(high)}{odd}"


def shown(value: float) -> str:
    """Return a number for a sentence: three digits, and whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rounded(value: float) -> float:
    """Return a number with six digits: what more there are is noise of the arithmetic."""
    return float(f"{value:.6g}")


def covered(total: int, audience: Audience) -> int:
    """Return how many of ``total`` recordings a value must come from: half of them, and never too few."""
    return max(audience.fewest, -(-total // 2))


def summarized(rows: Sequence[Mapping[str, float]], outlying: Sequence[Sequence[str]]) -> list[Summary]:
    """Return the numbers of recordings as columns, in the order of their names."""
    names = sorted({name for row in rows for name in row})
    return [
        Summary(
            name,
            np.array([row.get(name, np.nan) for row in rows], dtype=float),
            np.array([name in found for found in outlying], dtype=bool),
        )
        for name in names
    ]
