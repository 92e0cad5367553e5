"""Functional connectivity of windows of the series of regions by a bank of pairwise operators."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..errors import InputError, did_you_mean
from ..shared.fc import edge_names, upper
from ..shared.fc_operators import BANK, MIN_VOLUMES, Window, bank
from ..shared.func_series import RegionExtractor
from ..shared.mri_files import rows_of, sidecar
from ..shared.words import count, digits, listed, sentence, text

Frequency = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@component
class FcOperators(RegionExtractor):
    """All operators asked for, in each window of the series that :class:`RegionExtractor` takes.

    Volumes that were censored are not there: a window is of volumes that follow each other among those that stay.

    Parameters
    ----------
    operators : list of str
        Names of operators of :data:`replicortex.shared.fc_operators.BANK`; all of them if empty.
    window : int
        Volumes of a window; 0 takes the whole run, and runs may then differ in length.
    stride : int
        Volumes from the start of a window to that of the next; 0 stands for ``window``. What remains at the end is
        dropped.
    band : tuple of float
        The band of operators of frequency and phase, Hz.
    max_lag, order, n_bins : int
        Greatest lag and band of warping (volumes), order of autoregressions, bins of the binned information.

    Raises
    ------
    InputError
        If an operator is unknown or a window is too short for any.
    """

    tiny = {"denoise": {"strategy": "none"}, "operators": ["pearson", "kendall"], "window": 20, "stride": 10}

    operators: list[str] = []
    window: NonNegativeInt = 70
    stride: NonNegativeInt = 35
    band: tuple[Frequency, Frequency] = (0.01, 0.1)
    max_lag: NonNegativeInt = 5
    order: PositiveInt = 2
    n_bins: Annotated[int, Field(ge=2)] = 4

    def __post_init__(self) -> None:
        """Refuse unknown operators and windows that are too short."""
        where = "features/fc_operators"
        for name in self.operators:
            if name not in BANK:
                raise InputError(where, f"unknown operator {name!r}", did_you_mean(name, BANK))
        if len(set(self.operators)) < len(self.operators):
            raise InputError(where, "an operator stands twice", "name each once")
        if 0 < self.window < MIN_VOLUMES:
            raise InputError(where, f"a window of {self.window} volumes is too short", f"take {MIN_VOLUMES} or more")
        if self.band[0] >= self.band[1]:
            raise InputError(where, f"band {list(self.band)} is empty", "give its lower end first")

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return a row a window.

        Array ``x`` (n_windows, n_operators, n_edges) float32 with axes ``operator``, ``edge`` and ``region``; ``cov``
        (n_windows, n_regions, n_regions), the sample covariance; ``span`` (n_windows, 2), first and last-plus-one
        volume; ``coverage`` (n_windows, n_regions); for windows, not whole runs, ``series`` (n_windows, n_regions,
        window). Missing regions are zero in all of them, but for the mean variance of the others on the diagonal of
        ``cov``. Row columns: ``window`` (number, from 0), ``mean_fd`` (mm; the sidecar's
        ``MeanFramewiseDisplacement`` where there are no confounds, else ``nan``), ``n_volumes`` and ``tr`` (s).

        Time and memory are linear in the number of windows; see the bank for what a window takes.
        """
        name = recording["path"]
        series = self.series(recording, path)
        if not math.isfinite(series.tr):
            raise InputError(name, "has no usable RepetitionTime", "write RepetitionTime (s) into its sidecar")
        n_volumes = len(series.values)
        length = self.window or n_volumes
        if n_volumes < length:
            fault = f"has {n_volumes} volumes that stay, a window {length}"
            raise InputError(name, fault, "shorten window in the feature card, or exclude the run")
        starts = np.arange(0, n_volumes - length + 1, self.stride or length)
        windows = [series.values[start : start + length] for start in starts]
        operators = self.operators or list(BANK)
        matrices = np.zeros((len(windows), len(operators) + 1, *2 * (len(series.regions),)))
        present = np.flatnonzero(~series.missing)
        for number, part in enumerate(windows):
            window = Window(part[:, present], series.tr, self.band, self.max_lag, self.order, self.n_bins)
            try:
                matrices[number][:, present[:, None], present] = bank(window, [*operators, "covariance"])
            except InputError as error:
                fault, _, remedy = str(error).removeprefix("fc_operators: ").rpartition("; ")
                raise InputError(name, f"window {number}: {fault}", remedy) from None
        covariance = matrices[:, -1]
        for number in np.flatnonzero(series.missing):
            covariance[:, number, number] = np.einsum("nii->n", covariance[:, present[:, None], present]) / len(present)

        rows = rows_of(recording, len(starts), window=np.arange(len(starts)).tolist(), **series.columns)
        if self.window and len(starts) == 1:
            # Named as any other window, whether or not the run has more of them.
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        stated = sidecar(path).get("MeanFramewiseDisplacement")
        if math.isnan(series.mean_fd) and isinstance(stated, int | float):
            rows["mean_fd"][:] = stated
        arrays = {
            "x": upper(matrices[:, :-1]).astype(np.float32),
            "cov": covariance.astype(np.float32),
            "span": np.stack([series.kept[starts], series.kept[starts + length - 1] + 1], axis=1).astype(np.int32),
            "coverage": np.tile(series.coverage.astype(np.float32), (len(starts), 1)),
        }
        if self.window:
            arrays["series"] = np.stack([part.T for part in windows]).astype(np.float32)
        axes = {"operator": list(operators), "edge": edge_names(series.regions), "region": series.regions}
        return Bundle(arrays, rows, axes, {"network": series.networks, "fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        chosen = self.operators or list(BANK)
        where = "over the whole run"
        if self.window:
            step = self.stride or self.window
            where = f"in windows of {count(self.window, 'volume')} that began every {count(step, 'volume')}"
        settings = sentence(
            f"Spectra and phases were taken from {digits(self.band[0])} to {digits(self.band[1])} Hz, lags up to"
            f" {count(self.max_lag, 'volume')}, autoregressions of order {self.order} and histograms of"
            f" {count(self.n_bins, 'bin')}"
        )
        return text(
            super().described(suffixes),
            f"Functional connectivity between all pairs of regions was computed {where} by"
            f" {count(len(chosen), 'operator')} [@cliff2023]: {listed(BANK[name].words for name in chosen)}.",
            settings,
        )
