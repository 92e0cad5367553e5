"""Augmented covariance matrix, tangent space, support vector machine.

Carrara & Papadopoulo (2023), Classification of BCI-EEG based on augmented covariance matrix.
doi:10.48550/arXiv.2302.04508

Reproduced: the augmented covariance (delay embedding of order ``order`` and delay ``lag``, then the covariance
of the stacked copies), the tangent space at the Riemannian mean with an SVM, and the nested grid search over
order, lag, penalty and kernel. Differs: the covariance is shrunk (OAS), because the stacked copies soon
outnumber the samples; the embedding keeps the ``lag`` samples that MOABB's transformer drops beyond need, so
that order 1 is exactly the plain covariance; repeated configurations of order 1 are tried once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.riemann import EMBEDDED, KERNELS, delay_embed, delays, embedding, oas_covariances, search_tangent_svm
from ..shared.search import inner_folds
from ..shared.words import among, searched, text


@component
class AcmTsSvm(Method):
    """Tangent-space SVM on augmented covariances.

    Cost: O(n_trials (n_channels order)^3) a mean, times the (order, lag) pairs and inner folds. Memory: the
    covariances of all pairs, 8 n_trials (n_channels order)^2 bytes each.

    Parameters
    ----------
    orders, lags : list of int
        Numbers of stacked copies and delays (samples) that the nested search tries.
    C : list of float
        Penalties of the SVM that it tries.
    kernels : list of {"linear", "rbf"}
        Kernels that it tries.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    tiny = {"orders": [1, 3], "lags": [3], "C": [1.0], "kernels": ["linear"], "n_inner": 2}
    state = ("estimator_", "delays_")
    trusted = ("replicortex.shared.riemann.TangentSvm",)

    orders: list[PositiveInt] = list(range(1, 11))
    lags: list[PositiveInt] = list(range(1, 11))
    C: list[PositiveFloat] = [0.5, 1.0, 1.5]
    kernels: list[Literal["linear", "rbf"]] = ["linear", "rbf"]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search order, lag, kernel and penalty on the training rows, then fit on all of them."""
        pairs = delays(self.orders, self.lags, train["x"].shape[-1])
        augmented = {pair: oas_covariances(delay_embed(train["x"], *pair)) for pair in pairs}
        folds = inner_folds(train, self.n_inner, seed)
        pair, self.estimator_, score = search_tangent_svm(augmented, train.rows["target"], folds, self.C, self.kernels)
        self.delays_ = {"order": pair[0], "lag": pair[1], "inner_score": score}

    def predict(self, test: Bundle) -> Bundle:
        """Return the decision values of the chosen configuration."""
        embedded = delay_embed(test["x"], self.delays_["order"], self.delays_["lag"])
        return classified(test, self.estimator_.scores(oas_covariances(embedded)), self.estimator_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return order, lag, kernel, penalty and the inner score."""
        return {**self.delays_, "C": self.estimator_.C, "kernel": self.estimator_.kernel}

    def n_configurations(self) -> int:
        """Return the number of distinct configurations tried."""
        return len(delays(self.orders, self.lags)) * len(self.C) * len(self.kernels)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            f"{EMBEDDED} The matrices were projected into the tangent space at their Riemannian mean and classified by"
            " a support vector machine [@barachant2013].",
            searched(
                self.n_inner,
                *embedding(self.orders, self.lags),
                among("the kernel", [KERNELS[name] for name in self.kernels]),
                among("the penalty C", self.C),
            ),
        )
