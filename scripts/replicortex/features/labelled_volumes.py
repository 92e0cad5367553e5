"""Whole volumes with the regions of each participant, and the grey matter of every region as its phenotype."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import nibabel as nib
import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.anat_maps import anatomical, brain_mask, in_standard_space, smoothed_for, tissue_map, voxel_ml
from ..shared.func_series import Share, on_grid, template_mask
from ..shared.mri_files import beside, rows_of
from ..shared.nifti import read_image
from ..shared.words import count, digits, names, percent, text

#: Labels of FreeSurfer (``aparc+aseg``) on both sides.
FREESURFER: dict[str, list[int]] = {
    "hippocampus": [17, 53],
    "amygdala": [18, 54],
    "thalamus": [10, 49],
    "caudate": [11, 50],
    "putamen": [12, 51],
    "pallidum": [13, 52],
    "accumbens": [26, 58],
    "cerebellum": [8, 47],
}


@component
class LabelledVolumes(Extractor):
    """A T1-weighted image in the standard space on a grid, and the labels of its own regions on the same grid.

    Regions come from ``*_desc-aparcaseg_dseg.nii.gz`` beside the image. The phenotype of a region is its grey matter
    in mL: the sum of the tissue map over its voxels.

    Parameters
    ----------
    mm : float
        Size of the voxels.
    regions : mapping of str to list of int
        Name of each region, and the labels that make it: those of both sides for a bilateral one.
    scale : {"none", "zscore"}
        T1w images have no unit: scale the voxels of the brain to mean 0 and standard deviation 1 within each image.
    min_coverage : float
        Share of the template's brain that the image's own brain mask, or else its grid, must hold.
    """

    datatypes = ("anat",)
    suffixes = ("T1w",)
    family = "mri"
    tiny = {"mm": 12.0}

    mm: Annotated[float, Field(ge=1)] = 1.0
    regions: Annotated[dict[str, Annotated[list[int], Field(min_length=1)]], Field(min_length=2)] = FREESURFER
    scale: Literal["none", "zscore"] = "zscore"
    min_coverage: Share = 0.7

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (1, X, Y, Z) float32, ``regions`` (1, X, Y, Z) int16 and ``phenotypes`` (1, n_regions), mL.

        ``regions`` holds 1, 2, ... in the order of the axis ``region``, 0 outside of all and -1 outside the brain;
        ``x_mm``, ``y_mm`` and ``z_mm`` are places of the voxels in MNI space.

        Raises
        ------
        InputError
            If the recording is not in MNI space, a map or the labels are lacking, a region has no voxel, or the image
            holds too little of the brain.
        """
        name = recording["path"]
        anatomical(path, name)
        in_standard_space(path, name)
        image = read_image(path, 3, name)
        inside, affine = template_mask("brain", self.mm, 0.0)
        own = brain_mask(path, image)
        seen = nib.Nifti1Image((np.ones(image.shape) if own is None else own).astype(np.uint8), image.affine)
        held = on_grid(seen, inside.shape, affine, "nearest") > 0.5
        coverage = float(held[inside].mean())
        if coverage < self.min_coverage:
            fault = f"holds {100 * coverage:.0f} % of the template's brain"
            raise InputError(name, fault, "exclude the recording, or relax min_coverage in the feature card")
        labels = self._labels(path, name, image)
        grey = tissue_map(path, name, "GM")
        if grey.shape != image.shape:
            raise InputError(name, "and its map of grey matter are on different grids", "restore the derivative")
        amounts = np.bincount(labels.ravel(), np.asarray(grey.dataobj, dtype=np.float64).ravel(), len(self.regions) + 1)
        x = on_grid(smoothed_for(image, self.mm), inside.shape, affine, "linear").astype(np.float64)
        if self.scale == "zscore":
            values = x[held]
            if not values.std() > 0:
                raise InputError(name, "is constant in the brain", "exclude the recording")
            x = np.where(held, (x - values.mean()) / values.std(), 0.0)
        placed = on_grid(nib.Nifti1Image(labels, image.affine), inside.shape, affine, "nearest")
        placed = np.where(held, placed, -1)
        places = {f"{axis}_mm": (affine[i, 3] + affine[i, i] * np.arange(inside.shape[i])).tolist()
                  for i, axis in enumerate("xyz")}  # fmt: skip
        arrays = {
            "x": x[None].astype(np.float32),
            "regions": placed[None].astype(np.int16),
            "phenotypes": amounts[None, 1:] * voxel_ml(image),
        }
        axes = {**places, "region": list(self.regions)}
        return Bundle(arrays, rows_of(recording, coverage=coverage), axes, {"affine": affine.tolist(), "fitted": []})

    def _labels(self, path: Path, name: str, image: nib.Nifti1Image) -> np.ndarray:
        """Return the number of the region of each voxel of the image."""
        file = beside(path, "desc-aparcaseg_dseg.nii.gz", keep=("space", "res"))
        if not file.is_file():
            raise InputError(name, f"has no {file.name} beside it", "have the parcellation written in this space")
        found = np.rint(np.asarray(read_image(file, 3).dataobj)).astype(np.int64)
        if found.shape != image.shape:
            raise InputError(file.name, "is on another grid than the image", "restore the derivative")
        labels = np.zeros(found.shape, np.int16)
        for number, (region, codes) in enumerate(self.regions.items(), start=1):
            here = np.isin(found, codes)
            if not here.any():
                raise InputError(name, f"has no voxel of {region}", "correct regions in the feature card")
            labels[here] = number
        return labels

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        scaled = ", scaled to mean 0 and standard deviation 1 over the brain" if self.scale == "zscore" else ""
        return text(
            f"T1-weighted images in the standard space were brought to voxels of {digits(self.mm)} mm{scaled}. The grey"
            f" matter of {count(len(self.regions), 'region')} of each participant ({names(self.regions)}; labels"
            f" {', '.join(str(code) for codes in self.regions.values() for code in codes)}) was summed over the map of"
            " tissue.",
            f"Images that covered less than {percent(self.min_coverage)} of the template's brain were excluded.",
        )
