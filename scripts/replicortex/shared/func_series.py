"""The series of one BOLD run: of regions or of voxels, cleaned, from images or from tables that others made."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import nibabel as nib
import numpy as np
from pydantic import Field

from ..components import Extractor
from ..errors import InputError
from ..files import read_tsv
from .atlas import Name, Parcels, coordinates, parcels
from .denoise import Denoise, Plan
from .mri_files import beside, entities, header, is_confounds, mean_fd, number, read_columns, repetition_time, suffix
from .nifti import read_image, template
from .words import count, digits, file_name, names, numbers, percent, text

DEFAULT = Denoise()
#: Whose the coordinates of an atlas are.
_PAPERS: dict[Name, str] = {
    "dosenbach": "Dosenbach et al. [@dosenbach2010]",
    "power": "Power et al. [@power2011]",
    "seitzman": "Seitzman et al. [@seitzman2020]",
}
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class RegionSeries:
    """Cleaned series of the regions of one run.

    Parameters
    ----------
    values : ndarray of shape (n_times, n_regions)
        Float64; zeros where a region is missing.
    regions, networks : list of str
        Names, and the network of each (``n/a`` if not known).
    coverage : ndarray of shape (n_regions,)
        Share of each region that has signal.
    missing : ndarray of shape (n_regions,)
        Boolean: the regions that were covered too little, and are zero.
    kept : ndarray of shape (n_times,)
        Numbers of the volumes that the values stand for.
    tr : float
        Seconds between volumes, NaN if unknown.
    mean_fd : float
        Mean framewise displacement (mm) over the whole run, NaN if not stated.

    """

    values: np.ndarray
    regions: list[str]
    networks: list[str]
    coverage: np.ndarray
    missing: np.ndarray
    kept: np.ndarray
    tr: float
    mean_fd: float

    @property
    def columns(self) -> dict[str, float]:
        """Return the numbers that stand in the row table."""
        return {"mean_fd": self.mean_fd, "n_volumes": float(len(self.values)), "tr": self.tr}


@dataclass(kw_only=True)
class RegionExtractor(Extractor):
    """Base of the extractors that need the series of regions.

    They take a preprocessed image in MNI space (``*_desc-preproc_bold.nii.gz``, its mask and confounds beside it),
    or a table of series that another tool made (``*_timeseries.tsv``), whose regions are its columns and which
    needs no atlas. Memory is that of the image in float32, twice if it is smoothed.

    Parameters
    ----------
    denoise : mapping
        See :class:`replicortex.shared.denoise.Denoise`. Applied to tables too: for series that are clean
        already, ``{strategy: none}``.
    atlas : {"dosenbach", "power", "seitzman"}
        Coordinates; see :func:`replicortex.shared.atlas.coordinates`.
    networks : list of str or None
        Networks of the atlas to take; ``None`` takes all.
    radius : float or None
        Radius (mm) of the spheres, ``None`` for that of the atlas' paper (5 mm; 4 or 5 mm for ``seitzman``).
    atlas_file : str or None
        A label image in MNI space that is used instead of ``atlas``.
    atlas_labels : str or None
        Its table with columns ``index`` and ``name``.
    regions : list of str or None
        Names of the regions to take, in that order; ``None`` takes all.
    min_coverage : float
        Share of a region that must have signal (inside the mask, with variance); else it is missing.
    max_missing : float
        Share of the regions that may be missing, for the run not to be refused. A missing region keeps its place,
        since all runs of a study must give the same regions: its series is zero, and the array ``coverage`` tells.

    """

    datatypes = ("func",)
    suffixes = ("bold", "timeseries")
    measures = frozenset(["mean_fd", "n_volumes", "tr"])
    family = "mri"

    denoise: Denoise = DEFAULT
    atlas: Name = "dosenbach"
    networks: list[str] | None = None
    radius: Annotated[float, Field(gt=0)] | None = None
    atlas_file: str | None = None
    atlas_labels: str | None = None
    regions: list[str] | None = None
    min_coverage: Share = 0.5
    max_missing: Share = 0.1

    def series(self, recording: Mapping[str, str], path: Path) -> RegionSeries:
        """Return the cleaned series of the run at ``path``.

        Raises
        ------
        InputError
            If the file is of another kind or damaged, not in MNI space, too many regions are missing, or too
            little remains after censoring.

        """
        name = recording["path"]
        if suffix(path) == "timeseries.tsv" and not is_confounds(path):
            return self._from_table(path, name)
        image, valid = open_bold(path, name)
        return self.series_of(smoothed(image, self.denoise), valid, path, name)

    def series_of(self, image: nib.Nifti1Image, valid: np.ndarray, path: Path, name: str) -> RegionSeries:
        """Return the cleaned series of an image that is open already; ``valid`` are its voxels with signal (flat)."""
        found = self.parcels(image)
        coverage = found.coverage(valid)
        data = np.asarray(image.dataobj).reshape(-1, image.shape[3])
        raw = found.means(data, valid).T
        return self._cleaned(raw, coverage, found.names, found.networks, path, name, seconds_between(image, path))

    def _regions_in_words(self) -> str:
        chosen = "" if self.regions is None else f", of which {count(len(self.regions), 'region')} were taken"
        if self.atlas_file is not None:
            labels = f" with the names of {file_name(self.atlas_labels)}" if self.atlas_labels else ""
            return (
                "Regional series are means over the voxels of each label of"
                f" {file_name(self.atlas_file)}{labels}{chosen}."
            )
        found, _, _, radii = coordinates(self.atlas, tuple(self.networks) if self.networks is not None else None)
        network = f" of the {names(self.networks)} network" if self.networks is not None else ""
        radius = digits(self.radius) if self.radius is not None else numbers(sorted(set(radii.tolist())))
        return (
            f"Regional series are means over the voxels of spheres of {radius} mm radius around {len(found)}"
            f" coordinates{network} of {_PAPERS[self.atlas]}{chosen}."
        )

    def parcels(self, image: nib.Nifti1Image) -> Parcels:
        """Return the regions on the grid of ``image``."""
        return parcels(image, self.atlas, self.networks, self.radius, self.atlas_file, self.atlas_labels)

    def _from_table(self, path: Path, name: str) -> RegionSeries:
        columns = read_columns(path, name)
        raw = np.column_stack(list(columns.values()))
        finite = np.isfinite(raw).all(axis=0)
        coverage = (finite & (np.ptp(np.where(finite, raw, 0), axis=0) > 0)).astype(float)
        networks = ("n/a",) * len(columns)
        return self._cleaned(
            np.where(finite, raw, 0), coverage, tuple(columns), networks, path, name, repetition_time(path)
        )

    def _cleaned(
        self,
        raw: np.ndarray,
        coverage: np.ndarray,
        names: tuple[str, ...],
        networks: tuple[str, ...],
        path: Path,
        name: str,
        tr: float,
    ) -> RegionSeries:
        chosen = chosen_regions(names, self.regions, name)
        raw, coverage = raw[:, chosen], coverage[chosen]
        missing = missing_regions(coverage, self.min_coverage, self.max_missing, [names[i] for i in chosen], name)
        missing |= np.ptp(raw, axis=0) == 0
        plan = self.denoise.plan(path, name, len(raw), tr)
        values = np.zeros((len(plan.kept), raw.shape[1]))
        values[:, ~missing] = self.denoise.clean(raw[:, ~missing], plan)
        return RegionSeries(
            values,
            [names[i] for i in chosen],
            [networks[i] for i in chosen],
            coverage,
            missing,
            plan.kept,
            tr,
            mean_fd(path),
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        kinds = set(suffixes or self.suffixes)
        said = []
        if "bold" in kinds:
            said.append(self._regions_in_words())
        if "timeseries" in kinds:
            chosen = "" if self.regions is None else f", {count(len(self.regions), 'region')} of them"
            said.append(f"The series of the regions were taken from the tables of the dataset{chosen}.")
        if kinds != {"relmat"}:
            said.append(self.denoise.described())
        said.append(
            f"A region of which less than {percent(self.min_coverage)} had signal counted as missing, and runs with"
            f" more than {percent(self.max_missing)} missing were excluded."
        )
        return text(*said)


def chosen_regions(names: tuple[str, ...], wanted: list[str] | None, name: str) -> list[int]:
    """Return the numbers of the ``wanted`` regions among ``names``; of all if it is ``None``."""
    if wanted is None:
        return list(range(len(names)))
    lacking = [region for region in wanted if region not in names]
    if lacking or len(set(wanted)) != len(wanted):
        fault = f"has no region {', '.join(lacking[:5])}" if lacking else "is asked for a region twice"
        raise InputError(name, fault, "correct regions in the feature card")
    return [names.index(region) for region in wanted]


def missing_regions(
    coverage: np.ndarray, min_coverage: float, max_missing: float, names: list[str], name: str
) -> np.ndarray:
    """Return which regions, (n_regions,), have no signal or less than ``min_coverage`` of it.

    Raises
    ------
    InputError
        If they are more than the share ``max_missing`` of all, or all but one.

    """
    missing = (coverage < min_coverage) | (coverage == 0)
    if missing.sum() > max_missing * len(missing) or (~missing).sum() < 2:
        some = ", ".join(names[i] for i in np.flatnonzero(missing)[:3])
        fault = f"{missing.sum()} of {len(missing)} regions are covered too little (such as {some})"
        raise InputError(name, fault, "exclude the run, or relax min_coverage or max_missing in the feature card")
    return missing


def open_bold(path: Path, name: str, *, standard: bool = True) -> tuple[nib.Nifti1Image, np.ndarray]:
    """Return a preprocessed BOLD image and which of its voxels have signal (flat, boolean).

    Those are the voxels of its brain mask, if one lies beside it, whose values vary.

    Parameters
    ----------
    path : Path
    name : str
        Stands for the file in messages.
    standard : bool
        Refuse an image that is not in MNI space.

    Raises
    ------
    InputError
        If this is no such image, or no voxel has signal.

    """
    if not re.fullmatch(r"bold\.nii(\.gz)?", suffix(path)):
        kind = "a table of confounds without images" if is_confounds(path) else f"no BOLD image ({suffix(path)})"
        raise InputError(name, f"is {kind}", "provide *_desc-preproc_bold.nii.gz, or choose another feature")
    space = entities(path).get("space", "")
    if standard and not space.startswith("MNI"):
        fault = f"is in the space {space!r}" if space else "is in the space of the scanner"
        raise InputError(name, f"{fault}, where the feature needs MNI space", "write MNI space when preprocessing")
    image = read_image(path, 4, name)
    data = np.asarray(image.dataobj).reshape(-1, image.shape[3])
    valid = data.max(axis=1) > data.min(axis=1)
    file = beside(path, "desc-brain_mask.nii.gz", keep=("space", "res"))
    if file.is_file():
        mask = read_image(file, 3)
        if mask.shape != image.shape[:3] or not np.allclose(mask.affine, image.affine, atol=1e-3):
            raise InputError(file.name, "is on another grid than the image", "restore the mask of this image")
        valid &= np.asarray(mask.dataobj).reshape(-1) > 0.5
    if not valid.any():
        raise InputError(name, "no voxel of its mask has signal", "exclude the run")
    return image, valid


def seconds_between(image: nib.Nifti1Image, path: Path) -> float:
    """Return the seconds between volumes: of the sidecar, else of the header; NaN if unknown."""
    return repetition_time(path, float(image.header.get_zooms()[3]))


def smoothed(image: nib.Nifti1Image, denoise: Denoise) -> nib.Nifti1Image:
    """Return ``image`` smoothed as ``denoise`` says; the header goes with it."""
    if denoise.smoothing_fwhm is None:
        return image
    from nilearn.image import smooth_img

    made = smooth_img(image, denoise.smoothing_fwhm)
    made.header.set_zooms(image.header.get_zooms())
    return made


@dataclass(frozen=True)
class VoxelSeries:
    """Series of the voxels of a mask that is the same for every run.

    Parameters
    ----------
    raw : ndarray of shape (n_volumes, n_found)
        Float32, not cleaned, of the voxels that have signal.
    plan : Plan
        How to clean them.
    found : ndarray of shape (n_voxels,)
        Boolean: which voxels of the mask have signal.
    mask : ndarray of shape (x, y, z)
        Boolean.
    affine : ndarray of shape (4, 4)
    tr, mean_fd : float
    """

    raw: np.ndarray
    plan: Plan
    found: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    tr: float
    mean_fd: float

    @property
    def voxels(self) -> list[int]:
        """Return the flat numbers of the mask's voxels in its grid."""
        return np.flatnonzero(self.mask).tolist()

    @property
    def columns(self) -> dict[str, float]:
        """Return the numbers that stand in the row table."""
        coverage = float(self.found.mean())
        return {
            "mean_fd": self.mean_fd,
            "n_volumes": float(len(self.plan.kept)),
            "tr": self.tr,
            "coverage": coverage,
        }

    @property
    def meta(self) -> dict:
        """Return the grid, for those who make an image of the values."""
        return {"affine": self.affine.tolist(), "shape": list(self.mask.shape)}

    def filled(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` (..., n_found) with zeros for the voxels of the mask that have no signal."""
        made = np.zeros((*values.shape[:-1], len(self.found)), dtype=np.float32)
        made[..., self.found] = values
        return made


def template_mask(kind: Literal["brain", "gm"], mm: float, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of the template at voxels of ``mm``, boolean (x, y, z), and its affine.

    ``brain`` is the whole brain, ``gm`` where the probability of grey matter is greater than ``threshold``.
    """
    mask = template("mask", mm)
    inside = np.asarray(mask.dataobj) > 0.5
    if kind == "gm":
        inside &= np.asarray(template("GM", mm).dataobj) > threshold
    return inside, mask.affine


def on_grid(image: nib.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray, how: str) -> np.ndarray:
    """Return the values of ``image`` on another grid (``how`` is linear, continuous or nearest), float32."""
    if image.shape[:3] == tuple(shape) and np.allclose(image.affine, affine, atol=1e-4):
        return np.asarray(image.dataobj, dtype=np.float32)
    from nilearn.image import resample_img

    made = resample_img(image, affine, shape, interpolation=how, copy_header=True, force_resample=True)
    return np.asarray(made.dataobj, dtype=np.float32)


def voxel_series(
    image: nib.Nifti1Image,
    valid: np.ndarray,
    path: Path,
    name: str,
    denoise: Denoise,
    *,
    kind: Literal["brain", "gm"],
    mm: float,
    threshold: float,
    max_missing: float,
) -> VoxelSeries:
    """Return the series of an image in the voxels of a mask of the template.

    Parameters
    ----------
    image, valid
        As :func:`open_bold` returns them, smoothed if need be.
    path, name
        The file, and what stands for it in messages.
    denoise : Denoise
    kind, mm, threshold
        See :func:`template_mask`.
    max_missing : float
        Share of the mask that may be without signal.

    Raises
    ------
    InputError
        If more of the mask has no signal, or too little remains after censoring.

    """
    tr = seconds_between(image, path)
    plan = denoise.plan(path, name, image.shape[3], tr)
    mask, affine = template_mask(kind, mm, threshold)
    data = on_grid(image, mask.shape, affine, "linear")[mask]
    brain = nib.Nifti1Image(valid.reshape(image.shape[:3]).astype(np.uint8), image.affine)
    found = (on_grid(brain, mask.shape, affine, "nearest")[mask] > 0.5) & (data.max(axis=1) > data.min(axis=1))
    lacking = 1 - found.mean()
    if lacking > max_missing or found.sum() < 2:
        fault = f"{100 * lacking:.0f} % of the voxels of the mask have no signal"
        raise InputError(name, fault, "exclude the run, or relax max_missing in the feature card")
    return VoxelSeries(data[found].T, plan, found, mask, affine, tr, mean_fd(path))


def read_relmat(path: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Return the regions and the matrix (n_regions, n_regions) of a ``relmat`` table, NaN where a cell is missing.

    Raises
    ------
    InputError
        If the table is not square, its lines are not in the order of its columns, or it is not symmetric.

    """
    names = header(path)
    labelled = names[:1] == ["Node"]
    if labelled:
        rows = [row["Node"] for row in read_tsv(path)]
    values = read_numbers(path, name, skip=1 if labelled else 0)
    names = names[1:] if labelled else names
    if values.shape != (len(names), len(names)) or (labelled and rows != names):
        fault = f"has {len(values)} lines for {len(names)} columns" if len(values) != len(names) else "is not ordered"
        raise InputError(name, f"{fault}, where a matrix has a line for each column, in its order", "restore it")
    if not np.allclose(values, values.T, atol=1e-4, equal_nan=True):
        raise InputError(name, "is not symmetric", "provide a measure without direction")
    return names, (values + values.T) / 2


def read_numbers(path: Path, name: str, skip: int = 0) -> np.ndarray:
    """Return the numbers of a table as (n_rows, n_columns), without its first ``skip`` columns."""
    try:
        return np.array([[number(cell) for cell in list(row.values())[skip:]] for row in read_tsv(path)])
    except ValueError as error:
        raise InputError(name, f"a cell is not a number ({error})", "write numbers, or n/a") from None


def mask_words(mask: str, threshold: float) -> str:
    """Return the mask of :func:`template_mask` in words."""
    return "the brain" if mask == "brain" else f"grey matter (probability above {digits(threshold)})"
