"""Whole volumes on the grid of the template: T1w, tissue maps or PET uptake, for methods that see every voxel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import nibabel as nib
import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.anat_maps import anatomical, brain_mask, in_standard_space, smoothed_for, tissue_map
from ..shared.func_series import Share, mask_words, on_grid, template_mask
from ..shared.mri_files import rows_of, suffix
from ..shared.nifti import read_image
from ..shared.words import digits, percent, text


@component
class Volumes(Extractor):
    """One image of a recording at a chosen resolution, as a grid or as the voxels of a mask of the template.

    Images with smaller voxels are smoothed to the resolution before they are resampled, so that what is between
    the new voxels is averaged and not passed over.

    Parameters
    ----------
    which : {"image", "GM", "WM", "CSF", "modulated_GM", "modulated_WM", "modulated_CSF"}
        The main image itself (T1w, or PET uptake), or a map of tissue beside it; modulated maps keep the amount of
        tissue, where the others keep its concentration.
    mm : float
        Size of the voxels.
    masked : bool
        Return a vector of the voxels in the mask, not the whole grid.
    mask : {"brain", "gm"}
        The brain, or the grey matter, of the template. Outside of it the grid is 0.
    mask_threshold : float
        Probability of grey matter above which a voxel is taken.
    smoothing_fwhm : float or None
        Width (mm) of a Gaussian beside what the resolution asks for; 8 is common for maps of grey matter.
    scale : {"none", "zscore", "mean"}
        T1w images have no unit: scale the voxels in the mask to mean 0 and standard deviation 1, or divide by
        their mean.
    min_coverage : float
        Share of the mask that the image's own brain mask, or else its grid, must hold.

    """

    datatypes = ("anat", "pet")
    suffixes = ("T1w", "pet")
    family = "mri"
    tiny = {"mm": 12.0}

    which: Literal["image", "GM", "WM", "CSF", "modulated_GM", "modulated_WM", "modulated_CSF"] = "image"
    mm: Annotated[float, Field(ge=1)] = 4.0
    masked: bool = True
    mask: Literal["brain", "gm"] = "brain"
    mask_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    smoothing_fwhm: Annotated[float, Field(gt=0)] | None = None
    scale: Literal["none", "zscore", "mean"] = "none"
    min_coverage: Share = 0.7

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x``, float32: (1, n_voxels) with axis ``voxel``, or (1, n_x, n_y, n_z) with no axis.

        ``voxel`` holds flat numbers in the grid that ``meta`` gives by ``shape`` and ``affine``. The row column
        ``coverage`` is the share of the mask that the image holds.

        Raises
        ------
        InputError
            If the recording is not in MNI space, the map is lacking, or the image holds too little of the brain.

        """
        name = recording["path"]
        in_standard_space(path, name)
        image = self._image(path, name)
        inside, affine = template_mask(self.mask, self.mm, self.mask_threshold)
        own = brain_mask(path, image)
        seen = np.ones(image.shape, dtype=np.uint8) if own is None else own.astype(np.uint8)
        # A map of tissue may be 0 within the brain; only the mask and the grid say what was seen.
        held = on_grid(nib.Nifti1Image(seen, image.affine), inside.shape, affine, "nearest")[inside] > 0.5
        coverage = float(held.mean())
        if coverage < self.min_coverage:
            fault = f"holds {100 * coverage:.0f} % of the template's brain"
            raise InputError(name, fault, "exclude the recording, or relax min_coverage in the feature card")
        image = smoothed_for(image, self.mm, self.smoothing_fwhm or 0.0)
        values = on_grid(image, inside.shape, affine, "linear")[inside].astype(np.float64)
        if self.scale != "none":
            spread = values.std() if self.scale == "zscore" else values.mean()
            if not spread > 0:
                raise InputError(name, "can not be scaled: its mean or spread is not positive", "set scale: none")
            values = (values - (values.mean() if self.scale == "zscore" else 0)) / spread
        axes: dict[str, Any] = {}
        if self.masked:
            x, axes = values.astype(np.float32), {"voxel": np.flatnonzero(inside).tolist()}
        else:
            x = np.zeros(inside.shape, dtype=np.float32)
            x[inside] = values
        meta = {"affine": affine.tolist(), "shape": list(inside.shape), "fitted": []}
        return Bundle({"x": x[None]}, rows_of(recording, coverage=coverage), axes, meta)

    def _image(self, path: Path, name: str) -> nib.Nifti1Image:
        if self.which == "image":
            if suffix(path).partition(".")[0] not in ("T1w", "pet"):
                raise InputError(name, f"is no image ({suffix(path)})", "choose another feature")
            return read_image(path, 3, name)
        anatomical(path, name)
        kind, _, tissue = self.which.rpartition("_")
        return tissue_map(path, name, tissue, modulated=bool(kind))

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        tissues = {"GM": "grey matter", "WM": "white matter", "CSF": "cerebrospinal fluid"}
        kind = self.which.removeprefix("modulated_")
        modulated = ", modulated by the change of volume in normalisation" if kind != self.which else ""
        image = "The preprocessed image" if kind == "image" else f"The map of {tissues[kind]}{modulated}"
        smoothed = f" and smoothed by {digits(self.smoothing_fwhm)} mm" if self.smoothing_fwhm is not None else ""
        where = mask_words(self.mask, self.mask_threshold)
        scales = {
            "none": "",
            "zscore": "Voxels were scaled to mean 0 and standard deviation 1 within each image.",
            "mean": "Voxels were divided by the mean of their image.",
        }
        taken = "the voxels" if self.masked else "the whole grid, zero outside the voxels"
        return text(
            f"{image} was brought to voxels of {digits(self.mm)} mm{smoothed}, and {taken} in {where} of the template"
            " were taken.",
            scales[self.scale],
            f"Images that covered less than {percent(self.min_coverage)} of these voxels were excluded.",
        )
