"""Integrated gradients: the mean gradient on the way from a baseline, times the way."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..components import Explainer, component
from ..shared.attributions import mean_gradient
from ..shared.words import count, text


@component
class IntegratedGradients(Explainer):
    """Gradients on the straight line from the baseline (Sundararajan et al. 2017, doi:10.48550/arXiv.1703.01365).

    Maps sum up to the difference of the outputs for input and baseline, up to the error of the quadrature.

    Parameters
    ----------
    steps : int
        Points of the Gauss-Legendre quadrature.
    at_once : int
        Points in one pass: more need more memory and less time.
    """

    untold = frozenset(["at_once"])
    tiny = {"steps": 8}

    steps: Annotated[int, Field(ge=1)] = 50
    at_once: Annotated[int, Field(ge=1)] = 1

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return the contributions; see :class:`~replicortex.components.Explainer`."""
        places, weights = np.polynomial.legendre.leggauss(self.steps)
        inputs = [baseline + float(place) * (x - baseline) for place in (places + 1) / 2]
        return mean_gradient(network, inputs, (weights / 2).tolist(), self.at_once) * (x - baseline)

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            "Maps are gradients integrated from the baseline to the input, times their difference [@sundararajan2017]"
            f" ({count(self.steps, 'step')} of Gauss-Legendre quadrature)."
        )
