"""Guided backpropagation: what rectifiers let through forwards and is positive backwards."""

from __future__ import annotations

from typing import Any

from ..components import Explainer, component
from ..shared.attributions import activations, gradient, ruled


@component
class GuidedBackprop(Explainer):
    """The gradient without what is negative at a rectifier (Springenberg et al. 2014, doi:10.48550/arXiv.1412.6806)."""

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the guided gradient; see :class:`~replicortex.components.Explainer`."""

        def guided(module: Any, inputs: tuple, incoming: Any) -> tuple:
            return (incoming.clamp(min=0) * (inputs[0] > 0),)

        with ruled(network, dict.fromkeys(activations(network), guided)):
            return gradient(network, x)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Maps are gradients of which each rectifier sent back only what was positive (guided backpropagation"
            " [@springenberg2014])."
        )
