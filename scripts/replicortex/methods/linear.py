"""Linear model on a vector of features: L2 logistic regression or ridge regression.

Dadi et al. (2019), Benchmarking functional connectome-based predictive models for resting-state fMRI.
doi:10.1016/j.neuroimage.2019.02.062; Hoerl & Kennard (1970), doi:10.1080/00401706.1970.10488634

Reproduced: L2-penalised logistic regression on vectorised connectomes, which that benchmark recommends; ridge
regression for numbers. Differs: features are standardised on the training rows, the penalty is chosen by nested
search, and sites can be harmonised (ComBat) or confounds regressed out, both fitted inside each fold, inner ones
included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.harmonise import Harmonise, Harmoniser
from ..shared.linear_search import LinearModel, model_words, search_penalty, task_folds
from ..shared.predictions import predicted
from ..shared.vectors import array_words, as_matrix
from ..shared.words import among, searched, text


@component
class Linear(Method):
    """Logistic regression of text targets, ridge regression of numbers.

    A fold costs one decomposition of the training rows, O(n p min(n, p)) for n rows of p features, whatever the
    number of penalties; memory is a few times that of the features in double precision.

    Parameters
    ----------
    array : str
        Array of the features: matrices between regions give the entries above their diagonal.
    select : dict
        Entries to keep along named axes, such as ``{operator: pearson}``.
    penalties : list of float
        Penalties that the nested search tries: scikit-learn's ``1 / C`` of the logistic and ``alpha`` of the ridge.
    n_inner : int
        Inner folds of the search.
    harmonise : Harmonise
        What is done about sites and confounds, fitted on the training rows of each fold.
    """

    tasks = frozenset({"classify", "regress"})
    tiny = {"penalties": [10.0], "n_inner": 2}
    state = ("harmoniser_", "model_", "search_")
    trusted = (
        "replicortex.shared.covariates.CovariateCode",
        "replicortex.shared.harmonise.ComBat",
        "replicortex.shared.harmonise.Harmoniser",
        "replicortex.shared.linear_search.LinearModel",
    )

    array: str = "x"
    select: dict[str, str | list[str]] = {}
    penalties: list[PositiveFloat] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    n_inner: PositiveInt = 3
    harmonise: Harmonise = Harmonise()

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the penalty on the training rows, then fit on all of them."""
        x, rows, target = as_matrix(train, self.array, self.select), train.rows, train.rows["target"]

        def features(inner: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            sides = [{name: column[side] for name, column in rows.items()} for side in (inner, held)]
            harmoniser = Harmoniser(self.harmonise).fit(x[inner], sides[0])
            return tuple(harmoniser.transform(x[side], of) for side, of in zip((inner, held), sides, strict=True))

        folds = task_folds(train, self.n_inner, seed) if len(self.penalties) > 1 else []
        penalty, score = search_penalty(target, folds, self.penalties, features)
        self.search_ = {"penalty": penalty, "inner_score": score}
        self.harmoniser_ = Harmoniser(self.harmonise).fit(x, rows)
        self.model_ = LinearModel(penalty).fit(self.harmoniser_.transform(x, rows), target)

    def predict(self, test: Bundle) -> Bundle:
        """Return decision values, or predicted numbers."""
        x = as_matrix(test, self.array, self.select)
        values = self.model_.predict(self.harmoniser_.transform(x, test.rows))
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
            f"{model_words(task)} was fitted to {array_words(self.array, self.select)}, standardised on the training"
            " rows.",
            self.harmonise.described(),
            searched(self.n_inner, among("the penalty", self.penalties)),
        )
