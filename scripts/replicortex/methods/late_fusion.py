"""Late fusion: a linear model a modality, whose probabilities are averaged over the modalities at hand.

Kittler, Hatef, Duin & Matas (1998), On combining classifiers. doi:10.1109/34.667881

Reproduced: the sum rule, by which the posterior probabilities of independent classifiers are averaged; a missing
modality takes no part in the average.
Differs: the classifiers are logistic regressions; each is fitted on the training rows that have its modality.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from scipy.special import log_softmax

from ..bundle import Bundle
from ..components import Method, component
from ..shared.linear_search import LinearModel, search_penalty, task_folds
from ..shared.modalities import Inputs, with_patterns
from ..shared.words import among, names, searched, text


@component
class LateFusion(Method):
    """Logistic regressions of single modalities, averaged.

    Parameters
    ----------
    columns : list of str
        Row columns that are modalities of their own, beside the arrays of the features.
    order : list of str or None
        Modalities to take; all, where ``None``.
    penalties : list of float
        Penalties that the nested search tries, for each modality by itself.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    tiny = {"penalties": [10.0], "n_inner": 2}
    state = ("inputs_", "models_", "classes_", "prior_", "search_")
    trusted = ("replicortex.shared.modalities.Inputs", "replicortex.shared.linear_search.LinearModel")

    columns: list[str] = []
    order: list[str] | None = None
    penalties: list[PositiveFloat] = [1.0, 10.0, 100.0, 1e3]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search a penalty and fit a model for each modality, on the training rows that have it."""
        self.inputs_ = Inputs(self.columns, self.order).fit(train)
        arrays, present = self.inputs_.transform(train)
        self.classes_, counts = np.unique(train.rows["target"], return_counts=True)
        self.prior_ = np.log(counts / counts.sum())
        self.models_, self.search_ = {}, {}
        for number, name in enumerate(self.inputs_.names_):
            rows = np.flatnonzero(present[:, number])
            x = arrays[number].reshape(len(arrays[number]), -1)[rows].astype(np.float64)
            target = train.rows["target"][rows]
            if len(np.unique(target)) < len(self.classes_):
                # Such a modality can not tell all classes apart, and takes no part.
                continue
            folds = task_folds(train.take(rows), self.n_inner, seed) if len(self.penalties) > 1 else []
            penalty, _ = search_penalty(target, folds, self.penalties, lambda a, b, x=x: (x[a], x[b]))
            self.models_[name] = LinearModel(penalty).fit(x, target)
            self.search_[f"penalty_{name}"] = penalty

    def predict(self, test: Bundle) -> Bundle:
        """Return averaged probabilities of the rows as they are and for every pattern of modalities."""
        arrays, present = self.inputs_.transform(test)
        told = np.full((len(self.inputs_.names_), len(test), len(self.classes_)), np.nan)
        for number, name in enumerate(self.inputs_.names_):
            if name in self.models_:
                x = arrays[number].reshape(len(test), -1).astype(np.float64)
                told[number] = probabilities(self.models_[name].predict(x))

        def score(seen: np.ndarray) -> np.ndarray:
            used = seen.T[:, :, None] & np.isfinite(told)
            total = np.where(used, told, 0.0).sum(axis=0)
            n = used.sum(axis=0)
            # Logarithms, so that ties of rounded averages are no more than they were.
            return np.where(n > 0, np.log(np.maximum(total, 1e-300) / np.maximum(n, 1)), self.prior_)

        return with_patterns(test, self.inputs_.names_, present, score, self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the penalty of each modality."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of penalties tried."""
        return len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            "Each modality had a logistic regression with an L2 penalty of its own, fitted to the training"
            " participants who have it; probabilities were averaged over the modalities at hand [@kittler1998].",
            f"Beside the features, {names(self.columns)} counted as modalities." if self.columns else "",
            f"The modalities were {names(self.order)}." if self.order else "",
            searched(self.n_inner, among("the penalty of each", self.penalties)),
        )


def probabilities(decision: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes (n, classes) from the decision values of a linear model."""
    if decision.shape[1] == 2:
        # Two columns are the decision value with either sign.
        decision = decision / 2
    return np.exp(log_softmax(decision, axis=1))
