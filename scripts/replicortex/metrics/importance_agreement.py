"""Whether importances by Shapley values agree with those that are told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from scipy.stats import spearmanr

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.words import listed


@component
class ImportanceAgreement(FitMetric):
    """The lowest of the rank correlations of the importances by Shapley values with others, over a fit's variables.

    Variables that the fit does not use at all by any of them are left out: they would agree in nothing but being
    left out. Models without an importance of their own are compared with the rest.

    Parameters
    ----------
    others : list of {"native", "permutation"}
        What they are compared with: the importance of the model itself, and that by permutation.
    """

    bounds = (-1.0, 1.0)
    tasks = frozenset({"classify", "regress"})

    others: Annotated[list[Literal["native", "permutation"]], Field(min_length=1)] = ["native", "permutation"]

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the correlation; ``nan`` where importances are not told, or of fewer than three variables."""
        found = fold.get("found", {})
        there = [np.asarray(found[name], float) for name in self.others if name in found]
        if "shapley" not in found or not there:
            return float("nan")
        own = np.asarray(found["shapley"], float)
        used = np.any([values != 0 for values in (own, *there)], axis=0)
        if np.count_nonzero(used) < 3:
            return float("nan")
        return float(min(_rho(own[used], values[used]) for values in there))

    def chance_fit(self) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        words = {"native": "those of the model itself", "permutation": "those by permutation"}
        lowest = "the lowest rank correlation" if len(self.others) > 1 else "the rank correlation"
        return (
            f"The agreement of importances is {lowest} [@spearman1904], over variables, of importances by Shapley"
            f" values with {listed(words[name] for name in self.others)}; its chance is 0."
        )


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)
