"""The gradient times the input."""

from __future__ import annotations

from typing import Any

from ..components import Explainer, component
from ..shared.attributions import gradient


@component
class InputXGradient(Explainer):
    """What each voxel would contribute if the network were linear (Shrikumar et al. 2016, arXiv:1605.01713)."""

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return input times gradient; see :class:`~replicortex.components.Explainer`."""
        return x * gradient(network, x)

    def described(self) -> str:
        """Return what it does, in words."""
        return "Maps are the input times the gradient of the output [@shrikumar2016]."
