"""Pictures of a BOLD series for the report: carpet with motion, and how it lies in the T1w image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from .style import BLUE, GREY, ORANGE, RED

#: Rows of the carpet for grey matter, white matter and CSF: voxels beyond are thinned out.
_ROWS = (360, 150, 90)


def _save(figure: object, path: Path) -> None:
    # No software version in the file: the same picture is the same bytes.
    figure.savefig(path, dpi=85, metadata={"Software": None})


def plot_series(
    series: np.ndarray,
    tissues: Sequence[np.ndarray],
    columns: Mapping[str, np.ndarray],
    repetition_time: float,
    path: Path,
) -> None:
    """Draw framewise displacement, DVARS and the carpet (Power 2017, doi:10.1016/j.neuroimage.2016.08.009).

    Parameters
    ----------
    series : ndarray of shape (n_voxels, n_volumes)
        Of the brain, any unit.
    tissues : sequence of ndarray of int
        Voxels of grey matter, white matter and CSF.
    columns : mapping
        The confounds: ``framewise_displacement`` (mm) and ``std_dvars``.
    repetition_time : float
        s.
    path : Path
        PNG to write.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_volumes = series.shape[1]
    rows, edges = [], [0]
    for voxels, most in zip(tissues, _ROWS, strict=True):
        chosen = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), most)).round().astype(int)]
        values = series[chosen].astype(np.float64)
        trend = np.vander(np.linspace(-1, 1, n_volumes), 2)
        values = values - (trend @ np.linalg.lstsq(trend, values.T)[0]).T
        deviation = values.std(axis=1, keepdims=True)
        rows.append(np.divide(values, deviation, out=np.zeros_like(values), where=deviation > 0))
        edges.append(edges[-1] + len(chosen))
    figure = Figure(figsize=(8, 5.2))
    FigureCanvasAgg(figure)
    top, middle, carpet = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1, 4])
    seconds = np.arange(n_volumes) * repetition_time
    for axes, name, label, limit, colour in (
        (top, "framewise_displacement", "FD (mm)", 0.5, BLUE),
        (middle, "std_dvars", "std. DVARS", 1.5, ORANGE),
    ):
        axes.plot(seconds, columns[name], color=colour, linewidth=1)
        axes.axhline(limit, color=GREY, linewidth=0.6, linestyle="--")
        axes.set_ylim(0, max(1.3 * limit, 1.05 * float(np.nanmax(columns[name]))))
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    extent = (-repetition_time / 2, seconds[-1] + repetition_time / 2, edges[-1], 0)
    carpet.imshow(np.vstack(rows), aspect="auto", cmap="gray", vmin=-2, vmax=2, extent=extent, interpolation="nearest")
    for name, low, high in zip(("grey", "white", "CSF"), edges[:-1], edges[1:], strict=True):
        carpet.axhline(high, color=RED, linewidth=0.8)
        if high == low:
            continue
        carpet.text(-0.012, 1 - (low + high) / 2 / edges[-1], name, transform=carpet.transAxes, fontsize=8,
                    ha="right", va="center", rotation=90)  # fmt: skip
    carpet.set_yticks([])
    carpet.set_xlabel("time (s)", fontsize=8)
    carpet.tick_params(labelsize=7)
    figure.subplots_adjust(left=0.08, right=0.99, top=0.98, bottom=0.08, hspace=0.12)
    _save(figure, path)


def plot_coregistration(
    reference: np.ndarray,
    affine: np.ndarray,
    white: np.ndarray,
    t1w_affine: np.ndarray,
    mask: np.ndarray,
    matrix: np.ndarray,
    path: Path,
) -> None:
    """Draw slices of the reference with the outlines of white matter and brain of the T1w image.

    Parameters
    ----------
    reference : ndarray of shape (x, y, z)
    affine : ndarray of shape (4, 4)
        Of the reference.
    white, mask : ndarray of shape (i, j, k)
        On the grid of the T1w image, 0 to 1.
    t1w_affine : ndarray of shape (4, 4)
    matrix : ndarray of shape (4, 4)
        From the world of the reference to that of the T1w image.
    path : Path
        PNG to write.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inside = np.argwhere(mask > 0.5)
    corners = t1w_affine[:3, :3] @ inside.T + t1w_affine[:3, 3:]
    low, high = corners.min(axis=1) - 8, corners.max(axis=1) + 8
    top = float(np.percentile(reference, 99.7))
    figure = Figure(figsize=(8, 5.6), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, 5)
    for row, axis in enumerate((2, 0, 1)):
        others = [k for k in range(3) if k != axis]
        spans = [np.arange(low[k], high[k], 1.0) for k in others]
        for column, at in enumerate(np.linspace(low[axis], high[axis], 7)[1:-1]):
            points = np.empty((3, len(spans[1]), len(spans[0])))
            points[axis] = at
            points[others[0]], points[others[1]] = np.meshgrid(*spans)
            shape, flat = points.shape[1:], points.reshape(3, -1)

            def show(data: np.ndarray, to_voxel: np.ndarray, flat: np.ndarray = flat, shape: tuple = shape):
                place = to_voxel[:3, :3] @ flat + to_voxel[:3, 3:]
                return ndimage.map_coordinates(data, place, order=1, mode="constant", output=np.float32).reshape(shape)

            axes = grid[row, column]
            back = np.linalg.inv(affine) @ np.linalg.inv(matrix)
            axes.imshow(show(reference, back), cmap="gray", vmin=0, vmax=top, origin="lower", interpolation="nearest")
            for data, colour in ((white, RED), (mask, "#56B4E9")):
                drawn = show(np.asarray(data, dtype=np.float32), np.linalg.inv(t1w_affine))
                if drawn.min() < 0.5 < drawn.max():
                    axes.contour(drawn, [0.5], colors=colour, linewidths=0.5)
            axes.set_axis_off()
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0, wspace=0.02, hspace=0.02)
    _save(figure, path)
