"""Small BIDS datasets of MRI scans for tests, made of the template, with everything in them known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from replicortex.bids import read_recordings
from replicortex.files import to_json, write_text
from replicortex.index import refresh_index
from replicortex.shared.nifti import save_image, template


def to_template(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return where points of the head of ``write_t1w`` (RAS, mm) lie in the standard space: closed form.

    The head is smaller than the template, nods, and is bent by up to 3 mm over waves of about 12 cm.
    """
    generator = np.random.default_rng(seed)
    nod, turn = generator.uniform(0.1, 0.25), generator.uniform(-0.1, 0.1)
    sizes = np.exp(generator.uniform(0.04, 0.14, 3))
    shift, phases = generator.uniform(-8, 8, 3), generator.uniform(0, 2 * np.pi, 3)
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    moved = (points + shift) @ (about_x @ about_z) * sizes
    return moved + 3.0 * np.sin(np.roll(moved, 1, axis=-1) * (2 * np.pi / 120) + phases)


def head(mm: float, seed: int = 0, skull: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return a head in the scanner, and its affine: brain, dark skull, bright scalp, bias and noise."""
    shape = np.ceil(np.array([200, 230, 230]) / mm).astype(int)
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = [-100, -125, -120]
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    # Room for the scalp around the template.
    brain, mask = (np.pad(template(kind, 2).get_fdata(), 12) for kind in ("brain", "mask"))
    values = 600 * brain + 60 * mask
    if skull:
        hull = ndimage.distance_transform_edt(ndimage.distance_transform_edt(mask == 0) < 10) > 10
        away = ndimage.distance_transform_edt(~(hull | (mask > 0)), sampling=2)
        values = np.where(mask > 0, values, 40.0 * (away < 7) + 800.0 * ((away >= 7) & (away < 12)))
    inverse = np.linalg.inv(template("mask", 2).affine)
    inverse[:3, 3] += 12
    places = to_template(points, seed) @ inverse[:3, :3].T + inverse[:3, 3]
    # Voxels average what they cover.
    smooth = ndimage.gaussian_filter(values, np.sqrt(max(mm**2 - 4, 0)) / 2.355 / 2)
    data = ndimage.map_coordinates(smooth, np.moveaxis(places, -1, 0), order=1)
    data *= 1 + 0.2 * np.sin(points[..., 1] / 90)
    generator = np.random.default_rng(seed)
    noise = np.hypot(data + generator.normal(0, 8, shape), generator.normal(0, 8, shape))
    inside = ndimage.map_coordinates(mask.astype(float), np.moveaxis(places, -1, 0), order=1) > 0.5
    return (noise if skull else noise * inside).astype(np.float32), affine


def describe_dataset(root: Path) -> None:
    """Write the files that every dataset has."""
    write_text(root / "dataset_description.json", to_json({"Name": "test", "BIDSVersion": "1.10.1", "License": "CC0"}))
    write_text(root / "README.md", "A dataset of simulated scans, made by the tests of this project. " * 4)


def row_of(root: Path, recording: str, suffix: str) -> dict[str, str]:
    """Return the row of ``recordings.tsv`` of one recording of a dataset."""
    tables = root.parent / f".{root.name}-index"
    refresh_index(root, tables)
    rows = read_recordings(tables / "recordings.tsv")
    return next(dict(row) for row in rows if (row["recording"], row["suffix"]) == (recording, suffix))


def write_t1w(root: Path, subject: str = "01", mm: float = 4.0, seed: int = 0, *, skull: bool = True) -> dict[str, str]:
    """Write a dataset with one T1-weighted image; return the row of its recording."""
    describe_dataset(root)
    folder = root / f"sub-{subject}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    data, affine = head(mm, seed, skull)
    save_image(data, affine, folder / f"sub-{subject}_T1w.nii.gz", dtype=np.int16)
    write_text(folder / f"sub-{subject}_T1w.json", to_json({"MagneticFieldStrength": 3}))
    return row_of(root, f"sub-{subject}", "T1w")
