"""Minimum distance to mean on plain covariances.

Barachant, Bonnet, Congedo & Jutten (2012), Multiclass brain-computer interface classification by Riemannian
geometry. doi:10.1109/TBME.2011.2172210

Reproduced: nearest Riemannian class mean. Differs: the amount of shrinkage is chosen by nested search, so that
the search can be as large as that of the method this one is compared with.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.predictions import classified
from ..shared.riemann import scm_covariances, search_shrinkage, shrink, shrinkages
from ..shared.search import inner_folds
from ..shared.words import searched, text


@component
class Mdm(Method):
    """Minimum Riemannian distance to the class means of the trials' covariances.

    Parameters
    ----------
    n_shrinkages : int
        Amounts of shrinkage towards the identity that the nested search tries, log-spaced in [0.001, 0.5].
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time")
    tiny = {"n_shrinkages": 2, "n_inner": 2}
    state = ("estimator_", "shrinkage_")
    trusted = ("replicortex.shared.riemann.MinimumDistance",)

    n_shrinkages: PositiveInt = 7
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the amount of shrinkage on the training rows, then fit on all of them."""
        folds = inner_folds(train, self.n_inner, seed)
        self.shrinkage_, self.estimator_ = search_shrinkage(
            train["x"], train.rows["target"], folds, self.n_shrinkages, "riemann"
        )

    def predict(self, test: Bundle) -> Bundle:
        """Return minus the distances to the class means."""
        covariances = shrink(scm_covariances(test["x"]), self.shrinkage_["shrinkage"])
        return classified(test, self.estimator_.scores(covariances), self.estimator_.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the amount of shrinkage and the inner score."""
        return dict(self.shrinkage_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return self.n_shrinkages

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return text(
            "Each trial was given the class to whose Riemannian mean its spatial covariance matrix was nearest, by the"
            " affine-invariant distance [@barachant2012].",
            searched(self.n_inner, shrinkages(self.n_shrinkages)),
        )
