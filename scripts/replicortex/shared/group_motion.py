"""Head motion of many runs: each a line of colours over time, or, where people must not be told apart, together."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from ..components import Audience
from .group_displays import entry, headed, shown
from .mri_files import header, read_columns
from .printed import counted
from .style import BLUE, GREY, INK, WIDTH, drawing, place

_COLUMN = "framewise_displacement"
#: Parts of a run, mm at which colours and histogram end, width of a bin, and what is called a moved volume.
_PARTS, _MOST, _BIN, _MOVED = 100, 1.0, 0.05, 0.5


class Motion:
    """Framewise displacement (mm) of runs (Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018)."""

    def __init__(self) -> None:
        self._lines: list[np.ndarray] = []
        self._means: list[float] = []
        self._edges = np.append(np.arange(0, _MOST + _BIN / 2, _BIN), np.inf)
        self._counts = np.zeros(len(self._edges) - 1, dtype=np.int64)

    def add(self, table: Path) -> None:
        """Take in the confounds of one run; nothing if they tell no displacement."""
        if _COLUMN not in header(table):
            return
        values = read_columns(table, table.name)[_COLUMN]
        known = values[np.isfinite(values)]
        if not known.size:
            return
        self._counts += np.histogram(known, self._edges)[0]
        self._means.append(float(known.mean()))
        self._lines.append(_in_parts(values))

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Draw the displacement of all runs to ``motion.svg``."""
        n = len(self._lines)
        if n < audience.fewest:
            return []
        title = "Head motion"
        moved = 100 * self._counts[self._edges[:-1] >= _MOVED - 1e-9].sum() / self._counts.sum()
        said = (
            f"Framewise displacement of {counted(n, 'run')}: mean {shown(np.mean(self._means))} mm; "
            f"{moved:.2g} % of all volumes moved by more than {_MOVED:g} mm"
        )
        if audience.means_only:
            caption = f"{said}. Volumes of all runs together."
        else:
            low, high = np.percentile(self._means, [5, 95])
            said += f"; means of runs, 5 to 95 %: {shown(low)} to {shown(high)} mm"
            caption = (
                f"{said}. A line a run, that with the least mean displacement on top; colour is the largest "
                f"displacement in each hundredth of the run."
            )
        draw = self._draw_together if audience.means_only else self._draw_apart
        draw(folder / "motion.svg", title, f"{said}.")
        return [entry("motion", title, "svg", "motion.svg", f"{said}.", f"{caption} {audience.sample}")]

    def _draw_apart(self, path: Path, title: str, alt: str) -> None:
        order = np.argsort(self._means, kind="stable")
        lines, means = np.array(self._lines)[order], np.array(self._means)[order]
        side = float(np.clip(0.16 * len(means), 1.6, 9))
        height = 0.8 + side + 1.0
        with drawing(path, height, title, alt) as figure:
            headed(figure, title)
            carpet = place(figure, 1.2, 0.8, 6.4, side)
            extent = (0, 100, len(means) + 0.5, 0.5)
            shown = carpet.imshow(lines, aspect="auto", cmap="cividis", vmin=0, vmax=_MOST, extent=extent,
                                  interpolation="none")  # fmt: skip
            carpet.set(xlabel="time (% of the run)", ylabel=counted(len(means), "run"), yticks=[])
            beside = place(figure, 8.2, 0.8, 2.0, side)
            beside.plot(means, np.arange(1, len(means) + 1), color=BLUE, linewidth=1, marker="o", markersize=1.5)
            beside.axvline(_MOVED, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)))
            beside.set(ylim=(len(means) + 0.5, 0.5), xlim=(0, None), yticks=[], xlabel="mean FD (mm)")
            bar = place(figure, 10.6, 0.8, 0.18, side)
            drawn = figure.colorbar(shown, cax=bar, extend="max")
            drawn.outline.set_linewidth(0.4)
            drawn.set_label("FD (mm)")

    def _draw_together(self, path: Path, title: str, alt: str) -> None:
        height = 5.0
        with drawing(path, height, title, alt) as figure:
            headed(figure, title)
            axes = place(figure, 1.2, 0.8, WIDTH - 1.8, height - 1.9)
            share = 100 * self._counts / self._counts.sum()
            left = self._edges[:-1]
            axes.bar(left, share, width=_BIN, align="edge", color=BLUE, edgecolor="white", linewidth=0.3)
            axes.axvline(_MOVED, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
            axes.set(
                xlabel=f"framewise displacement (mm); the last bar is {_MOST:g} mm and more", ylabel="% of volumes"
            )


def _in_parts(values: np.ndarray) -> np.ndarray:
    """Return the largest value in each of equal parts of a run, (100,); the nearest ones in runs with fewer volumes."""
    filled = np.nan_to_num(values)
    edges = np.linspace(0, len(filled), _PARTS + 1)
    return np.array([filled[int(a) : max(int(np.ceil(b)), int(a) + 1)].max() for a, b in itertools.pairwise(edges)])
