"""Whether the best operators of connectivity come first when few windows are ranked instead of all."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Metric, component
from ..errors import InputError
from ..shared.coreset import compare, ndcg, ndcg_chance, top_gains
from ..shared.words import digits, percent, spelled


@component
class RankingNdcg(Metric):
    """Normalised discounted cumulative gain of the ranking of operators by the preferred windows alone.

    Operators are ranked by how well they identify subjects (:func:`replicortex.shared.coreset.identification`). The
    gain of an operator is k, k - 1, ..., 1 for the best k in the whole pool and 0 for all others, so that a random
    ranking is far from one. The paper does not state its gains; that its worst variant scores 0.013 rules out the
    performances themselves, which are all well above zero.

    Parameters
    ----------
    fraction : float
        Share of the windows that is taken.
    k : int
        Length of the top of the ranking that counts.
    n_operators : int
        Number of operators; the value expected by chance depends on it.
    """

    tasks = frozenset({"select"})
    whole = True
    bounds = (0.0, 1.0)
    tiny = {"fraction": 0.5, "k": 2, "n_operators": 4}

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    k: PositiveInt = 5
    n_operators: PositiveInt = 20

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the gain; ``nan`` where no window of the pool can be identified or all operators perform alike.

        ``target`` is the identity to find. If no chosen window has a partner the operators tie, which gives the
        value of chance. Time in the square of the number of windows.
        """
        whole, part = compare(predictions, target, self.fraction)
        if predictions["x"].shape[1] != self.n_operators:
            fault = f"n_operators is {self.n_operators}, the features have {predictions['x'].shape[1]}"
            raise InputError("metrics/ranking_ndcg", fault, "correct it in the study card")
        if whole is None or np.ptp(whole) == 0:
            return float("nan")
        return ndcg(top_gains(whole, self.k), np.zeros(len(whole)) if part is None else part, self.k)

    def chance(self, target: np.ndarray) -> float:
        """Return the expectation of a random ranking."""
        return ndcg_chance(self.n_operators, self.k)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Operators were ranked by how well they identify participants [@finn2015], once in the whole pool and once"
            f" in the {percent(self.fraction)} of its windows that were taken first; the agreement at the top is the"
            f" normalised discounted cumulative gain [@jarvelin2002] of the first {spelled(self.k)} of"
            f" {self.n_operators} operators, with gains of {self.k} to 1 for the best in the pool and the expectation"
            " over ties [@mcsherry2008]. A random ranking is expected to reach"
            f" {digits(round(ndcg_chance(self.n_operators, self.k), 2))}."
        )
