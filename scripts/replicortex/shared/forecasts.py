"""Ridge regressions of what comes next, one model a recording, the penalty chosen on blocks of training moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..bundle import Bundle


def windows(rows: Bundle) -> np.ndarray:
    """Return ``x`` as (n_rows, n_lags, n_neurons), double precision; without lags it is a window of one sample."""
    x = np.asarray(rows["x"], dtype=np.float64)
    return x[:, None, :] if x.ndim == 2 else x.reshape(len(x), x.shape[1], -1)


def of_each_recording(rows: Bundle) -> list[tuple[str, np.ndarray]]:
    """Return name and row indices of each subject: neurons of different animals are never pooled."""
    subject = rows.rows["subject"].astype(str)
    return [(str(name), np.flatnonzero(subject == name)) for name in np.unique(subject)]


def blocks(rows: Bundle, here: np.ndarray, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return inner folds: runs of moments that follow each other, held out in turn, as positions in ``here``.

    A tenth of a fold is left out on either side of what is held out, since neighbouring moments are alike.
    """
    order = np.arange(len(here))
    if "onset" in rows.rows and "run" in rows.rows:
        order = np.lexsort([np.asarray(rows.rows["onset"][here], float), rows.rows["run"][here].astype(str)])
    parts = [part for part in np.array_split(order, n_folds) if len(part)]
    if len(parts) < 2:
        return []
    rank = np.empty(len(here), dtype=int)
    rank[order] = np.arange(len(here))
    found = []
    for part in parts:
        margin = max(1, len(part) // 10)
        near = (rank >= rank[part].min() - margin) & (rank <= rank[part].max() + margin)
        if (~near).any():
            found.append((np.flatnonzero(~near), part))
    return found


class Scaled:
    """Mean and standard deviation of training columns; constant ones become 0."""

    def __init__(self, x: np.ndarray) -> None:
        self.mean = x.mean(axis=0)
        scale = x.std(axis=0)
        self.scale = np.where(scale > 1e-12 * np.maximum(np.abs(self.mean), 1e-300), scale, np.inf)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return standardised columns."""
        return (x - self.mean) / self.scale


def ridge_path(x: np.ndarray, y: np.ndarray, penalties: Sequence[float]) -> Callable[[float], np.ndarray]:
    """Return a function of the penalty that gives the coefficients ``(n_features, n_outputs)``; inputs are centred.

    One decomposition serves all penalties: O(n p min(n, p)).
    """
    if x.shape[1] > len(x):
        values, vectors = np.linalg.eigh(x @ x.T)
        along = vectors.T @ y
        return lambda penalty: x.T @ (vectors @ (along / (np.maximum(values, 0) + penalty)[:, None]))
    values, vectors = np.linalg.eigh(x.T @ x)
    along = vectors.T @ (x.T @ y)
    return lambda penalty: vectors @ (along / (np.maximum(values, 0) + penalty)[:, None])


class OwnHistory:
    """A ridge regression of each neuron on its own window, ``(n_lags, n_neurons)`` weights and an intercept.

    Columns are standardised by each neuron's standard deviation over the window, so that one penalty means the same for
    all. Slots without a neuron get weights of 0. Cost: O(n n_neurons n_lags^2).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._mean, self._centre = x.mean(axis=0), y.mean(axis=0)
        scale = np.sqrt(np.mean((x - self._mean) ** 2, axis=(0, 1)))
        self._scale = np.where(scale > 1e-12, scale, np.inf)
        z = (x - self._mean) / self._scale
        self._gram = np.einsum("tls,tms->slm", z, z, optimize=True)
        self._along = np.einsum("tls,ts->sl", z, y - self._centre, optimize=True)

    def weights(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights on the windows themselves and the intercept, of shape (n_neurons,)."""
        eye = np.eye(self._gram.shape[1])
        found = np.linalg.solve(self._gram + penalty * eye, self._along[..., None])[..., 0].T / self._scale
        return found, self._centre - np.sum(self._mean * found, axis=0)


def foretold(x: np.ndarray, weights: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return what each neuron's own window says of it, ``(n_rows, n_neurons)``."""
    return np.einsum("tls,ls->ts", x, weights) + intercept


def relative_error(wanted: np.ndarray, error: np.ndarray) -> float:
    """Return squared errors over the squares about the mean of what was wanted."""
    return float(np.sum(error**2) / max(np.sum((wanted - wanted.mean(axis=0)) ** 2), 1e-300))


def least(errors: Sequence[Sequence[float]], ordered: Sequence[float]) -> tuple[float, float]:
    """Return the value of the least mean error over folds, the greatest of equals, and that error.

    The middle one and ``nan`` where there is no fold.
    """
    if not len(errors):
        return float(ordered[len(ordered) // 2]), float("nan")
    mean = np.mean(errors, axis=0)
    place = int(np.flatnonzero(mean <= mean.min() + 1e-12)[-1])
    return float(ordered[place]), float(mean[place])


class Readout:
    """Each neuron's own history, and a ridge regression of what it leaves unexplained on features of all.

    One penalty for both would have to be small for the few inputs that tell most and large for the many others; taken
    one after the other, a great penalty leaves the own history as it is. Where outputs are not the neurons of the
    window, or ``own`` is None, there is no such part.

    Parameters
    ----------
    x, y : ndarray of shape (n_rows, n_lags, n_neurons) and (n_rows, n_outputs)
    features : ndarray of shape (n_rows, n_features)
    own : float or None
        Penalty of the own history.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, features: np.ndarray, own: float | None) -> None:
        self.own = None
        rest = y
        if own is not None and x.shape[2] == y.shape[1]:
            self.own = OwnHistory(x, y).weights(own)
            rest = y - foretold(x, *self.own)
        self._scaled, self._centre = Scaled(features), rest.mean(axis=0)
        self._path = ridge_path(self._scaled(features), rest - self._centre, ())

    def model(self, penalty: float) -> dict[str, np.ndarray]:
        """Return the coefficients on the features and of the own history, plain arrays."""
        weights = self._path(penalty) / self._scaled.scale[:, None]
        found = {"coefficients": weights, "intercept": self._centre - self._scaled.mean @ weights}
        if self.own is not None:
            found |= {"own": self.own[0], "own_intercept": self.own[1]}
        return found


def read_out(model: dict[str, np.ndarray], x: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the forecasts of a model that :meth:`Readout.model` gave."""
    found = features @ model["coefficients"] + model["intercept"]
    return found + foretold(x, model["own"], model["own_intercept"]) if "own" in model else found


def search_readout(
    x: np.ndarray,
    y: np.ndarray,
    features: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    penalties: Sequence[float],
    own: float | None,
) -> tuple[float, float]:
    """Return the penalty of the least error in the inner folds, and that error."""
    ordered, errors = sorted(penalties), []
    for inner, held in folds:
        readout = Readout(x[inner], y[inner], features[inner], own)
        models = (readout.model(penalty) for penalty in ordered)
        errors.append([relative_error(y[held], y[held] - read_out(m, x[held], features[held])) for m in models])
    return least(errors, ordered)


def decoded(test: Bundle, y_pred: np.ndarray) -> Bundle:
    """Return forecasts as predictions on the rows of ``test``."""
    return Bundle({"y_pred": y_pred}, test.rows, {"output": list(test.axes.get("output", range(y_pred.shape[1])))})


def overall(searches: dict[str, dict[str, Any]], name: str) -> float:
    """Return the median over recordings of what each search chose."""
    return float(np.median([search[name] for search in searches.values()])) if searches else float("nan")
