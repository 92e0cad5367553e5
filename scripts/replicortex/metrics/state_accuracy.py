"""How often the hidden state is found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..shared.hmm import matched
from ..shared.truth_metric import TruthMetric
from ..shared.words import digits


@component
class StateAccuracy(TruthMetric):
    """Share of the held-out bins whose most likely state is the planted one.

    Numbers of states are arbitrary: found ones are matched with planted ones so that the share is greatest (the
    Hungarian method), which raises that of a guess above one over the number of states.

    Parameters
    ----------
    expected_by_chance : float
        One over the number of states.
    """

    tasks = frozenset({"infer"})
    arrays = ("states", "bin")
    bounds = (0.0, 1.0)
    tiny = {"expected_by_chance": 0.5}

    expected_by_chance: float = Field(gt=0, lt=1)

    def score_truth(self, target: np.ndarray, predictions: Bundle, truth: Mapping[str, Any] | None) -> float:
        """Return the share; ``nan`` where no states were planted, or but one."""
        planted = (truth or {}).get("states")
        if not planted or not set(self.arrays) <= predictions.arrays.keys() or int((truth or {})["n_states"]) < 2:
            return float("nan")
        subjects, segments = (predictions.rows[name].astype(str) for name in ("subject", "segment"))
        found, true = np.asarray(predictions["states"], dtype=int), np.empty(len(predictions), dtype=int)
        for subject in np.unique(subjects):
            for segment in np.unique(segments[subjects == subject]):
                here = (subjects == subject) & (segments == segment)
                trial = int(re.findall(r"\d+", segment)[-1]) - 1
                letters = np.frombuffer(planted[subject][trial].encode("ascii"), np.uint8) - ord("a")
                true[here] = letters[np.asarray(predictions["bin"])[here]]
        # Each subject has states of its own, but scores are of one subject's rows.
        agreement = np.zeros((int(truth["n_states"]), found.max() + 1))
        np.add.at(agreement, (true, found), 1)
        state_of = matched(agreement)
        return float(agreement[np.arange(len(state_of))[state_of >= 0], state_of[state_of >= 0]].sum() / len(true))

    def chance(self, target: np.ndarray) -> float:
        """Return what was stated in the card."""
        return self.expected_by_chance

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The accuracy of states is the share of the held-out bins whose state on the most likely path is the"
            " planted one, states being matched so that the share is greatest; a guess arrives at more than"
            f" {digits(round(self.expected_by_chance, 3))}."
        )
