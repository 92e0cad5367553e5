"""Decode a state from each observation alone: the regression inside the discriminative Kalman filter, unfiltered.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020), doi:10.1162/neco_a_01275, compare with it: what it reaches needs
no filter.

Reproduced: the mean of the state given one observation by three kinds of regression on ten principal components, and
its covariance as the regression of residual outer products of held-out rows.

Differs: as :mod:`replicortex.methods.discriminative_kalman`, whose map this is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.observation_maps import covariance_of, learn_map, map_words, mean_of, settings_words
from ..shared.state_decoding import (
    decoded,
    flat,
    inputs_of,
    learn_inputs,
    left_out_together,
    plain,
    refuse_mixed_inputs,
    stretches,
)
from ..shared.words import text


@component
class ObservationRegression(Method):
    """Regression of the state on one observation, with the covariance of its errors.

    Parameters
    ----------
    map : {"nadaraya_watson", "gaussian_process", "network"}
        Which regression.
    n_components : int or None
        Principal components of the inputs; ``None`` takes all inputs, standardised.
    n_settings : int
        Settings tried for the mean, and as many bandwidths for the covariance.
    most_rows : int
        Rows that a Gaussian process keeps.
    """

    tasks = frozenset({"decode"})
    tiny = {"n_settings": 4}
    state = ("inputs_", "map_", "mean_")

    map: Literal["nadaraya_watson", "gaussian_process", "network"] = "nadaraya_watson"
    n_components: Annotated[int, Field(ge=1)] | None = 10
    n_settings: Annotated[int, Field(ge=2)] = 16
    most_rows: Annotated[int, Field(ge=10)] = 4000

    def fit(self, train: Bundle, seed: int) -> None:
        """Learn inputs and map; ``train["y"]`` is (n, d)."""
        refuse_mixed_inputs(train)
        found = stretches(train)
        x, y = flat(train, found.order), np.asarray(train["y"], dtype=np.float64)[found.order]
        self.inputs_ = learn_inputs(x, self.n_components)
        self.mean_ = y.mean(axis=0)
        x = inputs_of(self.inputs_, x)
        self.map_ = learn_map(
            self.map, x, y - self.mean_, left_out_together(found), self.n_settings, self.most_rows, seed
        )

    def predict(self, test: Bundle) -> Bundle:
        """Return ``y_pred`` (n, d) and its covariance ``y_cov`` (n, d, d), each from its own row."""
        found = stretches(test)
        x = inputs_of(self.inputs_, flat(test, found.order))
        return decoded(test, found, mean_of(self.map_, x) + self.mean_, covariance_of(self.map_, x))

    def n_configurations(self) -> int:
        """Return the settings of the mean and the bandwidths of the covariance."""
        return 2 * self.n_settings

    def chosen(self) -> dict[str, Any]:
        """Return the settings of the map."""
        return plain(self.map_["chosen"])

    def described(self, task: str = "decode") -> str:
        """Return what it does, in words."""
        return text(
            "The state was regressed on one observation at a time by"
            f" {map_words(self.map, self.n_components, self.most_rows)}, without a filter.",
            settings_words(self.n_settings),
        )
