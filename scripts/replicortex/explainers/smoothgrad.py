"""SmoothGrad: the mean gradient over noisy copies of the input."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..components import Explainer, component
from ..shared.attributions import mean_gradient
from ..shared.words import count, percent, text


@component
class Smoothgrad(Explainer):
    """The mean gradient over copies of the input with noise (Smilkov et al. 2017, doi:10.48550/arXiv.1706.03825).

    Parameters
    ----------
    noise : float
        Standard deviation of the noise over the range of the input.
    samples : int
        Copies.
    seed : int
        Of the noise, which is the same for all inputs but for its size, so that maps do not depend on what is
        explained beside.
    at_once : int
        Copies in one pass: more need more memory and less time.
    """

    untold = frozenset(["seed", "at_once"])
    tiny = {"samples": 3}

    noise: Annotated[float, Field(gt=0, le=1)] = 0.1
    samples: Annotated[int, Field(ge=1)] = 20
    seed: int = 0
    at_once: Annotated[int, Field(ge=1)] = 1

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the mean gradient; see :class:`~replicortex.components.Explainer`."""
        import torch

        flat = x.flatten(1)
        spread = self.noise * (flat.amax(dim=1) - flat.amin(dim=1)).view(-1, *[1] * (x.ndim - 1))
        # On the processor, so that a GPU gives the same noise.
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [torch.randn(x.shape[1:], generator=generator).to(x) for _ in range(self.samples)]
        return mean_gradient(
            network, [x + spread * one for one in drawn], [1 / self.samples] * self.samples, self.at_once
        )

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"Maps are gradients averaged over {count(self.samples, 'copy', 'copies')} of the input with normal noise"
            f" of {percent(self.noise)} of its range (SmoothGrad [@smilkov2017])."
        )
