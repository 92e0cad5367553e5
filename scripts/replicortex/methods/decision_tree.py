"""Decision tree on tables, explained by exact Shapley values.

Breiman L., Friedman J. H., Olshen R. A., Stone C. J. 1984, Classification and Regression Trees.
doi:10.1201/9781315139470
Bloch L., Friedrich C. M. 2022, doi:10.1007/s42979-022-01371-y (the workflow)

Reproduced: one tree, by which the workflow measures what black boxes gain; its size chosen by cross-validation on
training rows.
Differs: scikit-learn's tree of Gini impurity without surrogate splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..components import component
from ..shared.tabular import Explain, TabularMethod
from ..shared.tree_ensemble import TreeEnsemble, of_sklearn, tree_shapley


@component
class DecisionTree(TabularMethod):
    """Classification tree for two classes.

    Parameters
    ----------
    max_depth : list of int
        Depths that the nested search tries.
    min_leaf : list of int
        Least numbers of rows in a leaf that it tries.
    groups, selection, most_selected, n_inner, explain
        As in ``xgboost_tabular``.
    """

    tiny = {
        "max_depth": [4], "min_leaf": [4], "n_inner": 2,
        "explain": {"n_background": 10, "n_rows": 10, "repeats": 1, "refits": 1},
    }  # fmt: skip
    grid = {"max_depth": "the depth", "min_leaf": "the least leaf"}

    max_depth: Annotated[list[PositiveInt], Field(min_length=1)] = [2, 3, 4, 6]
    min_leaf: Annotated[list[PositiveInt], Field(min_length=1)] = [20, 5]
    groups: list[str] | None = None
    selection: Literal["none", "forward"] = "none"
    most_selected: PositiveInt = 10
    n_inner: PositiveInt = 3
    explain: Explain = Explain()

    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return a tree, and the importances that it has of its variables."""
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(
            max_depth=configuration["max_depth"], min_samples_leaf=configuration["min_leaf"], random_state=seed
        ).fit(x, positive)
        # Undecided is one half.
        return [of_sklearn([tree], base=-0.5).plain(), tree.feature_importances_]

    def margin(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return the probability of the second class above one half."""
        return TreeEnsemble(*model[0]).predict(x)

    def native(self, model: Any, n_features: int) -> np.ndarray:
        """Return by how much each variable reduces impurity."""
        return model[1]

    def shapley(
        self, model: Any, x: np.ndarray, background: np.ndarray, players: np.ndarray, seed: int
    ) -> tuple[np.ndarray, float]:
        """Return exact values."""
        return tree_shapley(TreeEnsemble(*model[0]), x, background, players)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return self.words("A decision tree [@breiman1984]")
