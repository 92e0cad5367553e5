"""Logistic regression on tables, explained by exact Shapley values.

Cox D. R. 1958, The Regression Analysis of Binary Sequences. doi:10.1111/j.2517-6161.1958.tb00292.x
Bloch L., Friedrich C. M. 2022, doi:10.1007/s42979-022-01371-y (the workflow)

Reproduced: the linear model by which the workflow measures what black boxes gain.
Differs: it has an L2 penalty, chosen by cross-validation on training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..components import component
from ..shared.linear_search import LinearModel
from ..shared.shapley import linear_shapley
from ..shared.tabular import Explain, TabularMethod


@component
class LogisticTabular(TabularMethod):
    """Logistic regression for two classes with an L2 penalty.

    Parameters
    ----------
    penalty : list of float
        Penalties that the nested search tries (1 / C of scikit-learn), strongest first.
    groups, selection, most_selected, n_inner, explain
        As in ``xgboost_tabular``.
    """

    tiny = {"penalty": [10.0], "n_inner": 2, "explain": {"n_background": 10, "n_rows": 10, "repeats": 1, "refits": 1}}
    grid = {"penalty": "the penalty"}
    standardised = True

    penalty: Annotated[list[PositiveFloat], Field(min_length=1)] = [300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1]
    groups: list[str] | None = None
    selection: Literal["none", "forward"] = "none"
    most_selected: PositiveInt = 10
    n_inner: PositiveInt = 3
    explain: Explain = Explain()

    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return the weights and the intercept of a logistic regression."""
        model = LinearModel(configuration["penalty"]).fit(x, np.where(positive, "yes", "no"))
        # A constant variable has an infinite scale, and counts for nothing.
        weights = model.coef_[0] / model.scale_
        return [weights, float(model.intercept_[0] - model.mean_ @ weights)]

    def margin(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return log odds."""
        weights, intercept = model
        return x @ weights + intercept

    def native(self, model: Any, n_features: int) -> np.ndarray:
        """Return the magnitude of each weight, for standardised variables."""
        return np.abs(model[0])

    def shapley(
        self, model: Any, x: np.ndarray, background: np.ndarray, players: np.ndarray, seed: int
    ) -> tuple[np.ndarray, float]:
        """Return exact values."""
        return linear_shapley(model[0], x, background, players), float(self.margin(model, background).mean())

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return self.words("A logistic regression with an L2 penalty [@cox1958]")
