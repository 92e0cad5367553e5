"""Random forest on tables, explained by exact Shapley values.

Breiman L. 2001, Random Forests. doi:10.1023/A:1010933404324
Bloch L., Friedrich C. M. 2022, doi:10.1007/s42979-022-01371-y (the workflow)

Reproduced: forests of scikit-learn with the share of variables a split and the least leaf chosen by cross-validation on
training rows, explained as in the workflow.
Differs: Shapley values are exact, of the mean probability of the class, and against training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..components import component
from ..shared.tabular import Explain, TabularMethod
from ..shared.tree_ensemble import TreeEnsemble, of_sklearn, tree_shapley
from ..shared.words import digits


@component
class RandomForest(TabularMethod):
    """Random forest for two classes.

    Parameters
    ----------
    min_leaf : list of int
        Least numbers of rows in a leaf that the nested search tries.
    column_share : list of float
        Shares of the variables that a split chooses from, which it tries.
    n_trees : int
        Number of trees.
    max_depth : int
        Greatest depth of a tree.
    groups, selection, most_selected, n_inner, explain
        As in ``xgboost_tabular``.
    """

    tiny = {
        "min_leaf": [2], "column_share": [0.4], "n_trees": 20, "max_depth": 4, "n_inner": 2,
        "explain": {"n_background": 10, "n_rows": 10, "repeats": 1, "refits": 1},
    }  # fmt: skip
    grid = {"min_leaf": "the least leaf", "column_share": "the share of variables that a split chooses from"}

    min_leaf: Annotated[list[PositiveInt], Field(min_length=1)] = [1, 2, 5, 10]
    column_share: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] = [0.2, 0.5]
    n_trees: PositiveInt = 500
    max_depth: PositiveInt = 12
    groups: list[str] | None = None
    selection: Literal["none", "forward"] = "none"
    most_selected: PositiveInt = 10
    n_inner: PositiveInt = 3
    explain: Explain = Explain()

    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return a forest, and the importances that it has of its variables."""
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            self.n_trees,
            min_samples_leaf=configuration["min_leaf"],
            max_features=configuration["column_share"],
            max_depth=self.max_depth,
            random_state=seed,
            n_jobs=1,
        ).fit(x, positive)
        # Undecided is one half.
        return [of_sklearn(forest.estimators_, base=-0.5).plain(), forest.feature_importances_]

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
        return self.words(
            f"A random forest [@breiman2001] of {digits(self.n_trees)} trees, {digits(self.max_depth)} splits deep at"
            " most,"
        )
