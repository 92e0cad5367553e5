"""Uptake in the PET scans of a dataset: its mean in the standard space, how scans differ, what they cover."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ..components import Audience, Display, component
from ..errors import InputError
from ..shared.group_maps import GroupMap, Look, map_displays, open_masked
from ..shared.mri_files import entities


@component
class PetGroup(Display):
    """Standardised uptake value ratios, of one scan a recording.

    Parameters
    ----------
    mm : float
        Size (mm) of the voxels of the maps.
    """

    family: ClassVar[str] = "mri"
    most: ClassVar[int] = 500

    mm: float = 2.0

    def __post_init__(self) -> None:
        self._images = GroupMap(self.mm)

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one image; see :class:`replicortex.components.Display`."""
        if entities(path).get("desc") != "suvr":
            raise InputError(path.name, "holds no uptake ratio", "have preprocessing write *_desc-suvr_pet.nii.gz")
        self._images.add(*open_masked(path))
        return {}

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write mean, deviation and coverage."""
        look = Look("uptake ratio (SUVR)", "inferno")
        return map_displays(folder, "suvr", "uptake ratio", self._images, look, audience)
