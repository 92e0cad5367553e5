"""How often a nested search chose what it should have chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..components import component
from ..errors import InputError
from ..shared.fit_metric import FitMetric
from ..shared.words import digits, plain


@component
class ChosenShare(FitMetric):
    """One for a fold whose search chose ``parameter`` as asked, else zero; averaged, the share of such folds.

    Parameters
    ----------
    parameter : str
        Key of what the method reports as chosen, such as ``order``.
    at_least : float, optional
        The least value that counts.
    planted : str, optional
        Key of the truth that the value must equal; give this or ``at_least``.
    expected_by_chance : float
        Share of the searched configurations that would count: what a search among equals arrives at.
    """

    bounds = (0.0, 1.0)
    tiny = {"parameter": "order", "at_least": 2, "expected_by_chance": 0.5}

    parameter: str = Field(min_length=1)
    at_least: float | None = None
    planted: str | None = None
    expected_by_chance: float = Field(ge=0, lt=1)

    def __post_init__(self) -> None:
        """Refuse to compare with two things or with none."""
        if (self.at_least is None) == (self.planted is None):
            raise InputError(
                "metrics/chosen_share",
                "needs one of at_least and planted",
                "give one of them in the study card",
            )

    def score_fit(self, fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> float:
        """Return one or zero; ``nan`` where the method chose no such parameter or the truth lacks the key."""
        value = fold.get("chosen", {}).get(self.parameter)
        wanted = self.at_least if self.planted is None else (truth or {}).get(self.planted)
        if value is None or wanted is None:
            return float("nan")
        return float(value >= wanted if self.planted is None else value == wanted)

    def chance_fit(self) -> float:
        """Return the share that was stated in the card."""
        return self.expected_by_chance

    def described(self) -> str:
        """Return what it does, in words."""
        wanted = (
            f"at least {digits(self.at_least)}"
            if self.at_least is not None
            else f"the planted {plain(str(self.planted))}"
        )
        return (
            "How often the nested search found what it should is the share of folds in which it chose"
            f" {wanted} as {plain(self.parameter)}; {digits(self.expected_by_chance)} is expected of a search among"
            " equals."
        )
