"""Sparse linear mixed model: Gaussian errors, and a random intercept of each site.

Laird & Ware 1982, Random-effects models for longitudinal data. doi:10.2307/2529876; with a penalty Schelldorfer,
Bühlmann & van de Geer 2011, doi:10.1111/j.1467-9469.2011.00740.x

Reproduced: maximum likelihood of fixed effects, variance of errors and variance of intercepts, with a penalty on the
fixed effects; without one it is what statsmodels' MixedLM gives (tested).
Differs: the penalty is on coefficients over the standard deviation of errors, and may be SCAD or MCP; the amount is
chosen by nested cross-validation of the mean absolute error.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ..components import component
from ..shared.mixed_methods import MixedMethod
from ..shared.words import digits, plain, text


@component
class GaussianMixed(MixedMethod):
    """Mixed model with Gaussian errors, fitted as ``tsallis_mixed`` is.

    Parameters
    ----------
    site : str
        Row column whose levels have intercepts; the study names it among its covariates.
    penalty : {"scad", "mcp", "l1"}
    n_amounts, least_share, n_inner, tolerance
        As in ``tsallis_mixed``.
    """

    tiny = {"n_amounts": 6, "n_inner": 2}

    site: str = "site"
    penalty: Literal["scad", "mcp", "l1"] = "scad"
    n_amounts: PositiveInt = 50
    least_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    n_inner: PositiveInt = 5
    tolerance: PositiveFloat = 1e-5

    def described(self, task: str = "regress") -> str:
        """Return what it does, in words."""
        return text(
            f"A linear mixed model with a random intercept of each {plain(self.site)} and Gaussian errors [@laird1982]"
            f" was fitted with {self.penalised().described()} on the fixed effects over the standard deviation of"
            " errors [@stadler2010], by a proximal nonlinear conjugate gradient method, until no entry of the gradient"
            f" mapping was above {digits(self.tolerance)}.",
            self.search_words(),
        )
