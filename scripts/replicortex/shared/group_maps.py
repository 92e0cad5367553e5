"""Maps of the standard space over many people: means inside of the brain, drawn as slices and for turning by hand."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from ..components import Audience
from ..errors import InputError
from ..files import write_text
from .anat_maps import brain_mask
from .group_displays import Running, covered, entry, headed, shown
from .mri_anat import box, regrid
from .mri_files import entities
from .nifti import read_image, template
from .style import INK, SKY, WIDTH, drawing, place

#: Parts of the brain's extent at which slices lie: rows of (axis, where).
_ROWS = (
    [(2, part) for part in (0.14, 0.28, 0.42, 0.56, 0.7, 0.84)],
    [(1, 0.3), (1, 0.5), (1, 0.7), (0, 0.25), (0, 0.5), (0, 0.75)],
)
_AXES = "xyz"
_MARGIN_MM, _GAP, _BELOW, _TOP, _BAR = 4.0, 0.06, 0.28, 0.75, 0.85
#: What a viewer may do: nothing but show itself.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Look:
    """How a map is drawn.

    Parameters
    ----------
    unit : str
        Of the values, as the label of the colours.
    colours : str
        Name of a colour map; one that the colour-blind can tell apart.
    low, high : float or None
        Ends of the colours; by default 0 and the 99.5th percentile.
    """

    unit: str
    colours: str = "gray"
    low: float = 0.0
    high: float | None = None


class GroupMap:
    """The mean, deviation and coverage of images inside of the brain, one image in memory at a time.

    Parameters
    ----------
    mm : float
        Size of the voxels of the map; of coarser images (by the first) half the size of theirs, which shows all that
        they hold.
    """

    def __init__(self, mm: float) -> None:
        self.mm = mm
        self.total = 0
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """Mean and deviation of each voxel."""
        if self._running is None:
            self._running = Running(template("mask", self.mm).shape)
        return self._running

    @property
    def affine(self) -> np.ndarray:
        """From voxels to mm."""
        return template("mask", self.mm).affine

    def add(self, image: nib.Nifti1Image, mask: np.ndarray) -> None:
        """Take in ``image`` inside of its ``mask`` (boolean, on its grid): nothing outside of the brain is read."""
        if self._running is None:
            self.mm = max(self.mm, float(np.linalg.norm(image.affine[:3, :3], axis=0).min()) / 2)
        share = self._here(nib.Nifti1Image(mask.astype(np.float32), image.affine))
        inside = np.where(mask, np.asarray(image.dataobj, dtype=np.float32), 0)
        values = self._here(nib.Nifti1Image(inside, image.affine))
        # A voxel at the edge of the mask is the mean of those that are inside.
        self.running.add(values / np.maximum(share, 0.5), share > 0.5)
        self.total += 1

    def _here(self, image: nib.Nifti1Image) -> np.ndarray:
        shape = self.running.count.shape
        if image.shape == shape and np.allclose(image.affine, self.affine, atol=1e-4):
            return np.asarray(image.dataobj)
        return np.asarray(regrid(image, shape, self.affine).dataobj)


def relative(image: nib.Nifti1Image, mask: np.ndarray, name: str) -> nib.Nifti1Image:
    """Return an image of arbitrary unit over its median inside of ``mask``.

    Raises
    ------
    InputError
        If that median is not positive.
    """
    data = np.asarray(image.dataobj, dtype=np.float32)
    middle = float(np.median(data[mask])) if mask.any() else 0.0
    if not middle > 0:
        raise InputError(name, "has no positive values inside of its mask", "look at the image")
    return nib.Nifti1Image(data / middle, image.affine)


def open_masked(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """Return the image at ``path`` and which of its voxels are brain, (x, y, z), boolean.

    Raises
    ------
    InputError
        If it is no image of MNI space, is damaged, or has no brain mask beside it.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(path.name, "is a table and no image", "nothing is to be done")
    if not entities(path).get("space", "").startswith("MNI"):
        raise InputError(path.name, "is not in a standard space", "have preprocessing write MNI space")
    image = read_image(path, 3)
    mask = brain_mask(path, image)
    if mask is None:
        raise InputError(path.name, "has no brain mask beside it", "have preprocessing write one")
    return image, mask


def map_displays(
    folder: Path, name: str, what: str, group: GroupMap, look: Look, audience: Audience, *, spread: bool = True
) -> list[dict[str, str]]:
    """Write mean (slices and viewer) and, with ``spread``, deviation and coverage; nothing if too few came.

    Parameters
    ----------
    folder : Path
        Written: ``<name>.svg``, ``<name>.html``, ``<name>_spread.svg``, ``<name>_coverage.svg``.
    name, what : str
        Short name, and words such as ``T1w image``.
    group : GroupMap
    look : Look
        Of the mean.
    audience : Audience
    """
    least = covered(group.total, audience)
    outline = np.asarray(template("mask", group.mm).dataobj) > 0.5
    if group.total < audience.fewest or not ((group.running.count >= least) & outline).any():
        return []
    mean, *others = _maps(name, what, group, look, audience, outline)
    line = "Blue line: brain of the template (ICBM 152, 2009a)."
    made = []
    for drawn in (mean, *(others if spread else ())):
        draw_slices(folder / f"{drawn.name}.svg", drawn, group.affine, outline)
        caption = f"{drawn.caption} {line} {audience.sample}"
        made.append(entry(drawn.name, drawn.title, "svg", f"{drawn.name}.svg", drawn.alt, caption))
    title = f"{mean.title}, to click through"
    write_viewer(folder / f"{name}.html", title, mean.data, group.affine, look)
    alt = f"Viewer of three slices through the mean {what}; a click moves them."
    made.insert(1, entry(f"{name}_viewer", title, "html", f"{name}.html", alt, f"{mean.caption} {audience.sample}"))
    return made


class Map(NamedTuple):
    """A map to draw: NaN where it is empty."""

    name: str
    title: str
    data: np.ndarray
    look: Look
    caption: str
    alt: str


def _maps(name: str, what: str, group: GroupMap, look: Look, audience: Audience, outline: np.ndarray) -> list[Map]:
    """Return mean, deviation and coverage."""
    running, total, least = group.running, group.total, covered(group.total, audience)
    known = running.count >= least
    where = f"over {total} recordings, inside of their brains. Voxels that fewer than {least} cover are left out."
    made = []
    for file, title, data, how in (
        (name, f"Mean {what}", running.mean, look),
        (f"{name}_spread", f"Deviation of the {what}", running.deviation, Look(f"SD, {look.unit}", "cividis")),
    ):
        data = np.where(known, data, np.nan)
        low, middle, high = np.percentile(data[np.isfinite(data) & outline], [5, 50, 95])
        alt = (
            f"{title} of {total} recordings in slices in three directions: median {shown(middle)}, 5 to 95 % of the "
            f"brain {shown(low)} to {shown(high)} ({how.unit})."
        )
        made.append(Map(file, title, data, how, f"{title} (SD: standard deviation) {where}" if made else
                         f"{title} {where}", alt))  # fmt: skip
    share = np.where(running.count >= audience.fewest, 100 * running.count / total, np.nan)
    count, title = running.count[outline], f"Coverage of the {what}"
    whole, half = (100 * float((count >= n).mean()) for n in (total, total / 2))
    alt = (
        f"{title}: every one of {total} recordings covers {whole:.0f} % of the template's brain, at least half of them "
        f"cover {half:.0f} %. Slices in three directions."
    )
    caption = f"Share of {total} recordings whose brain holds a voxel."
    look = Look("% of recordings", "cividis", high=100)
    return [*made, Map(f"{name}_coverage", title, share, look, caption, alt)]


def draw_slices(path: Path, drawn: Map, affine: np.ndarray, outline: np.ndarray) -> None:
    """Draw twelve slices of a map (NaN where it is empty) with the outline of the template's brain, as SVG."""
    data, look = drawn.data, drawn.look
    spacing = float(np.linalg.norm(affine[:3, 0]))
    tight, where = box(outline, 0), box(outline, round(_MARGIN_MM / spacing))
    where = tuple(slice(max(0, part.start), min(part.stop, n)) for part, n in zip(where, data.shape, strict=True))
    size = [(part.stop - part.start) * spacing for part in where]
    across = [[size[1 if axis == 0 else 0] for axis, _ in row] for row in _ROWS]
    upward = [max(size[1 if axis == 2 else 2] for axis, _ in row) for row in _ROWS]
    scale = min((WIDTH - 0.2 - _GAP * len(row)) / sum(row) for row in across)
    colours = Normalize(look.low, _top(data, outline) if look.high is None else look.high)
    height = _TOP + sum(high * scale + _BELOW for high in upward) + _BAR
    with drawing(path, height, drawn.title, drawn.alt) as figure:
        headed(figure, drawn.title)
        top = _TOP
        for row, widths, high in zip(_ROWS, across, upward, strict=True):
            left = 0.1
            for (axis, part), width in zip(row, widths, strict=True):
                at = round(tight[axis].start + part * (tight[axis].stop - 1 - tight[axis].start))
                index = tuple(at if k == axis else where[k] for k in range(3))
                panel = place(figure, left, top, width * scale, high * scale)
                extent = (0, width, 0, data[index].shape[1] * spacing)
                panel.imshow(data[index].T, origin="lower", extent=extent, cmap=look.colours, norm=colours,
                             interpolation="none")  # fmt: skip
                panel.contour(outline[index].T, [0.5], colors=SKY, linewidths=0.5, origin="lower", extent=extent)
                panel.set(xlim=(0, width), ylim=(0, high))
                position = nib.affines.apply_affine(affine, [at if k == axis else 0 for k in range(3)])[axis]
                panel.text(0.5, -0.01, f"{_AXES[axis]} = {position:.0f} mm", transform=panel.transAxes, fontsize=5,
                           ha="center", va="top")  # fmt: skip
                if axis > 0 and part == row[0][1]:
                    panel.text(0, 0.9, "L", transform=panel.transAxes, fontsize=6)
                panel.set_axis_off()
                left += width * scale + _GAP
            top += high * scale + _BELOW
        bar = place(figure, 0.4, height - 0.55, 4.0, 0.16)
        scaled = figure.colorbar(
            ScalarMappable(colours, look.colours), cax=bar, orientation="horizontal", ticks=MaxNLocator(4)
        )
        scaled.outline.set(linewidth=0.4, edgecolor=INK)
        figure.text(4.7 / WIDTH, 0.47 / height, look.unit, fontsize=6.5, va="center")


def _top(data: np.ndarray, outline: np.ndarray) -> float:
    values = data[np.isfinite(data) & outline]
    return float(np.percentile(values, 99.5)) or 1.0


def write_viewer(path: Path, title: str, data: np.ndarray, affine: np.ndarray, look: Look) -> None:
    """Write a page of its own in which a map (NaN where it is empty) can be clicked through: nilearn's viewer.

    It asks nothing of anybody: all is in the file, and a policy in its head forbids the browser to load more. It runs
    in an ``iframe`` with ``sandbox="allow-scripts"``.
    """
    from nilearn import plotting

    high = look.high or _top(data, np.isfinite(data))
    view = plotting.view_img(
        nib.Nifti1Image(np.nan_to_num(data).astype(np.float32), affine), bg_img=None, cmap=look.colours,
        symmetric_cmap=False, black_bg=True, threshold=None, vmin=look.low, vmax=high, opacity=1, colorbar=False,
        resampling_interpolation="nearest",
    )  # fmt: skip
    page = re.sub(
        r"data:image/png;base64,([A-Za-z0-9+/=]+)",
        lambda found: "data:image/png;base64," + base64.b64encode(_plain_png(base64.b64decode(found[1]))).decode(),
        view.get_standalone(),
    )
    head = (
        f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<style>html,body{{margin:0;background:#000}}</style>\n<title>{escape(title)}</title>"
    )
    # The crosshair is dark blue on black, and there is no option for it.
    page = page.replace('"crosshair": true', f'"crosshair": true, "colorCrosshair": "{SKY}"')
    write_text(path, re.sub(r"<head>\s*<title>.*?</title>", lambda _: head, page, count=1, flags=re.DOTALL))


def _plain_png(content: bytes) -> bytes:
    """Return a PNG without its texts, such as the version of what wrote it."""
    return content[:8] + b"".join(chunk for kind, chunk in _chunks(content) if kind not in (b"tEXt", b"iTXt", b"zTXt"))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at:end]
        at = end
