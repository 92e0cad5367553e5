"""Regions of the brain: spheres around published coordinates, or labels of an image that the user gives."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from scipy import sparse

from ..errors import InputError, did_you_mean
from ..files import read_tsv
from .mri_files import header
from .nifti import read_image

Name = Literal["dosenbach", "power", "seitzman"]

#: Radius (mm) of the spheres of the papers: spheres of 10 mm across for the first two.
_RADIUS = 5.0
_MOST_LABELS = 10_000


@dataclass(frozen=True)
class Parcels:
    """Regions on the grid of an image.

    Parameters
    ----------
    names : tuple of str
    networks : tuple of str
        The network that each belongs to; ``n/a`` where the atlas says none.
    members : sparse array of shape (n_regions, n_voxels)
        One where a voxel of the grid (flat, C order) belongs to a region.
    probes : sparse array of shape (n_regions, n_voxels)
        How many points of a region lie in a voxel of the grid.
    totals : ndarray of shape (n_regions,)
        How many points a region has, within the grid and outside it.

    """

    names: tuple[str, ...]
    networks: tuple[str, ...]
    members: sparse.csr_array
    probes: sparse.csr_array
    totals: np.ndarray

    def coverage(self, valid: np.ndarray) -> np.ndarray:
        """Return the share of each region, (n_regions,), that lies in the ``valid`` voxels (flat, boolean)."""
        inside = self.probes @ valid.astype(float)
        # A region may have points in valid voxels and still be no voxel's nearest label.
        return np.where(self.members @ valid.astype(float) > 0, inside / self.totals, 0.0)

    def means(self, data: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return means over the valid voxels of each region: ``data`` (n_voxels, n) gives (n_regions, n), float64.

        A region without a valid voxel gives zeros.
        """
        found = np.flatnonzero(valid)
        members = self.members[:, found].astype(np.float64)
        counts = members.sum(axis=1)
        return (members @ np.asarray(data[found], dtype=np.float64)) / np.maximum(counts, 1)[:, None]


@functools.lru_cache(maxsize=8)
def coordinates(
    atlas: Name, networks: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, np.ndarray]:
    """Return names, networks, centres (n, 3) in mm of MNI space, and radii (n,) in mm of an atlas in nilearn.

    Parameters
    ----------
    atlas : {"dosenbach", "power", "seitzman"}
        160 regions in 6 networks (Dosenbach et al. 2010, doi:10.1126/science.1194144), of which 34 are of the
        default mode; 264 regions (Power et al. 2011, doi:10.1016/j.neuron.2011.09.006); 300 regions with
        subcortex and cerebellum in 14 networks (Seitzman et al. 2020, doi:10.1016/j.neuroimage.2019.116290).
    networks : tuple of str or None
        Those to take, in any order; the regions stay in the order of the atlas.

    Raises
    ------
    InputError
        If the atlas has no such network.

    """
    from nilearn import datasets

    if atlas == "dosenbach":
        table = datasets.fetch_coords_dosenbach_2010()
        names, groups = [str(name) for name in table.labels], [str(name) for name in table.networks]
        radii = np.full(len(names), _RADIUS)
    elif atlas == "power":
        table = datasets.fetch_coords_power_2011()
        names = [f"power {int(number):03d}" for number in table.rois["roi"]]
        groups, radii = ["n/a"] * len(names), np.full(len(names), _RADIUS)
    else:
        table = datasets.fetch_coords_seitzman_2018(ordered_regions=False)
        groups, radii = [str(name) for name in table.networks], np.asarray(table.radius, dtype=float)
        names = [f"{region} {number + 1:03d}" for number, region in enumerate(table.regions)]
    centres = table.rois[["x", "y", "z"]].to_numpy(dtype=float)
    known = sorted(set(groups) - {"n/a"})
    for network in networks or ():
        if network not in known:
            raise InputError("feature", f"atlas {atlas} has no network {network!r}", did_you_mean(network, known))
    chosen = [number for number, group in enumerate(groups) if networks is None or group in networks]
    return tuple(names[i] for i in chosen), tuple(groups[i] for i in chosen), centres[chosen], radii[chosen]


@functools.lru_cache(maxsize=4)
def spheres(
    atlas: Name,
    networks: tuple[str, ...] | None,
    radius: float | None,
    shape: tuple[int, int, int],
    affine: bytes,
) -> Parcels:
    """Return the regions of ``atlas`` as spheres on a grid.

    A voxel belongs to a sphere if its centre lies within ``radius`` (mm; ``None`` takes that of the paper), and
    so does the voxel that the sphere's centre is in. Spheres may overlap.

    Parameters
    ----------
    atlas, networks
        See :func:`coordinates`.
    radius : float or None
    shape, affine
        Of the grid; the affine as the bytes of a (4, 4) float64 array.

    """
    names, groups, centres, radii = coordinates(atlas, networks)
    matrix = np.frombuffer(affine).reshape(4, 4)
    inverse = np.linalg.inv(matrix)
    rows, columns, totals = [], [], []
    for number, (centre, own) in enumerate(zip(centres, radii, strict=True)):
        reach = own if radius is None else radius
        middle = inverse[:3, :3] @ centre + inverse[:3, 3]
        # Half of the sphere's extent along each axis of the grid.
        half = reach * np.linalg.norm(inverse[:3, :3], axis=1) + 1e-6
        axes = [np.arange(np.ceil(m - h), np.floor(m + h) + 1) for m, h in zip(middle, half, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        away = (points - middle) @ matrix[:3, :3].T
        points = points[(away**2).sum(axis=1) <= reach**2 * (1 + 1e-6)]
        # Halfway between voxels, the same one on every grid, wherever that begins.
        points = np.unique(np.vstack([points, np.floor(middle + 0.5 + 1e-6)]).astype(int), axis=0)
        totals.append(len(points))
        points = points[((points >= 0) & (points < shape)).all(axis=1)]
        columns.append(np.ravel_multi_index(tuple(points.T), shape))
        rows.append(np.full(len(points), number))
    members = _matrix(rows, columns, len(names), shape)
    return Parcels(names, groups, members, members, np.array(totals, dtype=float))


@functools.lru_cache(maxsize=4)
def labels(
    file: str, names_file: str | None, shape: tuple[int, int, int], affine: bytes, stamp: tuple[int, ...] = ()
) -> Parcels:
    """Return the regions of a label image on a grid: each voxel takes the label that is nearest to its centre.

    Parameters
    ----------
    file : str
        A volume of whole numbers, 0 where there is no region, in the standard space.
    names_file : str or None
        Its table; see :func:`read_labels`.
    shape, affine
        Of the grid; the affine as the bytes of a (4, 4) float64 array.
    stamp : tuple of int
        Changes where the files do: what was made of others is not used again.

    """
    image, numbers, names, groups = read_labels(file, names_file)
    values = np.rint(np.asarray(image.dataobj)).astype(np.int64)
    grid, own = np.frombuffer(affine).reshape(4, 4), image.affine
    # From the grid to the atlas, for who belongs where.
    index = np.indices(shape, dtype=np.float64).reshape(3, -1)
    near, inside = _nearest(index, np.linalg.inv(own) @ grid, values.shape)
    label = np.zeros(index.shape[1], dtype=np.int64)
    label[inside] = values[tuple(near[:, inside])]
    taken = np.flatnonzero(label)
    members = _matrix([np.searchsorted(numbers, label[taken])], [taken], len(numbers), shape)
    # From the atlas to the grid, for how much of each region the grid holds.
    points = np.nonzero(values)
    region = np.searchsorted(numbers, values[points])
    near, inside = _nearest(np.array(points, dtype=np.float64), np.linalg.inv(grid) @ own, shape)
    columns = np.ravel_multi_index(tuple(near[:, inside]), shape)
    probes = _matrix([region[inside]], [columns], len(numbers), shape)
    return Parcels(names, groups, members, probes, np.bincount(region, minlength=len(numbers)).astype(float))


def read_labels(
    file: str, names_file: str | None
) -> tuple[nib.Nifti1Image, np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return a label image, its labels in rising order, the name of each, and the network of each.

    The table is one of BIDS: columns ``index`` and ``name``, and ``network`` if there is one. Without a table,
    regions are named by their numbers.

    Raises
    ------
    InputError
        If the image is not a volume of whole numbers with at least two regions, or the table does not name
        each of its labels once.

    """
    path = Path(file)
    image = read_image(path, 3)
    values = np.asarray(image.dataobj)
    if values.min() < 0 or np.abs(values - np.rint(values)).max() > 1e-3:
        raise InputError(path.name, "holds values that are no labels", "provide whole numbers, 0 outside of regions")
    numbers = np.unique(np.rint(values).astype(np.int64))
    numbers = numbers[numbers > 0]
    if not 2 <= len(numbers) <= _MOST_LABELS:
        fault = f"has {len(numbers)} labels, needs 2 to {_MOST_LABELS}"
        raise InputError(path.name, fault, "provide a parcellation")
    if names_file is None:
        return image, numbers, tuple(f"region {number:03d}" for number in numbers), ("n/a",) * len(numbers)
    table = Path(names_file)
    rows = read_tsv(table)
    lacking = [column for column in ("index", "name") if column not in header(table)]
    if lacking:
        fault = f"lacks the column {' and '.join(lacking)}"
        raise InputError(table.name, fault, "write columns index and name, separated by tabs")
    named = {row["index"].strip(): (row["name"].strip(), (row.get("network") or "n/a").strip()) for row in rows}
    if len(named) != len(rows):
        raise InputError(table.name, "gives an index twice", "give each label one line")
    unnamed = [str(number) for number in numbers if str(number) not in named]
    if unnamed:
        more = f" and {len(unnamed) - 5} more" if len(unnamed) > 5 else ""
        fault = f"does not name the label {', '.join(unnamed[:5])}{more} of {path.name}"
        raise InputError(table.name, fault, "add its line")
    names = [named[str(number)][0] for number in numbers]
    if len(set(names)) != len(names) or not all(re.fullmatch(r"[^\t\n]+", name) for name in names):
        raise InputError(table.name, "leaves a region without a name of its own", "give each label another name")
    return image, numbers, tuple(names), tuple(named[str(number)][1] for number in numbers)


def parcels(
    image: nib.spatialimages.SpatialImage,
    atlas: Name,
    networks: Sequence[str] | None = None,
    radius: float | None = None,
    atlas_file: str | None = None,
    atlas_labels: str | None = None,
) -> Parcels:
    """Return the regions on the grid of ``image``: of ``atlas_file`` if it is given, else spheres of ``atlas``.

    Kept in memory for the next image on the same grid.
    """
    shape = tuple(int(size) for size in image.shape[:3])
    affine = np.ascontiguousarray(image.affine, dtype=np.float64).tobytes()
    if atlas_file is None:
        return spheres(atlas, None if networks is None else tuple(networks), radius, shape, affine)
    files = [Path(file) for file in (atlas_file, atlas_labels) if file is not None]
    stamp = tuple(file.stat().st_mtime_ns for file in files if file.is_file())
    return labels(atlas_file, atlas_labels, shape, affine, stamp)


def _nearest(index: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels (3, n) that points ``index`` lead to by ``matrix``, and which are within ``shape``."""
    found = np.rint(matrix[:3, :3] @ index + matrix[:3, 3:]).astype(np.int64)
    return found, ((found >= 0) & (found < np.array(shape)[:, None])).all(axis=0)


def _matrix(
    rows: Sequence[np.ndarray], columns: Sequence[np.ndarray], n: int, shape: tuple[int, int, int]
) -> sparse.csr_array:
    row, column = np.concatenate(rows), np.concatenate(columns)
    ones = np.ones(len(row), dtype=np.float64)
    return sparse.csr_array((ones, (row, column)), shape=(n, int(np.prod(shape))))
