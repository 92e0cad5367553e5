"""The response of every region to every presentation of a stimulus, for models that predict one from the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.func_series import RegionExtractor
from ..shared.mri_files import rows_of
from ..shared.trial_responses import drifts, least_squares_all, least_squares_separate, regressors
from ..shared.words import digits, text


@component
class RoiResponses(RegionExtractor):
    """Responses to single trials from the series that :class:`RegionExtractor` takes, one row a presentation.

    A linear model with the canonical response and, in one model, a regressor a trial (``all``), or a model a trial in
    which the others share a regressor (``separate``; Mumford et al. 2012, doi:10.1016/j.neuroimage.2011.08.076).
    Volumes that were censored are left out of it. Responses have the unit of the cleaned series, which ``denoise`` may
    scale run by run; they themselves are not standardised here, since held-out trials are in the run as well.

    Parameters
    ----------
    model : {"all", "separate"}
        For trials that follow each other within 6 s and noisy series, ``separate`` is of smaller variance.
    ridge : float
        Of ``all``: penalty on the responses over the mean squared length of the regressors.
    slowest : float
        Cosines slower than this (s) are part of the model.
    parts : {"network", "name", "one"}
        What the responses are grouped by, for models that look at a region as a whole: by the network of the atlas;
        by the region's name before its last ``_`` (``FFA_012`` is part of ``FFA``); or all together.
    """

    needs_stimuli = True
    tiny = {"denoise": {"strategy": "none"}, "max_missing": 0.5}

    model: Literal["all", "separate"] = "all"
    ridge: Annotated[float, Field(ge=0)] = 0.0
    slowest: Annotated[float, Field(gt=0)] = 128.0
    parts: Literal["network", "name", "one"] = "network"

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_presentations, n_responses), float32; label of a row is its stimulus.

        ``axes["response"]`` names the regions, ``meta["parts"]`` what each is part of. Row columns are ``onset`` (s),
        ``mean_fd`` (mm), ``n_volumes`` and ``tr`` (s). Presentations after the last volume, and those whose response
        no volume shows, are left out.

        Raises
        ------
        InputError
            If the run has no presentation, or its repetition time is not known.
        """
        series = self.series(recording, path)
        if not np.isfinite(series.tr):
            raise InputError(recording["path"], "its repetition time is not known", "add RepetitionTime to its sidecar")
        times = series.kept * series.tr
        shown = [entry for entry in self.presentations if entry["onset"] < times[-1]]
        if not shown:
            raise InputError(
                recording["path"], "has no event that names a stimulus", "see `stimuli` of the dataset card"
            )
        onsets, durations = (np.array([entry[key] for entry in shown], dtype=float) for key in ("onset", "duration"))
        trials = regressors(onsets, durations, times)
        # The end of a run cuts off responses: what is hardly there would be noise divided by next to nothing.
        length = np.sqrt((trials**2).sum(axis=0))
        seen = length > 0.3 * np.median(length)
        nuisance = drifts(len(series.values), times[-1] - times[0], self.slowest)
        if len(times) <= seen.sum() + nuisance.shape[1] and self.model == "all" and self.ridge == 0:
            fault = f"has {seen.sum()} presentations in {len(times)} volumes"
            raise InputError(recording["path"], fault, "set model: separate, or ridge, in the feature card")
        if self.model == "all":
            x = least_squares_all(series.values, trials[:, seen], nuisance, self.ridge)
        else:
            x = least_squares_separate(series.values, trials[:, seen], nuisance)
        kept = [entry for entry, there in zip(shown, seen, strict=True) if there]
        rows = rows_of(recording, len(kept), onset=[entry["onset"] for entry in kept], **series.columns)
        if len(kept) == 1:
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        rows["label"] = np.array([str(entry["stim_id"]) for entry in kept])
        return Bundle(
            {"x": x.astype(np.float32)},
            rows,
            {"response": series.regions},
            {"parts": self._parts(series.regions, series.networks), "fitted": []},
        )

    def _parts(self, regions: list[str], networks: list[str]) -> list[str]:
        if self.parts == "network":
            return list(networks)
        return [name.rpartition("_")[0] or name if self.parts == "name" else "all" for name in regions]

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        penalty = "" if self.ridge == 0 else f", with a ridge penalty of {digits(self.ridge)} times their mean square"
        model = (
            f"one linear model with a regressor for each presentation{penalty}"
            if self.model == "all"
            else "a linear model for each presentation, in which all others shared one regressor [@mumford2012]"
        )
        parts = {
            "network": "Responses were grouped by the network of their region.",
            "name": "Responses were grouped by the first part of the name of their region.",
            "one": "Responses were taken as one group.",
        }
        return text(
            super().described(suffixes),
            f"The features are the responses of the regions to single presentations of stimuli, from {model}, the"
            f" canonical haemodynamic response [@friston1998], and cosines slower than {digits(self.slowest)} s.",
            parts[self.parts],
        )
