"""BOLD preprocessing in Python alone: from the raw series to the standard space, with confounds.

The steps, their order and the names of what comes out are those of fMRIPrep (Esteban et al. 2019,
doi:10.1038/s41592-018-0235-4). Motion is estimated on the raw series, before slice timing; each voxel of the output
is interpolated once, through motion, coregistration and the nonlinear transform of the T1w image together. Fields
are not mapped: the distortion of echo-planar images is not corrected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from ..components import Preprocessor, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared import motion
from ..shared.confounds import confounds, n_non_steady, to_table
from ..shared.coregistration import Coregistration, coregister, to_itk
from ..shared.nifti import SPACE, open_image, read_image, save_image, template
from ..shared.raw_files import merged_sidecars
from ..shared.words import digits, text

_MAIN = f"_space-{SPACE}_desc-preproc_T1w.nii.gz"
_ANATOMY = {
    "t1w": "_desc-preproc_T1w.nii.gz",
    "mask": "_desc-brain_mask.nii.gz",
    "GM": "_label-GM_probseg.nii.gz",
    "WM": "_label-WM_probseg.nii.gz",
    "CSF": "_label-CSF_probseg.nii.gz",
    "warp": f"_from-T1w_to-{SPACE}_mode-image_xfm.h5",
}
#: Share of a voxel that its tissue has to fill, tried from the first on until a mask has voxels enough: first where
#: there is no grey matter, as fMRIPrep does, then, at large voxels or small ventricles, anywhere.
_PURITIES = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6)
_NO_GREY = 0.05
_FEWEST_VOXELS = 10
_FEWEST_VOLUMES = 8
#: A voxel outside the field of view in more than 5 % of the volumes is not kept.
_SEEN = 0.95
_LPS = np.array([-1.0, -1.0, 1.0])


@component
class NativeFunc(Preprocessor):
    """Realign one BOLD series, bring it to the standard space and measure its confounds.

    Steps: volumes before steady state are found; motion is estimated; slice timing is corrected where it is
    known; the reference is coregistered with the T1w image; each volume is resampled once; confounds are computed
    on the realigned series in its own space.

    Cost is linear in voxels times volumes. Memory is about 12 bytes a voxel and volume of the raw series, and 4 of
    the output.

    Parameters
    ----------
    output_mm : float
        Size of the voxels in the standard space.
    slice_timing : bool
        Shift slices to the middle of the volume where ``SliceTiming`` is known; else the sidecar says why not.
    coregistration : {"boundary", "mutual_information"}
        Whether mutual information alone places the reference in the T1w image, or the boundary of white matter
        refines that.
    high_pass_s : float
        Slowest period (s) that the cosines among the confounds leave.
    fd_mm, std_dvars : float
        Volumes with more framewise displacement (mm) or standardised DVARS get a column ``motion_outlier``.

    """

    tiny = {"output_mm": 6.0}
    datatypes = ("func",)
    suffixes = ("bold",)
    family = "mri"
    main = f"_space-{SPACE}_desc-preproc_bold.nii.gz"

    output_mm: float = Field(default=3.0, ge=1, le=8)
    slice_timing: bool = True
    coregistration: Literal["boundary", "mutual_information"] = "boundary"
    high_pass_s: float = Field(default=128.0, gt=0)
    fd_mm: float = Field(default=0.5, gt=0)
    std_dvars: float = Field(default=1.5, gt=0)

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess one series; see :class:`replicortex.components.Preprocessor`.

        Returns
        -------
        dict
            The sidecar: facts of the raw sidecars that still hold, what was done, and the measures of quality.

        """
        name, stem = recording["path"], recording["recording"]
        if any(f"_part-{part}_" in f"{stem}_" for part in ("phase", "real", "imag")):
            raise InputError(name, "is not a magnitude image", "exclude it by its entity part")
        image = open_image(root, recording, 4)
        series, affine = np.asarray(image.dataobj), image.affine
        n_volumes = series.shape[3]
        if n_volumes < _FEWEST_VOLUMES:
            raise InputError(name, f"has {n_volumes} volumes, needs at least {_FEWEST_VOLUMES}", "exclude it")
        sidecar = merged_sidecars(recording, root)
        header_time = float(image.header.get_zooms()[3])
        repetition_time, time_note = _repetition_time(recording, sidecar, header_time)
        timing, timing_note = None, "switched off in the card"
        if self.slice_timing:
            timing, timing_note = _slice_timing(sidecar, series.shape, repetition_time, name)
        anatomy = _anatomy(_parent(recording, parents), name)

        n_skipped = n_non_steady(series.mean(axis=(0, 1, 2), dtype=np.float64))
        if n_skipped > n_volumes // 2:
            raise InputError(name, f"{n_skipped} of {n_volumes} volumes are not in steady state", "exclude it")
        moved = motion.realign(series, affine, steady=slice(n_skipped, None))
        matrices = moved.matrices()
        steady = np.arange(n_skipped, n_volumes)
        reference = motion.mean_realigned(series, affine, matrices, steady)
        brain = _epi_mask(reference, affine, name)
        placed = self._coregister(reference, affine, brain, anatomy)

        started = {}
        if timing is not None:
            # The middle between the first and the last slice, as fMRIPrep has it.
            middle = float(timing[1].min() + timing[1].max()) / 2
            started = {"StartTime": middle}
            series = shift_slices(series, *timing, middle, repetition_time, n_skipped)
        warp = _Warp(anatomy, placed, self.output_mm)
        own = _OwnSpace(reference, affine, brain, anatomy, placed, matrices, name)
        realigned, resampled = _resample(series, affine, matrices, [own.points, warp.points])
        seen = seen_share(series.shape, affine, matrices, warp.points) >= _SEEN
        resampled[~seen] = 0
        columns, described = confounds(
            realigned,
            own.tissues,
            moved.parameters,
            repetition_time,
            n_skipped,
            high_pass_s=self.high_pass_s,
            fd_mm=self.fd_mm,
            std_dvars=self.std_dvars,
        )
        quality = _quality(columns, realigned[:, n_skipped:], own, n_skipped)
        described |= {f"{key}_mask": value for key, value in own.facts.items()}
        write_text(out / f"{stem}_desc-confounds_timeseries.tsv", to_table(columns))
        write_text(out / f"{stem}_desc-confounds_timeseries.json", to_json(described))
        write_text(out / f"{stem}_from-boldref_to-T1w_mode-image_xfm.txt", to_itk(np.linalg.inv(placed.matrix)))
        self._write_standard(out, stem, warp, resampled, seen, reference, affine, repetition_time, n_skipped)
        self._draw(out / "figures", stem, realigned, own, columns, repetition_time, reference, affine, anatomy, placed)
        facts = {
            key: value
            for key, value in sidecar.items()
            if key not in ("SliceTiming", "SliceEncodingDirection", "RepetitionTime")
        }
        return {
            **facts,
            "RepetitionTime": repetition_time,
            "RepetitionTimeNote": time_note,
            "SliceTimingCorrected": timing is not None,
            "SliceTimingNote": timing_note,
            **started,
            "SkullStripped": False,
            "Description": "Realigned BOLD series in the standard space, interpolated once",
            "SpatialReference": SPACE,
            "Resolution": f"{self.output_mm:g} mm",
            "MotionCentre": [round(float(x), 4) for x in moved.centre],
            "Coregistration": placed.cost,
            "NonSteadyStateVolumes": n_skipped,
            "Quality": quality | _fit(placed),
        }

    def _coregister(
        self, reference: np.ndarray, affine: np.ndarray, brain: np.ndarray, anatomy: Mapping[str, Any]
    ) -> Coregistration:
        tissues = [anatomy["WM"][0], anatomy["GM"][0]] if self.coregistration == "boundary" else []
        return coregister(reference, affine, brain, *anatomy["t1w"], anatomy["mask"][0] > 0.5, *tissues)

    def _write_standard(
        self,
        out: Path,
        stem: str,
        warp: _Warp,
        resampled: np.ndarray,
        seen: np.ndarray,
        reference: np.ndarray,
        affine: np.ndarray,
        repetition_time: float,
        n_skipped: int,
    ) -> None:
        """Write series, mask, reference and temporal signal-to-noise in the standard space."""
        prefix = f"{stem}_space-{SPACE}"
        brain = warp.brain & seen & (resampled.max(axis=1) > 0)
        save_image(
            warp.filled_series(resampled),
            warp.affine,
            out / f"{stem}{self.main}",
            repetition_time=repetition_time,
        )
        save_image(warp.filled(brain), warp.affine, out / f"{prefix}_desc-brain_mask.nii.gz", dtype=np.uint8)
        (shown,) = _resample(reference[..., None], affine, np.eye(4)[None], [warp.points])
        save_image(warp.filled(shown[:, 0] * seen), warp.affine, out / f"{prefix}_boldref.nii.gz")
        ratio = temporal_snr(resampled[:, n_skipped:]) * brain
        save_image(warp.filled(ratio), warp.affine, out / f"{prefix}_stat-tsnr_boldmap.nii.gz")

    def _draw(
        self,
        folder: Path,
        stem: str,
        realigned: np.ndarray,
        own: _OwnSpace,
        columns: Mapping[str, np.ndarray],
        repetition_time: float,
        reference: np.ndarray,
        affine: np.ndarray,
        anatomy: Mapping[str, Any],
        placed: Coregistration,
    ) -> None:
        from ..shared.mri_figures_func import plot_coregistration, plot_series

        folder.mkdir(exist_ok=True)
        plot_series(realigned, own.order(), columns, repetition_time, folder / f"{stem}_desc-carpet_bold.png")
        plot_coregistration(
            reference,
            affine,
            *anatomy["WM"],
            anatomy["mask"][0],
            placed.matrix,
            folder / f"{stem}_desc-coregistration_bold.png",
        )

    def described(self) -> str:
        """Return what it does, in words."""
        timing = (
            "Slice timing was corrected by cubic splines where the times of slices are known."
            if self.slice_timing
            else "Slice timing was not corrected."
        )
        boundary = ", refined at the boundary of white matter [@greve2009]" if self.coregistration == "boundary" else ""
        return text(
            "BOLD series were preprocessed in the order of fMRIPrep [@esteban2019], by code of this workflow. Volumes"
            " before steady state were found by their intensity. Head motion was estimated by rigid registration of"
            " each volume, Gauss-Newton in its inverse compositional form [@baker2004], on the raw series.",
            timing,
            f"The mean image was coregistered with the participant's T1-weighted image by normalised mutual information"
            f" [@studholme1999]{boundary}. Each volume was interpolated once, through motion, coregistration and"
            f" normalisation together, to {digits(self.output_mm)} mm in the standard space [@fonov2011]."
            " Susceptibility distortion was not corrected.",
            "Confounds were computed on the realigned series, with nipype [@gorgolewski2011]: framewise displacement"
            " and DVARS [@power2012], the mean signals of white matter, cerebrospinal fluid and brain, anatomical and"
            " temporal CompCor [@behzadi2007], the expansions of motion and mean signals [@satterthwaite2013], and"
            f" cosines with periods above {digits(self.high_pass_s)} s. Volumes with more than {digits(self.fd_mm)} mm"
            f" of framewise displacement or {digits(self.std_dvars)} of standardised DVARS were marked as motion"
            " outliers.",
        )


def _repetition_time(recording: Mapping[str, str], sidecar: Mapping[str, Any], header: float) -> tuple[float, str]:
    """Return the repetition time (s) and where it comes from.

    The sidecar is believed where the header differs, as fMRIPrep does: tools that rewrite images often lose the
    time in the header or write it in another unit, and BIDS makes the sidecar the place of the fact.
    """
    given = sidecar.get("RepetitionTime")
    if given is None and recording.get("repetition_time") not in (None, "", "n/a"):
        given = recording["repetition_time"]
    remedy = "give RepetitionTime (s) in the JSON sidecar"
    if given is None:
        if not (math.isfinite(header) and header > 0):
            raise InputError(recording["path"], "RepetitionTime missing in sidecar and header", remedy)
        value, note = header, "from the header of the image: the sidecar has none"
    else:
        try:
            value = float(given)
        except (TypeError, ValueError):
            raise InputError(recording["path"], f"RepetitionTime is no number ({given!r})", remedy) from None
        same = abs(value - header) <= 1e-3
        note = "from the sidecar" + ("" if same else f"; the header of the image says {header:.6g} s")
    if not (math.isfinite(value) and 0 < value < 60):
        raise InputError(recording["path"], f"RepetitionTime of {value:g} s is not possible", remedy)
    return round(value, 6), note


def _slice_timing(
    sidecar: Mapping[str, Any], shape: Sequence[int], repetition_time: float, name: str
) -> tuple[tuple[int, np.ndarray] | None, str]:
    """Return the axis of slices and the time of each (s), or ``None``, and a note."""
    given = sidecar.get("SliceTiming")
    if given is None or given == []:
        return None, "not corrected: SliceTiming is not known"
    direction = sidecar.get("SliceEncodingDirection", "k")
    axis = {"i": 0, "j": 1, "k": 2}.get(str(direction).rstrip("-"))
    if axis is None:
        raise InputError(name, f"SliceEncodingDirection is {direction!r}", "give i, j or k")
    try:
        times = np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise InputError(name, "SliceTiming holds what is no number", "correct the JSON sidecar") from None
    if times.shape != (shape[axis],):
        fault = f"SliceTiming has {times.size} entries for {shape[axis]} slices"
        raise InputError(name, fault, "correct the JSON sidecar")
    if not np.isfinite(times).all() or times.min() < 0 or times.max() > repetition_time + 1e-3:
        fault = f"SliceTiming is not between 0 and the repetition time of {repetition_time:g} s"
        raise InputError(name, fault, "give seconds in the JSON sidecar")
    if np.ptp(times) < 1e-6:
        return None, "not corrected: all slices have the same time"
    return (axis, times[::-1] if str(direction).endswith("-") else times), "to the middle of the volume"


def shift_slices(
    series: np.ndarray, axis: int, times: np.ndarray, middle: float, repetition_time: float, n_skipped: int = 0
) -> np.ndarray:
    """Return a series as if all slices had been taken at ``middle``: cubic splines along time.

    Parameters
    ----------
    series : ndarray of shape (x, y, z, n_volumes)
    axis : int
        Of the slices.
    times : ndarray of shape (n_slices,)
        When each is taken (s from the start of its volume).
    middle, repetition_time : float
        s.
    n_skipped : int
        Volumes at the start that are left as they are, and not interpolated from: a different contrast.

    """
    shifted = np.array(series, dtype=np.float32)
    n_volumes = series.shape[3] - n_skipped
    for number, time in enumerate(times):
        where = (slice(None),) * axis + (number,)
        steady = shifted[where][..., n_skipped:]
        coefficients = ndimage.spline_filter1d(steady, 3, axis=-1, mode="mirror", output=np.float64)
        delay = (middle - time) / repetition_time
        first = math.floor(delay)
        share = delay - first
        weights = [(1 - share) ** 3, 3 * share**3 - 6 * share**2 + 4]
        weights += [3 * (1 - share) ** 3 - 6 * (1 - share) ** 2 + 4, share**3]
        result = np.zeros_like(coefficients)
        for offset, weight in enumerate(weights):
            place = np.arange(n_volumes) + first + offset - 1
            # Mirrored about the first and the last volume, as the filter assumed.
            place = np.abs(place)
            place = np.where(place >= n_volumes, 2 * (n_volumes - 1) - place, place)
            result += weight / 6 * coefficients[..., place]
        steady[...] = result
    return shifted


def _parent(recording: Mapping[str, str], parents: Sequence[Path]) -> Path:
    """Return the T1w image of the same session, or else of the first."""
    usable = sorted(Path(path) for path in parents if Path(path).name.endswith(_MAIN))
    if not usable:
        fault = "its subject has no preprocessed T1w image"
        raise InputError(recording["path"], fault, "provide a T1w image of this subject, or exclude the series")
    session = f"_ses-{recording.get('session')}_"
    return next((path for path in usable if session in path.name), usable[0])


def _anatomy(parent: Path, name: str) -> dict[str, Any]:
    """Return the T1w image, its mask and tissues as (values, affine), and the path of the transform."""
    stem = parent.name.removesuffix(_MAIN)
    found: dict[str, Any] = {}
    for key, ending in _ANATOMY.items():
        path = parent.with_name(stem + ending)
        if not path.is_file():
            fault = f"its preprocessed T1w image lacks {path.name}"
            raise InputError(name, fault, "run the anatomical preprocessing again")
        if key == "warp":
            found[key] = path
        else:
            image = read_image(path, 3)
            found[key] = np.asarray(image.dataobj), image.affine
    shapes = {found[key][0].shape for key in ("t1w", "mask", "GM", "WM", "CSF")}
    if len(shapes) > 1:
        raise InputError(name, "images of its T1w derivative differ in grid", "run the anatomical preprocessing again")
    return found


def _epi_mask(reference: np.ndarray, affine: np.ndarray, name: str) -> np.ndarray:
    """Return the brain of an echo-planar volume by its histogram."""
    import warnings

    import nibabel as nib
    from nilearn.masking import compute_epi_mask

    with warnings.catch_warnings():
        # What nilearn warns of, an empty mask, is refused below.
        warnings.simplefilter("ignore")
        try:
            zoom = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
            # Two openings at 3 mm; one at voxels so large that two would leave nothing of the brain's edge.
            opening = 2 if zoom < 4.5 else 1
            mask = compute_epi_mask(nib.Nifti1Image(reference, affine), opening=opening, ensure_finite=True)
            found = np.asarray(mask.dataobj) > 0
        except (ValueError, IndexError, TypeError):
            found = np.zeros(reference.shape, dtype=bool)
    litres = found.sum() * abs(np.linalg.det(affine[:3, :3])) * 1e-6
    if litres < 0.05:
        raise InputError(name, f"no brain is found in it ({litres:.3f} litres)", "look at the image, or exclude it")
    return found


class _OwnSpace:
    """The brain on the grid of the series, and the tissues in it, by the T1w image."""

    def __init__(
        self,
        reference: np.ndarray,
        affine: np.ndarray,
        epi: np.ndarray,
        anatomy: Mapping[str, Any],
        placed: Coregistration,
        matrices: np.ndarray,
        name: str,
    ) -> None:
        whole = _points(np.argwhere(np.ones(reference.shape, dtype=bool)), affine)
        mask = _average(anatomy["mask"], whole, affine, placed.matrix) > 0.5
        epi = epi.ravel()
        self.dice = float(2 * (mask & epi).sum() / max(1, mask.sum() + epi.sum()))
        # Where the T1w image shows brain and the series shows signal.
        signal = ndimage.binary_dilation(epi.reshape(reference.shape)).ravel()
        brain = mask & signal & (seen_share(reference.shape, affine, matrices, whole) >= _SEEN)
        if brain.sum() < 100:
            raise InputError(name, "its brain mask and that of its T1w image do not meet", "look at both images")
        self.points = whole[:, brain]
        self.grey = _average(anatomy["GM"], self.points, affine, placed.matrix)
        no_grey = anatomy["GM"][0] <= _NO_GREY
        self.tissues: dict[str, np.ndarray] = {}
        self.facts: dict[str, Any] = {}
        for key in ("CSF", "WM"):
            values, grid = anatomy[key]
            pure = _average((np.where(no_grey, values, 0), grid), self.points, affine, placed.matrix)
            mixed = _average((values, grid), self.points, affine, placed.matrix)
            tries = [(pure, purity, True) for purity in _PURITIES] + [(mixed, purity, False) for purity in _PURITIES]
            enough = [one for one in tries if (one[0] > one[1]).sum() >= _FEWEST_VOXELS]
            if not enough:
                fault = f"its mask of {key} has {int((mixed > _PURITIES[-1]).sum())} voxels"
                raise InputError(name, fault, "check the T1w image and the coregistration, or exclude the series")
            share, purity, without_grey = enough[0]
            found = share > purity
            self.tissues[key] = found
            self.facts[key] = {"Voxels": int(found.sum()), "LeastShare": purity, "GreyExcluded": without_grey}
        self.tissues["combined"] = self.tissues["CSF"] | self.tissues["WM"]

    def order(self) -> list[np.ndarray]:
        """Return the voxels of grey matter, white matter and CSF, for the picture."""
        grey = self.grey > 0.5
        return [np.flatnonzero(mask) for mask in (grey, self.tissues["WM"] & ~grey, self.tissues["CSF"] & ~grey)]


class _Warp:
    """The grid of the standard space around the brain, and where each of its voxels lies in the reference."""

    def __init__(self, anatomy: Mapping[str, Any], placed: Coregistration, millimetres: float) -> None:
        grid = template("mask", millimetres)
        inside = np.asarray(grid.dataobj) > 0.5
        self.affine, self.shape = grid.affine, inside.shape
        # A margin of 6 mm, so that smoothing later meets signal at the edge of the brain.
        self.where = ndimage.binary_dilation(inside, iterations=max(1, round(6.0 / millimetres)))
        self.brain = inside[self.where]
        target = _points(np.argwhere(self.where), self.affine)
        self.points = _affine(np.linalg.inv(placed.matrix), warp_points(target, anatomy["warp"]))

    def filled(self, values: np.ndarray) -> np.ndarray:
        volume = np.zeros(self.shape, dtype=np.float32)
        volume[self.where] = values
        return volume

    def filled_series(self, values: np.ndarray) -> np.ndarray:
        volumes = np.zeros((*self.shape, values.shape[1]), dtype=np.float32, order="F")
        for number in range(values.shape[1]):
            volumes[..., number][self.where] = values[:, number]
        return volumes


def warp_points(points: np.ndarray, transform: Path) -> np.ndarray:
    """Return where ANTs' ``transform`` of images takes points (RAS, mm), of shape (3, n): target to source."""
    import ants

    made = ants.read_transform(str(transform))
    flipped = (points.T * _LPS).tolist()
    return (np.array([made.apply_to_point(point) for point in flipped]) * _LPS).T


def _points(places: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ places.T + affine[:3, 3:]


def _affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return matrix[:3, :3] @ points + matrix[:3, 3:]


def _average(
    image: tuple[np.ndarray, np.ndarray], points: np.ndarray, grid: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """Return the mean of ``image`` over the voxel of ``grid`` around each point: 27 samples of it.

    Parameters
    ----------
    image : (ndarray, affine)
        Finer than the grid.
    points : ndarray of shape (3, n)
        Centres of voxels (mm).
    grid : ndarray of shape (4, 4)
        The affine whose voxels they are.
    matrix : ndarray of shape (4, 4)
        From the world of the grid to that of the image.

    """
    data, affine = image
    to_voxel = np.linalg.inv(affine) @ matrix
    data = np.asarray(data, dtype=np.float32)
    total = np.zeros(points.shape[1])
    for offset in np.ndindex(3, 3, 3):
        moved = points + grid[:3, :3] @ ((np.array(offset) - 1.0) / 3)[:, None]
        total += ndimage.map_coordinates(data, _affine(to_voxel, moved), order=1, mode="constant", output=np.float32)
    return total / 27


def _resample(
    series: np.ndarray, affine: np.ndarray, matrices: np.ndarray, targets: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return the series at points of the reference, (n_points, n_volumes) each: cubic splines.

    Outside the field of view stands what is at its edge: a zero there would make a step in time of each voxel that
    motion moves across the edge. :func:`seen_share` says which points to keep.

    Parameters
    ----------
    series : ndarray of shape (x, y, z, n_volumes)
    affine : ndarray of shape (4, 4)
    matrices : ndarray of shape (n_volumes, 4, 4)
        From the reference to each volume (mm).
    targets : sequence of ndarray of shape (3, n_points)
        mm in the reference.

    """
    inverse = np.linalg.inv(affine)
    edge = np.array(series.shape[:3])[:, None] - 1
    values = [np.empty((points.shape[1], series.shape[3]), dtype=np.float32, order="F") for points in targets]
    for number in range(series.shape[3]):
        coefficients = ndimage.spline_filter(series[..., number], 3, output=np.float32, mode="mirror")
        low = min(0.0, float(series[..., number].min()))
        for points, found in zip(targets, values, strict=True):
            place = np.clip(_affine(inverse @ matrices[number], points), 0, edge)
            sampled = ndimage.map_coordinates(
                coefficients, place, order=3, mode="mirror", prefilter=False, output=np.float32
            )
            # A spline may swing below what a magnitude can be.
            found[:, number] = np.maximum(sampled, low)
    return values


def seen_share(shape: Sequence[int], affine: np.ndarray, matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return in which share of the volumes each point of the reference, (3, n), lies in the field of view.

    It ends half a voxel beyond the centres of the outermost voxels. ``shape``: of a volume; ``matrices``: see
    :func:`_resample`.
    """
    inverse, edge = np.linalg.inv(affine), np.array(shape[:3])[:, None] - 0.5
    seen = np.zeros(points.shape[1])
    for matrix in matrices:
        place = _affine(inverse @ matrix, points)
        seen += ((place > -0.5) & (place < edge)).all(axis=0)
    return seen / len(matrices)


def temporal_snr(series: np.ndarray) -> np.ndarray:
    """Return mean over standard deviation in time of each voxel, (n_voxels,); zero where it does not vary."""
    deviation = series.std(axis=1, dtype=np.float64)
    mean = series.mean(axis=1, dtype=np.float64)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)


def _fit(placed: Coregistration) -> dict[str, float]:
    """Return how well the coregistration fits."""
    boundary = {} if placed.boundary_cost is None else {"coregistration_bbr": placed.boundary_cost}
    return {"coregistration_nmi": placed.information, **boundary}


def _quality(columns: Mapping[str, np.ndarray], steady: np.ndarray, own: _OwnSpace, n_skipped: int) -> dict[str, float]:
    displacement, change = columns["framewise_displacement"][1:], columns["std_dvars"][1:]
    return {
        "fd_mean": float(displacement.mean()),
        "fd_max": float(displacement.max()),
        "fd_share_above_0.5": float((displacement > 0.5).mean()),
        "std_dvars_mean": float(change.mean()),
        "tsnr_median": float(np.median(temporal_snr(steady))),
        "dice_epi_t1w": own.dice,
        "n_volumes": float(len(displacement) + 1),
        "n_dummy": float(n_skipped),
    }
