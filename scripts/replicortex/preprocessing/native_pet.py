"""PET preprocessing in Python alone: from raw frames to uptake ratios in the standard space.

Motion between frames, the mean of a window of time weighted by duration, rigid coregistration with the T1w image,
one interpolation into the standard space, and division by a reference region: the standardised uptake value ratio.
Partial volume is not corrected and no kinetic model is fitted.

A reference region that suits the tracer is the user's choice. What ships needs no atlas: the whole brain, as for
FDG, and eroded white matter, as for longitudinal amyloid PET (Chen et al. 2015, doi:10.2967/jnumed.114.149732).
The cerebellum, which most amyloid and tau studies take, needs a label image in the standard space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from ..components import Preprocessor, component
from ..errors import InputError
from ..files import write_text
from ..shared import motion
from ..shared.contract import n_volumes_of
from ..shared.coregistration import coregister, to_itk
from ..shared.nifti import SPACE, open_image, read_image, save_image, template, to_ants
from ..shared.raw_files import inside, merged_sidecars
from ..shared.words import digits, file_name, listed, text

_MAIN = f"_space-{SPACE}_desc-preproc_T1w.nii.gz"
_ANATOMY = {
    "t1w": "_desc-preproc_T1w.nii.gz",
    "mask": "_desc-brain_mask.nii.gz",
    "standard_mask": f"_space-{SPACE}_desc-brain_mask.nii.gz",
    "standard_WM": f"_space-{SPACE}_label-WM_probseg.nii.gz",
    "warp": f"_from-T1w_to-{SPACE}_mode-image_xfm.h5",
}
#: Facts of the raw sidecar that a mean of frames no longer has.
_FRAMES = ("FrameTimesStart", "FrameDuration", "DecayCorrectionFactor", "ScatterFraction", "PromptRate",
           "RandomRate", "SinglesRate", "Units")  # fmt: skip
_FWHM = 2 * np.sqrt(2 * np.log(2))
#: A rotation counts as the displacement (mm) at this distance from the centre.
_RADIUS = 50.0
#: Distance (mm) from the edge of white matter at which spill-over from grey matter has faded.
_EROSION = 4.0
_FEWEST_VOXELS = 20


@component
class NativePet(Preprocessor):
    """Make an image of uptake ratios of one PET scan, static or dynamic.

    Cost is linear in the number of frames: about 10 s for the coregistration, and 1 to 2 s a frame at 2 mm on one
    core. Memory is that of the scan in float32 and a few volumes.

    Parameters
    ----------
    frames : [float, float] or None
        Start and end (s after ``TimeZero``) of the window; frames that lie in it are taken. All, if none is given.
    motion_correction : bool
        Realign the frames of a dynamic scan to each other.
    reference : {"whole_brain", "white_matter", "file"}
        Region whose mean uptake is the unit; white matter is the subject's own, 4 mm from its edge.
    reference_file : str or None
        Label image in the standard space, for ``reference: file``.
    reference_labels : list of int
        Labels that make the region; all but 0, if none is given.
    smoothing_mm : float
        Full width at half maximum of a Gaussian in the standard space; 0 for none.
    output_mm : float
        Size of the voxels in the standard space.

    """

    tiny = {"output_mm": 6.0}
    datatypes: ClassVar[tuple[str, ...]] = ("pet",)
    suffixes: ClassVar[tuple[str, ...]] = ("pet",)
    family: ClassVar[str] = "mri"
    main: ClassVar[str] = f"_space-{SPACE}_desc-suvr_pet.nii.gz"

    frames: tuple[float, float] | None = None
    motion_correction: bool = True
    reference: Literal["whole_brain", "white_matter", "file"] = "whole_brain"
    reference_file: str | None = None
    reference_labels: list[int] = []
    smoothing_mm: float = Field(default=0.0, ge=0, le=30)
    output_mm: float = Field(default=2.0, ge=1, le=8)

    def __post_init__(self) -> None:
        if self.frames is not None and not self.frames[0] < self.frames[1]:
            raise InputError("frames", "the window ends before it begins", "write [start, end] in s")
        if (self.reference == "file") != (self.reference_file is not None):
            raise InputError("reference", "file and reference_file go together", "give both, or neither")

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess one scan; see :class:`replicortex.components.Preprocessor`.

        Raises
        ------
        InputError
            If the image or its timing can not be trusted, no frame lies in the window, the subject has no
            preprocessed T1w image, or the reference region is not seen or shows no uptake.

        """
        name, stem = recording["path"], recording["recording"]
        inside(root, name)
        sidecar = merged_sidecars(recording, root)
        dynamic = (n_volumes_of(root / name) or 1) > 1
        image = open_image(root, recording, 4 if dynamic else 3)
        series = np.asarray(image.dataobj)
        series, affine = series if dynamic else series[..., None], image.affine
        starts, durations = _timing(sidecar, series.shape[3], self.frames is not None, name)
        taken = self._window(starts, durations, name)
        series, weights = series[..., taken], durations[taken] / durations[taken].sum()
        anatomy = _anatomy(recording, parents)

        displacement, matrices = np.zeros(len(taken)), np.tile(np.eye(4), (len(taken), 1, 1))
        if self.motion_correction and len(taken) > 1:
            found = motion.realign(series, affine)
            matrices = found.matrices()
            displacement = _displacement(matrices, found.centre)
        mean = _weighted_mean(series, affine, matrices, weights)
        placed = coregister(mean, affine, motion.head_mask(mean, affine), *anatomy["t1w"], anatomy["mask"][0] > 0.5)
        back = np.linalg.inv(placed.matrix)
        uptake, seen, grid = self._to_standard(series, affine, matrices, weights, back, anatomy["warp"], out)
        if self.smoothing_mm:
            uptake = ndimage.gaussian_filter(uptake, self.smoothing_mm / _FWHM / self.output_mm)
        brain = _resampled(anatomy["standard_mask"], grid) > 0.5
        region = self._reference(anatomy, grid, brain, name)
        known = region & (seen > 0.99)
        if known.sum() < _FEWEST_VOXELS:
            fault = f"its reference region ({self.reference}) is seen in {int(known.sum())} voxels"
            raise InputError(name, fault, "check the coregistration, or choose another reference region")
        unit = float(uptake[known].mean(dtype=np.float64))
        if not unit > 0:
            raise InputError(name, f"its reference region has a mean uptake of {unit:.3g}", "choose another region")
        ratio = (uptake / unit).astype(np.float32)
        mask = brain & (seen > 0.99)
        save_image(ratio, grid.affine, out / f"{stem}{self.main}")
        save_image(mask, grid.affine, out / f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz", dtype=np.uint8)
        write_text(out / f"{stem}_from-petref_to-T1w_mode-image_xfm.txt", to_itk(back))
        _draw(out / "figures" / f"{stem}_desc-suvr_pet.png", ratio, mask, region, displacement)
        kept = {key: value for key, value in sidecar.items() if key not in _FRAMES}
        first, last = (float(starts[taken[0]]), float(starts[taken[-1]] + durations[taken[-1]]))
        return {
            **kept,
            "Description": "Standardised uptake value ratio in the standard space, interpolated once",
            "Units": "unitless",
            **({"FrameTimesStart": [first], "FrameDuration": [last - first]} if "FrameTimesStart" in sidecar else {}),
            "FramesAveraged": [int(number) for number in taken],
            "ReferenceRegion": self.reference,
            "ReferenceLabels": list(self.reference_labels),
            "MotionCorrected": bool(self.motion_correction and len(taken) > 1),
            "SmoothingFWHM": self.smoothing_mm,
            "PartialVolumeCorrected": False,
            "SpatialReference": SPACE,
            "Resolution": f"{self.output_mm:g} mm",
            "SkullStripped": False,
            "Quality": {
                "reference_mean": unit,
                "reference_ml": float(known.sum() * self.output_mm**3 / 1000),
                "coverage": float(mask.sum() / brain.sum()),
                "motion_max_mm": float(displacement.max()),
                "coregistration_nmi": float(placed.information),
                "suvr_brain_mean": float(ratio[mask].mean(dtype=np.float64)),
                "n_frames": float(len(taken)),
            },
        }

    def _window(self, starts: np.ndarray, durations: np.ndarray, name: str) -> np.ndarray:
        """Return the numbers of the frames that lie in the window."""
        if self.frames is None:
            return np.arange(len(starts))
        ends, slack = starts + durations, 0.01
        taken = np.flatnonzero((starts >= self.frames[0] - slack) & (ends <= self.frames[1] + slack))
        if not len(taken):
            fault = f"no frame lies in the window of {self.frames[0]:g} to {self.frames[1]:g} s"
            remedy = f"choose frames between {starts[0]:g} and {ends[-1]:g} s"
            raise InputError(name, fault, remedy)
        return taken

    def _to_standard(
        self,
        series: np.ndarray,
        affine: np.ndarray,
        matrices: np.ndarray,
        weights: np.ndarray,
        back: np.ndarray,
        warp: Path,
        out: Path,
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return the mean of the frames and the share of them that sees each voxel, and the grid of both.

        Each frame is interpolated once, through motion, coregistration and the transform of the T1w image together.
        """
        import ants
        import nibabel as nib

        grid = template("brain", self.output_mm)
        fixed = to_ants(grid)
        uptake, seen = np.zeros(grid.shape), np.zeros(grid.shape)
        text = out / "frame.txt"
        try:
            for number, weight in enumerate(weights):
                # ITK leads from the target to the source: standard space, T1w image, mean of PET, frame.
                write_text(text, to_itk(matrices[number] @ back))
                # Ones around the frame's own voxels, so that its border does not count as half seen.
                for data, total in ((series[..., number], uptake), (np.ones(series.shape[:3], np.float32), seen)):
                    moving = to_ants(nib.Nifti1Image(np.ascontiguousarray(data, dtype=np.float32), affine))
                    made = ants.apply_transforms(fixed, moving, [str(warp), str(text)], interpolator="linear")
                    total += weight * made.numpy()
        finally:
            text.unlink(missing_ok=True)
        return uptake, seen, grid

    def _reference(self, anatomy: Mapping[str, Any], grid: Any, brain: np.ndarray, name: str) -> np.ndarray:
        """Return the reference region on the grid."""
        if self.reference == "whole_brain":
            return brain
        if self.reference == "white_matter":
            white = _resampled(anatomy["standard_WM"], grid) > 0.9
            # Distances instead of erosions: voxels of any size give the same region.
            return brain & (ndimage.distance_transform_edt(white, sampling=self.output_mm) > _EROSION)
        labels = read_image(Path(self.reference_file), 3)
        values = np.rint(_resampled((np.asarray(labels.dataobj), labels.affine), grid, order=0)).astype(int)
        region = np.isin(values, self.reference_labels) if self.reference_labels else values > 0
        if not region.any():
            fault = f"holds none of the labels {self.reference_labels or 'above 0'} in the standard space"
            raise InputError(Path(self.reference_file).name, fault, "correct reference_file or reference_labels")
        return region

    def described(self) -> str:
        """Return what it does, in words."""
        frames = (
            "all frames"
            if self.frames is None
            else f"the frames from {digits(self.frames[0])} to {digits(self.frames[1])} s"
        )
        moved = ", realigned to each other," if self.motion_correction else ", without correction of motion,"
        labels = f" (labels {listed(map(str, self.reference_labels))})" if self.reference_labels else ""
        regions = {
            "whole_brain": "the whole brain",
            "white_matter": "the participant's own white matter, 4 mm from its edge [@chen2015]",
            "file": f"the region of {file_name(self.reference_file or '')}{labels} in the standard space",
        }
        smoothed = f" and smoothed by {digits(self.smoothing_mm)} mm" if self.smoothing_mm else ""
        return text(
            f"Of each PET scan {frames}{moved} were averaged with their durations as weights. The mean was coregistered"
            " with the participant's T1-weighted image by normalised mutual information [@studholme1999]; each frame"
            " was interpolated once, through motion, coregistration and normalisation together, to"
            f" {digits(self.output_mm)} mm in the standard space [@fonov2011]{smoothed}.",
            f"Uptake was divided by the mean of {regions[self.reference]} (standardised uptake value ratio). Partial"
            " volume was not corrected, and no kinetic model was fitted.",
        )


def _timing(sidecar: Mapping[str, Any], n_frames: int, needed: bool, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return start and duration (s) of each frame; a static scan may do without."""
    lists = []
    for key in ("FrameTimesStart", "FrameDuration"):
        given = sidecar.get(key)
        if given is None and n_frames == 1 and not needed:
            lists.append(np.array([0.0 if key == "FrameTimesStart" else 1.0]))
            continue
        remedy = f"give {key} (s), one number a frame, in the JSON sidecar"
        if given is None:
            raise InputError(name, f"has no {key}, which its {n_frames} frames or the window need", remedy)
        try:
            values = np.atleast_1d(np.array(given, dtype=float))
        except (TypeError, ValueError):
            raise InputError(name, f"{key} holds what is no number", remedy) from None
        if values.shape != (n_frames,) or not np.isfinite(values).all():
            raise InputError(name, f"{key} has {values.size} entries for {n_frames} frames", remedy)
        lists.append(values)
    starts, durations = lists
    if (durations <= 0).any() or (np.diff(starts) <= 0).any():
        raise InputError(name, "its frames do not follow each other in time", "correct the JSON sidecar")
    return starts, durations


def _anatomy(recording: Mapping[str, str], parents: Sequence[Path]) -> dict[str, Any]:
    """Return what of the T1w derivative is needed: (values, affine) of images, the path of the transform."""
    usable = sorted(Path(path) for path in parents if Path(path).name.endswith(_MAIN))
    if not usable:
        fault = "its subject has no preprocessed T1w image in the standard space"
        raise InputError(recording["path"], fault, "name an anatomical recipe under after, or exclude the scan")
    session = f"_ses-{recording.get('session')}_"
    parent = next((path for path in usable if session in path.name), usable[0])
    found: dict[str, Any] = {}
    for key, ending in _ANATOMY.items():
        path = parent.with_name(parent.name.removesuffix(_MAIN) + ending)
        if not path.is_file():
            fault = f"its preprocessed T1w image lacks {path.name}"
            raise InputError(recording["path"], fault, "run the anatomical preprocessing again")
        if key == "warp":
            found[key] = path
        else:
            image = read_image(path, 3)
            found[key] = np.asarray(image.dataobj), image.affine
    return found


def _displacement(matrices: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return how far (mm) the head is from where it was in the first frame: shifts, and turns on a sphere of 50 mm."""
    first = matrices[0] @ np.r_[centre, 1]
    moved = [motion.rigid_parameters(matrix @ np.linalg.inv(matrices[0]), first[:3]) for matrix in matrices]
    return np.abs(moved) @ np.r_[1, 1, 1, [_RADIUS] * 3]


def _weighted_mean(series: np.ndarray, affine: np.ndarray, matrices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of the realigned frames on their own grid, for the coregistration."""
    inverse, total = np.linalg.inv(affine), np.zeros(series.shape[:3])
    for number, weight in enumerate(weights):
        to_voxel = inverse @ matrices[number] @ affine
        total += weight * ndimage.affine_transform(series[..., number], to_voxel, order=1, mode="nearest")
    return total.astype(np.float32)


def _resampled(image: tuple[np.ndarray, np.ndarray], grid: Any, order: int = 1) -> np.ndarray:
    """Return an image of the standard space on a grid of it."""
    data, affine = image
    to_voxel = np.linalg.inv(affine) @ grid.affine
    return ndimage.affine_transform(
        data.astype(np.float32), to_voxel, output_shape=grid.shape, order=order, mode="constant"
    )


def _draw(path: Path, ratio: np.ndarray, mask: np.ndarray, region: np.ndarray, displacement: np.ndarray) -> None:
    """Draw axial slices with brain and reference region, and the displacement of each frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    dynamic = len(displacement) > 1
    figure = Figure(figsize=(9, 4.4 if dynamic else 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.add_gridspec(2 if dynamic else 1, 6, height_ratios=[3, 1] if dynamic else [1])
    heights = np.flatnonzero(mask.any(axis=(0, 1)))
    top = float(np.percentile(ratio[mask], 99.5))
    for column, share in enumerate(np.linspace(0.15, 0.85, 6)):
        height = int(heights[round(share * (len(heights) - 1))])
        axes = figure.add_subplot(rows[0, column])
        shown = axes.imshow(ratio[:, :, height].T, origin="lower", cmap="inferno", vmin=0, vmax=top)
        for area, colour in ((mask, "white"), (region, "cyan")):
            if area[:, :, height].any() and not area[:, :, height].all():
                axes.contour(area[:, :, height].T, levels=[0.5], colors=colour, linewidths=0.6)
        axes.set_axis_off()
    figure.colorbar(shown, ax=figure.axes, label="SUVR", shrink=0.8)
    if dynamic:
        axes = figure.add_subplot(rows[1, :])
        axes.plot(np.arange(1, len(displacement) + 1), displacement, marker="o", markersize=3, color="black")
        axes.set(xlabel="frame", ylabel="moved (mm)")
    figure.savefig(path, dpi=90, metadata={"Software": None})
