"""Screening of variables one by one, then a linear model on the best of them and their squares.

Yang and others (2024), fastHDMI: Fast mutual information estimation for high-dimensional data.
doi:10.48550/arXiv.2410.10082

Reproduced: ranking by mutual information from kernel densities on a grid, from histograms with the number of bins of
Birge and Rozenholc and from nearest neighbours, and by correlation, for numbers and classes; a model on the
variables ranked first. Differs: the variables are ranked on the training rows of each fold, inner ones included, and
not on all rows before the split; the bandwidth is used (release 1.25.26 of the package drops it); the information is
corrected for smoothing and for the size of the sample; in place of the paper's several models there is one with an L2
penalty on the variables and their squares; nothing is clumped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.harmonise import Harmonise, Harmoniser
from ..shared.linear_search import LinearModel, is_regression, model_words, moments, search_penalty, task_folds
from ..shared.predictions import predicted
from ..shared.screening import ranking, screen
from ..shared.vectors import array_words, as_matrix, variable_names
from ..shared.words import among, digits, searched, text


@component
class ScreenedLinear(Method):
    """Ridge (numbers) or L2 logistic regression (text) on the variables that a screening ranks first.

    Harmonisation, screening and model are fitted on training rows alone, anew in every inner fold: screened on rows
    that are held out later, noise predicts.

    Parameters
    ----------
    screen : {"kde", "binning", "knn", "pearson", "spearman"}
        What ranks the variables: mutual information with the target by kernel densities, histograms or nearest
        neighbours, or the magnitude of a correlation.
    n_selected : list of int
        Numbers of variables that the nested search tries; all variables where there are fewer.
    penalties : list of float
        Penalties that it tries, as in ``linear``.
    n_inner : int
        Inner folds of the search.
    squares : bool
        Whether the square of each chosen variable (standardised) enters the model beside it. Without it the model
        can not use what a screening found where the relation has no linear part.
    kernel : {"gaussian", "epanechnikov"}
        Kernel of the densities.
    bandwidth : {"silverman", "scott", "isj"}
        Rule of their bandwidth.
    multiplier : float
        Factor on the bandwidth.
    n_neighbours : int
        Which neighbour counts for ``knn``.
    n_reported : int
        How many of the variables ranked first are reported by name.
    array : str
        Array of the features.
    select : dict
        Entries to keep along named axes.
    harmonise : Harmonise
        What is done about sites and confounds, before the screening.
    max_mb : float
        Memory of a block of variables that is screened at a time (MB).

    Notes
    -----
    O(n_inner p n) time for p variables of n rows, times a factor of the screening, and O(n_inner k n min(k, n)) for
    each number k of variables tried; memory is a few times that of the features in double precision.
    """

    tasks = frozenset({"classify", "regress"})
    untold = frozenset(["max_mb", "n_reported"])
    tiny = {"n_selected": [20], "penalties": [10.0], "n_inner": 2, "squares": False}
    state = ("harmoniser_", "kept_", "moments_", "model_", "search_")
    trusted = (
        "replicortex.shared.covariates.CovariateCode",
        "replicortex.shared.harmonise.ComBat",
        "replicortex.shared.harmonise.Harmoniser",
        "replicortex.shared.linear_search.LinearModel",
    )

    screen: Literal["kde", "binning", "knn", "pearson", "spearman"] = "kde"
    n_selected: Annotated[list[PositiveInt], Field(min_length=1)] = [10, 20, 50, 100]
    penalties: Annotated[list[PositiveFloat], Field(min_length=1)] = [1.0, 10.0, 100.0, 1e3, 1e4]
    n_inner: PositiveInt = 3
    squares: bool = True
    kernel: Literal["gaussian", "epanechnikov"] = "epanechnikov"
    bandwidth: Literal["silverman", "scott", "isj"] = "silverman"
    multiplier: PositiveFloat = 1.0
    n_neighbours: PositiveInt = 3
    n_reported: PositiveInt = 100
    array: str = "x"
    select: dict[str, str | list[str]] = {}
    harmonise: Harmonise = Harmonise()
    max_mb: PositiveFloat = 64.0

    def fit(self, train: Bundle, seed: int) -> None:
        """Search number of variables and penalty on the training rows, then screen and fit on all of them."""
        x, rows, target = as_matrix(train, self.array, self.select), train.rows, train.rows["target"]
        sizes = sorted({min(size, x.shape[1]) for size in self.n_selected})
        prepared: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

        def best(inner: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Return the variables ranked first on the rows ``inner``, best first, of both sides."""
            key = np.asarray(inner).tobytes()
            if key not in prepared:
                sides = [{name: column[side] for name, column in rows.items()} for side in (inner, held)]
                harmoniser = Harmoniser(self.harmonise).fit(x[inner], sides[0])
                x_inner = harmoniser.transform(x[inner], sides[0])
                first = self._ranked(x_inner, target[inner], seed)[: sizes[-1]]
                prepared[key] = x_inner[:, first], harmoniser.transform(x[held], sides[1])[:, first]
            return prepared[key]

        n_configurations = len(sizes) * len(self.penalties)
        folds = task_folds(train, self.n_inner, seed) if n_configurations > 1 else []
        tried = []
        for size in sizes:

            def features(inner: np.ndarray, held: np.ndarray, size: int = size) -> tuple[np.ndarray, np.ndarray]:
                x_inner, x_held = (side[:, :size] for side in best(inner, held))
                of = moments(x_inner)
                return self._terms(x_inner, *of), self._terms(x_held, *of)

            penalty, score = search_penalty(target, folds, self.penalties, features)
            tried.append((score, size, penalty))
        # The fewest variables of equals, and where nothing could be compared the middle, as for penalties.
        if len(folds):
            score, size, penalty = max(tried, key=lambda entry: entry[0])
        else:
            score, size, penalty = tried[len(tried) // 2]

        self.harmoniser_ = Harmoniser(self.harmonise).fit(x, rows)
        x = self.harmoniser_.transform(x, rows)
        order = self._ranked(x, target, seed)
        self.kept_ = order[:size]
        self.moments_ = moments(x[:, self.kept_])
        self.model_ = LinearModel(penalty).fit(self._terms(x[:, self.kept_], *self.moments_), target)
        names = variable_names(train, self.array, x.shape[1])
        self.search_ = {
            "n_selected": int(size),
            "penalty": float(penalty),
            "inner_score": float(score),
            "n_variables": int(x.shape[1]),
            "ranking": [names[index] for index in order[: self.n_reported]],
        }

    def _ranked(self, x: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
        """Return the indices of variables, the best first."""
        options: dict[str, Any] = {}
        if self.screen == "knn":
            options = {"n_neighbours": self.n_neighbours, "seed": seed}
        elif self.screen == "kde":
            options = {"kernel": self.kernel, "rule": self.bandwidth, "multiplier": self.multiplier, "seed": seed}
        if self.screen != "knn":
            options["max_mb"] = self.max_mb
        finite = np.isfinite(x)
        if not finite.all():
            x = np.where(finite, x, moments(x)[0])
        return ranking(screen(x, target, self.screen, discrete=not is_regression(target), **options))

    def _terms(self, x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.hstack([x, ((x - mean) / scale) ** 2]) if self.squares else x

    def predict(self, test: Bundle) -> Bundle:
        """Return decision values, or predicted numbers."""
        x = self.harmoniser_.transform(as_matrix(test, self.array, self.select), test.rows)[:, self.kept_]
        values = self.model_.predict(self._terms(x, *self.moments_))
        return predicted(test, values, self.model_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return number of variables, penalty, inner score if there was a search, and the names ranked first."""
        return {name: value for name, value in self.search_.items() if value == value}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.n_selected) * len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        kernel = f"{self.kernel.capitalize()} kernel densities on a grid"
        rules = {
            "silverman": "Silverman's rule",
            "scott": "Scott's rule",
            "isj": "the improved Sheather-Jones rule [@botev2010]",
        }
        times = "" if self.multiplier == 1 else f", multiplied by {digits(self.multiplier)}"
        screens = {
            "kde": f"their mutual information with the target, estimated from {kernel} with the bandwidth of"
            f" {rules[self.bandwidth]}{times} [@yang2024]",
            "binning": "their mutual information with the target, estimated from histograms with a data-driven number"
            " of bins [@birge2006]",
            "knn": "their mutual information with the target, estimated from distances to nearest neighbours (neighbour"
            f" number {self.n_neighbours}) [@kraskov2004; @ross2014]",
            "pearson": "the magnitude of their Pearson correlation with the target",
            "spearman": "the magnitude of their Spearman correlation with the target",
        }
        squares = " and the squares of their standardised values" if self.squares else ""
        return text(
            f"The variables of {array_words(self.array, self.select)} were ranked by {screens[self.screen]}, on the"
            " training rows of each fold alone, inner folds included.",
            self.harmonise.described(),
            f"{model_words(task)} was fitted to the variables ranked first{squares}.",
            searched(
                self.n_inner, among("the number of variables", self.n_selected), among("the penalty", self.penalties)
            ),
        )
