"""Anatomical images of a dataset: their mean in the standard space, how they differ, what they cover."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ..components import Audience, Display, component
from ..shared.group_maps import GroupMap, Look, map_displays, open_masked, relative
from ..shared.group_tables import VariableMeans
from ..shared.mri_files import suffix


@component
class AnatGroup(Display):
    """T1w images over their median inside of the brain, since their unit is arbitrary; variables of tables.

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
        self._variables = VariableMeans()

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one image or table; see :class:`replicortex.components.Display`."""
        if suffix(path) == "morph.tsv":
            self._variables.add(path)
        else:
            image, mask = open_masked(path)
            self._images.add(relative(image, mask, path.name), mask)
        return {}

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write mean, deviation and coverage of the images, and the means of variables."""
        look = Look("times the median of the brain", low=0.25)
        maps = map_displays(folder, "t1w", "T1w image", self._images, look, audience)
        return maps + self._variables.show(folder, audience)
