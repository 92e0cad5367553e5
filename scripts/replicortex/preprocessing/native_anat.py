"""Preprocessing of T1-weighted images with ANTs: brain, bias, tissues, standard space.

The order is that of ``antsBrainExtraction`` and ``antsAtroposN4`` (Tustison et al. 2014,
doi:10.1016/j.neuroimage.2014.05.044), at resolutions that let one core do a subject in about two minutes. Only what
is written at full resolution is computed there: the bias is a smooth field, and the registration to the template
gains little below 2 mm. The brain is found with the template that nilearn ships, which has no skull; no trained
network is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared import mri_quality as quality
from ..shared.itk_hdf5 import rewrite
from ..shared.mri_anat import (
    TISSUES,
    Pose,
    at_resolution,
    bias_field,
    brain_volume,
    distance,
    is_stripped,
    jacobian,
    labels_of,
    largest,
    like,
    move,
    normalise,
    posed,
    refine_mask,
    regrid,
    segment,
    stripped_mask,
    without_bias,
)
from ..shared.nifti import SPACE, ants_module, from_ants, open_image, save_image, template, to_ants
from ..shared.words import count, digits, listed, text


@component
class NativeAnat(Preprocessor):
    """Find the brain, correct the bias, segment and normalise one T1-weighted image.

    Axes are made to run right, anterior, superior; the resolution is kept. Images whose skull was removed are
    recognised and keep the mask that they came with. White matter has the median 1000 in the result.

    Parameters
    ----------
    voxel_mm : float or None
        The image is resampled to voxels no smaller than this; ``None`` keeps it as it is.
    denoise : bool
        Non-local means adapted to Rician noise, before all else. Slow: a minute and more at 1 mm.
    bias_mm : float
        Grid on which the bias is estimated.
    mask_mm : float
        Grid on which the brain is found.
    registration_mm : float
        Finest grid of the registration.
    iterations : list of int
        Iterations of SyN at each level, from coarse to fine; each halves the voxels of the one before.
    segmentation_mm : float
        Grid on which tissues are segmented, unless the image's own is coarser.
    segmentation_iterations : int
        Iterations of expectation and maximisation.
    prior_weight : float
        Power to which the template's tissue maps are raised as priors.
    output_mm : float
        Voxels of what is written in the standard space.
    modulated : bool
        Also write tissue maps times the determinant of the Jacobian: they sum up to the subject's own volumes.
    volume_limits : (float, float)
        A brain outside of this (mL) is refused.
    min_overlap : float
        The recording is refused if the Dice coefficient of its brain with that of the template is below.
    threads : int
        More than one is faster, and does not give the same bytes twice.

    """

    untold = frozenset(["threads"])
    tiny = {
        "bias_mm": 12.0,
        "mask_mm": 4.0,
        "registration_mm": 8.0,
        "iterations": [10, 5],
        "segmentation_mm": 4.0,
        "segmentation_iterations": 5,
        "output_mm": 6.0,
    }
    family = "mri"
    datatypes = ("anat",)
    suffixes = ("T1w",)
    main = f"_space-{SPACE}_desc-preproc_T1w.nii.gz"

    voxel_mm: float | None = Field(default=None, gt=0)
    denoise: bool = False
    bias_mm: float = Field(default=6.0, gt=0)
    mask_mm: float = Field(default=2.0, gt=0)
    registration_mm: float = Field(default=2.0, gt=0)
    iterations: list[int] = [40, 20, 5]
    segmentation_mm: float = Field(default=1.0, gt=0)
    segmentation_iterations: int = Field(default=8, ge=1)
    prior_weight: float = Field(default=1.0, ge=0)
    output_mm: float = Field(default=2.0, gt=0)
    modulated: bool = True
    volume_limits: tuple[float, float] = (500.0, 2500.0)
    min_overlap: float = Field(default=0.85, ge=0, le=1)
    threads: int = Field(default=1, ge=1)

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess one image; see :class:`replicortex.components.Preprocessor`.

        Memory is about ten times that of the image in float32.
        """
        ants_module(self.threads)
        name = recording["path"]
        raw = self._open(recording, root)
        if self.denoise:
            raw = from_ants(ants_module(self.threads).denoise_image(to_ants(raw), noise_model="Rician"))
        head, mask, pose, stripped, field = self._find_brain(raw, name)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                warp = normalise(head, mask, pose, Path(scratch), self.registration_mm, self.iterations)
                field, head, mask = self._second_look(raw, head, mask, stripped, warp.to_image, field)
                tissues, work = self._segment(head, mask, warp.to_image)
            except RuntimeError as error:
                raise InputError(name, f"ANTs failed ({error})", "look at the image, or exclude it") from error
            return self._write(recording, out, raw, head, mask, tissues, work, warp, field, stripped)

    def _open(self, recording: Mapping[str, str], root: Path) -> nib.Nifti1Image:
        image = nib.as_closest_canonical(open_image(root, recording, 3))
        if self.voxel_mm is not None:
            image = at_resolution(image, self.voxel_mm)
        data = image.get_fdata(dtype=np.float32)
        if data.max() <= 0:
            raise InputError(recording["path"], "has no value above zero", "restore the file, or exclude it")
        # Ringing and some converters leave negative values, which the logarithm of N4 does not take.
        return like(np.maximum(data, 0), image)

    def _find_brain(self, raw: nib.Nifti1Image, name: str) -> tuple:
        """Return the corrected head, its brain mask, the template's pose, whether it is stripped, and the bias."""
        coarse = at_resolution(raw, 4.0)
        pose = Pose(coarse).best()
        work = at_resolution(raw, self.mask_mm)
        stripped = is_stripped(coarse, pose)
        rough = stripped_mask(work) if stripped else posed("mask", pose, work) > 0.5
        brain_volume(rough, work, (1e-6, np.inf), name)
        field = bias_field(work, rough, self.bias_mm)
        mask = rough if stripped else refine_mask(without_bias(work, field), rough)
        brain_volume(mask, work, self.volume_limits, name)
        fine = _onto(mask, work, raw)
        if stripped:
            # What was cut away at the border is no brain; holes deep inside are CSF that was cut away too.
            fine &= (raw.get_fdata(dtype=np.float32) > 0) | _onto(distance(mask, work) < -4.0, work, raw)
        return without_bias(raw, field), fine, pose, stripped, field

    def _second_look(
        self,
        raw: nib.Nifti1Image,
        head: nib.Nifti1Image,
        mask: np.ndarray,
        stripped: bool,
        to_image: Path,
        field: nib.Nifti1Image,
    ) -> tuple[nib.Nifti1Image, nib.Nifti1Image, np.ndarray]:
        """Return the bias, head and mask, with what the registered template says of where the brain ends."""
        if stripped:
            return field, head, mask
        work = at_resolution(head, self.mask_mm)
        rim = distance(move(template("mask", 2), work, to_image) > 0.5, work)
        # What is far inside of the template's brain is brain, what is far outside is none.
        seen = largest((_onto(mask, head, work) & (rim < 4.0)) | (rim < -4.0))
        field = bias_field(at_resolution(raw, self.mask_mm), seen, self.bias_mm)
        return field, without_bias(raw, field), _onto(seen, work, head)

    def _segment(
        self, head: nib.Nifti1Image, mask: np.ndarray, to_image: Path
    ) -> tuple[dict[str, np.ndarray], nib.Nifti1Image]:
        """Return the tissue maps and the image that they were made of."""
        work = at_resolution(head, self.segmentation_mm)
        inside = _onto(mask, head, work)
        return segment(work, inside, to_image, self.segmentation_iterations, self.prior_weight), work

    def _write(
        self,
        recording: Mapping[str, str],
        out: Path,
        raw: nib.Nifti1Image,
        head: nib.Nifti1Image,
        mask: np.ndarray,
        tissues: dict[str, np.ndarray],
        work: nib.Nifti1Image,
        warp: Any,
        field: nib.Nifti1Image,
        stripped: bool,
    ) -> dict[str, Any]:
        """Write all files; return the sidecar."""
        stem = out / recording["recording"]
        target = template("mask", self.output_mm)
        inside = target.get_fdata() > 0.5
        if work is not head:
            fine = {name: regrid(like(data, work), head.shape, head.affine) for name, data in tissues.items()}
            fine = {name: np.clip(image.get_fdata(dtype=np.float32), 0, 1) * mask for name, image in fine.items()}
        else:
            fine = tissues
        labels = labels_of(fine, mask)
        white = head.get_fdata(dtype=np.float32)[labels == 2]
        if white.size == 0 or np.median(white) <= 0:
            raise InputError(recording["path"], "no white matter was found", "look at the image, or exclude it")
        head = like(head.get_fdata(dtype=np.float32) * (1000 / float(np.median(white))), head)
        data = head.get_fdata(dtype=np.float32)
        there = {name: np.clip(move(like(fine[name], head), target, warp.to_template), 0, 1) for name in TISSUES}
        brain = move(like(mask, head), target, warp.to_template) > 0.5
        seen = np.maximum(move(head, target, warp.to_template), 0)
        labels_there = labels_of(there, brain)
        change = jacobian(target, warp.to_template)

        _save(stem, "desc-preproc_T1w", data, head)
        told = {"Description": "T1-weighted image, bias-corrected", "SkullStripped": stripped}
        write_text(Path(f"{stem}_desc-preproc_T1w.json"), to_json(told))
        _save(stem, "desc-brain_mask", mask, head, np.uint8)
        _save(stem, "dseg", labels, head, np.uint8)
        _save(stem, f"space-{SPACE}_desc-preproc_T1w", seen, target)
        _save(stem, f"space-{SPACE}_desc-brain_mask", brain, target, np.uint8)
        _save(stem, f"space-{SPACE}_dseg", labels_there, target, np.uint8)
        for name in TISSUES:
            _save(stem, f"label-{name}_probseg", fine[name], head)
            _save(stem, f"space-{SPACE}_label-{name}_probseg", there[name], target)
            if self.modulated:
                _save(stem, f"space-{SPACE}_label-{name}_desc-modulated_probseg", there[name] * change, target)
        for file, ends in ((warp.to_template, ("T1w", SPACE)), (warp.to_image, (SPACE, "T1w"))):
            rewrite(file, Path(f"{stem}_from-{ends[0]}_to-{ends[1]}_mode-image_xfm.h5"))

        measured = self._measure(raw, mask, data, labels, fine, field)
        measured |= {
            "dice_brain": quality.dice(brain, inside),
            **{f"dice_{name.lower()}": _dice_tissue(there, name, brain, self.output_mm) for name in ("GM", "WM")},
            "template_correlation": float(
                np.corrcoef(seen[inside], template("brain", self.output_mm).get_fdata()[inside])[0, 1]
            ),
            "folded": float((change[inside] <= 0).mean()),
        }
        if measured["dice_brain"] < self.min_overlap:
            fault = f"its brain overlaps with that of the template by a Dice of only {measured['dice_brain']:.2f}"
            raise InputError(recording["path"], fault, "look at the image, exclude it, or lower min_overlap")
        self._draw(out, recording["recording"], seen, data, labels, mask, head)
        return {
            "Description": "T1-weighted image, bias-corrected, in the standard space",
            "SpatialReference": f"{SPACE}: the template that nilearn ships, {self.output_mm:g} mm",
            "SkullStripped": stripped,
            "Threads": self.threads,
            "Quality": {name: round(float(value), 6) for name, value in measured.items()},
        }

    def _measure(
        self,
        raw: nib.Nifti1Image,
        mask: np.ndarray,
        data: np.ndarray,
        labels: np.ndarray,
        tissues: Mapping[str, np.ndarray],
        field: nib.Nifti1Image,
    ) -> dict[str, float]:
        """Return the measures that need no template."""
        spacing = np.linalg.norm(raw.affine[:3, :3], axis=0)
        before = raw.get_fdata(dtype=np.float32)
        bias = np.exp(regrid(field, raw.shape, raw.affine, mode="nearest").get_fdata(dtype=np.float32)[mask])
        low, middle, high = np.percentile(bias, [5, 50, 95])
        found: dict[str, float | None] = {
            **quality.contrasts(data, labels),
            **quality.volumes(tissues, mask, float(spacing.prod()) / 1000),
            "efc": quality.entropy_focus(before),
            "fber": quality.energy_ratio(before, mask),
            "fwhm_mm": quality.smoothness(before, mask, spacing),
            "inu_range": float(high - low),
            "inu_med": float(middle),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _draw(
        self,
        out: Path,
        stem: str,
        seen: np.ndarray,
        data: np.ndarray,
        labels: np.ndarray,
        mask: np.ndarray,
        head: nib.Nifti1Image,
    ) -> None:
        from ..shared.mri_figures import plot_registration, plot_segmentation

        folder = out / "figures"
        folder.mkdir(exist_ok=True)
        target = template("mask", self.output_mm)
        plot_registration(folder / f"{stem}_desc-registration_T1w.png", like(seen, target))
        small = at_resolution(head, 1.0)
        plot_segmentation(
            folder / f"{stem}_desc-segmentation_T1w.png",
            small if small is not head else like(data, head),
            regrid(like(labels, head), small.shape, small.affine, order=0).get_fdata(dtype=np.float32),
            _onto(mask, head, small),
        )

    def described(self) -> str:
        """Return what it does, in words."""
        low, high = self.volume_limits
        size = (
            "" if self.voxel_mm is None else f"Images were resampled to voxels of at least {digits(self.voxel_mm)} mm."
        )
        noise = "Noise was reduced by adaptive non-local means [@manjon2010]." if self.denoise else ""
        modulated = ", also modulated by the Jacobian determinant of the transform" if self.modulated else ""
        return text(
            "T1-weighted images were preprocessed with ANTs [@tustison2021], in the order of Tustison et al."
            " [@tustison2014].",
            size,
            noise,
            f"Intensity non-uniformity was corrected with N4 [@tustison2010] on a grid of {digits(self.bias_mm)} mm."
            f" The brain was found with the template's brain mask at {digits(self.mask_mm)} mm; images whose skull had"
            " been removed kept the mask that they came with.",
            "The brain was normalised to the ICBM 152 nonlinear symmetric template, version 2009a [@fonov2011], by an"
            " affine transform and symmetric diffeomorphic registration (SyN) [@avants2008],"
            f" {listed(map(str, self.iterations))} iterations from coarse to {digits(self.registration_mm)} mm.",
            "Grey matter, white matter and cerebrospinal fluid were segmented by expectation and maximisation as in"
            f" Atropos [@avants2011atropos] ({count(self.segmentation_iterations, 'iteration')} at"
            f" {digits(self.segmentation_mm)} mm, the template's tissue maps raised to the power of"
            f" {digits(self.prior_weight)} as priors).",
            f"Images and tissue maps were written at {digits(self.output_mm)} mm in the standard space{modulated}.",
            f"Brains outside of {digits(low)} to {digits(high)} mL, and those that overlapped with the template's by a"
            f" Dice coefficient below {digits(self.min_overlap)}, were excluded.",
        )


def _onto(mask: np.ndarray, image: nib.Nifti1Image, other: nib.Nifti1Image) -> np.ndarray:
    """Return a mask on the grid of ``image`` on that of ``other``."""
    if other is image or (mask.shape == other.shape and np.allclose(image.affine, other.affine)):
        return mask
    return regrid(like(mask, image), other.shape, other.affine).get_fdata(dtype=np.float32) > 0.5


def _dice_tissue(tissues: Mapping[str, np.ndarray], name: str, brain: np.ndarray, mm: float) -> float:
    """Return the Dice coefficient of where a tissue is likelier than not, here and in the template."""
    return quality.dice((tissues[name] > 0.5) & brain, template(name, mm).get_fdata() > 0.5)


def _save(stem: Path, ending: str, data: np.ndarray, image: nib.Nifti1Image, dtype: type = np.float32) -> None:
    save_image(data, image.affine, Path(f"{stem}_{ending}.nii.gz"), dtype=dtype)
