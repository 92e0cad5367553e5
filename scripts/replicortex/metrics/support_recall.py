"""How much of a planted support a fold's screening ranked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..components import component
from ..shared.fit_metric import FitMetric
from ..shared.words import digits


@component
class SupportRecall(FitMetric):
    """Share of the planted variables among as many that a fold ranked first; averaged, that over folds.

    Needs a method that reports ``ranking``, names of variables with the best first, at least as many as are
    planted. One if the first places hold the support and nothing else, k / p by chance for k of p variables.

    Parameters
    ----------
    expected_by_chance : float
        Number of planted variables over that of all: what a ranking at random arrives at.
    planted : str
        Key of the truth that lists the names of the support.
    """

    bounds = (0.0, 1.0)
    untold = frozenset(["planted"])
    tiny = {"expected_by_chance": 0.02}

    expected_by_chance: float = Field(ge=0, lt=1)
    planted: str = Field("support", min_length=1)

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where nothing was planted, or the ranking is missing or shorter than the support.

        A shorter list of a greater ranking would set a limit below one that has nothing to do with the screening.
        """
        support = (truth or {}).get(self.planted)
        ranking = fold.get("chosen", {}).get("ranking")
        if not support or ranking is None or len(ranking) < len(support):
            return float("nan")
        return len(set(ranking[: len(support)]) & set(support)) / len(support)

    def chance_fit(self) -> float:
        """Return the share that was stated in the card."""
        return self.expected_by_chance

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The recall of the support is the share of the planted variables among as many that a fold ranked first;"
            f" {digits(self.expected_by_chance)} is expected of a random ranking."
        )
