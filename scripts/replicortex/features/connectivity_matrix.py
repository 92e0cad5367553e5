"""The functional connectivity of one BOLD run as a matrix, for methods that work with its geometry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import component
from ..shared.fc import Kind
from ..shared.fc_features import matrix_of, measured
from ..shared.func_series import RegionExtractor
from ..shared.words import text


@component
class ConnectivityMatrix(RegionExtractor):
    """Matrix of connectivity between the regions that :class:`RegionExtractor` takes.

    Covariances and correlations are symmetric; covariances are positive definite, so that the tangent space at
    a mean of the training rows can be taken inside a fold (Varoquaux et al. 2010,
    doi:10.1007/978-3-642-15705-9_25). A table of connectivity that another tool made (``*_relmat.tsv``) is
    taken as it is.

    Parameters
    ----------
    kind : {"correlation", "partial", "covariance"}
        Covariances are Ledoit-Wolf estimates; see :mod:`replicortex.shared.fc`.
    fisher_z : bool
        Transform correlations by the inverse hyperbolic tangent; the diagonal becomes 0.

    """

    suffixes = ("bold", "timeseries", "relmat")
    tiny = {"denoise": {"strategy": "none"}, "kind": "correlation"}

    kind: Kind = "covariance"
    fisher_z: bool = False

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_regions, n_regions), float32, and ``coverage`` of shape (1, n_regions).

        ``axes`` is ``region`` (names), which holds for both matrix axes. A missing region has 0 with all others;
        on the diagonal 1, or the mean variance of the others, so that the matrix stays positive definite. Row
        columns are ``mean_fd`` (mm), ``n_volumes`` (that were used) and ``tr`` (s).
        """
        found = matrix_of(self, recording, path, self.kind, fisher=self.fisher_z)
        return Bundle(
            {"x": found.matrix[None].astype(np.float32), "coverage": found.coverage[None].astype(np.float32)},
            found.rows,
            {"region": found.regions},
            {"kind": self.kind, "network": found.networks, "fitted": []},
        )

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        return text(
            super().described(suffixes),
            measured(self.kind, suffixes or self.suffixes, fisher=self.fisher_z, whole=True),
        )
