"""Area under the receiver operating characteristic: how often two rows of different classes are in order."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import rankdata

from ..bundle import Bundle
from ..components import Metric, component


@component
class RocAuc(Metric):
    """Area under the curve; for more than two classes the mean over pairs of classes.

    The mean over pairs is that of Hand & Till (2001, doi:10.1023/A:1010920819831), each pair ordered by the
    difference of its two scores. Pairs of which the rows lack a class are left out.
    """

    bounds = (0.0, 1.0)

    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the area; ``nan`` where the rows have one class only."""
        classes, y_score = predictions.axes["class"], predictions["y_score"]
        areas = []
        for a, b in itertools.combinations(range(len(classes)), 2):
            negative, positive = target == classes[a], target == classes[b]
            n_negative, n_positive = np.count_nonzero(negative), np.count_nonzero(positive)
            if n_negative and n_positive:
                # Mann & Whitney: ties count half, as in the curve's trapezoids.
                rank = rankdata((y_score[:, b] - y_score[:, a])[negative | positive])
                wins = rank[positive[negative | positive]].sum() - n_positive * (n_positive + 1) / 2
                areas.append(wins / (n_positive * n_negative))
        return float(np.mean(areas)) if areas else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return one half."""
        return 0.5

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "The area under the receiver operating characteristic curve (ROC AUC) is the probability that two held-out"
            " rows of different classes are put in the right order [@hanley1982], for more than two classes averaged"
            " over pairs of classes [@hand2001]; its chance is 0.5."
        )
