"""Tangent space and support vector machine on plain covariances.

Barachant, Bonnet, Congedo & Jutten (2013), Classification of covariance matrices using a Riemannian-based
kernel for BCI applications. doi:10.1016/j.neucom.2012.12.039

Reproduced: the tangent space at the Riemannian mean with an SVM, as in MOABB's TS+SVM with grid search. Differs:
the estimator of the covariance is part of the search, so that the search can be as large as that of the method
this one is compared with.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.riemann import KERNELS, oas_covariances, scm_covariances, search_tangent_svm, shrink
from ..shared.search import inner_folds
from ..shared.words import among, searched, spaced, text

_ESTIMATORS = {
    "oas": oas_covariances,
    "shrunk": lambda x: shrink(scm_covariances(x), 0.1),
    "lightly_shrunk": lambda x: shrink(scm_covariances(x), 0.01),
}


@component
class TsSvm(Method):
    """Tangent-space SVM on the covariance of each trial.

    Parameters
    ----------
    n_penalties : int
        Penalties that the nested search tries, evenly spaced on a log scale over ``penalty_range``.
    penalty_range : tuple of float
        Smallest and greatest penalty.
    kernels : list of {"linear", "rbf"}
        Kernels that it tries.
    estimators : list of {"oas", "shrunk", "lightly_shrunk"}
        Covariance estimators that it tries: oracle-approximating shrinkage, or a tenth or a hundredth of the
        identity mixed in.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    tiny = {"n_penalties": 1, "kernels": ["linear"], "n_inner": 2}
    state = ("estimator_", "covariance_")
    trusted = ("replicortex.shared.riemann.TangentSvm",)

    n_penalties: PositiveInt = 7
    penalty_range: tuple[PositiveFloat, PositiveFloat] = (0.01, 100.0)
    kernels: list[Literal["linear", "rbf"]] = ["linear", "rbf"]
    estimators: list[Literal["oas", "shrunk", "lightly_shrunk"]] = ["oas"]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search estimator, kernel and penalty on the training rows, then fit on all of them."""
        low, high = self.penalty_range
        penalties = np.geomspace(low, high, self.n_penalties).tolist() if self.n_penalties > 1 else [1.0]
        # The first of equal configurations wins. Where every penalty ranks all trials rightly, the smallest would
        # leave the threshold of the decision at one class, and accuracy at chance under a perfect ranking.
        penalties.sort(key=lambda penalty: abs(np.log(penalty)))
        covariances = {name: _ESTIMATORS[name](train["x"]) for name in self.estimators}
        folds = inner_folds(train, self.n_inner, seed)
        name, self.estimator_, score = search_tangent_svm(
            covariances, train.rows["target"], folds, penalties, self.kernels
        )
        self.covariance_ = {"estimator": name, "inner_score": score}

    def predict(self, test: Bundle) -> Bundle:
        """Return the decision values of the chosen configuration."""
        covariances = _ESTIMATORS[self.covariance_["estimator"]](test["x"])
        return classified(test, self.estimator_.scores(covariances), self.estimator_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return estimator, kernel, penalty and the inner score."""
        return {**self.covariance_, "C": self.estimator_.C, "kernel": self.estimator_.kernel}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return self.n_penalties * len(self.kernels) * len(self.estimators)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        estimators = {
            "oas": "oracle approximating shrinkage [@chen2010]",
            "shrunk": "the sample covariance with a tenth of the identity mixed in",
            "lightly_shrunk": "the sample covariance with a hundredth of the identity mixed in",
        }
        low, high = self.penalty_range
        # One penalty alone is 1, whatever the range.
        penalty = spaced("the penalty C", *((low, high) if self.n_penalties > 1 else (1.0, 1.0)), self.n_penalties)
        return text(
            "The spatial covariance matrices of the trials were projected into the tangent space at their Riemannian"
            " mean and classified by a support vector machine [@barachant2013].",
            searched(
                self.n_inner,
                among("the covariance estimator", [estimators[name] for name in self.estimators]),
                among("the kernel", [KERNELS[name] for name in self.kernels]),
                penalty,
            ),
        )
