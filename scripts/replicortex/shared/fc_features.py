"""The matrix of connectivity of one BOLD run, from its series or from a table of connectivity."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .fc import Kind, connectivity, fisher_z
from .func_series import RegionExtractor, RegionSeries, chosen_regions, missing_regions, read_relmat
from .mri_files import entities, mean_fd, rows_of, suffix
from .words import text

_STATS = {
    "correlation": {"", "correlation", "pearsoncorrelation", "pearson"},
    "partial": {"partialcorrelation", "partial"},
    "covariance": {"covariance"},
}


@dataclass(frozen=True)
class Matrix:
    """Connectivity of one run: ``matrix`` (n_regions, n_regions), ``coverage`` (n_regions,), and its row."""

    matrix: np.ndarray
    coverage: np.ndarray
    regions: list[str]
    networks: list[str]
    rows: dict[str, np.ndarray]


def matrix_of(
    extractor: RegionExtractor, recording: Mapping[str, str], path: Path, kind: Kind, *, fisher: bool
) -> Matrix:
    """Return the connectivity of the run at ``path``, an image, a table of series, or one of connectivity.

    Parameters
    ----------
    extractor : RegionExtractor
        Says which regions, and how to clean.
    recording, path
        See :class:`replicortex.components.Extractor`.
    kind : {"correlation", "partial", "covariance"}
    fisher : bool
        Transform correlations; the diagonal becomes 0.

    Raises
    ------
    InputError
        If the series can not be had, or the table of connectivity is of another kind.

    """
    if suffix(path) == "relmat.tsv":
        made = _from_relmat(extractor, recording, path, kind)
    else:
        series = extractor.series(recording, path)
        rows = rows_of(recording, **series.columns)
        matrix = region_matrix(series.values, series.missing, kind)
        made = Matrix(matrix, series.coverage, series.regions, series.networks, rows)
    if not fisher or kind == "covariance":
        return made
    matrix = fisher_z(made.matrix)
    np.fill_diagonal(matrix, 0)
    return Matrix(matrix, made.coverage, made.regions, made.networks, made.rows)


def region_matrix(values: np.ndarray, missing: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the connectivity ``kind`` of series (n_times, n_regions), with the missing regions left out.

    They have 0 with all others; on the diagonal 1, or the mean variance of the others for covariances.
    """
    present = np.flatnonzero(~missing)
    found = connectivity(values[:, present], kind)
    matrix = np.eye(len(missing)) * (np.diag(found).mean() if kind == "covariance" else 1.0)
    matrix[np.ix_(present, present)] = found
    return matrix


def edges_of(series: RegionSeries, kind: Kind = "correlation") -> np.ndarray:
    """Return the Fisher-transformed correlations of the pairs of regions, (n_edges,), 0 for missing regions."""
    return fisher_z(region_matrix(series.values, series.missing, kind))[np.triu_indices(len(series.missing), 1)]


def _from_relmat(extractor: RegionExtractor, recording: Mapping[str, str], path: Path, kind: Kind) -> Matrix:
    name = recording["path"]
    stat = entities(path).get("stat", "").lower()
    if stat not in _STATS[kind]:
        fault = f"holds {stat or 'correlation'}, not {kind}"
        raise InputError(name, fault, "choose kind in the feature card to fit the table")
    regions, matrix = read_relmat(path, name)
    chosen = chosen_regions(tuple(regions), extractor.regions, name)
    regions, matrix = [regions[i] for i in chosen], matrix[np.ix_(chosen, chosen)]
    off = ~np.eye(len(regions), dtype=bool)
    finite = np.isfinite(matrix) | ~off
    # A region whose every value is lacking has no signal; any other gap is a fault.
    missing = ~(finite & off).any(axis=1)
    if not finite[np.ix_(~missing, ~missing)].all():
        raise InputError(name, "lacks single values", "restore the table")
    if kind != "covariance" and np.abs(matrix[finite & off]).max(initial=0) > 1 + 1e-6:
        raise InputError(name, "holds values beyond 1, which are no correlations", "provide correlations")
    coverage = (~missing).astype(float)
    missing_regions(coverage, extractor.min_coverage, extractor.max_missing, regions, name)
    whole = np.where(finite, matrix, 0.0)
    whole[missing] = whole[:, missing] = 0
    diagonal = np.diag(matrix)
    if kind == "covariance":
        if not (diagonal[~missing] > 0).all():
            raise InputError(name, "lacks variances on its diagonal", "restore the table")
        np.fill_diagonal(whole, np.where(missing, diagonal[~missing].mean(), diagonal))
    else:
        np.fill_diagonal(whole, 1)
    rows = rows_of(recording, mean_fd=mean_fd(path), n_volumes=math.nan, tr=math.nan)
    return Matrix(whole, coverage, regions, ["n/a"] * len(regions), rows)


def measured(kind: Kind, suffixes: Collection[str], *, fisher: bool, whole: bool = False) -> str:
    """Return in words what :func:`matrix_of` gives for recordings with these suffixes."""
    kinds = {
        "correlation": "Pearson correlations",
        "partial": "partial correlations, from the precision of Ledoit and Wolf's covariance [@ledoit2004]",
        "covariance": "covariances, shrunk by Ledoit and Wolf's amount [@ledoit2004]",
    }
    form = "matrices of" if whole else "values for all pairs of"
    came = (
        "were taken from the tables of the dataset"
        if set(suffixes) == {"relmat"}
        else "were computed from their series"
    )
    transformed = fisher and kind != "covariance"
    return text(
        f"The features are {form} regions: {kinds[kind]}. They {came}"
        + (", and transformed by the inverse hyperbolic tangent." if transformed else ".")
    )
