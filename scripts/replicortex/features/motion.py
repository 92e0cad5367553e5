"""How much a participant moved in one BOLD run: what a prediction could come from, if not from the brain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.mri_files import confounds_path, is_confounds, read_columns, rows_of
from ..shared.words import digits


@component
class Motion(Extractor):
    """Summary of the head motion that the confounds of a run state; works without images.

    Framewise displacement is that of Power et al. (2012, doi:10.1016/j.neuroimage.2011.10.018).

    Parameters
    ----------
    fd_threshold : float
        Displacement (mm) above which a volume counts as moved.

    """

    datatypes = ("func",)
    suffixes = ("bold",)
    measures = frozenset(["mean_fd", "n_volumes"])
    family = "mri"
    tiny = {}

    fd_threshold: Annotated[float, Field(gt=0)] = 0.5

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, 4), float32, with axis ``variable``.

        ``mean_fd`` and ``max_fd`` (mm), ``moved`` (share of volumes above the threshold) and ``mean_std_dvars``.
        The row columns are ``mean_fd`` and ``n_volumes``.

        Raises
        ------
        InputError
            If there is no table of confounds, or it lacks a column or its values.

        """
        name = recording["path"]
        table = path if is_confounds(path) else confounds_path(path)
        if table is None:
            raise InputError(name, "has no table of confounds", "provide its *_desc-confounds_timeseries.tsv")
        columns = read_columns(table, table.name)
        values = {}
        for column in ("framewise_displacement", "std_dvars"):
            found = columns.get(column, np.array([]))
            # The first volume has none before it to differ from.
            values[column] = found[np.isfinite(found)]
            if not len(values[column]):
                raise InputError(table.name, f"has no value of {column}", "restore the table, or exclude the run")
        fd, dvars = values["framewise_displacement"], values["std_dvars"]
        variables = {
            "mean_fd": fd.mean(),
            "max_fd": fd.max(),
            "moved": (fd > self.fd_threshold).mean(),
            "mean_std_dvars": dvars.mean(),
        }
        n_volumes = len(columns["framewise_displacement"])
        return Bundle(
            {"x": np.array([list(variables.values())], dtype=np.float32)},
            rows_of(recording, mean_fd=float(fd.mean()), n_volumes=float(n_volumes)),
            {"variable": list(variables)},
            {"fitted": []},
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        return (
            "The features are measures of head motion alone: mean and greatest framewise displacement [@power2012], the"
            f" share of volumes that moved by more than {digits(self.fd_threshold)} mm, and mean standardised DVARS."
        )
