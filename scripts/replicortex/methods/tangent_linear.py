"""Linear model in the tangent space at the mean of the training covariances.

Varoquaux et al. (2010), Detection of brain functional-connectivity difference in post-stroke patients using
group-level covariance modeling. doi:10.1007/978-3-642-15705-9_25; Dadi et al. (2019),
doi:10.1016/j.neuroimage.2019.02.062

Reproduced: covariances whitened by the Riemannian mean of the training rows, matrix logarithm, L2-penalised linear
model. Differs: the shrinkage of the covariances is a number towards the identity of the same trace rather than
Ledoit and Wolf's estimate from the series; it and the penalty are chosen by nested search.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from pyriemann.geometry.mean import gmean
from pyriemann.geometry.tangentspace import tangent_space

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.linear_search import LinearModel, model_words, search_penalty, task_folds
from ..shared.predictions import predicted
from ..shared.riemann import shrink
from ..shared.vectors import array_words
from ..shared.words import among, capital, searched, text, uncapital

#: Relative change at which the Riemannian mean stops: far below the spread of subjects.
_TOLERANCE = 1e-4


@component
class TangentLinear(Method):
    """Logistic or ridge regression on tangent vectors of covariance or correlation matrices.

    Each step of the mean costs O(n R^3) for n rows of R regions, and there is a mean a fold and shrinkage: about
    ten steps with ``mean: riemann``, one with ``logeuclid``. Memory O(n R^2).

    Parameters
    ----------
    array : str
        Array of the matrices, shape ``(n_rows, R, R)``: symmetric and positive semi-definite.
    shrinkages : list of float
        How much of the identity of the same trace is mixed in; what the nested search tries.
    mean : {"riemann", "logeuclid", "euclid"}
        Where the tangent space touches. ``riemann`` is the papers'.
    penalties : list of float
        Penalties that the nested search tries, as in ``linear``.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify", "regress"})
    needs = ("region",)
    tiny = {"array": "x", "penalties": [10.0], "shrinkages": [0.1], "n_inner": 2}
    state = ("reference_", "model_", "search_")
    trusted = ("replicortex.shared.linear_search.LinearModel",)

    array: str = "cov"
    shrinkages: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=1)] = [0.1]
    mean: Literal["riemann", "logeuclid", "euclid"] = "riemann"
    penalties: list[PositiveFloat] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search shrinkage and penalty on the training rows, then fit on all of them."""
        matrices, target = self._matrices(train), train.rows["target"]
        searched = len(self.penalties) * len(self.shrinkages) > 1
        folds = task_folds(train, self.n_inner, seed) if searched else []
        best: tuple[float, float, float] | None = None
        for amount in sorted(self.shrinkages):
            shrunk = _definite(matrices, amount)

            def features(
                inner: np.ndarray, held: np.ndarray, shrunk: np.ndarray = shrunk
            ) -> tuple[np.ndarray, np.ndarray]:
                reference = self._mean(shrunk[inner])
                return tuple(tangent_space(shrunk[side], reference, metric="riemann") for side in (inner, held))

            penalty, score = search_penalty(target, folds, self.penalties, features)
            if best is None or score > best[2] + 1e-12:
                best = (amount, penalty, score)
        amount, penalty, score = best
        self.search_ = {"shrinkage": amount, "penalty": penalty, "inner_score": score}
        shrunk = _definite(matrices, amount)
        self.reference_ = self._mean(shrunk)
        self.model_ = LinearModel(penalty).fit(tangent_space(shrunk, self.reference_, metric="riemann"), target)

    def predict(self, test: Bundle) -> Bundle:
        """Return decision values, or predicted numbers."""
        shrunk = _definite(self._matrices(test), self.search_["shrinkage"])
        values = self.model_.predict(tangent_space(shrunk, self.reference_, metric="riemann"))
        return predicted(test, values, self.model_.classes_)

    def _matrices(self, bundle: Bundle) -> np.ndarray:
        if self.array not in bundle.arrays:
            raise InputError("features", f"have no array {self.array!r}", f"there are {', '.join(bundle.arrays)}")
        matrices = np.asarray(bundle[self.array], dtype=np.float64)
        if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
            raise InputError("features", f"array {self.array!r} holds no square matrices", "name the right array")
        if not np.isfinite(matrices).all():
            row = bundle.rows["row_id"][~np.isfinite(matrices).all(axis=(1, 2))][0]
            raise InputError(f"row {row}", f"array {self.array!r} has missing entries", "exclude the recording")
        return matrices

    def _mean(self, shrunk: np.ndarray) -> np.ndarray:
        options = {"tol": _TOLERANCE} if self.mean == "riemann" else {}
        return gmean(shrunk, metric=self.mean, **options)

    def chosen(self) -> dict[str, Any]:
        """Return shrinkage, penalty and, where there was a search, the inner score."""
        return {name: value for name, value in self.search_.items() if value == value}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.penalties) * len(self.shrinkages)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        means = {"riemann": "Riemannian", "logeuclid": "log-Euclidean", "euclid": "arithmetic"}
        return text(
            f"{capital(array_words(self.array, {}))} were shrunk towards the identity of the same trace and projected"
            f" into the tangent space at their {means[self.mean]} mean over the training rows [@varoquaux2010];"
            f" {uncapital(model_words(task))} was fitted to the tangent vectors [@dadi2019].",
            searched(
                self.n_inner, among("the amount of shrinkage", self.shrinkages), among("the penalty", self.penalties)
            ),
        )


def _definite(matrices: np.ndarray, amount: float) -> np.ndarray:
    """Return shrunk matrices whose eigenvalues are kept off zero, where logarithms end.

    A series shorter than the number of regions, or two regions with one series, gives eigenvalues of zero, and
    rounding to single precision gives some a little below.
    """
    shrunk = shrink((matrices + matrices.swapaxes(1, 2)) / 2, amount)
    values, vectors = np.linalg.eigh(shrunk)
    floor = 1e-6 * np.maximum(values[:, -1:], 1e-300)
    if (values >= floor).all():
        return shrunk
    return (vectors * np.maximum(values, floor)[:, None, :]) @ vectors.swapaxes(1, 2)
