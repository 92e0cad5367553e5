"""The functional connectivity of one BOLD run as a vector: a value for each pair of regions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.fc import Kind, edge_names, upper
from ..shared.fc_features import matrix_of, measured
from ..shared.func_series import RegionExtractor
from ..shared.words import text


@component
class Connectivity(RegionExtractor):
    """Connectivity between all pairs of the regions that :class:`RegionExtractor` takes.

    A table of connectivity that another tool made (``*_relmat.tsv``) is taken as it is.

    Parameters
    ----------
    kind : {"correlation", "partial", "covariance"}
        Pearson correlation; partial correlation, or covariance, of the Ledoit-Wolf estimate: see
        :mod:`replicortex.shared.fc`.
    fisher_z : bool
        Transform correlations by the inverse hyperbolic tangent. No effect on covariances.

    """

    suffixes = ("bold", "timeseries", "relmat")
    tiny = {"denoise": {"strategy": "none"}}

    kind: Kind = "correlation"
    fisher_z: bool = True

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_edges), float32, and ``coverage`` of shape (1, n_regions), a share.

        ``axes`` are ``edge`` (``A--B``, by rows of the upper triangle) and ``region``. The edges of a missing
        region are 0. Row columns are ``mean_fd`` (mm), ``n_volumes`` (that were used) and ``tr`` (s).
        """
        found = matrix_of(self, recording, path, self.kind, fisher=self.fisher_z)
        return Bundle(
            {
                "x": upper(found.matrix)[None].astype(np.float32),
                "coverage": found.coverage[None].astype(np.float32),
            },
            found.rows,
            {"edge": edge_names(found.regions), "region": found.regions},
            {"kind": self.kind, "network": found.networks, "fitted": []},
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        return text(super().described(suffixes), measured(self.kind, suffixes or self.suffixes, fisher=self.fisher_z))
