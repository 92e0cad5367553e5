"""DeepLift with the rescale rule: differences from a baseline, carried back."""

from __future__ import annotations

from typing import Any

from ..components import Explainer, component
from ..shared.attributions import gradient, ruled, sent_back

#: Below this difference of inputs a rectifier's slope is its derivative.
_NONE = 1e-10


@component
class Deeplift(Explainer):
    """Contributions to the difference from the baseline (Shrikumar et al. 2017, doi:10.48550/arXiv.1704.02685).

    The slope of each rectifier is that between what the input and what the baseline bring to it, so that maps sum up
    to the difference of the outputs exactly.
    """

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the contributions; see :class:`~replicortex.components.Explainer`."""
        import torch
        from torch import nn

        n = len(x)

        def rectifier(module: Any, inputs: tuple, incoming: Any) -> tuple:
            (z,) = inputs
            before, after = z[:n] - z[n:], module.plain(z)
            after = after[:n] - after[n:]
            flat = before.abs() < _NONE
            slope = torch.where(flat, (z[:n] > 0).to(z), after / torch.where(flat, 1.0, before))
            return (torch.cat([incoming[:n] * slope] * 2),)

        def maximum(module: Any, inputs: tuple, incoming: Any) -> tuple:
            (z,) = inputs
            before, after = z[:n] - z[n:], module.plain(z)
            higher = torch.maximum(after[:n], after[n:])
            # The difference goes first to where the input has its maximum, then to where the baseline has.
            gained = sent_back(module.plain, z[:n], incoming[:n] * (higher - after[n:]))
            lost = sent_back(module.plain, z[n:], incoming[:n] * (after[:n] - higher))
            flat = before.abs() < _NONE
            plain = sent_back(module.plain, z[:n], incoming[:n])
            slope = torch.where(flat, plain, (gained + lost) / torch.where(flat, 1.0, before))
            return (torch.cat([slope] * 2),)

        rules = {}
        for name, module in network.named_modules():
            if isinstance(module, nn.ReLU):
                rules[name] = rectifier
            elif isinstance(module, nn.MaxPool3d) or getattr(module, "pools", False):
                rules[name] = maximum
        with ruled(network, rules):
            both = torch.cat([x, baseline.expand_as(x)])
            slopes = gradient(network, both)[:n]
        return slopes * (x - baseline)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Maps are contributions to the difference from the baseline by the rescale rule (DeepLift"
            " [@shrikumar2017])."
        )
