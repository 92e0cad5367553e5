"""What encoding models share: the maps of what was shown, mean responses, and ridge regression of many responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..bundle import Bundle
from ..errors import InputError
from .ceilings import by_stimulus
from .moments import moments
from .rows import Rows


@dataclass(frozen=True)
class Shown:
    """What was shown in training, a row a stimulus.

    Parameters
    ----------
    rows : ndarray of shape (n_stimuli,)
        Numbers of the stimuli in the bundle of what was shown.
    responses : ndarray of shape (n_stimuli, n_responses)
        Mean over presentations, float64.
    """

    rows: np.ndarray
    responses: np.ndarray


def training(train: Bundle, stimuli: Bundle | None) -> Shown:
    """Return the stimuli of training rows with the mean of the responses to each.

    Raises
    ------
    InputError
        If there are no features of stimuli, or one that was shown has none.
    """
    names, means, _ = by_stimulus(np.asarray(train["x"]), train.rows["target"].astype(str))
    return Shown(rows_of(names, stimuli), means)


def rows_of(names: np.ndarray, stimuli: Bundle | None) -> np.ndarray:
    """Return the numbers of stimuli in the bundle of what was shown.

    Raises
    ------
    InputError
        If there is no such bundle, or one of them is not in it.
    """
    if stimuli is None or "tokens" not in stimuli.arrays:
        raise InputError("study", "the method needs features of what was shown", "name `stimuli` in the study card")
    row_of = {name: row for row, name in enumerate(stimuli.rows["row_id"].astype(str))}
    lacking = [name for name in names.astype(str) if name not in row_of]
    if lacking:
        fault = f"{lacking[0]} was shown and has no features ({len(lacking)} such stimuli)"
        raise InputError("stimuli", fault, "make the features of stimuli again")
    return np.array([row_of[name] for name in names.astype(str)], dtype=int)


def tokens_of(rows: np.ndarray, stimuli: Bundle) -> Rows:
    """Return the maps of stimuli, (n, n_tokens, n_channels), which are read from their file as they are asked for."""
    return Rows([stimuli["tokens"]], rows)


def places(stimuli: Bundle) -> np.ndarray:
    """Return row and column of each token, (n_tokens, 2), between 0 and 1; one place if there is one token."""
    given = np.asarray(stimuli.axes.get("position", [[0.0, 0.0]] * stimuli["tokens"].shape[1]), dtype=np.float64)
    given = given - given.min(axis=0)
    return given / max(given.max(), 1e-12)


def parts_of(bundle: Bundle) -> tuple[list[str], np.ndarray]:
    """Return the names of the parts that responses are grouped by, and the number of its part for each response."""
    given = bundle.meta.get("parts") or ["all"] * len(bundle.axes["response"])
    names, numbers = np.unique(np.asarray(given, dtype=str), return_inverse=True)
    return names.tolist(), numbers


def inner_folds(n: int, n_folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, test) of an inner cross-validation over stimuli, of which each row is one."""
    n_folds = min(n_folds, n)
    fold_of = np.random.default_rng(seed).permutation(n) % n_folds
    return [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_folds)]


class RidgePath:
    """Ridge regression of many responses for many penalties from one decomposition, features standardised.

    Standardised by the rows that it is made of; constant features count for nothing.

    Parameters
    ----------
    x : ndarray of shape (n, n_features)

    Notes
    -----
    O(n p min(n, p)) once, and O(n_held min(n, p) n_responses) a penalty.
    """

    def __init__(self, x: np.ndarray) -> None:
        self.mean, self.scale = moments(x)
        z = self._standard(x)
        wide = z.shape[1] > z.shape[0]
        # The smaller of the two squares: many times as fast as a decomposition of the matrix itself.
        values, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
        keep = values > 1e-10 * max(values[-1], 1e-300)
        self.lengths, vectors = np.sqrt(values[keep]), vectors[:, keep]
        self.left = vectors if wide else z @ vectors / self.lengths
        self.directions = (vectors / self.lengths).T @ z if wide else vectors.T

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale

    def along(self, x: np.ndarray) -> np.ndarray:
        """Return new rows along the directions of the training rows, (n_rows, n_directions)."""
        return self._standard(x) @ self.directions.T

    def shrunk(self, y: np.ndarray, penalty: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights on the directions (n_directions, n_responses) and intercepts, for one penalty or one each."""
        centre = y.mean(axis=0)
        factor = self.lengths[:, None] / (self.lengths[:, None] ** 2 + np.asarray(penalty, dtype=np.float64))
        return factor * (self.left.T @ (y - centre)), centre

    def coefficients(self, y: np.ndarray, penalty: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights of the raw features (n_features, n_responses) and intercepts."""
        inner, centre = self.shrunk(y, penalty)
        weights = (self.directions.T @ inner) / self.scale[:, None]
        return weights, centre - self.mean @ weights


def explained(y: np.ndarray, y_pred: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return the share of the squared distance from ``usual`` that predictions explain, of each response."""
    total = ((y - usual) ** 2).sum(axis=0)
    return 1 - np.divide(((y - y_pred) ** 2).sum(axis=0), total, out=np.ones(y.shape[1]), where=total > 0)


def search(
    x: np.ndarray, y: np.ndarray, penalties: Sequence[float], n_inner: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Choose penalties by inner cross-validation over stimuli.

    A penalty for each response, and one for all, which fits less to chance; whichever of the two predicted the
    held-out responses better in the mean over responses is taken. For a fair comparison of the two each response's
    penalty is chosen on the other inner folds than the one that judges it.

    Parameters
    ----------
    x : ndarray of shape (n, n_features)
    y : ndarray of shape (n, n_responses)

    Returns
    -------
    penalty : ndarray of shape (n_responses,)
    scores : ndarray of shape (n_penalties, n_responses)
        Explained share of the inner held-out responses, mean over folds, by penalty in ascending order.
    gain : float
        By how much penalties of their own were better than one for all.
    """
    ordered = np.array(sorted(penalties))
    found = []
    for train, test in inner_folds(len(x), n_inner, seed):
        path, usual = RidgePath(x[train]), y[train].mean(axis=0)
        along = path.along(x[test])
        found.append([
            explained(y[test], along @ weights + centre, usual)
            for weights, centre in (path.shrunk(y[train], penalty) for penalty in ordered)
        ])  # fmt: skip
    scores = np.array(found)
    mean = scores.mean(axis=0)
    gains = []
    for fold in range(len(scores)):
        others = np.delete(scores, fold, axis=0).mean(axis=0) if len(scores) > 1 else mean
        best, shared = others.argmax(axis=0), int(others.mean(axis=1).argmax())
        gains.append((scores[fold][best, np.arange(y.shape[1])] - scores[fold][shared]).mean())
    gain = float(np.mean(gains))
    each = ordered[mean.argmax(axis=0)]
    one = np.full(y.shape[1], ordered[int(mean.mean(axis=1).argmax())])
    return (each if gain > 0 else one), mean, gain


def encoded(test: Bundle, y_pred: np.ndarray, **arrays: np.ndarray) -> Bundle:
    """Return predicted responses of held-out rows, with what else a method hands on."""
    made = {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}
    axes = {name: test.axes[name] for name in ("response",) if name in test.axes}
    return Bundle({"y_pred": np.asarray(y_pred, dtype=np.float32), **made}, test.rows, axes, {"fitted": []})
