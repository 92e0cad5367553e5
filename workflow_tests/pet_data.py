"""A small PET scan with known uptake, and the T1w derivative of the same head, made from the template."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from replicortex.shared.coregistration import to_itk
from replicortex.shared.motion import rigid_matrix
from replicortex.shared.nifti import SPACE, save_image, template

#: Where a point of the standard space lies in the T1w image, and one of the T1w image in the PET scan (mm).
TO_T1W = rigid_matrix([4.0, -6.0, 8.0, 0.05, 0.0, -0.04])
TO_PET = rigid_matrix([-5.0, 4.0, 6.0, 0.0, 0.06, 0.05])
#: Where the head is in each frame, against the first.
MOTION = [rigid_matrix(row) for row in ([0.0] * 6, [0.0] * 6, [3.0, -2.0, 2.0, 0.04, 0, 0], [-2.0, 3.0, 0, 0, 0, 0.05])]
#: Centre (mm, standard space), radius (mm) and uptake of the ball that is planted.
BALL = ((-30.0, -40.0, 30.0), 20.0, 3.0)


def uptake(mm: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the true uptake in the standard space, and its affine: 2 in grey matter, 1 in white, less in fluid."""
    grey, white, fluid = (template(kind, mm).get_fdata() for kind in ("GM", "WM", "CSF"))
    values = 2.0 * grey + 1.0 * white + 0.3 * fluid
    values[ball(mm) & (template("mask", mm).get_fdata() > 0)] = BALL[2]
    return values, template("GM", mm).affine


def ball(mm: float, shrink: float = 0.0) -> np.ndarray:
    """Return where the ball is on the grid of the template, ``shrink`` mm smaller than planted."""
    grid = template("mask", mm)
    points = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.linalg.norm(points - BALL[0], axis=-1) < BALL[1] - shrink


def moved(values: np.ndarray, affine: np.ndarray, matrix: np.ndarray, shape: tuple, own: np.ndarray) -> np.ndarray:
    """Return an image of the standard space on another grid, each point moved by ``matrix``."""
    to_voxel = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ own
    return ndimage.affine_transform(values.astype(np.float32), to_voxel, output_shape=shape, order=1)


def grid_of(shape: tuple, mm: float) -> np.ndarray:
    """Return the affine of a grid around the head."""
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = -mm * (np.array(shape) - 1) / 2 + [0, -18, 8]
    return affine


def write_pet(root: Path, subject: str = "01", n_frames: int = 4, mm: float = 4.0, seed: int = 0) -> dict[str, str]:
    """Write a scan of ``n_frames`` (1 for a static one) below ``root``; return its row of ``recordings.tsv``."""
    rng = np.random.default_rng(seed)
    shape = (48, 58, 48)
    own = grid_of(shape, mm)
    values, affine = uptake()
    frames = []
    for number in range(n_frames):
        matrix = MOTION[number % len(MOTION)] @ TO_PET @ TO_T1W
        frame = moved(values, affine, matrix, shape, own) * (4000.0 + 500.0 * number)
        frames.append(frame + 60.0 * rng.standard_normal(shape))
    stem = f"sub-{subject}"
    folder = root / stem / "pet"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "PET of a template", "BIDSVersion": "1.10.1"}))
    data = np.stack(frames, axis=-1) if n_frames > 1 else frames[0]
    save_image(data, own, folder / f"{stem}_pet.nii.gz")
    times = {
        "TracerName": "FDG",
        "Units": "Bq/mL",
        "TimeZero": "10:00:00",
        "FrameTimesStart": [3000.0 + 300.0 * number for number in range(n_frames)],
        "FrameDuration": [300.0] * n_frames,
    }
    (folder / f"{stem}_pet.json").write_text(json.dumps(times))
    return {
        "recording": stem,
        "path": f"{stem}/pet/{stem}_pet.nii.gz",
        "datatype": "pet",
        "suffix": "pet",
        "extension": ".nii.gz",
        "subject": subject,
        "session": "n/a",
        "task": "n/a",
        "run": "n/a",
        "sidecars": json.dumps([f"{stem}/pet/{stem}_pet.json"]),
        "repetition_time": "n/a",
    }


def write_anatomy(folder: Path, subject: str = "01") -> list[Path]:
    """Write what an anatomical recipe makes of the same head; return its main files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, shape = folder / f"sub-{subject}", (96, 116, 96)
    own = grid_of(shape, 2.0)
    standard = {kind: template(kind, 2.0) for kind in ("brain", "mask", "GM", "WM", "CSF")}
    endings = {"brain": "desc-preproc_T1w", "mask": "desc-brain_mask"}
    endings |= {tissue: f"label-{tissue}_probseg" for tissue in ("GM", "WM", "CSF")}
    for kind, image in standard.items():
        values = image.get_fdata()
        save_image(values, image.affine, Path(f"{stem}_space-{SPACE}_{endings[kind]}.nii.gz"))
        native = moved(values, image.affine, TO_T1W, shape, own)
        save_image(native, own, Path(f"{stem}_{endings[kind]}.nii.gz"))
    import ants

    text = folder / "affine.txt"
    for start, end, matrix in (("T1w", SPACE, TO_T1W), (SPACE, "T1w", np.linalg.inv(TO_T1W))):
        text.write_text(to_itk(matrix))
        ants.write_transform(ants.read_transform(str(text)), f"{stem}_from-{start}_to-{end}_mode-image_xfm.h5")
    text.unlink()
    return [Path(f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz")]
