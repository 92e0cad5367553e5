"""What neurons do next, by a recurrent network with fixed random weights and a linear readout (echo state network).

Jaeger H. & Haas H. 2004, "Harnessing nonlinearity: predicting chaotic systems and saving energy in wireless
communication", doi:10.1126/science.1091277, on the data of Simeon Q. et al. 2024, "Homogenized C. elegans Neural
Activity and Connectivity Data", doi:10.48550/arXiv.2411.12091, which is made for recurrent models of the worm.

Reproduced: leaky tanh units, sparse recurrent weights scaled to a spectral radius below 1, inputs beside the states in
the readout, which alone is trained, by ridge regression.

Differs: the network runs over the window of a row and starts at rest for each, so that a forecast depends on nothing
outside of it; spectral radius and penalty are chosen by nested search.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.forecasts import (
    Readout,
    Scaled,
    blocks,
    decoded,
    of_each_recording,
    overall,
    read_out,
    search_readout,
    windows,
)
from ..shared.words import among, count, digits, percent, searched, text

Radius = Annotated[float, Field(ge=0, lt=1.5)]


@component
class ForecastReservoir(Method):
    """An echo state network a recording. Cost: O(lags n units^2) for n moments, and that of a ridge regression.

    Parameters
    ----------
    units : int
        Units of the network.
    radii : list of float
        Spectral radii that the search tries.
    scale : float
        Standard deviation of the sum of all inputs of a unit, which are standardised on the training moments.
    leak : float
        Share of a unit's state that is new in each sample.
    density : float
        Share of recurrent weights that are not 0.
    penalties : list of float
        Penalties of the readout that the search tries.
    own_penalty : float
        Penalty of each neuron's own window, which stands beside the states in the readout.
    n_inner : int
        Blocks of training moments that the search holds out in turn.
    """

    tasks = frozenset({"decode"})
    tiny = {"units": 20, "radii": [0.9], "penalties": [1.0], "n_inner": 2}
    state = ("networks_", "models_", "searches_")

    units: PositiveInt = 200
    radii: list[Radius] = [0.5, 0.9]
    scale: PositiveFloat = 0.5
    leak: Annotated[float, Field(gt=0, le=1)] = 0.7
    density: Annotated[float, Field(gt=0, le=1)] = 0.1
    penalties: list[PositiveFloat] = [100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 1e7]
    own_penalty: PositiveFloat = 0.1
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Draw the networks, choose radius and penalty of each recording, and fit its readout."""
        x, y = windows(train), np.asarray(train["y"], dtype=np.float64)
        self.networks_, self.models_, self.searches_ = {}, {}, {}
        for number, (name, here) in enumerate(of_each_recording(train)):
            folds = blocks(train, here, self.n_inner) if self.n_configurations() > 1 else []
            of_input = Scaled(x[here].reshape(-1, x.shape[2]))
            tried = []
            for radius in sorted(set(self.radii)):
                # The same draw for every radius.
                network = self._network(of_input, radius, np.random.default_rng([seed, number]))
                features = self._features(x[here], network)
                penalty, error = search_readout(x[here], y[here], features, folds, self.penalties, self.own_penalty)
                tried.append((error if error == error else np.inf, radius, penalty, network, features))
            _, radius, penalty, self.networks_[name], features = min(tried, key=lambda one: one[0])
            self.searches_[name] = {"radius": radius, "penalty": penalty}
            self.models_[name] = Readout(x[here], y[here], features, self.own_penalty).model(penalty)

    def _network(self, of_input: Scaled, radius: float, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the weights of a network whose inputs have the mean and scale of the training moments."""
        n = self.units
        there = generator.random((n, n)) < self.density
        recurrent = np.where(there, generator.standard_normal((n, n)), 0.0)
        spectral = np.abs(np.linalg.eigvals(recurrent)).max()
        n_inputs = max(1, int(np.sum(of_input.scale < np.inf)))
        weights = generator.standard_normal((len(of_input.mean), n)) * self.scale / np.sqrt(n_inputs)
        return {
            "recurrent": recurrent * (radius / spectral) if spectral > 0 else recurrent,
            "input": weights / of_input.scale[:, None],
            "bias": -of_input.mean @ (weights / of_input.scale[:, None]) + 0.1 * generator.standard_normal(n),
        }

    def _features(self, x: np.ndarray, network: dict[str, np.ndarray]) -> np.ndarray:
        """Return the states after the window, and the window itself, ``(n_rows, units + lags * n_neurons)``."""
        state = np.zeros((len(x), self.units))
        for sample in range(x.shape[1]):
            drive = x[:, sample] @ network["input"] + network["bias"] + state @ network["recurrent"]
            state = (1 - self.leak) * state + self.leak * np.tanh(drive)
        return np.concatenate([state, x.reshape(len(x), -1)], axis=1)

    def predict(self, test: Bundle) -> Bundle:
        """Return the forecasts."""
        x = windows(test)
        y_pred = np.zeros((len(x), next((len(m["intercept"]) for m in self.models_.values()), x.shape[2])))
        for name, here in of_each_recording(test):
            if name not in self.models_:
                raise InputError(
                    f"subject {name}", "has no training moments, and models are of one recording",
                    "use a scheme that trains on each recording",
                )  # fmt: skip
            features = self._features(x[here], self.networks_[name])
            y_pred[here] = read_out(self.models_[name], x[here], features)
        return decoded(test, y_pred)

    def chosen(self) -> dict[str, Any]:
        """Return the medians over recordings of what the search chose."""
        return {name: overall(self.searches_, name) for name in ("radius", "penalty")} if self.searches_ else {}

    def n_configurations(self) -> int:
        """Return the number of pairs of radii and penalties tried."""
        return len(set(self.radii)) * len(set(self.penalties))

    def described(self, task: str = "decode") -> str:
        """Return what it does, in words."""
        return text(
            f"Activity was foretold by an echo state network [@jaeger2004] of {count(self.units, 'leaky unit')} (share"
            f" of new input {percent(self.leak)}, {percent(self.density)} of the recurrent weights, inputs of a unit"
            f" scaled to a standard deviation of {digits(self.scale)}), run over the window from rest, with a model for"
            " each recording. The readout is linear in each neuron's own window (penalty"
            f" {digits(self.own_penalty)}), and what that leaves in states and inputs.",
            searched(self.n_inner, among("the spectral radius", self.radii), among("the penalty", self.penalties)),
        )
