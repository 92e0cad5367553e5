"""Windows of equal length of the series of regions, for methods that learn from series."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.func_series import RegionExtractor
from ..shared.mri_files import rows_of
from ..shared.words import count, text


@component
class RoiSeries(RegionExtractor):
    """Windows of the series that :class:`RegionExtractor` takes, one row a window.

    The defaults are those of a study of core-sets (doi:10.48550/arXiv.2602.05667): 70 volumes, every 35. Volumes
    that were censored are not there: a window is of volumes that follow each other among those that stay.

    Parameters
    ----------
    window : int
        Volumes in a window.
    stride : int
        Volumes from one window to the next.
    max_windows : int or None
        Take no more than the first ones of a run, so that long runs do not outweigh others.
    gaps : bool
        Take windows with censored volumes between their volumes too; else only those without.

    """

    tiny = {"denoise": {"strategy": "none"}, "window": 20, "stride": 10}

    window: Annotated[int, Field(ge=2)] = 70
    stride: Annotated[int, Field(ge=1)] = 35
    max_windows: Annotated[int, Field(ge=1)] | None = None
    gaps: bool = True

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_windows, n_regions, window), float32, and ``coverage`` (n_windows, n_regions).

        ``axes`` are ``region`` (names) and ``time`` (volume in the window). Series of missing regions are 0. Row
        columns are ``onset`` (s from the first volume; in volumes if the repetition time is not known),
        ``mean_fd`` (mm), ``n_volumes`` and ``tr`` (s).

        Raises
        ------
        InputError
            If no window fits into what remains of the run.

        """
        series = self.series(recording, path)
        starts = range(0, len(series.values) - self.window + 1, self.stride)
        spans = [series.kept[start : start + self.window] for start in starts]
        taken = [s for s, span in zip(starts, spans, strict=True) if self.gaps or span[-1] - span[0] < self.window]
        taken = taken[: self.max_windows]
        if not taken:
            fault = f"has no window of {self.window} volumes in the {len(series.values)} that remain"
            raise InputError(recording["path"], fault, "shorten window in the feature card, or exclude the run")
        x = np.stack([series.values[start : start + self.window].T for start in taken]).astype(np.float32)
        step = series.tr if np.isfinite(series.tr) else 1.0
        rows = rows_of(recording, len(taken), onset=[float(series.kept[s] * step) for s in taken], **series.columns)
        if len(taken) == 1:
            # Named as any other window, whether or not the run has more of them.
            rows["row_id"] = np.array([f"{rows['row_id'][0]}_0000"])
        return Bundle(
            {"x": x, "coverage": np.tile(series.coverage.astype(np.float32), (len(taken), 1))},
            rows,
            {"region": series.regions, "time": list(range(self.window))},
            {"network": series.networks, "fitted": []},
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        most = "" if self.max_windows is None else f", at most {count(self.max_windows, 'window')} a run"
        gaps = "could" if self.gaps else "could not"
        return text(
            super().described(suffixes),
            f"The features are the series in windows of {count(self.window, 'volume')} that began every"
            f" {count(self.stride, 'volume')}{most}; censored volumes {gaps} lie between those of a window.",
        )
