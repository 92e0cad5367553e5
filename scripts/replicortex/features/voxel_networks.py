"""Maps of how each voxel is woven into the network of its own brain: degree, triangles, clustering, squares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.fc import edge_names
from ..shared.fc_features import edges_of
from ..shared.func_series import RegionExtractor, mask_words, open_bold, smoothed, voxel_series
from ..shared.graph_maps import Graph, clustering, correlation_graph
from ..shared.mri_files import is_confounds, rows_of, suffix
from ..shared.words import digits, listed, percent, text

Map = Literal["degree", "triangles", "clustering", "squares"]


@component
class VoxelNetworks(RegionExtractor):
    """Maps of the graph whose nodes are voxels, linked where their series correlate.

    Nodes are the voxels of a mask of the template, so that they are the same for everybody; or the regions, if
    the recording is a table of their series. Beside the maps stands the connectivity of the regions that
    :class:`RegionExtractor` takes, since maps of a network should be compared with the network itself.

    Memory is that of the series, one bit a pair of voxels (12 MB for 10,000) and the image while it is read.
    Time is one to three products of the series with themselves, and edges times voxels / 64 for triangles:
    10,000 voxels and 200 volumes at a density of 5 % take about 4 s on one core. ``squares`` grows with the
    cube of the voxels: half a minute for 10,000.

    Parameters
    ----------
    maps : list of {"degree", "triangles", "clustering", "squares"}
        Number of neighbours; of triangles through a voxel, ``diag(A^3) / 2``; of them as a share of those that
        its degree allows; of cycles of length four.
    threshold : float or None
        Link voxels whose correlation is above it; ``None`` if ``density`` is given.
    density : float or None
        Link this share of the pairs, those with the highest correlations, instead.
    mask : {"gm", "brain"}
        Grey matter of the template, or the whole brain.
    mask_threshold : float
        Probability of grey matter above which a voxel is taken.
    mm : float
        Size of the voxels. An image with smaller ones is resampled by linear interpolation; smooth it first
        (``denoise: {smoothing_fwhm: ...}``), since nothing else is averaged.
    max_missing : float
        Share of the mask, and of the regions, that may be without signal. Such voxels are 0 in all maps.

    """

    tiny = {"denoise": {"strategy": "none"}, "mm": 12.0}

    maps: list[Map] = ["degree", "triangles"]
    threshold: Annotated[float, Field(gt=-1, lt=1)] | None = 0.5
    density: Annotated[float, Field(gt=0, lt=1)] | None = None
    mask: Literal["gm", "brain"] = "gm"
    mask_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    mm: Annotated[float, Field(ge=1)] = 6.0

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_maps, n_voxels), float32, and ``fc`` of shape (1, n_edges), float32.

        ``axes`` are ``map``, ``voxel`` (flat number in the grid that ``meta`` gives by ``shape`` and ``affine``;
        names for regions) and ``edge`` (``A--B``). ``fc`` holds Fisher-transformed correlations. Row columns
        are ``mean_fd`` (mm), ``n_volumes``, ``tr`` (s), ``coverage`` (share of nodes with signal), and
        ``density`` (share of pairs linked).
        """
        if (self.threshold is None) == (self.density is None):
            raise InputError("feature", "gives threshold and density both, or neither", "set one of them to null")
        name = recording["path"]
        meta: dict[str, Any] = {}
        if suffix(path) == "timeseries.tsv" and not is_confounds(path):
            series = self.series(recording, path)
            graph = correlation_graph(series.values, self.threshold, self.density)
            x, nodes = self._maps(graph).astype(np.float32), series.regions
            columns = {**series.columns, "coverage": float((~series.missing).mean())}
        else:
            image, valid = open_bold(path, name)
            image = smoothed(image, self.denoise)
            series = self.series_of(image, valid, path, name)
            voxels = voxel_series(
                image, valid, path, name, self.denoise,
                kind=self.mask, mm=self.mm, threshold=self.mask_threshold, max_missing=self.max_missing,
            )  # fmt: skip
            graph = correlation_graph(self.denoise.clean(voxels.raw, voxels.plan), self.threshold, self.density)
            x, nodes = voxels.filled(self._maps(graph)), voxels.voxels
            columns, meta = voxels.columns, voxels.meta
        pairs = graph.n * (graph.n - 1) / 2
        columns["density"] = float(graph.degree().sum() / 2 / pairs)
        return Bundle(
            {"x": x[None], "fc": edges_of(series)[None].astype(np.float32)},
            rows_of(recording, **columns),
            {"map": list(self.maps), "voxel": nodes, "edge": edge_names(series.regions)},
            {**meta, "fitted": []},
        )

    def _maps(self, graph: Graph) -> np.ndarray:
        """Return the maps, (n_maps, n_nodes)."""
        degree = graph.degree()
        triangles = graph.triangles() if {"triangles", "clustering"} & set(self.maps) else degree
        made = {
            "degree": lambda: degree,
            "triangles": lambda: triangles,
            "clustering": lambda: clustering(degree, triangles),
            "squares": graph.squares,
        }
        return np.stack([made[name]() for name in self.maps]).astype(np.float64)

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        kinds = set(suffixes or self.suffixes)
        nodes = []
        if "bold" in kinds:
            where = mask_words(self.mask, self.mask_threshold)
            nodes.append(f"the voxels of {digits(self.mm)} mm in {where} of the template")
        if kinds - {"bold"}:
            nodes.append("the regions of tables")
        linked = (
            f"whose series correlated above {digits(self.threshold)}"
            if self.threshold is not None
            else f"with the {percent(self.density or 0)} of highest correlations"
        )
        counted = {
            "degree": "the number of neighbours (degree)",
            "triangles": "the number of cycles of length three through a node",
            "clustering": "the share of a node's possible triangles that exist (clustering)",
            "squares": "the number of cycles of length four through a node",
        }
        return text(
            f"A network was made of each run [@dey2012]: its nodes were {listed(nodes, 'or')}, and pairs {linked} were"
            f" linked. Its maps are {listed(counted[name] for name in self.maps)}.",
            "The correlations between regions were kept for comparison.",
            super().described(suffixes),
        )
