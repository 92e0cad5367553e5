"""Steps of the preprocessing of a T1-weighted image: find the brain, correct, segment, normalise.

Images are nibabel images with axes near right, anterior and superior. ANTs corrects the bias (N4, Tustison et al.
2010, doi:10.1109/TMI.2010.2046908) and registers (SyN, Avants et al. 2008, doi:10.1016/j.media.2007.06.004). Tissues
are segmented by the model of Atropos (Avants et al. 2011, doi:10.1007/s12021-011-9109-y). What finds the brain in the
head needs only a template without a skull, and is our own.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from ..errors import InputError
from .nifti import ants_module, from_ants, template, to_ants

TISSUES = ("GM", "WM", "CSF")
_FWHM_TO_SD = 1 / np.sqrt(8 * np.log(2))
#: Logarithm of the size of a head relative to the template, and its spread: the template is large.
_SIZE, _SIZE_SD = -0.08, 0.08


def regrid(
    image: nib.Nifti1Image, shape: Sequence[int], affine: np.ndarray, order: int = 1, mode: str = "constant"
) -> nib.Nifti1Image:
    """Return ``image`` on another grid at the same place, smoothed first where that grid is coarser."""
    from scipy import ndimage

    data = image.get_fdata(dtype=np.float32)
    old, new = (np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (image.affine, affine))
    if order > 0 and (new > 1.2 * old).any():
        data = ndimage.gaussian_filter(data, np.sqrt(np.maximum(new**2 - old**2, 0)) * _FWHM_TO_SD / old)
    between = np.linalg.inv(image.affine) @ affine
    made = ndimage.affine_transform(
        data, between[:3, :3], between[:3, 3], tuple(shape), order=order, mode=mode, prefilter=order > 1
    )
    return nib.Nifti1Image(made, affine)


def at_resolution(image: nib.Nifti1Image, mm: float) -> nib.Nifti1Image:
    """Return ``image`` with voxels no smaller than ``mm`` on each axis; the image itself if they are not."""
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    factor = np.maximum(mm / spacing, 1.0)
    if (factor < 1.05).all():
        return image
    shape = np.maximum(np.ceil(np.array(image.shape) / factor), 2).astype(int)
    return regrid(image, shape, image.affine @ _scaling(factor))


def _scaling(factor: np.ndarray) -> np.ndarray:
    """Return the affine from voxels ``factor`` times as large, the outer corner of the first kept."""
    made = np.diag([*factor, 1.0])
    made[:3, 3] = (factor - 1) / 2
    return made


def like(data: np.ndarray, image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return ``data`` (float32) on the grid of ``image``."""
    return nib.Nifti1Image(np.asarray(data, dtype=np.float32), image.affine)


def box(mask: np.ndarray, margin: int = 3) -> tuple[slice, ...]:
    """Return the slices of the smallest box around a mask, ``margin`` voxels wider."""
    bounds = []
    for axis in range(3):
        there = np.flatnonzero(mask.any(axis=tuple(set(range(3)) - {axis})))
        bounds.append(slice(max(int(there[0]) - margin, 0), int(there[-1]) + 1 + margin))
    return tuple(bounds)


def crop(image: nib.Nifti1Image, where: tuple[slice, ...]) -> nib.Nifti1Image:
    """Return the part of ``image`` in a box of voxels."""
    affine = image.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(affine, [part.start for part in where])
    return nib.Nifti1Image(image.get_fdata(dtype=np.float32)[where], affine)


class Pose:
    """How well the brain of the template, moved, turned and scaled, fits a head.

    The measure is the correlation of both over the template's brain and a rim of 4 mm around it, where the
    template is dark. What is far brighter than the brain (fat) counts as dark. Sizes and turns that heads do
    not have are made costly; without that, the outline of the brain settles on the outline of the head.

    Parameters
    ----------
    image : nibabel image
        The head at about 4 mm.

    """

    _UNITS = np.array([10, 10, 10, 0.15, 0.15, 0.15, 0.08, 0.08, 0.08])

    def __init__(self, image: nib.Nifti1Image) -> None:
        from scipy import ndimage

        self.data = image.get_fdata(dtype=np.float32)
        self.inverse = np.linalg.inv(image.affine)
        brain, mask = template("brain", 2), template("mask", 2).get_fdata() > 0
        near = np.argwhere(ndimage.distance_transform_edt(~mask, sampling=2) <= 4)
        near = near[(near % 4 == 0).all(axis=1)]
        place = tuple(near.T)
        self.inside = mask[place]
        self.centre = nib.affines.apply_affine(brain.affine, np.argwhere(mask)).mean(axis=0)
        self.points = nib.affines.apply_affine(brain.affine, near) - self.centre
        values = ndimage.gaussian_filter(brain.get_fdata(dtype=np.float32), 1.7)[place]
        self.values = (values - values.mean()) / np.linalg.norm(values - values.mean())

    def cost(self, pose: np.ndarray) -> float:
        """Return the cost of a pose: shift (mm), turns (rad) and logarithms of sizes along x, y, z."""
        from scipy import ndimage

        places = self.points @ _matrix(pose).T + pose[:3]
        places = places @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        found = ndimage.map_coordinates(self.data, places.T, order=1)
        middle = np.median(found[self.inside])
        fat = np.clip(1.7 * middle - 3 * (found - 1.7 * middle), 0, None)
        found = np.where(found > 1.7 * middle, fat, np.minimum(found, 1.3 * middle))
        found = found - found.mean()
        norm = float(np.linalg.norm(found))
        fit = float(found @ self.values) / norm if norm > 0 else 0.0
        size = 0.01 * np.sum(((pose[6:] - _SIZE) / _SIZE_SD) ** 2)
        turn = 0.005 * (pose[3] / 0.3) ** 2 + 0.01 * np.sum((pose[4:6] / 0.15) ** 2)
        return float(size + turn) - fit

    def best(self) -> np.ndarray:
        """Return the affine (4, 4) from template to head, mm to mm, of the best pose found.

        Searched from the best two of 60 places below the top of the head; 9 degrees of freedom, Powell.
        """
        from scipy import ndimage, optimize

        positive = self.data[self.data > 0]
        solid = ndimage.binary_opening(self.data > 0.15 * np.percentile(positive, 98))
        labels, n_parts = ndimage.label(solid if solid.any() else self.data > 0)
        solid = labels == 1 + np.argmax(ndimage.sum_labels(labels > 0, labels, np.arange(1, n_parts + 1)))
        places = nib.affines.apply_affine(np.linalg.inv(self.inverse), np.argwhere(solid))
        top = np.percentile(places[:, 2], 99.9)
        middle = places[places[:, 2] > top - 150].mean(axis=0)
        starts = []
        for down, ahead, nod in itertools.product((45, 60, 75, 90), (-20, 0, 20), (-0.5, -0.25, 0, 0.25, 0.5)):
            # From a small brain: from a large one the way leads to the outline of the head.
            pose = np.array([middle[0], middle[1] + ahead, top - down, nod, 0, 0, -0.15, -0.15, -0.15])
            starts.append((self.cost(pose), tuple(pose)))
        found = []
        for _, start in sorted(starts)[:2]:
            step = optimize.minimize(
                lambda u, start=start: self.cost(np.array(start) + u * self._UNITS),
                np.zeros(9),
                method="Powell",
                options={"maxiter": 10, "xtol": 0.02, "ftol": 1e-4},
            )
            found.append((float(step.fun), tuple(np.array(start) + step.x * self._UNITS)))
        pose = np.array(min(found)[1])
        made = np.eye(4)
        made[:3, :3] = _matrix(pose)
        made[:3, 3] = pose[:3] - made[:3, :3] @ self.centre
        return made


def _matrix(pose: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(pose[3:6]), np.sin(pose[3:6])
    turn = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return turn @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) * np.exp(pose[6:])


def posed(kind: str, pose: np.ndarray, image: nib.Nifti1Image) -> np.ndarray:
    """Return a map of the template in the place of ``pose`` on the grid of ``image``."""
    there = template(kind, 2)
    moved = nib.Nifti1Image(there.get_fdata(dtype=np.float32), pose @ there.affine)
    return regrid(moved, image.shape, image.affine).get_fdata(dtype=np.float32)


def is_stripped(image: nib.Nifti1Image, pose: np.ndarray) -> bool:
    """Return whether nothing surrounds the brain: less than 3 % of what lies 6 to 18 mm outside is bright."""
    data = image.get_fdata(dtype=np.float32)
    inside = posed("mask", pose, image) > 0.5
    if not inside.any():
        return False
    outside = distance(inside, image)
    around = data[(outside > 6) & (outside < 18)]
    return around.size > 0 and float((around > 0.1 * np.median(data[inside])).mean()) < 0.03


def distance(mask: np.ndarray, image: nib.Nifti1Image) -> np.ndarray:
    """Return the distance (mm) to a mask: positive outside, negative inside."""
    from scipy import ndimage

    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    if not mask.any():
        return np.full(mask.shape, np.inf)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return outside - ndimage.distance_transform_edt(mask, sampling=spacing)


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask."""
    from scipy import ndimage

    labels, n_parts = ndimage.label(mask)
    if n_parts < 2:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _close(mask: np.ndarray, image: nib.Nifti1Image, mm: float) -> np.ndarray:
    """Return a mask with gaps up to twice ``mm`` wide closed and holes filled."""
    from scipy import ndimage

    grown = distance(mask, image) <= mm
    return ndimage.binary_fill_holes(mask | (distance(~grown, image) > mm))


def stripped_mask(image: nib.Nifti1Image) -> np.ndarray:
    """Return the mask of an image without a skull: what is not background, holes filled."""
    data = image.get_fdata(dtype=np.float32)
    return _close(largest(data > 0.02 * np.percentile(data[data > 0], 50)), image, 4.0)


def three_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of three classes of values, in ascending order (k-means)."""
    means = np.percentile(values, [10, 45, 85])
    for _ in range(50):
        labels = np.abs(values[:, None] - means).argmin(axis=1)
        moved = np.array([values[labels == k].mean() if (labels == k).any() else means[k] for k in range(3)])
        if np.abs(moved - means).max() < 1e-4 * abs(means[2]):
            break
        means = moved
    spread = [values[labels == k].std() if (labels == k).any() else 0.0 for k in range(3)]
    return means, np.array(spread)


def refine_mask(image: nib.Nifti1Image, rough: np.ndarray, reach: float = 6.0) -> np.ndarray:
    """Return the brain in a bias-corrected head, from a rough mask that misses its border by up to ``reach`` mm.

    Grey and white matter are what is brighter than a third of the way from CSF to grey matter, and not as bright as
    fat, within ``reach`` of the rough mask. Thin bridges to the scalp are cut by an opening, and the largest part is
    taken; sulci and ventricles are closed.
    """
    data = image.get_fdata(dtype=np.float32)
    rim = distance(rough, image)
    spacing = float(np.linalg.norm(image.affine[:3, :3], axis=0).max())
    core = rim < -min(6.0, 0.4 * -float(rim.min()))
    means, spread = three_means(data[core])
    tissue = (data > 0.65 * means[0] + 0.35 * means[1]) & (data < means[2] + 4 * spread[2]) & (rim < reach)
    cut = max(2.0, 1.01 * spacing)
    kept = largest((distance(~tissue, image) > cut) & (rim < reach / 2))
    if not kept.any():
        return rough
    tissue &= distance(kept, image) <= 1.5 * cut
    # One more millimetre: the outermost voxels of the cortex are part CSF.
    closed = distance(_close(tissue, image, 6.0), image) <= max(1.0, spacing)
    return largest(closed & (rim < reach))


def bias_field(image: nib.Nifti1Image, mask: np.ndarray, mm: float) -> nib.Nifti1Image:
    """Return the logarithm of the bias of ``image`` within ``mask`` (N4), on a grid of about ``mm``.

    Outside of the mask, where nothing is known of it, it does not leave the range that it has within.
    """
    ants = ants_module()
    low = at_resolution(image, mm)
    inside = regrid(like(mask, image), low.shape, low.affine).get_fdata() > 0.5
    data = low.get_fdata(dtype=np.float32)
    if inside.sum() < 100:
        return like(np.zeros(low.shape), low)
    field = ants.n4_bias_field_correction(
        to_ants(like(np.maximum(data, 1e-3 * np.percentile(data[inside], 50)), low)),
        mask=to_ants(like(inside, low)),
        shrink_factor=1,
        # All of them: what stops earlier leaves the middle of the brain brighter, and thalamus looks like white matter.
        convergence={"iters": [30, 30, 30, 30], "tol": 0.0},
        return_bias_field=True,
    )
    field = np.log(np.maximum(from_ants(field).get_fdata(dtype=np.float32), 1e-6))
    return like(np.clip(field, field[inside].min(), field[inside].max()) - np.median(field[inside]), low)


def without_bias(image: nib.Nifti1Image, field: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return ``image`` divided by the exponential of ``field``, which may be on another grid."""
    fine = regrid(field, image.shape, image.affine, mode="nearest").get_fdata(dtype=np.float32)
    return like(image.get_fdata(dtype=np.float32) * np.exp(-fine), image)


class Warp(NamedTuple):
    """Files of the transforms between a T1w image and the template (ITK composites)."""

    to_template: Path
    to_image: Path


def normalise(
    image: nib.Nifti1Image,
    mask: np.ndarray,
    pose: np.ndarray,
    folder: Path,
    mm: float,
    iterations: Sequence[int],
) -> Warp:
    """Register the brain to the template: affine from voxels of about 8 mm to ``mm``, then SyN; mutual information.

    Time is in proportion to the voxels at ``mm`` and the iterations at each level.

    Raises
    ------
    RuntimeError
        If ANTs fails.

    """
    ants = ants_module()
    moving = at_resolution(like(np.where(mask, image.get_fdata(dtype=np.float32), 0), image), mm)
    data = moving.get_fdata(dtype=np.float32)
    moving = to_ants(like(np.clip(data, 0, np.percentile(data[data > 0], 99.5)), moving))
    fixed = to_ants(template("brain", mm))
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    first = flip @ pose @ flip
    with tempfile.TemporaryDirectory() as scratch:
        start = str(Path(scratch, "pose.mat"))
        made = ants.create_ants_transform(
            transform_type="AffineTransform",
            dimension=3,
            matrix=first[:3, :3],
            translation=first[:3, 3],
            center=np.zeros(3),
        )
        ants.write_transform(made, start)
        # Voxels beyond 10 mm hold nothing to align by; the last steps at fine ones change next to nothing.
        shrinks = [factor for factor in (8, 4, 2, 1) if factor * mm <= 10] or [1]
        steps = [200 if factor * mm >= 6 else 100 if factor * mm >= 3 else 10 for factor in shrinks]
        linear = ants.registration(
            fixed,
            moving,
            "Affine",
            initial_transform=start,
            outprefix=str(Path(scratch, "linear_")),
            random_seed=1,
            aff_random_sampling_rate=0.25,
            aff_iterations=tuple(steps),
            aff_shrink_factors=tuple(shrinks),
            aff_smoothing_sigmas=tuple(range(len(shrinks) - 1, -1, -1)),
        )
        ants.registration(
            fixed,
            moving,
            "SyNOnly",
            initial_transform=linear["fwdtransforms"][0],
            outprefix=str(folder / "warp_"),
            random_seed=1,
            reg_iterations=tuple(iterations),
            syn_metric="mattes",
            syn_sampling=32,
            write_composite_transform=True,
        )
    return Warp(folder / "warp_Composite.h5", folder / "warp_InverseComposite.h5")


def move(image: nib.Nifti1Image, target: nib.Nifti1Image, transform: Path, how: str = "linear") -> np.ndarray:
    """Return ``image`` on the grid of ``target``, through a transform, interpolated once.

    ``image`` is smoothed first where the target's voxels are larger, so that they average what they cover.
    """
    from scipy import ndimage

    ants = ants_module()
    old, new = (np.linalg.norm(one.affine[:3, :3], axis=0) for one in (image, target))
    if how != "nearestNeighbor" and (new > 1.2 * old).any():
        width = np.sqrt(np.maximum(new**2 - old**2, 0)) * _FWHM_TO_SD / old
        image = like(ndimage.gaussian_filter(image.get_fdata(dtype=np.float32), width), image)
    moved = ants.apply_transforms(to_ants(target), to_ants(image), [str(transform)], how)
    return moved.numpy().astype(np.float32)


def jacobian(target: nib.Nifti1Image, transform: Path) -> np.ndarray:
    """Return the determinant of the Jacobian of a transform on the grid of ``target``, its affine part included.

    For the transform that moves a T1w image into the standard space: volume there over volume here.
    """
    ants = ants_module()
    like_target = to_ants(target)
    with tempfile.TemporaryDirectory() as scratch:
        made = ants.apply_transforms(like_target, like_target, [str(transform)], compose=str(Path(scratch, "field_")))
        field = ants.image_read(made).numpy()
    lps = np.diag([-1.0, -1.0, 1.0]) @ target.affine[:3, :3]
    steps = np.stack([np.stack(np.gradient(field[..., k]), axis=-1) for k in range(3)], axis=-2)
    return np.linalg.det(np.eye(3) + steps @ np.linalg.inv(lps)).astype(np.float32)


def segment(
    image: nib.Nifti1Image,
    mask: np.ndarray,
    to_image: Path,
    iterations: int = 8,
    prior: float = 1.0,
    field: float = 0.1,
) -> dict[str, np.ndarray]:
    """Return the probability of each tissue within the mask.

    The model is that of Atropos: a Gaussian distribution of values for each tissue, the template's maps as priors
    raised to a power, and a Markov random field over the six neighbours, fitted by expectation and maximisation
    (here with the mean field, all voxels at once, which takes a tenth of the time).

    Parameters
    ----------
    image : nibabel image
        Without bias.
    mask : array, (x, y, z)
        The brain.
    to_image : Path
        Transform that moves the template to the image.
    iterations : int
        Each takes about half a second for a brain at 1 mm.
    prior, field : float
        Power of the priors; what each neighbour adds to the logarithm of the probability of its own tissue.

    Returns
    -------
    dict of array, (x, y, z)
        By name of the tissue; they sum up to one in the mask.

    """
    where = box(mask)
    part, inside = crop(image, where), mask[where]
    values = part.get_fdata(dtype=np.float32)[inside]
    priors = np.stack([np.clip(move(template(name, 2), part, to_image)[inside], 0, 1) for name in TISSUES])
    # A tissue is nowhere impossible in the mask: the template's own cortex is thin, and folds differ.
    priors = 0.97 * priors / np.maximum(priors.sum(axis=0), 1e-3) + 0.01
    chance = priors / priors.sum(axis=0)
    places = np.flatnonzero(np.pad(inside, 1))
    steps = [np.prod([n + 2 for n in inside.shape[k + 1 :]], dtype=int) for k in range(3)]
    around = np.zeros(np.prod([n + 2 for n in inside.shape]), dtype=np.float32)
    values = np.clip(values, *np.percentile(values, [0.05, 99.95]))
    start = three_means(values)
    means, spreads = start[0][[1, 2, 0]], np.maximum(start[1][[1, 2, 0]], 1e-6)
    for number in range(iterations):
        score = -0.5 * ((values - means[:, None]) / spreads[:, None]) ** 2 - np.log(spreads)[:, None]
        score += prior * np.log(priors)
        if number > 0:
            for k in range(3):
                around[places] = chance[k]
                score[k] += field * sum(around[places + sign * step] for step in steps for sign in (-1, 1))
        chance = np.exp(score - score.max(axis=0))
        chance /= chance.sum(axis=0)
        weight = np.maximum(chance.sum(axis=1), 1e-6)
        means = (chance @ values) / weight
        spreads = np.sqrt([(chance[k] @ (values - means[k]) ** 2) / weight[k] for k in range(3)])
        # No tissue may shrink to a single value.
        spreads = np.maximum(spreads, 0.01 * max(abs(float(means.max())), 1e-6))
    whole = {}
    for name, one in zip(TISSUES, chance, strict=True):
        part_of = np.zeros(inside.shape, dtype=np.float32)
        part_of[inside] = one
        whole[name] = np.zeros(mask.shape, dtype=np.float32)
        whole[name][where] = part_of
    return whole


def labels_of(tissues: dict[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """Return the likeliest tissue in the mask: 1 grey matter, 2 white matter, 3 CSF; 0 outside."""
    stacked = np.stack([tissues[name] for name in TISSUES])
    return np.where(mask & (stacked.sum(axis=0) > 0), 1 + stacked.argmax(axis=0), 0).astype(np.uint8)


def brain_volume(mask: np.ndarray, image: nib.Nifti1Image, limits: tuple[float, float], name: str) -> float:
    """Return the volume of a mask (mL), refusing what no brain has.

    Raises
    ------
    InputError
        If the mask is empty or its volume is outside of ``limits``.

    """
    volume = float(mask.sum()) * abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    if not limits[0] <= volume <= limits[1]:
        fault = f"brain extraction gave {volume:.0f} mL" if volume > 0 else "brain extraction gave an empty mask"
        raise InputError(name, fault, "look at the image, exclude the recording, or set volume_limits in the card")
    return volume
