"""Covariances of trials and what Riemannian classifiers share: shrinkage, delay embedding, tangent-space SVM, MDM.

The geometry itself is pyRiemann's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyriemann.geometry.distance import distance
from pyriemann.geometry.mean import gmean, mean_riemann
from pyriemann.geometry.tangentspace import tangent_space
from sklearn.base import BaseEstimator
from sklearn.svm import SVC

from .predictions import two_columns
from .search import Fold, select, selection_score
from .words import Choice, among, spaced

#: Tolerance of Riemannian means. At 1e-6 the mean of 30 36x36 matrices costs half of pyRiemann's default 1e-8,
#: and the distance between the two is far below the spread of the trials.
MEAN_TOLERANCE = 1e-6


def delay_embed(x: np.ndarray, order: int, lag: int) -> np.ndarray:
    """Stack ``order`` copies of each trial, each delayed by ``lag`` samples more (Takens 1981).

    Parameters
    ----------
    x : ndarray of shape (n_trials, n_channels, n_times)
    order, lag : int
        Number of copies (1 gives ``x``), and samples between them.

    Returns
    -------
    ndarray of shape (n_trials, n_channels * order, n_times - (order - 1) * lag)

    Raises
    ------
    ValueError
        If the trial is too short for the delays.
    """
    n_times = x.shape[-1] - (order - 1) * lag
    if n_times < 2:
        raise ValueError(f"order {order} and lag {lag} need trials longer than {x.shape[-1]} samples")
    return np.concatenate([x[..., k * lag : k * lag + n_times] for k in range(order)], axis=-2)


def oas_covariances(x: np.ndarray) -> np.ndarray:
    """Return the oracle-approximating-shrinkage covariance of each trial.

    Chen et al. 2010, doi:10.1109/TSP.2010.2053029.

    The same numbers as :func:`sklearn.covariance.oas` trial by trial, computed for all trials at once.

    Parameters
    ----------
    x : ndarray of shape (n_trials, n_channels, n_times)

    Returns
    -------
    ndarray of shape (n_trials, n_channels, n_channels), float64, positive definite
    """
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=-1, keepdims=True)
    n_times, p = x.shape[-1], x.shape[-2]
    empirical = x @ x.swapaxes(-1, -2) / n_times
    alpha = (empirical**2).mean(axis=(-1, -2))
    mu = np.trace(empirical, axis1=-2, axis2=-1) / p
    denominator = (n_times + 1.0) * (alpha - mu**2 / p)
    with np.errstate(divide="ignore", invalid="ignore"):
        shrinkage = np.where(denominator == 0, 1.0, np.minimum((alpha + mu**2) / denominator, 1.0))
    return (1 - shrinkage)[:, None, None] * empirical + (shrinkage * mu)[:, None, None] * np.eye(p)


def scm_covariances(x: np.ndarray) -> np.ndarray:
    """Return the sample covariance of each trial (n_trials, n_channels, n_channels), divided by ``n_times``."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=-1, keepdims=True)
    return x @ x.swapaxes(-1, -2) / x.shape[-1]


def shrink(covariances: np.ndarray, amount: float) -> np.ndarray:
    """Mix each covariance with the identity of the same trace, by ``amount`` in [0, 1]."""
    p = covariances.shape[-1]
    mu = np.trace(covariances, axis1=-2, axis2=-1) / p
    return (1 - amount) * covariances + amount * mu[:, None, None] * np.eye(p)


class TangentSvm(BaseEstimator):
    """Support vector machine in the tangent space at the Riemannian mean of the training covariances.

    Barachant et al. 2013, doi:10.1016/j.neucom.2012.12.039.

    Parameters
    ----------
    C : float
        Penalty of the SVM.
    kernel : {"linear", "rbf"}
    """

    def __init__(self, C: float = 1.0, kernel: str = "linear") -> None:  # noqa: N803
        self.C = C
        self.kernel = kernel

    def fit(self, covariances: np.ndarray, target: np.ndarray) -> TangentSvm:
        """Fit on covariances of shape (n_trials, p, p). Cost: O(n_trials p^3) an iteration of the mean."""
        self.reference_ = mean_riemann(covariances, tol=MEAN_TOLERANCE)
        return self.fit_vectors(tangent_space(covariances, self.reference_, metric="riemann"), target)

    def fit_vectors(self, vectors: np.ndarray, target: np.ndarray) -> TangentSvm:
        """Fit the SVM alone on tangent vectors of shape (n_trials, p (p + 1) / 2)."""
        self.svc_ = SVC(C=self.C, kernel=self.kernel).fit(vectors, target)
        self.classes_ = self.svc_.classes_
        return self

    def scores(self, covariances: np.ndarray) -> np.ndarray:
        """Return the decision values, shape (n_trials, n_classes)."""
        return self.score_vectors(tangent_space(covariances, self.reference_, metric="riemann"))

    def score_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Return the decision values of tangent vectors, shape (n_trials, n_classes)."""
        return two_columns(self.svc_.decision_function(vectors))


class MinimumDistance(BaseEstimator):
    """Minimum distance to the mean of each class.

    Barachant et al. 2012, doi:10.1109/TBME.2011.2172210.

    Parameters
    ----------
    metric : str
        A metric of pyRiemann that has a mean and a distance: ``riemann``, ``logeuclid``, ``wasserstein``, ...
    """

    def __init__(self, metric: str = "riemann") -> None:
        self.metric = metric

    def fit(self, covariances: np.ndarray, target: np.ndarray) -> MinimumDistance:
        """Fit the class means on covariances of shape (n_trials, p, p)."""
        self.classes_ = np.unique(target)
        # Only iterative means take a tolerance.
        options = {"tol": MEAN_TOLERANCE} if self.metric == "riemann" else {}
        self.means_ = np.stack(
            [gmean(covariances[target == name], metric=self.metric, **options) for name in self.classes_]
        )
        return self

    def scores(self, covariances: np.ndarray) -> np.ndarray:
        """Return minus the distance to each class mean, shape (n_trials, n_classes)."""
        return -np.column_stack([distance(covariances, mean, metric=self.metric) for mean in self.means_])


def search_tangent_svm(
    representations: Mapping[Any, np.ndarray],
    target: np.ndarray,
    folds: Sequence[Fold],
    penalties: Sequence[float],
    kernels: Sequence[str],
) -> tuple[Any, TangentSvm, float]:
    """Choose representation, kernel and penalty by inner cross-validation; refit the best on all rows.

    The reference point and the tangent vectors are computed once a representation and fold, not once a
    configuration: they are nearly all of the cost.

    Parameters
    ----------
    representations : mapping of key to ndarray of shape (n_rows, p, p)
        Covariances of the training rows; simplest first. Each trial's covariance depends on that trial only.

    Returns
    -------
    tuple of (key, fitted TangentSvm, inner score)
    """
    classes = np.unique(target)
    found: dict[tuple, list[float]] = {}
    for key, covariances in representations.items():
        for train, test in folds:
            reference = mean_riemann(covariances[train], tol=MEAN_TOLERANCE)
            vectors = tangent_space(covariances, reference, metric="riemann")
            for kernel in kernels:
                for penalty in penalties:
                    model = TangentSvm(penalty, kernel).fit_vectors(vectors[train], target[train])
                    score = selection_score(target[test], model.score_vectors(vectors[test]), classes)
                    found.setdefault((key, kernel, penalty), []).append(score)
    grid = [{"key": k, "kernel": n, "C": c} for k in representations for n in kernels for c in penalties]
    best, score = select(grid, lambda entry: found.get((entry["key"], entry["kernel"], entry["C"]), []))
    model = TangentSvm(best["C"], best["kernel"]).fit(representations[best["key"]], target)
    return best["key"], model, score


def search_minimum_distance(
    representations: Mapping[Any, np.ndarray],
    target: np.ndarray,
    folds: Sequence[Fold],
    metric: str = "riemann",
) -> tuple[Any, MinimumDistance, float]:
    """Choose the representation for minimum distance to mean by inner cross-validation; refit on all rows.

    Returns
    -------
    tuple of (key, fitted MinimumDistance, inner score)
    """
    classes = np.unique(target)

    def scores(entry: dict[str, Any]) -> list[float]:
        covariances = representations[entry["key"]]
        return [
            selection_score(
                target[test],
                MinimumDistance(metric).fit(covariances[train], target[train]).scores(covariances[test]),
                classes,
            )
            for train, test in folds
        ]

    best, score = select([{"key": key} for key in representations], scores)
    return best["key"], MinimumDistance(metric).fit(representations[best["key"]], target), score


def search_shrinkage(
    x: np.ndarray, target: np.ndarray, folds: Sequence[Fold], n_shrinkages: int, metric: str
) -> tuple[dict[str, float], MinimumDistance]:
    """Choose how far covariances of trials ``x`` are shrunk, for minimum distance to mean; refit on all rows.

    Parameters
    ----------
    n_shrinkages : int
        Amounts that are tried, log-spaced in [0.001, 0.5].

    Returns
    -------
    tuple of (chosen ``shrinkage`` and its ``inner_score``, fitted MinimumDistance)
    """
    covariances = scm_covariances(x)
    shrunk = {float(amount): shrink(covariances, amount) for amount in np.geomspace(0.001, 0.5, n_shrinkages)}
    amount, estimator, score = search_minimum_distance(shrunk, target, folds, metric)
    return {"shrinkage": amount, "inner_score": score}, estimator


def delays(orders: Sequence[int], lags: Sequence[int], n_times: int | None = None) -> list[tuple[int, int]]:
    """Return the distinct (order, lag) pairs, smallest order first; order 1 has one lag, too long ones have none."""
    pairs = {(order, lag if order > 1 else 1) for order in orders for lag in lags}
    return sorted(pair for pair in pairs if n_times is None or n_times - (pair[0] - 1) * pair[1] >= 2)


# What methods say of it.

EMBEDDED = (
    "Trials were stacked with delayed copies of themselves, and the covariance of the stack, the augmented covariance"
    " matrix [@carrara2023], was estimated by oracle approximating shrinkage [@chen2010]."
)
KERNELS = {"linear": "linear", "rbf": "radial basis function"}


def embedding(orders: Sequence[int], lags: Sequence[int]) -> tuple[Choice, Choice]:
    """Return the parameters of a delay embedding, for :func:`replicortex.shared.words.searched`."""
    return among("the number of stacked copies", orders), among("the delay between copies in samples", lags)


def shrinkages(n: int) -> Choice:
    """Return the amounts of shrinkage that :func:`search_shrinkage` tries."""
    return spaced("the amount of shrinkage towards the identity", 0.001, 0.5, n)
