"""The plain gradient of the output with respect to the input."""

from __future__ import annotations

from typing import Any

from ..components import Explainer, component
from ..shared.attributions import gradient


@component
class Gradient(Explainer):
    """How the output changes with each voxel (saliency; Simonyan et al. 2013, doi:10.48550/arXiv.1312.6034)."""

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the gradient; see :class:`~replicortex.components.Explainer`."""
        return gradient(network, x)

    def described(self) -> str:
        """Return what it does, in words."""
        return "Maps are gradients of the output with respect to the input [@simonyan2013]."
