"""Early fusion: all modalities side by side in one linear model, the mean in place of what is missing.

Josse, Chen, Prost, Varoquaux & Scornet (2024), On the consistency of supervised learning with missing values.
doi:10.1007/s00362-024-01550-4

Reproduced: imputation of missing values by the mean of the training rows before a learner that never knows of them, and
the usual way out, a complete-case analysis that leaves out whoever lacks anything.
Differs: the learner is a logistic regression; whole modalities are missing rather than single values. A held-out row is
imputed also where training is on complete rows, since it has to be predicted.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.linear_search import LinearModel, search_penalty, task_folds
from ..shared.modalities import Inputs, with_patterns
from ..shared.words import among, names, searched, text


@component
class ImputedFusion(Method):
    """Logistic regression on all modalities together, after imputation by the mean.

    Parameters
    ----------
    columns : list of str
        Row columns that are modalities of their own, beside the arrays of the features.
    order : list of str or None
        Modalities to take, such as a single one; all, where ``None``.
    rows : {"all", "complete"}
        Training rows: all of them, imputed, or those that lack nothing.
    penalties : list of float
        Penalties that the nested search tries.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    tiny = {"penalties": [10.0], "n_inner": 2}
    state = ("inputs_", "model_", "classes_", "search_")
    trusted = ("replicortex.shared.modalities.Inputs", "replicortex.shared.linear_search.LinearModel")

    columns: list[str] = []
    order: list[str] | None = None
    rows: Literal["all", "complete"] = "all"
    penalties: list[PositiveFloat] = [1.0, 10.0, 100.0, 1e3]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the penalty and fit.

        Raises
        ------
        InputError
            If complete rows are wanted, and a class has none.
        """
        self.inputs_ = Inputs(self.columns, self.order).fit(train)
        arrays, present = self.inputs_.transform(train)
        self.classes_ = np.unique(train.rows["target"])
        rows = np.flatnonzero(present.all(axis=1) if self.rows == "complete" else np.ones(len(train), dtype=bool))
        target = train.rows["target"][rows]
        if len(np.unique(target)) < len(self.classes_):
            raise InputError("method imputed_fusion", "no training row of a class is complete", "set rows: all")
        # The training mean of every number is zero.
        x = self._side_by_side(arrays, present)[rows]
        folds = task_folds(train.take(rows), self.n_inner, seed) if len(self.penalties) > 1 else []
        penalty, score = search_penalty(target, folds, self.penalties, lambda a, b: (x[a], x[b]))
        self.search_ = {"penalty": penalty, "inner_score": score, "n_rows": len(rows)}
        self.model_ = LinearModel(penalty).fit(x, target)

    @staticmethod
    def _side_by_side(arrays: list[np.ndarray], seen: np.ndarray) -> np.ndarray:
        shown = [
            np.where(seen[:, [number]], values.reshape(len(values), -1), np.nan) for number, values in enumerate(arrays)
        ]
        # LinearModel puts the mean of its training rows in place of what is not a number.
        return np.hstack(shown).astype(np.float64)

    def predict(self, test: Bundle) -> Bundle:
        """Return decision values of the rows as they are and for every pattern of modalities."""
        arrays, present = self.inputs_.transform(test)

        def score(seen: np.ndarray) -> np.ndarray:
            return self.model_.predict(self._side_by_side(arrays, seen))

        return with_patterns(test, self.inputs_.names_, present, score, self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the penalty, its inner score where there was a search, and the number of rows fitted."""
        return {name: value for name, value in self.search_.items() if value == value}

    def n_configurations(self) -> int:
        """Return the number of penalties tried."""
        return len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        taken = (
            "to the training participants who lack none of them"
            if self.rows == "complete"
            else "to all training participants"
        )
        return text(
            f"A logistic regression with an L2 penalty was fitted {taken}, on all modalities side by side; the mean of"
            " the training participants took the place of what was missing [@josse2024].",
            f"Beside the features, {names(self.columns)} counted as modalities." if self.columns else "",
            f"The modalities were {names(self.order)}." if self.order else "",
            searched(self.n_inner, among("the penalty", self.penalties)),
        )
