"""Linear model on covariates alone: what site, head motion, age or sex tell without any image.

Snoek, Miletic & Scholte (2019), How to control for confounds in decoding analyses of neuroimaging data.
doi:10.1016/j.neuroimage.2018.09.074; Power et al. (2012), doi:10.1016/j.neuroimage.2011.10.018

Reproduced: the confounds by themselves as predictors, under the same folds and the same search as the images.
Differs: those papers correct the images for confounds; here the confounds stand as a baseline that an image has to
beat before anything is said about the brain. If no penalty does better than chance in the inner folds, the covariates
are not used: where classes are balanced at each site, a fold that holds out one more of a class leaves one fewer to
train on, and a model of the site would score below chance (and be easy to beat) because it knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.covariates import CovariateCode, tells
from ..shared.linear_search import LinearModel, model_words, search_penalty, task_folds
from ..shared.predictions import predicted
from ..shared.words import among, names, searched, text


@component
class CovariatesLinear(Method):
    """Logistic regression of text targets, ridge regression of numbers, on row columns; arrays are never read.

    Text becomes one column a level; a missing number takes the training mean and is flagged; a level that no
    training row had is coded as the average training row.

    Parameters
    ----------
    columns : list of str
        Row columns to predict from: covariates that the study names.
    penalties : list of float
        Penalties that the nested search tries, as in ``linear``.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify", "regress"})
    tiny = {"penalties": [1.0], "n_inner": 2}
    state = ("code_", "model_", "search_")
    trusted = ("replicortex.shared.covariates.CovariateCode", "replicortex.shared.linear_search.LinearModel")

    columns: Annotated[list[str], Field(min_length=1)] = ["site"]
    penalties: list[PositiveFloat] = [0.1, 1.0, 10.0, 100.0, 1e3, 1e4]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the penalty on the training rows, then fit on all of them.

        Raises
        ------
        InputError
            If a column is missing, or is the target under another name.
        """
        rows, target = train.rows, train.rows["target"]
        for name in self.columns:
            if name in ("target", "label") or (name in rows and tells(rows[name], target)):
                raise InputError(f"column {name!r}", "is what is to be predicted", "name covariates")

        def features(inner: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            sides = [{name: column[side] for name, column in rows.items()} for side in (inner, held)]
            code = CovariateCode(self.columns, flag_missing=True).fit(sides[0])
            return code.transform(sides[0]), code.transform(sides[1])

        folds = task_folds(train, self.n_inner, seed) if len(self.penalties) > 1 else []
        penalty, score = search_penalty(target, folds, self.penalties, features)
        chance = 1 / max(len(np.unique(target)), 2) if target.dtype.kind == "U" else 0.0
        # Not a number where there was no search: then the covariates count.
        self.search_ = {"penalty": penalty, "inner_score": score, "used": not score <= chance}
        self.code_ = CovariateCode(self.columns, flag_missing=True).fit(rows)
        self.model_ = LinearModel(penalty).fit(self._features(rows), target)

    def _features(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the coded covariates; zeros, which leave the intercept alone, where the search found no use."""
        return self.code_.transform(rows) * float(self.search_["used"])

    def predict(self, test: Bundle) -> Bundle:
        """Return decision values, or predicted numbers."""
        values = self.model_.predict(self._features(test.rows))
        return predicted(test, values, self.model_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the penalty and, where there was a search, its inner score."""
        return {name: value for name, value in self.search_.items() if value == value}

    def n_configurations(self) -> int:
        """Return the number of penalties tried."""
        return len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            f"{model_words(task)} was fitted to {names(self.columns)} alone, without any data of the brain, to know"
            " what such covariates tell by themselves [@snoek2019].",
            searched(self.n_inner, among("the penalty", self.penalties)),
            "Where no penalty did better than chance in the inner folds, the covariates were not used.",
        )
