"""Core-set that covers the pool: greedy k-center.

Sener & Savarese (2018), Active learning for convolutional neural networks: a core-set approach.
doi:10.48550/arXiv.1708.00489

Reproduced: the greedy farthest-first selection. Differs: distances are Euclidean between Fisher-transformed
correlations of the windows' series, not between the features of a classifier, since there is none before a core-set
is chosen; the first window is the one nearest to the mean of the pool instead of an initial labelled set.
"""

from __future__ import annotations

from ..bundle import Bundle
from ..components import Method, component
from ..shared.coreset import by_order, correlations, draw_seed, judged_by, k_center_order
from ..shared.predictions import selected


@component
class CoresetKCenter(Method):
    """Windows in the order in which each is farthest from those taken before. Nothing is fitted."""

    tasks = frozenset({"select"})
    needs = ("operator", "edge", "region")
    state = ("seed_",)

    def fit(self, train: Bundle, seed: int) -> None:
        """Learn nothing; the selection is deterministic."""
        self.seed_ = draw_seed(train, seed)

    def predict(self, test: Bundle) -> Bundle:
        """Return minus the place in the order. A window's place depends on the whole pool, by definition."""
        return selected(test, by_order(k_center_order(correlations(test["series"]))), **judged_by(test))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return (
            "Windows were taken by greedy k-center selection [@sener2018]: starting from the window nearest to the mean"
            " of the pool, each was the one farthest, by the Euclidean distance of Fisher-transformed correlations,"
            " from all taken before. Nothing was fitted."
        )
