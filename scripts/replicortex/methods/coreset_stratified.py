"""Core-set in which all subjects take turns.

Neyman (1934), On the two different aspects of the representative method: the method of stratified sampling and the
method of purposive selection. doi:10.2307/2342192

Reproduced: proportional random sampling within strata, which are the subjects. Differs: a subject gives two windows
at a time, since a single window of a subject can not be identified by another of the same.
"""

from __future__ import annotations

from pydantic import PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.coreset import by_order, draw_seed, judged_by, row_numbers, stratified_order
from ..shared.predictions import selected
from ..shared.words import count, plain


@component
class CoresetStratified(Method):
    """Random windows, a few of one stratum, then of the next.

    Parameters
    ----------
    column : str
        Row column that names the strata.
    together : int
        Windows that a stratum gives in a round.
    """

    tasks = frozenset({"select"})
    needs = ("operator", "edge")
    state = ("seed_",)

    column: str = "subject"
    together: PositiveInt = 2

    def fit(self, train: Bundle, seed: int) -> None:
        """Keep the seed."""
        self.seed_ = draw_seed(train, seed)

    def predict(self, test: Bundle) -> Bundle:
        """Return minus the place in the order. A window's place depends on the whole pool, by definition."""
        if self.column not in test.rows:
            raise InputError("method coreset_stratified", f"rows have no column {self.column!r}", "name a covariate")
        numbers = row_numbers(test.rows, self.seed_)
        order = stratified_order(test.rows[self.column].astype(str), numbers, self.together)
        return selected(test, by_order(order), **judged_by(test))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return (
            f"Windows were drawn at random within strata of the same {plain(self.column)}, which took turns with"
            f" {count(self.together, 'window')} each [@neyman1934]."
        )
