"""Common spatial patterns, log-variance, linear discriminant analysis.

Koles, Lazar & Zhou (1990), Spatial patterns underlying population differences in the background EEG.
doi:10.1007/BF01129656; Blankertz et al. (2008), doi:10.1109/MSP.2008.4408441

Reproduced: CSP filters of the class mean covariances, log-variance features, LDA, as in MOABB's CSP+LDA.
Differs: the number of filters and the shrinkage of the covariances are chosen by nested search, so that the
search can be as large as that of the method this one is compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveInt
from pyriemann.spatialfilters import CSP
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified, two_columns
from ..shared.riemann import scm_covariances, shrink, shrinkages
from ..shared.search import inner_folds, select, selection_score
from ..shared.words import among, searched, text


@component
class CspLda(Method):
    """LDA on the log-variance of CSP components.

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
    state = ("csp_", "lda_", "search_")
    trusted = ("pyriemann.spatialfilters.CSP",)

    n_filters: list[PositiveInt] = [2, 4, 6, 8]
    n_shrinkages: PositiveInt = 7
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search filters and shrinkage on the training rows, then fit on all of them."""
        covariances, target = scm_covariances(train["x"]), train.rows["target"]
        folds = inner_folds(train, self.n_inner, seed)
        classes = np.unique(target)
        most = train["x"].shape[1]
        grid = [
            {"n_filters": min(filters, most), "shrinkage": amount}
            for filters in sorted(self.n_filters)
            for amount in np.geomspace(0.001, 0.5, self.n_shrinkages).tolist()
        ]

        def scores(entry: dict[str, Any]) -> list[float]:
            shrunk = shrink(covariances, entry["shrinkage"])
            return [
                selection_score(
                    target[test],
                    self._scores(*self._fit(shrunk[inner], target[inner], entry["n_filters"]), shrunk[test]),
                    classes,
                )
                for inner, test in folds
            ]

        self.search_, score = select(grid, scores)
        self.search_ = {**self.search_, "inner_score": score}
        shrunk = shrink(covariances, self.search_["shrinkage"])
        self.csp_, self.lda_ = self._fit(shrunk, target, self.search_["n_filters"])

    @staticmethod
    def _fit(covariances: np.ndarray, target: np.ndarray, n_filters: int) -> tuple[CSP, LinearDiscriminantAnalysis]:
        csp = CSP(nfilter=n_filters, log=True).fit(covariances, target)
        return csp, LinearDiscriminantAnalysis().fit(csp.transform(covariances), target)

    @staticmethod
    def _scores(csp: CSP, lda: LinearDiscriminantAnalysis, covariances: np.ndarray) -> np.ndarray:
        return two_columns(lda.decision_function(csp.transform(covariances)))

    def predict(self, test: Bundle) -> Bundle:
        """Return the decision values of the LDA."""
        covariances = shrink(scm_covariances(test["x"]), self.search_["shrinkage"])
        return classified(test, self._scores(self.csp_, self.lda_, covariances), self.lda_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the number of filters, the amount of shrinkage and the inner score."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.n_filters) * self.n_shrinkages

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            "Common spatial patterns [@koles1990; @blankertz2008] were fitted to the mean covariance matrices of the"
            " classes, and the logarithms of the variance of the filtered trials were classified by linear discriminant"
            " analysis.",
            searched(
                self.n_inner, among("the number of spatial filters", self.n_filters), shrinkages(self.n_shrinkages)
            ),
        )
