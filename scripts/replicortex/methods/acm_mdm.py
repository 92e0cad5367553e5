"""Augmented covariance matrix, minimum distance to mean.

Carrara & Papadopoulo (2023), Classification of BCI-EEG based on augmented covariance matrix.
doi:10.48550/arXiv.2302.04508

Reproduced: the augmented covariance with minimum distance to the Riemannian class means, order and lag chosen
by nested grid search. Differs: shrinkage and embedding as in ``acm_ts_svm``.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.riemann import EMBEDDED, delay_embed, delays, embedding, oas_covariances, search_minimum_distance
from ..shared.search import inner_folds
from ..shared.words import searched, text


@component
class AcmMdm(Method):
    """Minimum distance to mean on augmented covariances. Cost and memory as ``acm_ts_svm``.

    Parameters
    ----------
    orders, lags : list of int
        Numbers of stacked copies and delays (samples) that the nested search tries.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    tiny = {"orders": [1, 3], "lags": [3], "n_inner": 2}
    state = ("estimator_", "delays_")
    trusted = ("replicortex.shared.riemann.MinimumDistance",)

    orders: list[PositiveInt] = list(range(1, 11))
    lags: list[PositiveInt] = list(range(1, 11))
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search order and lag on the training rows, then fit on all of them."""
        pairs = delays(self.orders, self.lags, train["x"].shape[-1])
        augmented = {pair: oas_covariances(delay_embed(train["x"], *pair)) for pair in pairs}
        folds = inner_folds(train, self.n_inner, seed)
        pair, self.estimator_, score = search_minimum_distance(augmented, train.rows["target"], folds)
        self.delays_ = {"order": pair[0], "lag": pair[1], "inner_score": score}

    def predict(self, test: Bundle) -> Bundle:
        """Return minus the distances to the class means."""
        embedded = delay_embed(test["x"], self.delays_["order"], self.delays_["lag"])
        return classified(test, self.estimator_.scores(oas_covariances(embedded)), self.estimator_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return order, lag and the inner score."""
        return dict(self.delays_)

    def n_configurations(self) -> int:
        """Return the number of distinct configurations tried."""
        return len(delays(self.orders, self.lags))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            f"{EMBEDDED} Each trial was given the class to whose Riemannian mean its matrix was nearest"
            " [@barachant2012].",
            searched(self.n_inner, *embedding(self.orders, self.lags)),
        )
