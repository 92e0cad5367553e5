"""Pictures by which a person judges a preprocessed T1-weighted image: does it fit the template, is the cortex cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from .mri_anat import box, regrid
from .nifti import template

_COLOURS = {"brain": "#f0e442", "WM": "#56b4e9", "GM": "#d55e00"}
_AXES = ("x", "y", "z")
#: Parts of the brain's extent at which slices are taken, along each axis.
_CUTS = (0.18, 0.31, 0.44, 0.56, 0.69, 0.82)


def plot_registration(path: Path, image: nib.Nifti1Image) -> None:
    """Draw the outlines of the template's brain and white matter over ``image``, in the standard space."""
    outlines = []
    for kind, name in (("mask", "brain"), ("WM", "WM")):
        there = template(kind, 2)
        outlines.append((name, regrid(there, image.shape, image.affine).get_fdata(dtype=np.float32)))
    _draw(path, image, outlines, outlines[0][1] > 0.5, "lines: template")


def plot_segmentation(path: Path, image: nib.Nifti1Image, labels: np.ndarray, mask: np.ndarray) -> None:
    """Draw the outlines of the mask and of grey and white matter (labels 1 and 2) over ``image``."""
    outlines = [
        ("brain", mask.astype(float)),
        ("GM", ((labels == 1) | (labels == 2)).astype(float)),
        ("WM", (labels == 2).astype(float)),
    ]
    _draw(path, image, outlines, mask, "lines: this image")


def _draw(
    path: Path,
    image: nib.Nifti1Image,
    outlines: Sequence[tuple[str, np.ndarray]],
    mask: np.ndarray,
    caption: str,
) -> None:
    """Draw three rows of six slices, sagittal, coronal and axial, of the box around the mask."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data = image.get_fdata(dtype=np.float32)
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    tight, where = box(mask, 0), box(mask, round(12 / float(spacing.min())))
    # A box may reach beyond the image.
    where = tuple(slice(part.start, min(part.stop, n)) for part, n in zip(where, data.shape, strict=True))
    high = 1.1 * float(np.percentile(data[mask], 99.5))
    size = np.array([(part.stop - part.start) * step for part, step in zip(where, spacing, strict=True)])
    rows = [(size[1], size[2]), (size[0], size[2]), (size[0], size[1])]
    widest = max(width for width, _ in rows)
    heights = [height for _, height in rows]
    figure = Figure(figsize=(9.6, 9.6 / (len(_CUTS) * widest) * sum(heights) + 0.35), facecolor="black", dpi=110)
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        3, len(_CUTS), height_ratios=heights, left=0, right=1, bottom=0.35 / figure.get_figheight(), top=1,
        wspace=0.01, hspace=0.01,
    )  # fmt: skip
    for axis in range(3):
        across, up = (part for k, part in enumerate(where) if k != axis)
        wide, high_step = (step for k, step in enumerate(spacing) if k != axis)
        extent = (0, (across.stop - across.start) * wide, 0, (up.stop - up.start) * high_step)
        for column, part in enumerate(_CUTS):
            at = round(tight[axis].start + part * (tight[axis].stop - 1 - tight[axis].start))
            index = tuple(at if k == axis else where[k] for k in range(3))
            panel = figure.add_subplot(grid[axis, column])
            panel.imshow(
                data[index].T, origin="lower", cmap="gray", vmin=0, vmax=high, extent=extent, interpolation="bilinear"
            )
            for name, outline in outlines:
                if (outline[index] > 0.5).any() and not (outline[index] > 0.5).all():
                    panel.contour(
                        outline[index].T, [0.5], colors=_COLOURS[name], linewidths=0.6, origin="lower", extent=extent
                    )
            corner = [0.0, 0.0, 0.0]
            corner[axis] = float(at)
            position = nib.affines.apply_affine(image.affine, corner)[axis]
            panel.text(
                0.02,
                0.02,
                f"{_AXES[axis]} {position:+.0f}",
                color="white",
                fontsize=6,
                transform=panel.transAxes,
                bbox={"facecolor": "black", "edgecolor": "none", "pad": 0.5},
            )
            if column == 0 and axis > 0:
                panel.text(0.02, 0.9, "L", color="white", fontsize=7, transform=panel.transAxes)
            panel.set_axis_off()
            panel.set_anchor("C")
    for number, (name, _) in enumerate(outlines):
        label = {"brain": "brain", "GM": "grey matter", "WM": "white matter"}[name]
        figure.text(0.01 + 0.13 * number, 0.012, label, color=_COLOURS[name], fontsize=9)
    figure.text(0.99, 0.012, caption, color="white", fontsize=9, ha="right")
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    # A palette of grey values and of lines over them takes a third of the bytes.
    few = picture.quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _palette() -> Image.Image:
    """Return a picture whose palette has 64 grey values, and each colour mixed with grey values."""
    grey = np.repeat(np.linspace(0, 255, 64)[:, None], 3, axis=1)
    mixed = [
        share * 255 * np.array(to_rgb(colour)) + (1 - share) * level
        for colour in _COLOURS.values()
        for share in (0.25, 0.5, 0.75, 1.0)
        for level in (0, 64, 128, 192, 255)
    ]
    entries = np.rint(np.vstack([grey, mixed])).astype(np.uint8)
    made = Image.new("P", (1, 1))
    made.putpalette(np.vstack([entries, np.repeat(entries[:1], 256 - len(entries), axis=0)]).tobytes())
    return made
