"""Whether the order of variables stays when a model is fitted with another seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from ..components import component
from ..shared.fit_metric import FitMetric


@component
class ImportanceStability(FitMetric):
    """Mean Kendall's tau-b between importances by Shapley values of fits with different seeds.

    Seeds decide on what a learner draws and on the background rows; the training rows are the same. Variables that no
    fit uses are left out.
    """

    bounds = (-1.0, 1.0)
    tasks = frozenset({"classify", "regress"})

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the mean over pairs of fits; ``nan`` where there is one fit, or fewer than three variables."""
        found = fold.get("found", {})
        if "shapley" not in found or "refitted" not in found:
            return float("nan")
        fits = np.vstack([np.asarray(found["shapley"], float), np.asarray(found["refitted"], float)])
        fits = fits[:, (fits != 0).any(axis=0)]
        if fits.shape[1] < 3:
            return float("nan")
        taus = [kendalltau(a, b).statistic for a, b in itertools.combinations(fits, 2)]
        return float(np.mean([0.0 if np.isnan(tau) else tau for tau in taus]))

    def chance_fit(self) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The stability of importances is the mean of Kendall's tau-b [@kendall1938] between importances by Shapley"
            " values of fits to the same rows with different seeds; its chance is 0."
        )
