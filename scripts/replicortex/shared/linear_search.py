"""L2-penalised linear models for many more features than rows, and the search of their penalty.

Rotating the features leaves an L2 penalty as it is, and rows lie in a space of as many dimensions as there are
rows. All fits are therefore done on the rows' principal components: one decomposition a fold serves every penalty.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from ..bundle import Bundle
from .moments import moments
from .predictions import two_columns
from .search import Fold, inner_folds, selection_score

#: Components up to which Newton's method is used for two classes: its Hessian has the square of this.
_NEWTON_WEIGHTS = 3000
#: Singular values below this share of the greatest are rounding: a square root was lost in the Gram matrix.
_RANK = 1e-7


def is_regression(target: np.ndarray) -> bool:
    """Return whether a target is to be regressed: numbers are, text is classified."""
    return np.asarray(target).dtype.kind in "fiu"


def task_folds(train: Bundle, n_folds: int, seed: int) -> list[Fold]:
    """Return inner folds for the task that the target's type says: by class, or by quantile for numbers.

    Whole subjects are held out where there are enough of them, as in :func:`replicortex.shared.search.inner_folds`.
    """
    target = train.rows["target"]
    if not is_regression(target):
        return inner_folds(train, n_folds, seed)
    subject = train.rows["subject"]
    groups = subject if len(np.unique(subject)) >= n_folds else train.rows["row_id"]
    n_folds = min(n_folds, len(np.unique(groups)))
    if n_folds < 2:
        return []
    # As many rows a bin as folds, at the least, so that each fold gets one of each.
    n_bins = int(np.clip(len(target) // n_folds, 1, 10))
    bins = np.searchsorted(np.quantile(target, np.linspace(0, 1, n_bins + 1)[1:-1]), target)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Tied targets can leave a bin with fewer rows than folds, which costs balance and nothing else.
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter.split(target, bins, groups=groups))


class LinearModel(BaseEstimator):
    """Logistic regression (text targets) or ridge regression (numbers) on standardised features.

    Standardised by the rows that it is fitted on. What is missing takes their mean; constant features count for
    nothing. The intercept is not penalised.

    Parameters
    ----------
    penalty : float
        Weight of the squared coefficients: ``1 / C`` of scikit-learn's logistic regression, ``alpha`` of its ridge.
    """

    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def fit(self, x: np.ndarray, target: np.ndarray) -> LinearModel:
        """Fit on ``x`` of shape (n_rows, n_features). Cost: O(n p min(n, p)), memory O(n p)."""
        basis = _Basis(x)
        ((weights, self.intercept_),) = _path(basis, target, [self.penalty])
        self.mean_, self.scale_ = basis.mean, basis.scale
        self.coef_ = weights @ basis.directions
        self.classes_ = np.unique(target) if not is_regression(target) else np.empty(0)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return class scores of shape (n_rows, n_classes), or numbers of shape (n_rows,) for a regression."""
        values = _standardise(x, self.mean_, self.scale_) @ self.coef_.T + self.intercept_
        if not len(self.classes_):
            return values[:, 0]
        return two_columns(values[:, 0] if len(self.intercept_) == 1 else values)


def search_penalty(
    target: np.ndarray,
    folds: Sequence[Fold],
    penalties: Sequence[float],
    features: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[float, float]:
    """Choose the penalty by inner cross-validation.

    By the area under the curve (two classes), balanced accuracy (more) or R2 (numbers), averaged over the folds;
    among equals by the likelihood of the held-out classes. Under a perfect ranking of unequal classes, too strong
    a penalty would leave every row on the side of the greater class.

    Parameters
    ----------
    target : ndarray of shape (n_rows,)
    folds : sequence of (train, test) indices
        If empty, the middle of ``penalties`` is returned.
    features : callable
        Gives the features of the training and of the held-out rows of a fold; whatever is fitted to make them
        is fitted inside, on the training rows.

    Returns
    -------
    tuple of (penalty, mean inner score)
    """
    ordered = sorted(penalties)
    if not len(folds):
        return ordered[len(ordered) // 2], float("nan")
    scores, likelihoods = _scores(target, folds, ordered, features)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    chosen = best[np.argmax(likelihoods[best])]
    return ordered[chosen], float(scores[chosen])


def _scores(
    target: np.ndarray, folds: Sequence[Fold], penalties: Sequence[float], features: Callable
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean score and mean log-likelihood (0 for numbers) of each penalty."""
    found = np.zeros((len(folds), len(penalties), 2))
    for number, (train, test) in enumerate(folds):
        x_train, x_test = features(train, test)
        basis = _Basis(x_train)
        components = basis.project(x_test)
        classes = np.unique(target[train])
        for position, (weights, intercept) in enumerate(_path(basis, target[train], penalties)):
            values = components @ weights.T + intercept
            if is_regression(target):
                found[number, position, 0] = _r2(target[test], values[:, 0])
                continue
            known = np.isin(target[test], classes)
            code, values = np.searchsorted(classes, target[test][known]), values[known]
            y_score = two_columns(values[:, 0] if len(classes) == 2 else values)
            found[number, position, 0] = quick_score(target[test][known], y_score, classes)
            likelihood = np.log(np.maximum(_probabilities(values), 1e-300))
            found[number, position, 1] = likelihood[np.arange(len(code)), code].mean() if len(code) else 0.0
    scores, likelihoods = found.mean(axis=0).T
    return scores, likelihoods


def _probabilities(values: np.ndarray) -> np.ndarray:
    values = np.column_stack([np.zeros(len(values)), values]) if values.shape[1] == 1 else values
    exponent = np.exp(values - values.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def quick_score(target: np.ndarray, y_score: np.ndarray, classes: np.ndarray) -> float:
    """Return what ``selection_score`` returns, for two classes without what scikit-learn checks at each call.

    The checks take 10 ms, which is more than most of the models here.
    """
    if len(classes) != 2:
        return selection_score(target, y_score, classes)
    positive = target == classes[1]
    n_positive = np.count_nonzero(positive)
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return 0.5
    wins = rankdata(y_score[:, 1] - y_score[:, 0])[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def _r2(target: np.ndarray, y_pred: np.ndarray) -> float:
    spread = np.sum((target - target.mean()) ** 2)
    return float(1 - np.sum((target - y_pred) ** 2) / spread) if spread > 0 else 0.0


def _standardise(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    z = (np.asarray(x, dtype=np.float64) - mean) / scale
    # Zero is the training mean.
    return np.nan_to_num(z, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


class _Basis:
    """Principal components of standardised training rows: ``z = components @ directions``."""

    def __init__(self, x: np.ndarray) -> None:
        self.mean, self.scale = moments(x)
        z = _standardise(x, self.mean, self.scale)
        n_rows, n_features = z.shape
        if n_features > n_rows:
            values, vectors = np.linalg.eigh(z @ z.T)
            values, vectors = values[::-1], vectors[:, ::-1]
            keep = values > _RANK**2 * max(values[0], 1e-300)
            self.lengths = np.sqrt(values[keep])
            self.left = vectors[:, keep]
            self.directions = (self.left / self.lengths).T @ z
        else:
            left, lengths, directions = np.linalg.svd(z, full_matrices=False)
            keep = lengths > _RANK * max(lengths[0], 1e-300)
            self.left, self.lengths, self.directions = left[:, keep], lengths[keep], directions[keep]
        self.components = self.left * self.lengths

    def project(self, x: np.ndarray) -> np.ndarray:
        return _standardise(x, self.mean, self.scale) @ self.directions.T


def _path(basis: _Basis, target: np.ndarray, penalties: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (weights on the components, intercepts) for each penalty."""
    if is_regression(target):
        target = np.asarray(target, dtype=np.float64)
        centre = target.mean()
        along = basis.lengths * (basis.left.T @ (target - centre))
        return [((along / (basis.lengths**2 + amount))[None], np.array([centre])) for amount in penalties]
    if not len(basis.lengths):
        # Nothing but constants to learn from: the frequencies of the classes are all there is.
        counts = np.log(np.unique(target, return_counts=True)[1])
        intercept = counts[1:] - counts[0] if len(counts) == 2 else counts - counts.mean()
        return [(np.zeros((len(intercept), 0)), intercept)] * len(penalties)
    classes = np.unique(target)
    if len(classes) == 2 and len(basis.lengths) <= _NEWTON_WEIGHTS:
        return _newton_path(basis.components, target == classes[1], penalties)
    made = []
    for amount in penalties:
        model = LogisticRegression(C=1 / amount, tol=1e-6, max_iter=2000).fit(basis.components, target)
        made.append((model.coef_, model.intercept_))
    return made


def _newton_path(
    components: np.ndarray, positive: np.ndarray, penalties: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logistic regressions of two classes for each penalty, by Newton's method with halved steps.

    From the strongest penalty to the weakest, each starting where the last one ended: some ten solutions of a
    system of as many equations as components, for the whole path little more than for one.
    """
    z = np.column_stack([components, np.ones(len(components))])
    weights = np.zeros(z.shape[1])
    weights[-1] = np.log(positive.sum() / (~positive).sum())
    sign = np.where(positive, 1.0, -1.0)
    found = {}
    for amount in sorted(set(penalties), reverse=True):
        ridge = np.full(z.shape[1], float(amount))
        ridge[-1] = 0.0

        def loss(w: np.ndarray, ridge: np.ndarray = ridge) -> float:
            return np.logaddexp(0, -sign * (z @ w)).sum() + 0.5 * ridge @ w**2

        value = loss(weights)
        for _ in range(100):
            share = expit(z @ weights)
            gradient = z.T @ (share - positive) + ridge * weights
            curvature = (z * (share * (1 - share))[:, None]).T @ z
            # A touch keeps the intercept's equation solvable where all rows are far from the boundary.
            curvature[np.diag_indices_from(curvature)] += ridge + 1e-10
            step = np.linalg.solve(curvature, gradient)
            decrement, length = gradient @ step, 1.0
            if decrement < 1e-10 * max(value, 1e-10):
                break
            while length > 1e-8 and loss(weights - length * step) > value - 1e-4 * length * decrement:
                length /= 2
            weights = weights - length * step
            value = loss(weights)
        found[amount] = weights[None, :-1].copy(), weights[-1:].copy()
    return [found[amount] for amount in penalties]


def model_words(task: str) -> str:
    """Return what :class:`LinearModel` is for a task, as the subject of a sentence."""
    if task == "regress":
        return "A ridge regression [@hoerl1970]"
    return "A logistic regression with an L2 penalty"
