"""Common spatial patterns, log-variance, linear discriminant analysis, for rows of several montages.

Koles, Lazar & Zhou (1990), Spatial patterns underlying population differences in the background EEG.
doi:10.1007/BF01129656; Blankertz et al. (2008), doi:10.1109/MSP.2008.4408441

Reproduced: CSP filters of the class mean covariances, log-variance features, LDA, as in MOABB's CSP+LDA.
Differs: spatial filters are tied to channels, so each montage has its own, fitted to its training rows alone; rows of a
montage that was never seen, or seen with one class only, get the class frequencies of the training rows. Channels are
scaled by their standard deviation in the training rows, since sensors of several types share a montage. The number of
filters and the shrinkage of the covariances are chosen by nested search, once for all montages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveInt
from pyriemann.spatialfilters import CSP
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..bundle import Bundle
from ..components import Method, component
from ..shared.montages import montage_of, present_channels
from ..shared.predictions import classified
from ..shared.riemann import scm_covariances, shrink, shrinkages
from ..shared.search import inner_folds, select, selection_score
from ..shared.words import among, searched, text


@component
class MontageCsp(Method):
    """LDA on the log-variance of CSP components, one of each montage.

    Parameters
    ----------
    n_filters : list of int
        Numbers of spatial filters that the nested search tries.
    n_shrinkages : int
        Amounts of shrinkage towards the identity that it tries, log-spaced in [0.001, 0.5].
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    tiny = {"n_filters": [2], "n_shrinkages": 1, "n_inner": 2}
    state = ("scale_", "csp_", "lda_", "frequency_", "classes_", "search_")
    trusted = ("pyriemann.spatialfilters.CSP",)

    n_filters: list[PositiveInt] = [2, 4, 6, 8]
    n_shrinkages: PositiveInt = 7
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search filters and shrinkage on the training rows, then fit on all of them."""
        montage, covariances, target = montage_of(train), _covariances(train), train.rows["target"]
        self.classes_ = np.unique(target)
        grid = [
            {"n_filters": filters, "shrinkage": amount}
            for filters in sorted(self.n_filters)
            for amount in np.geomspace(0.001, 0.5, self.n_shrinkages).tolist()
        ]
        best, score = grid[0], None
        if len(grid) > 1:
            folds = inner_folds(train, self.n_inner, seed)

            def scores(entry: dict[str, Any]) -> list[float]:
                found = []
                for inner, held in folds:
                    parts = [covariances[i] for i in inner]
                    self._fit(montage[inner], parts, target[inner], entry)
                    y_score = self._scores(montage[held], [covariances[i] for i in held], entry)
                    found.append(selection_score(target[held], y_score, self.classes_))
                return found

            best, score = select(grid, scores)
        self.search_ = {**best, "inner_score": score}
        self._fit(montage, covariances, target, best)

    def _fit(
        self, montage: np.ndarray, covariances: list[np.ndarray], target: np.ndarray, entry: dict[str, Any]
    ) -> None:
        """Fit the filters and the classifier of each montage that has rows of all classes."""
        self.frequency_ = np.array([np.mean(target == name) for name in self.classes_])
        self.scale_, self.csp_, self.lda_ = {}, {}, {}
        for name in np.unique(montage).tolist():
            here = np.flatnonzero(montage == name)
            if len(np.unique(target[here])) < len(self.classes_):
                continue
            found = np.stack([covariances[i] for i in here])
            spread = np.sqrt(np.diagonal(found.mean(axis=0)))
            self.scale_[name] = np.where(spread > 0, spread, 1.0)
            made = self._scaled(name, found, entry)
            n_filters = min(entry["n_filters"], made.shape[1])
            self.csp_[name] = CSP(nfilter=n_filters, log=True).fit(made, target[here])
            self.lda_[name] = LinearDiscriminantAnalysis().fit(self.csp_[name].transform(made), target[here])

    def _scaled(self, name: str, covariances: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
        """Return covariances (n, n_channels, n_channels) of scaled channels, shrunk."""
        return shrink(covariances / np.outer(self.scale_[name], self.scale_[name]), entry["shrinkage"])

    def _scores(self, montage: np.ndarray, covariances: list[np.ndarray], entry: dict[str, Any]) -> np.ndarray:
        """Return log probabilities (n, n_classes), which can be compared between montages."""
        found = np.tile(np.log(np.maximum(self.frequency_, 1e-12)), (len(montage), 1))
        for name in self.lda_:
            here = np.flatnonzero(montage == name)
            if len(here):
                made = self._scaled(name, np.stack([covariances[i] for i in here]), entry)
                decision = self.lda_[name].decision_function(self.csp_[name].transform(made))
                # Log odds of two classes; not by way of probabilities, which saturate.
                odds = np.stack([np.zeros_like(decision), decision], axis=1) if decision.ndim == 1 else decision
                found[here] = log_softmax(odds, axis=1)
        return found

    def predict(self, test: Bundle) -> Bundle:
        """Return log probabilities by the LDA; those of the class frequencies where the montage was never seen."""
        return classified(test, self._scores(montage_of(test), _covariances(test), self.search_), self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the number of filters, the amount of shrinkage, and the inner score where there was a search."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.n_filters) * self.n_shrinkages

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            "Common spatial patterns [@koles1990; @blankertz2008] were fitted to the mean covariance matrices of the"
            " classes, for each montage by itself and with channels scaled by their standard deviation, and the"
            " logarithms of the variance of the filtered trials were classified by linear discriminant analysis. Rows"
            " of a montage that it had not been fitted to got the class frequencies of the training rows.",
            searched(
                self.n_inner, among("the number of spatial filters", self.n_filters), shrinkages(self.n_shrinkages)
            ),
        )


def _covariances(rows: Bundle) -> list[np.ndarray]:
    """Return the covariance of the channels that are there, of each row."""
    found = scm_covariances(rows["x"])
    return [entry[np.ix_(here, here)] for entry, here in zip(found, present_channels(rows), strict=True)]
