"""Maps of spontaneous activity of one BOLD run: ALFF, fALFF and ReHo."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.denoise import Denoise
from ..shared.func_series import DEFAULT, Share, mask_words, open_bold, smoothed, voxel_series
from ..shared.mri_files import rows_of
from ..shared.resting import amplitude, reho
from ..shared.words import digits, listed, percent, text

Map = Literal["alff", "falff", "reho"]


@component
class RestingMaps(Extractor):
    """Amplitude of slow fluctuations and regional homogeneity, in the voxels of a mask of the template.

    - ``alff``: mean amplitude of the frequencies in ``band`` (Zang et al. 2007, doi:10.1016/j.braindev.2006.07.002)
    - ``falff``: their share of the amplitude of all frequencies (Zou et al. 2008,
      doi:10.1016/j.jneumeth.2008.04.012)
    - ``reho``: concordance (Kendall's W) of a voxel with its neighbours (Zang et al. 2004,
      doi:10.1016/j.neuroimage.2003.12.030)

    The first two see series that are regressed and detrended but never filtered, since ``falff`` needs all
    frequencies. They need volumes that follow each other: a run that censoring takes volumes out of is refused
    for them. ``reho`` sees filtered series if ``denoise`` has a filter; smoothing inflates it.

    Memory is that of the image, and three times the series of the mask in float64. Time grows linearly.

    Parameters
    ----------
    maps : list of {"alff", "falff", "reho"}
    denoise : mapping
        See :class:`replicortex.shared.denoise.Denoise`; ``standardize`` has no effect.
    band : (float, float)
        Hz, both included.
    neighbours : {7, 19, 27}
        How many voxels ``reho`` compares, the one in the middle included: faces, edges, corners.
    zscore : bool
        Scale each map to mean 0 and standard deviation 1 over the voxels with signal.
    mask : {"gm", "brain"}
        Grey matter of the template, or the whole brain.
    mask_threshold : float
        Probability of grey matter above which a voxel is taken.
    mm : float
        Size of the voxels.
    max_missing : float
        Share of the mask that may be without signal. Such voxels are 0 in all maps.

    """

    datatypes = ("func",)
    suffixes = ("bold",)
    measures = frozenset(["mean_fd", "n_volumes", "tr"])
    family = "mri"
    tiny = {"denoise": {"strategy": "none"}, "mm": 12.0}

    maps: list[Map] = ["alff", "falff", "reho"]
    denoise: Denoise = DEFAULT
    band: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (0.01, 0.08)
    neighbours: Literal[7, 19, 27] = 27
    zscore: bool = True
    mask: Literal["gm", "brain"] = "brain"
    mask_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    mm: Annotated[float, Field(ge=1)] = 3.0
    max_missing: Share = 0.1

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (1, n_maps, n_voxels), float32; ``alff`` in units of the image without ``zscore``.

        ``axes`` are ``map`` and ``voxel`` (flat number in the grid that ``meta`` gives by ``shape`` and
        ``affine``). Row columns are ``mean_fd`` (mm), ``n_volumes``, ``tr`` (s) and ``coverage``.

        Raises
        ------
        InputError
            If the recording is no BOLD image in MNI space, the band holds no frequency of it, or volumes were
            censored within it.

        """
        name = recording["path"]
        image, valid = open_bold(path, name)
        voxels = voxel_series(
            smoothed(image, self.denoise), valid, path, name, self.denoise,
            kind=self.mask, mm=self.mm, threshold=self.mask_threshold, max_missing=self.max_missing,
        )  # fmt: skip
        made: dict[str, np.ndarray] = {}
        if {"alff", "falff"} & set(self.maps):
            self._check(voxels.plan.contiguous, voxels.tr, len(voxels.plan.kept), name)
            series = self.denoise.clean(voxels.raw, voxels.plan, filtered=False, scaled=False)
            made["alff"], made["falff"] = amplitude(series, voxels.tr, self.band)
        if "reho" in self.maps:
            series = self.denoise.clean(voxels.raw, voxels.plan, scaled=False)
            inside = np.zeros(voxels.mask.shape, dtype=bool)
            inside[voxels.mask] = voxels.found
            made["reho"] = reho(series, inside, self.neighbours)
        values = np.stack([made[entry] for entry in self.maps])
        if self.zscore:
            spread = values.std(axis=1, keepdims=True)
            values = (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
        return Bundle(
            {"x": voxels.filled(values)[None]},
            rows_of(recording, **voxels.columns),
            {"map": list(self.maps), "voxel": voxels.voxels},
            {**voxels.meta, "fitted": []},
        )

    def _check(self, contiguous: bool, tr: float, n: int, name: str) -> None:
        if not np.isfinite(tr):
            raise InputError(name, "its repetition time is not known", "give RepetitionTime in its JSON sidecar")
        if not contiguous:
            remedy = "choose a strategy without scrubbing, or the map reho alone"
            raise InputError(name, "volumes were censored within it, so that it has no spectrum", remedy)
        frequencies = np.fft.rfftfreq(n, tr)
        if not ((frequencies >= self.band[0]) & (frequencies <= self.band[1]) & (frequencies > 0)).any():
            fault = f"has no frequency from {self.band[0]:g} to {self.band[1]:g} Hz ({n} volumes every {tr:g} s)"
            raise InputError(name, fault, "correct band in the feature card")

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        where = mask_words(self.mask, self.mask_threshold)
        low, high = self.band
        maps = {
            "alff": f"the amplitude of fluctuations from {digits(low)} to {digits(high)} Hz (ALFF) [@zang2007]",
            "falff": f"the share of the amplitude from {digits(low)} to {digits(high)} Hz in that of all frequencies"
            " (fALFF) [@zou2008]",
            "reho": f"regional homogeneity (ReHo), Kendall's concordance of a voxel with its {self.neighbours - 1}"
            " neighbours [@zang2004]",
        }
        scaled = "Each map was scaled to mean 0 and standard deviation 1." if self.zscore else ""
        return text(
            f"Maps in the voxels of {digits(self.mm)} mm in {where} of the template were computed:"
            f" {listed(maps[name] for name in self.maps)}.",
            self.denoise.described(),
            "The two amplitudes were taken from series that were not filtered."
            if {"alff", "falff"} & set(self.maps)
            else "",
            scaled,
            f"Runs without signal in more than {percent(self.max_missing)} of the voxels were excluded.",
        )
