"""Occlusion: how the output changes where a region is replaced by the baseline."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..components import Explainer, component
from ..errors import InputError


@component
class Occlusion(Explainer):
    """The change of the output without a region, shared by its voxels (Zeiler & Fergus 2014).

    Parameters
    ----------
    at_once : int
        Regions in one pass: more need more memory and less time.
    """

    untold = frozenset(["at_once"])

    at_once: Annotated[int, Field(ge=1)] = 1

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the change per voxel; see :class:`~replicortex.components.Explainer`. One pass a region."""
        import torch

        if regions is None:
            raise InputError("features", "have no array 'regions'", "choose a feature card with labelled regions")
        with torch.no_grad():
            whole = network(x)
            found = torch.zeros_like(x)
            for labels in torch.unique(regions[regions > 0]).split(self.at_once):
                inside = [(regions == label)[:, None] for label in labels]
                without = network(torch.cat([torch.where(one, baseline, x) for one in inside])).chunk(len(inside))
                for one, output in zip(inside, without, strict=True):
                    size = one.flatten(1).sum(dim=1).clamp(min=1)
                    found += one * ((whole - output) / size).view(-1, 1, 1, 1, 1)
        return found

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Maps are changes of the output where one region after the other was replaced by the baseline, per voxel"
            " (occlusion [@zeiler2014])."
        )
