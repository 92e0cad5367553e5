"""Random core-set.

Guo, Zhao & Bai (2022), DeepCore: a comprehensive library for coreset selection in deep learning.
doi:10.1007/978-3-031-13795-2_14

Reproduced: windows drawn uniformly without replacement, the baseline that a selection has to beat. Differs: every
window has a random number of its own (from the seed, the training set and its identifier), so that the draw does
not depend on the order of rows; draws of different folds and seeds are independent.
"""

from __future__ import annotations

from ..bundle import Bundle
from ..components import Method, component
from ..shared.coreset import draw_seed, judged_by, row_numbers
from ..shared.predictions import selected


@component
class CoresetRandom(Method):
    """Windows in random order."""

    tasks = frozenset({"select"})
    needs = ("operator", "edge")
    state = ("seed_",)

    def fit(self, train: Bundle, seed: int) -> None:
        """Keep the seed."""
        self.seed_ = draw_seed(train, seed)

    def predict(self, test: Bundle) -> Bundle:
        """Return the random numbers as preferences."""
        return selected(test, row_numbers(test.rows, self.seed_), **judged_by(test))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return (
            "Windows were drawn at random without replacement, the baseline that any selection has to beat [@guo2022]."
        )
