"""Whole heads as they were recorded, on a grid of their own: neither registered nor corrected nor stripped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.anat_maps import anatomical, smoothed_for
from ..shared.func_series import on_grid
from ..shared.mri_files import beside, rows_of
from ..shared.nifti import read_image
from ..shared.words import digits, percent

Side = Annotated[int, Field(ge=4)]


@component
class HeadGrid(Extractor):
    """A T1-weighted image in its own space, turned to the nearest axes, cut or padded about its centre, and scaled.

    Parameters
    ----------
    shape : tuple of int
        Voxels along x (to the right), y (to the front) and z (up).
    mm : float
        Size of the voxels. Images with smaller ones are smoothed to it first.
    brightest : float
        Share of the voxels that are not cut off: intensities from 0 to this quantile become -1 to 1.
    """

    datatypes = ("anat",)
    suffixes = ("T1w",)
    family = "mri"
    tiny = {"shape": (12, 16, 12), "mm": 16.0}

    shape: tuple[Side, Side, Side] = (192, 224, 192)
    mm: Annotated[float, Field(ge=0.5)] = 1.0
    brightest: Annotated[float, Field(gt=0.5, le=1)] = 0.999

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, X, Y, Z), float32 in [-1, 1]; ``x_mm``, ``y_mm``, ``z_mm`` count from the centre.

        The image in the participant's own space is taken where one lies beside that in the standard space.

        Raises
        ------
        InputError
            If the file is no T1w image, or has no intensity above zero.
        """
        name = recording["path"]
        anatomical(path, name)
        own = beside(path, "desc-preproc_T1w.nii.gz")
        image = nib.as_closest_canonical(read_image(own if own.is_file() else path, 3, name))
        size = np.linalg.norm(image.affine[:3, :3], axis=0)
        image = smoothed_for(image, self.mm)
        # The image's own axes, so that nothing is turned; its centre is that of the grid.
        affine = np.eye(4)
        affine[:3, :3] = image.affine[:3, :3] / size * self.mm
        centre = image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.affine[:3, 3]
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        values = on_grid(image, self.shape, affine, "linear").astype(np.float64)
        top = np.quantile(values, self.brightest)
        if not top > 0:
            raise InputError(name, "has no intensity above zero", "exclude the recording")
        x = (2 * np.clip(values / top, 0, 1) - 1).astype(np.float32)
        axes = {
            f"{axis}_mm": (self.mm * (np.arange(n) - (n - 1) / 2)).tolist()
            for axis, n in zip("xyz", self.shape, strict=True)
        }
        return Bundle({"x": x[None]}, rows_of(recording), axes, {"fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        sides = " x ".join(digits(side) for side in self.shape)
        return (
            f"T1-weighted images stayed in their own space and were cut or padded about their centre to {sides} voxels"
            f" of {digits(self.mm)} mm; intensities from zero to the {percent(self.brightest)} quantile were scaled to"
            " lie between minus one and one."
        )
