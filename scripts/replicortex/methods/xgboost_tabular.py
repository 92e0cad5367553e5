"""Gradient-boosted trees on tables, explained by exact Shapley values.

Bloch L., Friedrich C. M. 2022, Machine Learning Workflow to Explain Black-Box Models for Early Alzheimer's Disease
Classification Evaluated for Multiple Datasets. doi:10.1007/s42979-022-01371-y
Chen T., Guestrin C. 2016, XGBoost: A Scalable Tree Boosting System. doi:10.1145/2939672.2939785

Reproduced: XGBoost on volumes and cognitive scores, with its configuration chosen by cross-validation on training rows;
Shapley values of single predictions, and importances by the model, by permutation and by Shapley values; correlated
variables met by forward selection or by aspects.
Differs: Shapley values are exact for trees, of the margin (log odds) and against training rows, where the paper's are
model-agnostic. The configuration is the best of a small grid. Missing values take the median of training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..components import component
from ..shared.tabular import Explain, TabularMethod
from ..shared.tree_ensemble import TreeEnsemble, of_xgboost, tree_shapley
from ..shared.words import digits


@component
class XgboostTabular(TabularMethod):
    """XGBoost for two classes.

    Parameters
    ----------
    max_depth : list of int
        Depths of the trees that the nested search tries.
    n_trees : list of int
        Numbers of trees that it tries.
    learning_rate : float
        Share of each tree's correction that is taken.
    subsample, column_sample : float
        Share of the rows, and of the variables, that each tree sees.
    min_child_weight, l2 : float
        Least sum of curvature in a leaf, and penalty of the squared leaf values.
    groups : list of str or None
        Groups of variables to take; all where ``None``.
    selection : {"none", "forward"}
        Selection of variables on training rows.
    most_selected : int
        Variables that forward selection takes at most.
    n_inner : int
        Inner folds.
    explain : Explain
        How predictions are explained.
    """

    tiny = {
        "max_depth": [2], "n_trees": [20], "n_inner": 2,
        "explain": {"n_background": 10, "n_rows": 10, "repeats": 1, "refits": 1},
    }  # fmt: skip
    grid = {"max_depth": "the depth of the trees", "n_trees": "their number"}

    max_depth: Annotated[list[PositiveInt], Field(min_length=1)] = [1, 2, 4, 6]
    n_trees: Annotated[list[PositiveInt], Field(min_length=1)] = [50, 200]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    subsample: Annotated[float, Field(gt=0, le=1)] = 0.8
    column_sample: Annotated[float, Field(gt=0, le=1)] = 0.8
    min_child_weight: PositiveFloat = 1.0
    l2: PositiveFloat = 1.0
    groups: list[str] | None = None
    selection: Literal["none", "forward"] = "none"
    most_selected: PositiveInt = 10
    n_inner: PositiveInt = 3
    explain: Explain = Explain()

    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return boosted trees, as plain arrays."""
        import xgboost

        settings = {
            "objective": "binary:logistic",
            "eta": self.learning_rate,
            "max_depth": configuration["max_depth"],
            "subsample": self.subsample,
            "colsample_bytree": self.column_sample,
            "min_child_weight": self.min_child_weight,
            "lambda": self.l2,
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
            "verbosity": 0,
        }
        table = xgboost.DMatrix(x, positive.astype(np.float32), nthread=1)
        return of_xgboost(xgboost.train(settings, table, configuration["n_trees"])).plain()

    def margin(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return log odds."""
        return TreeEnsemble(*model).predict(x)

    def native(self, model: Any, n_features: int) -> np.ndarray:
        """Return how often each variable splits a node (the weight of XGBoost)."""
        return TreeEnsemble(*model).split_counts(n_features).astype(np.float64)

    def shapley(
        self, model: Any, x: np.ndarray, background: np.ndarray, players: np.ndarray, seed: int
    ) -> tuple[np.ndarray, float]:
        """Return exact values."""
        return tree_shapley(TreeEnsemble(*model), x, background, players)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return self.words(
            f"XGBoost [@chen2016] with a learning rate of {digits(self.learning_rate)}, {digits(self.subsample)} of the"
            f" rows and {digits(self.column_sample)} of the variables a tree, a least weight of"
            f" {digits(self.min_child_weight)} a leaf and an L2 penalty of {digits(self.l2)}"
        )
