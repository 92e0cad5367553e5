"""BOLD runs of a dataset: mean image, temporal signal-to-noise, coverage, motion; connectivity where tables give it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np

from ..components import Audience, Display, component
from ..errors import InputError
from ..shared.func_series import open_bold
from ..shared.group_maps import GroupMap, Look, map_displays, relative
from ..shared.group_motion import Motion
from ..shared.group_tables import MeanConnectivity
from ..shared.mri_files import beside, confounds_path, is_confounds, suffix
from ..shared.nifti import read_image


@component
class FuncGroup(Display):
    """Means over the runs of a dataset.

    Where preprocessing wrote the mean image of a run and its temporal signal-to-noise, these are read, else the
    series; memory is that of one series in float32.

    Parameters
    ----------
    mm : float
        Size (mm) of the voxels of the maps.
    """

    family: ClassVar[str] = "mri"
    most: ClassVar[int] = 200

    mm: float = 3.0

    def __post_init__(self) -> None:
        self._mean, self._ratio = GroupMap(self.mm), GroupMap(self.mm)
        self._motion, self._connectivity = Motion(), MeanConnectivity()

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one run; see :class:`replicortex.components.Display`."""
        table = path if is_confounds(path) else confounds_path(path)
        if table is not None:
            self._motion.add(table)
        if suffix(path) == "timeseries.tsv" and not is_confounds(path):
            self._connectivity.add_series(path)
        elif suffix(path) == "relmat.tsv":
            self._connectivity.add_matrix(path)
        elif not is_confounds(path):
            self._look_at_image(path)
        return {}

    def _look_at_image(self, path: Path) -> None:
        files = [beside(path, ending, keep=("space", "res")) for ending in (
            "desc-brain_mask.nii.gz", "boldref.nii.gz", "stat-tsnr_boldmap.nii.gz")]  # fmt: skip
        if not files[0].is_file():
            raise InputError(path.name, "has no brain mask beside it", "have preprocessing write one")
        if all(file.is_file() for file in files) and "_space-MNI" in path.name:
            mask, mean, ratio = (read_image(file, 3) for file in files)
            if not mask.shape == mean.shape == ratio.shape:
                raise InputError(path.name, "lies beside images of another grid", "preprocess it again")
            valid = np.asarray(mask.dataobj) > 0.5
        else:
            image, flat = open_bold(path, path.name)
            valid = flat.reshape(image.shape[:3])
            mean, ratio = _over_time(image)
        # Over the median: what BOLD values mean depends on the scanner.
        self._mean.add(relative(mean, valid, path.name), valid)
        self._ratio.add(ratio, valid)

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write maps, motion and connectivity."""
        mean = Look("times the median of the brain", low=0.25)
        ratio = Look("temporal signal-to-noise", "inferno")
        return [
            *map_displays(folder, "bold", "BOLD image", self._mean, mean, audience),
            *map_displays(folder, "tsnr", "temporal signal-to-noise", self._ratio, ratio, audience, spread=False),
            *self._motion.show(folder, audience),
            *self._connectivity.show(folder, audience),
        ]


def _over_time(image: nib.Nifti1Image) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Return the mean of a series over time, and that over the standard deviation; zero where nothing varies."""
    data = np.asarray(image.dataobj)
    mean, deviation = data.mean(axis=3), data.std(axis=3)
    ratio = np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)
    return nib.Nifti1Image(mean, image.affine), nib.Nifti1Image(ratio, image.affine)
