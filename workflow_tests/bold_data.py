"""A small BOLD series of the template's head: its motion, its active region and its place are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from pet_data import TO_T1W, grid_of, moved
from replicortex.bids import RECORDING_COLUMNS
from replicortex.files import to_json, write_text
from replicortex.shared.motion import rigid_matrix
from replicortex.shared.nifti import save_image, template

#: Where a point of the T1w image lies in the reference of the series (mm).
TO_BOLD = rigid_matrix([5.0, -4.0, 6.0, 0.05, -0.04, 0.06])
#: Centre (mm, standard space) and radius (mm) of the region that is active.
ACTIVE = ((-32.0, -60.0, 30.0), 18.0)


def head(mm: float = 5.0, active: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a BOLD contrast in the standard space, smoothed to voxels of ``mm``, and its affine."""
    grey, white, fluid = (template(kind, 2.0) for kind in ("GM", "WM", "CSF"))
    values = 1.0 * grey.get_fdata() + 0.75 * white.get_fdata() + 1.3 * fluid.get_fdata()
    values *= 1 + active * in_region(grey)
    return 800 * ndimage.gaussian_filter(values, mm / 2 / 2.355), grey.affine


def in_region(grid: object, margin: float = 0.0) -> np.ndarray:
    """Return where the active region is on the grid of an image, ``margin`` mm wider."""
    points = np.moveaxis(np.indices(grid.shape[:3]), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.linalg.norm(points - ACTIVE[0], axis=-1) < ACTIVE[1] + margin


def boxcar(n_volumes: int) -> np.ndarray:
    """Return when the region is active: five volumes off, five on."""
    return (np.arange(n_volumes) // 5 % 2).astype(float)


def simulate_bold(
    n_volumes: int = 20,
    mm: float = 5.0,
    parameters: np.ndarray | None = None,
    noise: float = 8.0,
    active: float = 0.05,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a series, its affine and the true motion (n_volumes, 6) about the world's origin (mm, rad)."""
    rng = np.random.default_rng(seed)
    if parameters is None:
        parameters = np.cumsum(rng.normal(0, [[0.25] * 3 + [0.003] * 3], (n_volumes, 6)), axis=0)
    shape = tuple(np.ceil(np.array([190, 226, 190]) / mm).astype(int))
    own, (rest, affine), (task, _) = grid_of(shape, mm), head(mm), head(mm, active)
    series = np.empty((*shape, n_volumes), dtype=np.float32)
    for number, on in enumerate(boxcar(n_volumes)):
        matrix = rigid_matrix(parameters[number]) @ TO_BOLD @ TO_T1W
        series[..., number] = moved(task if on else rest, affine, matrix, shape, own)
    background = np.abs(rng.normal(0, noise, series.shape))
    return np.where(series > 50, series + rng.normal(0, noise, series.shape), background), own, np.asarray(parameters)


def write_bold(
    root: Path,
    subject: str = "01",
    *,
    series: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    sidecar: dict | None = None,
    header_time: float = 2.0,
    session: str = "n/a",
    **simulated: object,
) -> dict[str, str]:
    """Write one series below ``root``, simulated if none is given; return its row of ``recordings.tsv``.

    Parameters
    ----------
    root : Path
        The dataset.
    subject, session : str
    series, affine : ndarray, optional
        What to write.
    sidecar : dict, optional
        Instead of a repetition time of 2 s; ``{}`` for none.
    header_time : float
        Repetition time (s) in the image.
    simulated
        For :func:`simulate_bold`.

    """
    if series is None:
        series, affine, _ = simulate_bold(**simulated)
    write_text(root / "dataset_description.json", to_json({"Name": "test", "BIDSVersion": "1.10.1"}))
    within = f"ses-{session}_" if session != "n/a" else ""
    folder = root / f"sub-{subject}" / (within.rstrip("_") or ".") / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_{within}task-rest"
    image = (folder / f"{stem}_bold.nii.gz").resolve()
    save_image(np.asarray(series), affine, image, dtype=np.int16, repetition_time=header_time)
    facts = {"TaskName": "rest", **({"RepetitionTime": 2.0} if sidecar is None else sidecar)}
    write_text(folder / f"{stem}_bold.json", to_json(facts))
    place = image.relative_to(root.resolve()).as_posix()
    return dict.fromkeys(RECORDING_COLUMNS, "n/a") | {
        "recording": stem,
        "path": place,
        "datatype": "func",
        "suffix": "bold",
        "extension": ".nii.gz",
        "subject": subject,
        "session": session,
        "task": "rest",
        "sidecars": json.dumps([place.replace(".nii.gz", ".json")]),
        "repetition_time": str(facts.get("RepetitionTime", "n/a")),
    }


def relative_error(found: np.ndarray, true: Sequence[np.ndarray], reference: int) -> np.ndarray:
    """Return how far found (4, 4) motions are from the true ones, both against volume ``reference``.

    Six parameters a volume: mm and rad, about a point in the middle of the head.
    """
    from replicortex.shared.motion import rigid_parameters

    centre = [0.0, -18.0, 8.0]
    errors = []
    for one, other in zip(found, true, strict=True):
        moved_found = one @ np.linalg.inv(found[reference])
        moved_true = other @ np.linalg.inv(true[reference])
        errors.append(rigid_parameters(np.linalg.inv(moved_true) @ moved_found, centre))
    return np.array(errors)
