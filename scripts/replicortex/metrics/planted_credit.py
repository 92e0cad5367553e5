"""How much of the credit that explanations give goes to what decides on the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..shared.truth_metric import TruthMetric


@component
class PlantedCredit(TruthMetric):
    """Share of the mean magnitude of attributions that players with a planted variable have, beyond chance.

    A player that is an aspect counts whole if one of its variables was planted: its credit is not to be divided among
    variables that can not be told apart. Such players hold more variables than were planted, and would have more
    credit if it were dealt out blindly; so what is expected of equal credit for all variables counts as 0, and all of
    the credit as 1.

    Parameters
    ----------
    planted : str
        Key of the truth that lists the names of the planted variables.
    """

    bounds = (None, 1.0)
    whole = True
    arrays = ("attribution", "player")
    untold = frozenset(["planted"])

    planted: str = Field("support", min_length=1)

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where nothing was planted or explained, or there is no credit to share."""
        support = (truth or {}).get(self.planted)
        if not support or not set(self.arrays) <= predictions.arrays.keys() or not len(predictions):
            return float("nan")
        names = [str(name) for name in predictions.axes["variable"]]
        player = np.asarray(predictions["player"][0])
        planted = {player[place] for place, name in enumerate(names) if name in support} - {-1}
        # A planted variable that the model does not have is a place where credit could have gone.
        held = np.isin(player, list(planted)) | np.isin(names, support)
        credit = np.abs(predictions["attribution"]).mean(axis=0)
        total, expected = credit.sum(), held.mean()
        if total <= 0 or expected >= 1:
            return float("nan")
        return float((credit[held].sum() / total - expected) / (1 - expected))

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The credit of planted variables is the share of the mean magnitude of attributions that they, or the"
            " aspects that they are in, have, beyond the share of the variables that these hold; credit dealt out"
            " equally to all variables has 0, and 1 is all of it."
        )
