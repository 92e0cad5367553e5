"""What generators made, beside images of people: means, spreads and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from ..components import Figure, component
from ..errors import InputError
from ..files import read_tsv
from ..shared import style
from ..shared.printed import counted, listed
from ..shared.slices import HELD_OUT, slices

_LABEL = "held-out people"
#: Lengths, cm: room for names, for headings and for the scales below, and between images.
_NAMES, _HEAD, _FOOT, _GAP = 2.9, 0.75, 1.5, 0.12
#: One scale for intensities, one for spreads; both rise evenly in lightness.
_COLOURS = {"mean": "gray", "subject": "gray", "spread": "cividis"}


@component
class GeneratedImages(Figure):
    """Middle slices, a row a method: the mean and the standard deviation over all images, and some single ones.

    Of restricted data no single image is shown, nor one that was generated, which may be a copy.

    Parameters
    ----------
    plane : {"axial", "coronal", "sagittal"}
        Of the slices.
    """

    plane: Literal["axial", "coronal", "sagittal"] = "axial"

    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return the rows of the run's table of what was generated, in one plane, with labels."""
        if "generated" not in sources:
            fault = "is of a run in which nothing was generated"
            raise InputError(sources["claims"], fault, "leave this figure out of the study card")
        rows = [row for row in read_tsv(sources["generated"]) if row["plane"] in (self.plane, "n/a")]
        present = list(dict.fromkeys(row["method"] for row in rows if row["method"] != HELD_OUT))
        labels = {HELD_OUT: _LABEL, **style.methods_in_order(sources["claims"], present)}
        order = list(labels)
        rows.sort(key=lambda row: order.index(row["method"]))
        return [{"label": labels[row["method"]], **row} for row in rows]

    def told(self, table: list[dict[str, str]]) -> dict[str, str]:
        """Return title, alternative text and caption."""
        differences = _differences(table)
        names = {row["method"]: row["label"] for row in table}
        n_examples = max((int(row["number"]) for row in table if row["what"] == "subject"), default=0)
        told = [f"{names[name]} {value:.4f}" for name, value in differences.items()]
        single = f" and {counted(n_examples, 'single image')}" if n_examples else ""
        rows = listed(list(names.values()), 12, "others")
        return {
            "title": "Generated images beside those of people",
            "alt": f"Middle {self.plane} slices, a row each of {rows}: the mean of all images, their standard"
            f" deviation{single}. Difference of the mean image from that of held-out people (root mean square, images"
            f" from -1 to 1): {listed(told, 12, 'others')}.",
            "caption": f"Middle {self.plane} slices of held-out people and of what each method generated: mean and"
            f" standard deviation (SD) over all images{single}, all on one scale of intensities, from -1 to 1. Numbers"
            " are the root mean square of the difference of the mean volume from that of held-out people."
            + ("" if n_examples else " Single images are not shown."),
        }

    def draw(self, table: list[dict[str, str]], paths: Sequence[Path]) -> None:
        """Draw the images."""
        told, images, differences = self.told(table), slices(table, self.plane), _differences(table)
        names = {row["method"]: row["label"] for row in table}
        columns = sorted({(what, number) for _, what, number in images}, key=lambda one: (_ORDER[one[0]], one[1]))
        n_rows, n_columns = next(iter(images.values())).shape
        width = min((style.WIDTH - _NAMES - 0.2) / len(columns), 2.0) - _GAP
        tall = width * n_rows / n_columns
        height = _HEAD + (tall + _GAP) * len(names) + _FOOT
        most = max(float(np.nanmax(image)) for (_, what, _), image in images.items() if what == "spread")
        scales = {what: Normalize(-1, 1) for what in ("mean", "subject")} | {"spread": Normalize(0, max(most, 1e-6))}
        with style.drawing(paths, height, told["title"], told["alt"]) as figure:
            for place, (method, label) in enumerate(names.items()):
                top = _HEAD + (tall + _GAP) * place
                for number, (what, which) in enumerate(columns):
                    axes = style.place(figure, _NAMES + (width + _GAP) * number, top, width, tall)
                    _show(axes, images.get((method, what, which)), _COLOURS[what], scales[what])
                    if not place:
                        axes.set_title(_HEADINGS[what].format(which), loc="center", fontsize=6)
                    if not number:
                        apart = f"\ndifference {differences[method]:.4f}" if method in differences else ""
                        axes.annotate(
                            style.wrapped(label, 20, 2) + apart, (-0.12, 0.5), xycoords="axes fraction", ha="right",
                            va="center",
                        )  # fmt: skip
            for start, what, name in ((0, "mean", "intensity"), (1, "spread", "SD of intensity")):
                bar = style.place(figure, _NAMES + 4.3 * start, height - 1.15, 3.6, 0.18)
                shown = ScalarMappable(scales[what], _COLOURS[what])
                figure.colorbar(shown, cax=bar, orientation="horizontal").set_label(f"{name} (dimensionless)")


def _differences(table: Sequence[Mapping[str, str]]) -> dict[str, float]:
    return {row["method"]: style.number(row, "value") for row in table if row["what"] == "difference"}


def _show(axes: Axes, image: np.ndarray | None, colours: str, scale: Normalize) -> None:
    axes.set(xticks=[], yticks=[])
    if image is None:
        axes.axis("off")
    else:
        axes.imshow(image, cmap=colours, norm=scale, interpolation="nearest", aspect="auto")


_ORDER = {"mean": 0, "spread": 1, "subject": 2}
_HEADINGS = {"mean": "mean", "spread": "SD", "subject": "image {}"}
