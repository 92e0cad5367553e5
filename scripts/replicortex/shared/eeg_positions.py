"""Where electrodes are: as a dataset says, or as a template has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mne
import numpy as np

from ..errors import InputError
from .eeg_raw import EegRecording, given


def place_electrodes(
    raw: mne.io.BaseRaw, source: EegRecording, template: str | None, name: str
) -> tuple[list[dict[str, Any]] | None, dict[str, Any] | None]:
    """Set electrode positions in ``raw``: those measured, else those of a template; return the tables to write.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place.
    source : EegRecording
        What the dataset says.
    template : str or None
        MNE montage for where it says nothing.
    name : str
        The table of electrodes, for messages.

    Returns
    -------
    electrodes, coordsystem
        Rows of ``electrodes.tsv`` and content of ``coordsystem.json``; ``None`` where there are no positions.

    Raises
    ------
    InputError
        If a measured position is no number.
    """
    if source.electrodes is not None and source.coordsystem is not None:
        montage = _measured_montage(source.electrodes, source.coordsystem, name)
        if montage is not None:
            raw.set_montage(montage, match_case=False, on_missing="ignore")
            kept = [entry for entry in source.electrodes if entry["name"] in raw.ch_names]
            return kept, source.coordsystem
    if template is None:
        return None, None
    raw.set_montage(template, match_case=False, on_missing="ignore")
    placed = raw.get_montage()
    if placed is None:
        return None, None
    positions = placed.get_positions()
    electrodes = [
        {"name": name, **dict(zip("xyz", np.round(position, 6).tolist(), strict=True))}
        for name, position in positions["ch_pos"].items()
        if np.isfinite(position).all()
    ]
    landmarks = {key[:3].upper(): np.round(positions[key], 6).tolist() for key in ("nasion", "lpa", "rpa")}
    coordsystem = {
        "EEGCoordinateSystem": "CapTrak",
        "EEGCoordinateUnits": "m",
        "EEGCoordinateSystemDescription": f"Template positions (MNE {template}), not measured",
        "AnatomicalLandmarkCoordinates": landmarks,
        "AnatomicalLandmarkCoordinateSystem": "CapTrak",
        "AnatomicalLandmarkCoordinateUnits": "m",
    }
    return electrodes or None, coordsystem


def _measured_montage(electrodes: list[dict[str, str]], coordsystem: Mapping[str, Any], name: str) -> Any:
    """Return the dataset's electrode positions (m) as a montage, or ``None`` if they can not be used."""
    scale = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}.get(coordsystem.get("EEGCoordinateUnits"))
    if scale is None:
        return None
    placed = [entry for entry in electrodes if all(given(entry, axis) for axis in "xyz")]
    try:
        positions = {entry["name"]: scale * np.array([float(entry[axis]) for axis in "xyz"]) for entry in placed}
    except ValueError as error:
        raise InputError(name, f"holds a position that is no number ({error})", "correct the table") from None
    if not positions:
        return None
    # CapTrak is MNE's head frame; any other one is used as it is, which splines are indifferent to.
    return mne.channels.make_dig_montage(positions, coord_frame="head")
