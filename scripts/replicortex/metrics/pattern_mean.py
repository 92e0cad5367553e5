"""Area under the curve with modalities missing: its mean over all patterns that lack something."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Metric, component
from ..shared.modalities import area_under_curve, scored_patterns


@component
class PatternMean(Metric):
    """Mean ROC AUC over the patterns of modalities that lack one or more, each over the rows that have all of it.

    With one modality alone there is no such pattern, and its own area counts; so does that of predictions which know
    of no patterns.
    """

    bounds = (0.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the mean; ``nan`` where the rows have one class only."""
        areas = scored_patterns(target, predictions)
        if "present" not in predictions.arrays:
            areas = {(): area_under_curve(target, predictions["y_score"], list(predictions.axes["class"]))}
        whole = len(predictions.axes.get("modality", []))
        lacking = [area for pattern, area in areas.items() if len(pattern) < whole] or list(areas.values())
        return float(np.mean(lacking)) if lacking else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return one half."""
        return 0.5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The area under the curve with missing modalities is the mean, over all patterns of modalities in which one"
            " or more are missing, of the area under the receiver operating characteristic curve [@hanley1982] of"
            " held-out rows that were given that pattern alone; its chance is 0.5."
        )
