"""Layer-wise relevance propagation with the composites of zennit, on three-dimensional convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from ..components import Explainer, component
from ..shared.attributions import EPSILON, fused, linear, linear_sent_back, relevance, ruled, sent_back, stable
from ..shared.words import digits

_WORDS = {
    "epsilon": "the epsilon rule everywhere",
    "epsilon_plus": "the epsilon rule in linear layers and the z-plus rule in convolutions",
    "epsilon_plus_flat": "the epsilon rule in linear layers, the z-plus rule in convolutions and the flat rule in the"
    " first",
    "epsilon_alpha2_beta1": "the epsilon rule in linear layers and the alpha2-beta1 rule in convolutions",
    "epsilon_alpha2_beta1_flat": "the epsilon rule in linear layers, the alpha2-beta1 rule in convolutions and the flat"
    " rule in the first",
    "epsilon_gamma_box": "the epsilon rule in linear layers, the gamma rule in convolutions and the box rule in the"
    " first",
}


@component
class Lrp(Explainer):
    """The output, shared out backwards by what each unit contributed.

    Bach et al. 2015, doi:10.1371/journal.pone.0130140.

    Rules are those of Montavon et al. (2019, doi:10.1007/978-3-030-28954-6_10), composites those of zennit (Anders et
    al. 2021, doi:10.48550/arXiv.2106.13200). Normalisation is made part of the convolutions, biases keep their share
    of the relevance. captum has no rule for three-dimensional convolutions.

    Parameters
    ----------
    composite : str
        Which rule for which layer.
    gamma : float
        How much more positive weights count, for ``epsilon_gamma_box``.
    epsilon : float
        What is added to sums that relevance is divided by.
    """

    tiny = {}

    composite: Literal[
        "epsilon",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
        "epsilon_gamma_box",
    ] = "epsilon_plus"
    gamma: Annotated[float, Field(ge=0)] = 0.25
    epsilon: Annotated[float, Field(gt=0)] = EPSILON

    def prepared(self, network: Any) -> Any:
        """Return the network with its normalisation as part of the convolutions; itself if that is so already."""
        from torch import nn

        normalised = any(isinstance(module, nn.BatchNorm3d) for module in network.modules())
        return fused(network) if normalised else network

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the relevance; see :class:`~replicortex.components.Explainer`."""
        network = self.prepared(network)
        low, high = x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)
        with ruled(network, self._rules(network, low.view(-1, 1, 1, 1, 1), high.view(-1, 1, 1, 1, 1))):
            return relevance(network, x)

    def _rules(self, network: Any, low: Any, high: Any) -> dict[str, Callable]:
        """Return the rule of each module that has one; a maximum sends relevance where its gradient goes."""
        from torch import nn

        found: dict[str, Callable] = {}
        first = True
        for name, module in network.named_modules():
            if isinstance(module, nn.ReLU):
                found[name] = _pass
            elif isinstance(module, nn.Linear) or getattr(module, "averages", False):
                found[name] = self._epsilon
            elif getattr(module, "sums", False):
                found[name] = self._shares
            elif isinstance(module, nn.Conv3d):
                found[name] = self._of_convolution(first, low, high)
                first = False
        return found

    def _of_convolution(self, first: bool, low: Any, high: Any) -> Callable:
        if first and self.composite.endswith("_flat"):
            return self._flat
        if self.composite == "epsilon_gamma_box":
            return self._box(low, high) if first else self._gamma
        if "alpha2_beta1" in self.composite:
            return self._alpha_beta
        return self._epsilon if self.composite == "epsilon" else self._plus

    def _epsilon(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        (x,) = inputs
        share = incoming / stable(module.plain(x), self.epsilon)
        return (x * sent_back(module.plain, x, share),)

    def _shares(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        share = incoming / stable(module.plain(*inputs), self.epsilon)
        return tuple(part * share for part in inputs)

    def _signed(self, module: Any, x: Any, incoming: Any, sign: int) -> Any:
        """Return relevance shared by the contributions of one sign alone."""
        weight, bias = module.weight, module.bias
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        same, other = (up, down) if sign > 0 else (down, up)
        # A positive contribution is of two positive numbers or of two negative ones.
        pairs = ((x.clamp(min=0), same), (x.clamp(max=0), other))
        total = sum(linear(module, part, factor, None) for part, factor in pairs)
        if bias is not None:
            of_sign = bias.clamp(min=0) if sign > 0 else bias.clamp(max=0)
            total = total + of_sign.view(1, -1, *[1] * (total.ndim - 2))
        share = incoming / stable(total, self.epsilon if sign > 0 else -self.epsilon)
        return sum(part * linear_sent_back(module, part, factor, share) for part, factor in pairs)

    def _plus(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        return (self._signed(module, inputs[0], incoming, 1),)

    def _alpha_beta(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        up, down = (self._signed(module, inputs[0], incoming, sign) for sign in (1, -1))
        return (2 * up - down,)

    def _gamma(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        (x,) = inputs
        weight = module.weight + self.gamma * module.weight.clamp(min=0)
        bias = None if module.bias is None else module.bias + self.gamma * module.bias.clamp(min=0)
        share = incoming / stable(linear(module, x, weight, bias), self.epsilon)
        return (x * linear_sent_back(module, x, weight, share),)

    def _flat(self, module: Any, inputs: tuple, incoming: Any) -> tuple:
        import torch

        ones, weight = torch.ones_like(inputs[0]), torch.ones_like(module.weight)
        share = incoming / stable(linear(module, ones, weight, None), self.epsilon)
        return (linear_sent_back(module, ones, weight, share),)

    def _box(self, low: Any, high: Any) -> Callable:
        def rule(module: Any, inputs: tuple, incoming: Any) -> tuple:
            (x,) = inputs
            weight = module.weight
            parts = [
                (x, weight, 1.0),
                (low.expand_as(x), weight.clamp(min=0), -1.0),
                (high.expand_as(x), weight.clamp(max=0), -1.0),
            ]
            total = sum(sign * linear(module, part, factor, None) for part, factor, sign in parts)
            share = incoming / stable(total, self.epsilon)
            return (sum(sign * part * linear_sent_back(module, part, factor, share) for part, factor, sign in parts),)

        return rule

    def described(self) -> str:
        """Return what it does, in words."""
        gamma = f" with gamma {digits(self.gamma)}" if self.composite == "epsilon_gamma_box" else ""
        return (
            f"Maps are relevance that was propagated layer by layer [@bach2015] with {_WORDS[self.composite]}{gamma}"
            f" [@montavon2019; @anders2021], epsilon {self.epsilon:.10f}".rstrip("0")
            + ", normalisation made part of the convolutions."
        )


def _pass(module: Any, inputs: tuple, incoming: Any) -> tuple:
    return (incoming,)
