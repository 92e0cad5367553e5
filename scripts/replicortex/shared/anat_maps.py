"""The images beside the main file of an anatomical or PET derivative."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from ..errors import InputError
from .mri_files import beside, entities, suffix
from .nifti import read_image

Tissue = Literal["GM", "WM", "CSF"]
TISSUES: tuple[Tissue, ...] = ("GM", "WM", "CSF")

#: Probabilities may pass 0 and 1 by as much where an image was resampled.
_SLACK = 0.05


def anatomical(path: Path, name: str) -> None:
    """Refuse a file that is no T1-weighted image.

    Raises
    ------
    InputError
        If it is another file.

    """
    if not re.fullmatch(r"T1w\.nii(\.gz)?", suffix(path)):
        fault = f"is no T1w image ({suffix(path)})"
        raise InputError(name, fault, "provide *_desc-preproc_T1w.nii.gz, or choose another feature")


def smoothed_for(image: nib.Nifti1Image, mm: float, fwhm: float = 0.0) -> nib.Nifti1Image:
    """Return an image smoothed for voxels of ``mm``: what lies between them is averaged and not passed over.

    Parameters
    ----------
    fwhm : float
        Width (mm) of a Gaussian to smooth by beside that.

    """
    own = np.linalg.norm(image.affine[:3, :3], axis=0)
    # Widths of Gaussians add in squares: what is missing from the image's own voxels to the new ones.
    width = np.sqrt(np.maximum(mm**2 - own**2, 0) + fwhm**2)
    if not width.any():
        return image
    from nilearn.image import smooth_img

    return smooth_img(image, width)


def in_standard_space(path: Path, name: str) -> None:
    """Refuse an image that is not in MNI space.

    Raises
    ------
    InputError
        If it is not.

    """
    space = entities(path).get("space", "")
    if not space.startswith("MNI"):
        fault = f"is in the space {space!r}" if space else "is in the space of the scanner"
        raise InputError(name, f"{fault}, where the feature needs MNI space", "write MNI space when preprocessing")


def tissue_map(
    path: Path, name: str, tissue: Tissue, *, native: bool = False, modulated: bool = False
) -> nib.Nifti1Image:
    """Return a map of tissue probability that lies beside the main file.

    Parameters
    ----------
    path : Path
        The main file.
    name : str
        Stands for it in messages.
    tissue : {"GM", "WM", "CSF"}
    native : bool
        The map in the space of the participant, not that of the main file.
    modulated : bool
        The map times the local change of volume.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it holds values that are no probabilities.

    """
    keep = () if native else ("space", "res")
    # The order of BIDS entities, and the order that stands in names of older tools.
    endings = (
        [f"label-{tissue}_desc-modulated_probseg", f"desc-modulated_label-{tissue}_probseg"]
        if modulated
        else [f"label-{tissue}_probseg"]
    )
    found = [beside(path, ending + extension, keep=keep) for ending in endings for extension in (".nii.gz", ".nii")]
    file = next((entry for entry in found if entry.is_file()), None)
    if file is None:
        remedy = "have preprocessing write it, or choose another map in the feature card"
        raise InputError(name, f"has no {found[0].name} beside it", remedy)
    image = read_image(file, 3)
    data = np.asarray(image.dataobj)
    if data.min() < -_SLACK or (not modulated and data.max() > 1 + _SLACK):
        fault = f"holds values from {data.min():.3g} to {data.max():.3g}, which are no probabilities"
        raise InputError(file.name, fault, "restore the map")
    return image


def brain_mask(path: Path, image: nib.Nifti1Image) -> np.ndarray | None:
    """Return the brain mask beside ``path`` on the grid of ``image``, boolean, or ``None`` if there is none.

    Raises
    ------
    InputError
        If it is on another grid.

    """
    file = beside(path, "desc-brain_mask.nii.gz", keep=("space", "res"))
    if not file.is_file():
        return None
    mask = read_image(file, 3)
    if mask.shape != image.shape[:3] or not np.allclose(mask.affine, image.affine, atol=1e-3):
        raise InputError(file.name, "is on another grid than the image", "restore the mask of this image")
    return np.asarray(mask.dataobj) > 0.5


def voxel_ml(image: nib.Nifti1Image) -> float:
    """Return the volume of a voxel (mL)."""
    return float(abs(np.linalg.det(image.affine[:3, :3]))) / 1000
