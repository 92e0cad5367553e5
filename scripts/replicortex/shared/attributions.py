"""What explainers share: gradients of a network's output, and backward passes with other rules than the chain rule.

A rule takes the place of the gradient of one module. While :func:`ruled` is open, the module computes what it always
does, but what arrives from behind is sent on to its input by the rule, so that ``autograd`` itself carries relevance
through the network. Sums of two branches and means over voxels are modules of the network for this (they have the
attribute ``sums`` or ``averages``); a sum written as ``a + b`` would send the whole relevance into both.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

#: Added to what relevance is divided by, away from zero.
EPSILON = 1e-6


def gradient(network: Any, x: Any) -> Any:
    """Return the gradient of each output with respect to its own input; the shape of ``x``."""
    import torch

    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(network(x).sum(), x)[0]


def mean_gradient(network: Any, inputs: Sequence[Any], weights: Sequence[float], at_once: int) -> Any:
    """Return the weighted sum of the gradients at several inputs of one shape, ``at_once`` of them in one pass."""
    import torch

    total = torch.zeros_like(inputs[0])
    for start in range(0, len(inputs), at_once):
        part = inputs[start : start + at_once]
        found = gradient(network, torch.cat(list(part))).chunk(len(part))
        for weight, values in zip(weights[start : start + at_once], found, strict=True):
            total += weight * values
    return total


def relevance(network: Any, x: Any) -> Any:
    """Return what arrives at the input when each output is sent back by the rules of :func:`ruled`."""
    import torch

    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        output = network(x)
        return torch.autograd.grad(output, x, output.detach())[0]


@contextlib.contextmanager
def ruled(network: Any, rules: Mapping[str, Callable]) -> Iterator[None]:
    """Give modules other backward passes for as long as this is open.

    Parameters
    ----------
    network : nn.Module
    rules : mapping of str to callable
        By name of the module: ``rule(module, inputs, incoming)`` returns what goes to each of ``inputs`` (a tuple of
        tensors), given what arrives at the output. ``module.plain(*inputs)`` computes the output.
    """
    import torch

    class Ruled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, module: Any, rule: Callable, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            ctx.module, ctx.rule = module, rule
            with torch.no_grad():
                return module.plain(*inputs)

        @staticmethod
        def backward(ctx: Any, incoming: Any) -> tuple:
            return None, None, *ctx.rule(ctx.module, ctx.saved_tensors, incoming)

    def with_rule(module: Any, rule: Callable) -> Callable:
        return lambda *inputs: Ruled.apply(module, rule, *inputs)

    modules = dict(network.named_modules())
    touched = [modules[name] for name in rules]
    try:
        for name, rule in rules.items():
            module = modules[name]
            # Attributes of the instance, past the registry of modules: the class keeps its own forward.
            object.__setattr__(module, "plain", module.forward)
            object.__setattr__(module, "forward", with_rule(module, rule))
        yield
    finally:
        for module in touched:
            vars(module).pop("forward", None)
            vars(module).pop("plain", None)


def sent_back(function: Callable, x: Any, incoming: Any) -> Any:
    """Return the product of ``incoming`` with the derivative of ``function`` at ``x``."""
    import torch

    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(function(x), x, incoming)[0]


def stable(z: Any, epsilon: float = EPSILON) -> Any:
    """Return ``z`` moved away from zero by ``epsilon``; zero itself upwards."""
    return z + epsilon * ((z >= 0).to(z.dtype) * 2 - 1)


def linear(module: Any, x: Any, weight: Any, bias: Any) -> Any:
    """Return what a convolution or a linear layer would give with another weight and bias."""
    from torch import nn

    if isinstance(module, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    settings = (module.stride, module.padding, module.dilation, module.groups)
    return nn.functional.conv3d(x, weight, bias, *settings)


def linear_sent_back(module: Any, x: Any, weight: Any, incoming: Any) -> Any:
    """Return what :func:`sent_back` gives for :func:`linear` at ``x``, without computing the layer once more."""
    from torch import nn

    if isinstance(module, nn.Linear):
        return incoming @ weight
    settings = (module.stride, module.padding, module.dilation, module.groups)
    return nn.grad.conv3d_input(x.shape, weight, incoming, *settings)


def activations(network: Any) -> list[str]:
    """Return the names of the rectifiers of a network."""
    from torch import nn

    return [name for name, module in network.named_modules() if isinstance(module, nn.ReLU)]


def fused(network: Any) -> Any:
    """Return a copy in which each batch normalisation is part of the convolution before it; same outputs.

    Relevance goes through sums of weighted inputs; a normalisation in evaluation mode is one more weight. Modules of
    one parent must be registered in the order in which they are computed.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (first, conv), (second, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    return network
