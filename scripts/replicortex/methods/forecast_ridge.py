"""What neurons do next, by linear regression on what they and others did last: vector autoregression with a ridge.

Simeon Q. et al. 2024, "Homogenized C. elegans Neural Activity and Connectivity Data", doi:10.48550/arXiv.2411.12091.

Reproduced: traces at a common rate in one order of neurons, of which the next samples are predicted; neurons without a
name are never pooled over animals, so that each recording has a model of its own.

Differs: the paper gives the data for such models and fits none.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.forecasts import (
    OwnHistory,
    Readout,
    blocks,
    decoded,
    foretold,
    least,
    of_each_recording,
    overall,
    read_out,
    relative_error,
    search_readout,
    windows,
)
from ..shared.words import among, digits, searched, text


@component
class ForecastRidge(Method):
    """What each neuron's own window says of it, and a ridge regression of the rest on the windows of all neurons.

    A model a recording. A fold costs O(n p min(n, p)) for n moments and p = lags x neurons inputs, for all penalties
    together; ``own`` alone O(n neurons lags^2).

    Parameters
    ----------
    inputs : {"all", "own", "last"}
        All neurons; each neuron's own window alone; or its last value as it is (persistence, nothing is fitted).
    penalties : list of float
        Penalties that the search tries: of the other neurons with ``all``, of the own window with ``own``; one for all
        neurons of a recording, whose traces are standardised on the training moments.
    own_penalty : float
        Penalty of the own window with ``all``.
    n_inner : int
        Blocks of training moments that the search holds out in turn.
    """

    tasks = frozenset({"decode"})
    tiny = {"penalties": [1.0, 100.0], "n_inner": 2}
    state = ("models_", "searches_")

    inputs: Literal["all", "own", "last"] = "all"
    penalties: list[PositiveFloat] = [
        *(10.0, 30.0, 100.0, 200.0, 300.0, 600.0, 1e3, 2e3, 3e3, 6e3, 1e4, 2e4, 3e4, 1e5, 1e6, 1e7),
    ]
    own_penalty: PositiveFloat = 0.1
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose the penalty of each recording, then fit on all of its training moments."""
        x, y = windows(train), np.asarray(train["y"], dtype=np.float64)
        self.models_, self.searches_ = {}, {}
        if self.inputs != "all" and y.shape[1] != x.shape[2]:
            fault = f"have {y.shape[1]} outputs and {x.shape[2]} neurons, and inputs: {self.inputs} needs the same"
            raise InputError("features", fault, "choose the feature activity_windows, or inputs: all")
        if self.inputs == "last":
            return
        for name, here in of_each_recording(train):
            folds = blocks(train, here, self.n_inner) if len(self.penalties) > 1 else []
            fit = self._own if self.inputs == "own" else self._all
            self.models_[name], penalty, error = fit(x[here], y[here], folds)
            self.searches_[name] = {"penalty": penalty, "inner_error": error}

    def _own(self, x: np.ndarray, y: np.ndarray, folds: list) -> tuple[dict[str, np.ndarray], float, float]:
        ordered, errors = sorted(self.penalties), []
        for inner, held in folds:
            history = OwnHistory(x[inner], y[inner])
            models = (history.weights(penalty) for penalty in ordered)
            errors.append([relative_error(y[held], y[held] - foretold(x[held], *model)) for model in models])
        penalty, error = least(errors, ordered)
        weights, intercept = OwnHistory(x, y).weights(penalty)
        return {"own": weights, "own_intercept": intercept}, penalty, error

    def _all(self, x: np.ndarray, y: np.ndarray, folds: list) -> tuple[dict[str, np.ndarray], float, float]:
        features = x.reshape(len(x), -1)
        penalty, error = search_readout(x, y, features, folds, self.penalties, self.own_penalty)
        return Readout(x, y, features, self.own_penalty).model(penalty), penalty, error

    def predict(self, test: Bundle) -> Bundle:
        """Return the forecasts.

        Raises
        ------
        InputError
            If a recording had no training moments.
        """
        x = windows(test)
        if self.inputs == "last":
            return decoded(test, x[:, -1])
        y_pred = []
        for name, here in of_each_recording(test):
            if name not in self.models_:
                fault = "has no training moments, and no model is made for several recordings"
                raise InputError(f"subject {name}", fault, "use a scheme that trains on each recording")
            model, window = self.models_[name], x[here]
            own = "coefficients" not in model
            found = foretold(window, model["own"], model["own_intercept"]) if own else None
            y_pred.append((here, found if own else read_out(model, window, window.reshape(len(here), -1))))
        return decoded(test, np.concatenate([y for _, y in y_pred])[np.argsort(np.concatenate([h for h, _ in y_pred]))])

    def chosen(self) -> dict[str, Any]:
        """Return the median penalty over recordings, where there was a search."""
        return {"penalty": overall(self.searches_, "penalty")} if self.searches_ else {}

    def n_configurations(self) -> int:
        """Return the number of penalties tried."""
        return 1 if self.inputs == "last" else len(self.penalties)

    def described(self, task: str = "decode") -> str:
        """Return what it does, in words."""
        if self.inputs == "last":
            return "Persistence: each neuron was foretold to stay as it was in the last sample of the window."
        rest = (
            " and a ridge regression of what it leaves on the windows of all neurons (penalty of the own window"
            f" {digits(self.own_penalty)})"
        )
        return text(
            "Activity was foretold by a ridge regression of each neuron on its own window"
            f"{rest if self.inputs == 'all' else ''}, with a model for each recording, standardised on its training"
            " moments.",
            searched(self.n_inner, among("the penalty", self.penalties)),
        )
