"""Retrieval: which of the stimuli is most like a prediction, exactly in expectation over all galleries of a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy.special import gammaln

from ..bundle import Bundle
from .ceilings import by_stimulus

Repeats = Literal["average", "first"]


def embeddings(
    target: np.ndarray, predictions: Bundle, array: str = "y_embedding", repeats: Repeats = "average"
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return predicted and true embeddings of the stimuli, a row each, (n_stimuli, d), float64; ``None`` if not there.

    Parameters
    ----------
    target : ndarray of shape (n_rows,)
        The stimulus of each row.
    predictions : Bundle
        With ``array`` and an array ``stimulus_<name>`` of as many values a row.
    array : str
    repeats : {"average", "first"}
        Predictions for presentations of one stimulus are averaged, or that of the first row (by its name) is taken.
    """
    if array not in predictions.arrays or not len(target):
        return None
    predicted = np.asarray(predictions[array], dtype=np.float64).reshape(len(target), -1)
    true = true_embedding(predictions.arrays, predicted.shape[1])
    if true is None:
        return None
    target = np.asarray(target, dtype=str)
    if repeats == "first":
        order = np.argsort(np.asarray(predictions.rows["row_id"]).astype(str), kind="stable")
        kept = order[np.unique(target[order], return_index=True)[1]]
        return predicted[kept], true[kept]
    return by_stimulus(predicted, target)[1], by_stimulus(true, target)[1]


def true_embedding(arrays: Mapping[str, np.ndarray], size: int) -> np.ndarray | None:
    """Return what is known of the stimuli of the rows as vectors of ``size``, ``None`` if there is no such array."""
    for name in ("tokens", "pooled"):
        values = arrays.get(f"stimulus_{name}")
        if values is not None and values[0].size == size:
            return np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    return None


def likeness(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the cosine of each prediction (row) with each true embedding (column)."""
    units = [values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (predicted, true)]
    return units[0] @ units[1].T


def n_ahead(similar: np.ndarray) -> np.ndarray:
    """Return for each row how many columns are more like it than its own; one that is equally like counts half."""
    own = np.diagonal(similar)[:, None]
    # What differs by rounding is equal.
    close = np.abs(similar - own) <= 1e-12
    np.fill_diagonal(close, False)
    return ((similar > own) & ~close).sum(axis=1) + close.sum(axis=1) / 2


def top_1(ahead: np.ndarray, n: int, gallery: int) -> float:
    """Return the expected share of hits at the first rank in a gallery of ``gallery``, drawn from ``n`` with the own.

    The others are drawn without replacement from ``n - 1``: none that is ahead is drawn with probability
    ``C(n - 1 - ahead, gallery - 1) / C(n - 1, gallery - 1)``, so that no gallery has to be drawn at random.
    """
    if n < gallery:
        return float("nan")
    left = n - 1 - np.ceil(ahead)
    possible = left >= gallery - 1
    log = _log_choose(np.maximum(left, gallery - 1), gallery - 1) - _log_choose(np.array(n - 1.0), gallery - 1)
    return float(np.where(possible, np.exp(log), 0.0).mean())


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def repeats_in_words(repeats: Repeats) -> str:
    """Return how presentations of one stimulus are treated."""
    how = {"average": "were averaged", "first": "were not averaged, and one presentation of each stimulus was taken"}
    return f"predictions for repeats of a stimulus {how[repeats]}"


def relative_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the squared error over that of the mean of the other true embeddings; ``nan`` of one row or no spread."""
    n = len(true)
    # The mean of the others lies n / (n - 1) times as far away as that of all.
    usual = ((true - true.mean(axis=0)) ** 2).sum() * (n / (n - 1)) ** 2 if n > 1 else 0.0
    return float(((predicted - true) ** 2).sum() / usual) if usual > 0 else float("nan")
