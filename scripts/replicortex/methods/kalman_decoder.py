"""Kalman filter decoding: the observations as a function of the state, linear or not, with Gaussian noise.

Wu, Gao, Bienenstock, Donoghue & Black (2006), Bayesian population decoding of motor cortical activity using a Kalman
filter. doi:10.1162/089976606774841585

Reproduced: state and observations by least squares on training rows, the exact recursion from the state's own spread
on; for observations that are no linear function of the state, a network of ten tanh units from state to observation
with the covariance of its errors on held-out rows, in an extended or unscented filter, as Burkhart et al. (2020,
doi:10.1162/neco_a_01275) compare with.

Differs: a ridge penalty of the observation matrix (of the network: of its weights) and a factor on the noise of the
state are chosen on stretches left out, so that this baseline is tuned as much as what is compared with it; factor 1 and
next to no penalty are the usual filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.filters import Edges, extended_filter, fit_state, kalman_filter, unscented_filter
from ..shared.observation_maps import HIDDEN, held_out_rows, learn_network, network_of, slope_of
from ..shared.state_decoding import (
    decoded,
    edges_within,
    flat,
    inputs_of,
    learn_inputs,
    left_out_together,
    refuse_mixed_inputs,
    relative_error,
    state_of,
    stretches,
)
from ..shared.words import count, spelled, text

#: Ridge penalties in units of the mean variance of the state.
_PENALTIES = (1e-6, 10.0)


@component
class KalmanDecoder(Method):
    """Filter the state by what it makes one expect to observe.

    Parameters
    ----------
    filter : {"linear", "extended", "unscented"}
        Observations as a linear function of the state; or as a network of it, made linear about the expected state, or
        followed at points about it.
    n_components : int or None
        Principal components of the inputs that are observed; ``None`` takes all inputs, standardised.
    n_settings : int
        Penalties tried, and as many factors on the noise of the state.
    """

    tasks = frozenset({"decode"})
    tiny = {"n_settings": 4}
    state = ("inputs_", "model_", "mean_", "observed_", "gain_", "penalty_")

    filter: Literal["linear", "extended", "unscented"] = "linear"
    n_components: Annotated[int, Field(ge=1)] | None = 10
    n_settings: Annotated[int, Field(ge=2)] = 16

    def fit(self, train: Bundle, seed: int) -> None:
        """Learn inputs, state and observations; ``train["y"]`` is (n, d)."""
        refuse_mixed_inputs(train)
        found = stretches(train)
        x, y = flat(train, found.order), np.asarray(train["y"], dtype=np.float64)[found.order]
        self.inputs_ = learn_inputs(x, self.n_components)
        self.mean_ = y.mean(axis=0)
        x, z = inputs_of(self.inputs_, x), y - self.mean_
        model = fit_state(z, found.edges)
        self.model_ = {"a": model.a, "g": model.g, "s": model.s}
        together = left_out_together(found)
        held = held_out_rows(together, seed)
        learn = self._learn_linear if self.filter == "linear" else self._learn_network
        observed, self.penalty_ = learn(x, z, held, together, seed)
        edges, told = edges_within(found, held)
        # Powers of two about 1, the usual filter.
        gains = 2.0 ** (np.arange(self.n_settings) - self.n_settings // 2)
        errors = [relative_error(z[told], self._filtered(x[told], edges, observed, gain)[0]) for gain in gains]
        self.gain_ = float(gains[int(np.argmin(errors))])
        self.observed_ = {**observed, **_linear(x, z, self.penalty_)} if self.filter == "linear" else observed

    def _learn_linear(
        self, x: np.ndarray, z: np.ndarray, held: np.ndarray, names: np.ndarray, seed: int
    ) -> tuple[dict[str, Any], float]:
        """Return the observation matrix of rows not held out, and the penalty that suits those that are."""
        penalties = np.geomspace(*_PENALTIES, self.n_settings) * np.mean(z**2)
        tried = [_linear(x[~held], z[~held], penalty) for penalty in penalties]
        errors = [np.mean((x[held] - z[held] @ entry["c"].T) ** 2) for entry in tried]
        best = int(np.argmin(errors))
        return tried[best], float(penalties[best])

    def _learn_network(
        self, x: np.ndarray, z: np.ndarray, held: np.ndarray, names: np.ndarray, seed: int
    ) -> tuple[dict[str, Any], float]:
        """Return a network from the state, in units of its spread, to the observations."""
        spread = np.sqrt(np.diag(self.model_["s"]))
        layers, penalty, scale = learn_network((z / spread)[~held], x[~held], names[~held], self.n_settings, seed)
        residual = x[held] - network_of(layers, z[held] / spread)[0] * scale
        return {"layers": layers, "scale": scale, "spread": spread, "r": _covariance(residual)}, penalty

    def _filtered(
        self, x: np.ndarray, edges: Edges, observed: dict[str, Any], gain: float
    ) -> tuple[np.ndarray, np.ndarray]:
        model = state_of(self.model_, gain)
        if self.filter == "linear":
            return kalman_filter(x - observed["x0"], edges, model, observed["c"], observed["r"])
        run = extended_filter if self.filter == "extended" else unscented_filter
        return run(x, edges, model, _observing(observed), observed["r"])

    def predict(self, test: Bundle) -> Bundle:
        """Return ``y_pred`` (n, d) and its covariance ``y_cov`` (n, d, d), each from rows up to its own."""
        found = stretches(test)
        x = inputs_of(self.inputs_, flat(test, found.order))
        mean, cov = self._filtered(x, found.edges, self.observed_, self.gain_)
        return decoded(test, found, mean + self.mean_, cov)

    def n_configurations(self) -> int:
        """Return the penalties and the factors on the noise."""
        return 2 * self.n_settings

    def chosen(self) -> dict[str, Any]:
        """Return the penalty, and the factor on the noise of the state."""
        return {"penalty": self.penalty_, "noise_factor": self.gain_}

    def found(self) -> dict[str, np.ndarray]:
        """Return how the state moves: transition, covariance of its noise, and covariance of the state."""
        return dict(self.model_)

    def described(self, task: str = "decode") -> str:
        """Return what it does, in words."""
        inputs = (
            "all inputs, standardised,"
            if self.n_components is None
            else f"{count(self.n_components, 'principal component')} of the inputs"
        )
        kind = {
            "linear": f"A Kalman filter [@wu2006] took {inputs} as a linear function of the state with Gaussian noise",
            "extended": f"An extended Kalman filter took {inputs} as a network of {spelled(HIDDEN)} tanh units of the"
            " state with Gaussian noise, made linear about the expected state",
            "unscented": f"An unscented Kalman filter [@julier2004] took {inputs} as a network of {spelled(HIDDEN)}"
            " tanh units of the state with Gaussian noise",
        }[self.filter]
        return text(
            f"{kind}; the state was a linear-Gaussian process fitted by least squares.",
            f"One of {spelled(self.n_settings)} penalties and of {spelled(self.n_settings)} factors on the noise of the"
            " state were chosen on 30 % of the stretches of the training data.",
        )


def _linear(x: np.ndarray, z: np.ndarray, penalty: float) -> dict[str, np.ndarray]:
    """Return matrix, offset and noise of observations as a linear function of the state."""
    x0 = x.mean(axis=0)
    gram = z.T @ z + len(z) * penalty * np.eye(z.shape[1])
    c = np.linalg.solve(gram, z.T @ (x - x0)).T
    return {"c": c, "x0": x0, "r": _covariance(x - x0 - z @ c.T)}


def _covariance(residual: np.ndarray, floor: float = 1e-6) -> np.ndarray:
    """Return the covariance of residuals, with a floor that keeps it invertible."""
    cov = residual.T @ residual / len(residual)
    return cov + floor * max(np.trace(cov) / len(cov), 1e-12) * np.eye(len(cov))


def _observing(observed: dict[str, Any]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the function from states to observations and their derivatives."""

    def observe(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out, hidden = network_of(observed["layers"], z / observed["spread"])
        slope = slope_of(observed["layers"], hidden) * observed["scale"][:, None] / observed["spread"]
        return out * observed["scale"], slope

    return observe
