"""Core-set whose mean follows that of the pool: herding.

Welling (2009), Herding dynamical weights to learn. doi:10.1145/1553374.1553517

Reproduced: the greedy choice of the window that best corrects the mean of those taken so far. Differs: features are
Fisher-transformed correlations of the windows' series; a window is taken once and correction is measured by Euclidean
distance instead of the scalar product, as in uses of herding for core-sets (Rebuffi et al. 2017,
doi:10.1109/CVPR.2017.587), since features here have no common norm.
"""

from __future__ import annotations

from ..bundle import Bundle
from ..components import Method, component
from ..shared.coreset import by_order, correlations, draw_seed, herding_order, judged_by
from ..shared.predictions import selected


@component
class CoresetHerding(Method):
    """Windows in the order in which herding takes them. Nothing is fitted."""

    tasks = frozenset({"select"})
    needs = ("operator", "edge", "region")
    state = ("seed_",)

    def fit(self, train: Bundle, seed: int) -> None:
        """Learn nothing; the selection is deterministic."""
        self.seed_ = draw_seed(train, seed)

    def predict(self, test: Bundle) -> Bundle:
        """Return minus the place in the order. A window's place depends on the whole pool, by definition."""
        return selected(test, by_order(herding_order(correlations(test["series"]))), **judged_by(test))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return (
            "Windows were taken by herding [@welling2009]: each was the one with which the mean of the"
            " Fisher-transformed correlations of those taken so far came nearest, by Euclidean distance [@rebuffi2017],"
            " to the mean of the whole pool. Nothing was fitted."
        )
