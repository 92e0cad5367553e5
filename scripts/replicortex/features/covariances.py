"""The spatial covariance of each trial of an EEG recording."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pyriemann.geometry.covariance import covariances

from ..bundle import Bundle
from ..components import component
from ..shared.eeg_epochs import EegTrialExtractor
from ..shared.words import text


@component
class Covariances(EegTrialExtractor):
    """Covariance over time of the trials that :class:`EegTrialExtractor` cuts, one matrix a trial.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm"}
        Oracle approximating shrinkage (Chen et al. 2010, doi:10.1109/TSP.2010.2053029), Ledoit-Wolf
        shrinkage, or the sample covariance, which is singular for average-referenced signals and for fewer
        times than channels.

    """

    tiny = {"tmin": 0.0, "tmax": 0.5}

    estimator: Literal["oas", "lwf", "scm"] = "oas"

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_trials, n_channels, n_channels), float64, in squared microvolts.

        ``axes`` is ``channel`` (names), which holds for both matrix axes.
        """
        trials = self.trials(recording, path, classes)
        x = covariances(trials.x, estimator=self.estimator)
        return Bundle({"x": x}, trials.rows, {"channel": trials.channels}, {"unit": "uV^2", "fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        estimators = {
            "oas": "estimated by oracle approximating shrinkage [@chen2010]",
            "lwf": "estimated by Ledoit and Wolf's shrinkage [@ledoit2004]",
            "scm": "estimated without shrinkage",
        }
        return text(
            super().described(suffixes),
            f"The features are the spatial covariance matrices of the trials, {estimators[self.estimator]}.",
        )
