"""How far the whole ranking of operators by few windows agrees with that by all."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.stats import kendalltau

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.coreset import compare
from ..shared.words import percent


@component
class RankingKendall(Metric):
    """Kendall's tau-b between the operators' performance in the whole pool and in the preferred windows alone.

    Performance is how well an operator identifies subjects, as in ``ranking_ndcg``.

    Parameters
    ----------
    fraction : float
        Share of the windows that is taken.
    """

    tasks = frozenset({"select"})
    whole = True
    bounds = (-1.0, 1.0)
    tiny = {"fraction": 0.5}

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return tau; ``nan`` where the pool does not rank the operators, zero where the chosen windows do not."""
        whole, part = compare(predictions, target, self.fraction)
        if whole is None or np.ptp(whole) == 0:
            return float("nan")
        if part is None or np.ptp(part) == 0:
            return 0.0
        return float(kendalltau(whole, part).statistic)

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Operators were ranked by how well they identify participants [@finn2015], once in the whole pool and once"
            f" in the {percent(self.fraction)} of its windows that were taken first; the agreement of the two rankings"
            " is Kendall's tau-b [@kendall1938], whose chance is 0."
        )
