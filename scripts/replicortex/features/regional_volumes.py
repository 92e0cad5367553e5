"""Volumes of tissue, in the whole brain and in regions, of one T1-weighted image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.anat_maps import TISSUES, Tissue, anatomical, in_standard_space, tissue_map, voxel_ml
from ..shared.atlas import parcels
from ..shared.func_series import Share, missing_regions
from ..shared.mri_files import rows_of
from ..shared.nifti import read_image
from ..shared.words import file_name, listed, percent, text


@component
class RegionalVolumes(Extractor):
    """Sums of tissue probability times the volume of a voxel.

    Whole-brain volumes come from the maps in the space of the participant. Those of regions come from the maps
    in MNI space: if they are modulated, their sums are volumes of the participant; if not, they are how much of
    the template's region is of the tissue (mL of the template), which knows local concentration but no size.

    Parameters
    ----------
    tissues : list of {"GM", "WM", "CSF"}
        Whole-brain volumes to give, besides that of all three together.
    atlas_file : str or None
        A label image in MNI space; ``None`` gives whole-brain volumes only.
    atlas_labels : str or None
        Its table with columns ``index`` and ``name``.
    tissue : {"GM", "WM", "CSF"}
        Tissue of the regional volumes.
    modulated : bool
        Whether the map times the local change of volume is summed.
    intensities : bool
        Give the mean intensity of the T1w image in each region too, divided by that of the whole brain's white
        matter, since T1w images have no unit.
    fraction : bool
        Divide all volumes by that of the three tissues together, which takes the size of the head away.
    min_coverage : float
        Share of a region that must lie within the image; no region may be without.

    """

    datatypes = ("anat",)
    suffixes = ("T1w",)
    family = "mri"
    tiny = {}

    tissues: list[Tissue] = ["GM", "WM", "CSF"]
    atlas_file: str | None = None
    atlas_labels: str | None = None
    tissue: Literal["GM", "WM", "CSF"] = "GM"
    modulated: bool = True
    intensities: bool = False
    fraction: bool = False
    min_coverage: Share = 0.8

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_variables), float32, with axis ``variable``.

        Variables are ``total`` (all tissues), ``GM``, ``WM``, ``CSF`` (mL, or shares of ``total``, which stays in
        mL), ``GM <region>``, and ``T1w <region>`` (relative). The row column ``total_ml`` repeats ``total``.

        Raises
        ------
        InputError
            If a map is lacking, has no tissue at all, or a region lies outside of the image.

        """
        name = recording["path"]
        anatomical(path, name)
        sums = {}
        for tissue in TISSUES:
            image = tissue_map(path, name, tissue, native=True)
            sums[tissue] = float(np.asarray(image.dataobj, dtype=np.float64).sum()) * voxel_ml(image)
        total = sum(sums.values())
        if not total > 0:
            raise InputError(name, "its maps of tissue are empty", "exclude the recording")
        size = total if self.fraction else 1.0
        found = {"total": total, **{tissue: sums[tissue] / size for tissue in self.tissues}}
        if self.atlas_file is not None:
            found |= self._regional(path, name, size)
        return Bundle(
            {"x": np.array([list(found.values())], dtype=np.float32)},
            rows_of(recording, total_ml=total),
            {"variable": list(found)},
            {"unit": "share" if self.fraction else "mL", "fitted": []},
        )

    def _regional(self, path: Path, name: str, size: float) -> dict[str, float]:
        in_standard_space(path, name)
        image = tissue_map(path, name, self.tissue, modulated=self.modulated)
        regions = parcels(image, "dosenbach", atlas_file=self.atlas_file, atlas_labels=self.atlas_labels)
        every = np.ones(int(np.prod(image.shape)), dtype=bool)
        missing_regions(regions.coverage(every), self.min_coverage, 0.0, list(regions.names), name)
        sums = regions.members @ np.asarray(image.dataobj, dtype=np.float64).ravel() * voxel_ml(image) / size
        found = {f"{self.tissue} {region}": float(value) for region, value in zip(regions.names, sums, strict=True)}
        if self.intensities:
            t1w, white = read_image(path, 3, name), tissue_map(path, name, "WM")
            if t1w.shape != image.shape or white.shape != image.shape:
                raise InputError(name, "and its maps of tissue are on different grids", "restore the derivative")
            data = np.asarray(t1w.dataobj, dtype=np.float64)
            share = np.clip(np.asarray(white.dataobj, dtype=np.float64), 0, 1)
            reference = float((data * share).sum() / share.sum())
            if not reference > 0:
                raise InputError(name, "its white matter has no positive intensity", "exclude the recording")
            means = regions.means(data.reshape(-1, 1), every)[:, 0] / reference
            found |= {f"T1w {region}": float(value) for region, value in zip(regions.names, means, strict=True)}
        return found

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        tissues = {"GM": "grey matter", "WM": "white matter", "CSF": "cerebrospinal fluid"}
        said = [
            f"Volumes of {listed(tissues[name] for name in self.tissues)} and of all three tissues together are sums of"
            " the tissue probabilities in the participant's own space."
            if self.tissues
            else "The volume of the three tissues together is the sum of their probabilities in the participant's own"
            " space."
        ]
        if self.atlas_file is not None:
            labels = f" with the names of {file_name(self.atlas_labels)}" if self.atlas_labels else ""
            how = "modulated by the change of volume in normalisation" if self.modulated else "not modulated"
            said.append(
                f"Regional volumes of {tissues[self.tissue]} are sums over the regions of"
                f" {file_name(self.atlas_file)}{labels} in the standard space, {how}; images with a region covered by"
                f" less than {percent(self.min_coverage)} were excluded."
            )
            if self.intensities:
                said.append("Mean intensities of the regions, relative to white matter, were added.")
        if self.fraction:
            said.append("All volumes were divided by that of the three tissues together.")
        return text(*said)
