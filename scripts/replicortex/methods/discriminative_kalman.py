"""Discriminative Kalman filter: decode a moving state from what each observation alone says of it.

Burkhart (2019), A discriminative approach to Bayesian filtering with applications to human neural decoding.
doi:10.48550/arXiv.1807.06173; Burkhart, Brandman, Franco, Hochberg & Harrison (2020), The discriminative Kalman filter
for Bayesian filtering with nonlinear and nongaussian observation models. doi:10.1162/neco_a_01275

Reproduced: a stationary linear-Gaussian state of least squares; the mean of the state given one observation by
Nadaraya-Watson, Gaussian-process or network regression (ten tanh units) on ten principal components; its covariance as
the regression of residual outer products of held-out rows (30 % of the training data); the closed-form update, the
limit of the covariance below that of the state, and the robust variant that does without it.

Differs: where the covariance reaches the limit the mean says nothing either, while the authors' moves the state on and
on (``wider: limited``), or is trusted more at that moment (``wider: robust``); the covariance is drawn to that of all
residuals where few examples are near, since the residuals of one lie in a line; rows of the same stretch of time never
predict each other while bandwidths are chosen; settings are chosen from grids, where the authors descend; penalties of
the network are chosen on stretches left out, where the authors weigh them by Bayes, and the best of three starts is
kept; the noise of Gaussian processes is one share for all outputs, and their rows are thinned above a number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.filters import discriminative_filter, fit_state
from ..shared.observation_maps import covariance_of, learn_map, map_words, mean_of, settings_words
from ..shared.state_decoding import (
    decoded,
    flat,
    inputs_of,
    learn_inputs,
    left_out_together,
    plain,
    refuse_mixed_inputs,
    state_of,
    stretches,
)
from ..shared.words import text

_WIDER = {
    "ignored": "Directions of which an observation left open more than the state's own spread were ignored.",
    "limited": "Eigenvalues of that covariance were limited to those of the state's.",
    "robust": "Where that covariance was not below the state's, the term of the state's own spread was left out.",
}


@component
class DiscriminativeKalman(Method):
    """Filter the state by a regression of the state on each observation.

    Parameters
    ----------
    map : {"nadaraya_watson", "gaussian_process", "network"}
        Regression of the state's mean on one observation.
    wider : {"ignored", "limited", "robust"}
        What is done where an observation leaves open more than the state's own spread: it is ignored; its covariance
        is limited; or the term that takes the state's spread off is left out.
    robust : bool
        Leave out that term at all moments.
    n_components : int or None
        Principal components of the inputs that are observed; ``None`` takes all inputs, standardised.
    n_settings : int
        Settings tried for the mean, and as many bandwidths for the covariance.
    most_rows : int
        Rows that a Gaussian process keeps.
    """

    tasks = frozenset({"decode"})
    tiny = {"n_settings": 4}
    state = ("inputs_", "model_", "map_", "mean_")

    map: Literal["nadaraya_watson", "gaussian_process", "network"] = "nadaraya_watson"
    wider: Literal["ignored", "limited", "robust"] = "ignored"
    robust: bool = False
    n_components: Annotated[int, Field(ge=1)] | None = 10
    n_settings: Annotated[int, Field(ge=2)] = 16
    most_rows: Annotated[int, Field(ge=10)] = 4000

    def fit(self, train: Bundle, seed: int) -> None:
        """Learn inputs, state and map; ``train["y"]`` is (n, d)."""
        refuse_mixed_inputs(train)
        found = stretches(train)
        x, y = flat(train, found.order), np.asarray(train["y"], dtype=np.float64)[found.order]
        self.inputs_ = learn_inputs(x, self.n_components)
        self.mean_ = y.mean(axis=0)
        z = y - self.mean_
        model = fit_state(z, found.edges)
        self.model_ = {"a": model.a, "g": model.g, "s": model.s}
        x = inputs_of(self.inputs_, x)
        self.map_ = learn_map(self.map, x, z, left_out_together(found), self.n_settings, self.most_rows, seed)

    def predict(self, test: Bundle) -> Bundle:
        """Return ``y_pred`` (n, d) and its covariance ``y_cov`` (n, d, d), each from rows up to its own."""
        found = stretches(test)
        x = inputs_of(self.inputs_, flat(test, found.order))
        told = mean_of(self.map_, x), covariance_of(self.map_, x)
        mean, cov = discriminative_filter(
            *told, found.edges, state_of(self.model_), wider=self.wider, robust=self.robust
        )
        return decoded(test, found, mean + self.mean_, cov)

    def n_configurations(self) -> int:
        """Return the settings of the mean and the bandwidths of the covariance."""
        return 2 * self.n_settings

    def chosen(self) -> dict[str, Any]:
        """Return the settings of the map."""
        return plain(self.map_["chosen"])

    def found(self) -> dict[str, np.ndarray]:
        """Return how the state moves: transition, covariance of its noise, and covariance of the state."""
        return dict(self.model_)

    def described(self, task: str = "decode") -> str:
        """Return what it does, in words."""
        return text(
            "The discriminative Kalman filter [@burkhart2020] took the state as a stationary linear-Gaussian process"
            f" fitted by least squares, and learned its mean given one observation by"
            f" {map_words(self.map, self.n_components, self.most_rows)}.",
            settings_words(self.n_settings),
            "Terms of the state's own spread were left out (robust variant)." if self.robust else _WIDER[self.wider],
        )
