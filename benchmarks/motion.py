"""Rigid realignment of BOLD volumes beside that of ANTs: accuracy on planted motion, agreement and CPU time.

    python benchmarks/motion.py [BOLD.nii.gz [N_VOLUMES]]

Needs ``antspyx`` (0.5.3 was used). Without an argument, the head of the template moves; with one, the first
volume of a real series is moved as planted, with noise of the size of that between its volumes, and the series
itself is realigned by both. The errors are root mean squares over volumes and axes, about the middle of the head.
Expected: below 0.1 mm and 0.1 degrees for both, in less than a tenth of the time of ANTs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_tests"))

try:
    import ants
except ModuleNotFoundError:
    print("motion: skipped, ANTs is not installed (pip install antspyx)")
    raise SystemExit(0) from None

from bold_data import relative_error, simulate_bold
from replicortex.shared import motion
from replicortex.shared.nifti import to_ants

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def own(series: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return (n_volumes, 4, 4) matrices from the reference to each volume."""
    return motion.realign(series, affine).matrices()


def of_ants(series: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the same by rigid registration of each volume to the mean, as ``ants.motion_correction`` does."""
    fixed = to_ants(nib.Nifti1Image(series.mean(axis=3), affine))
    mask = ants.get_mask(fixed)
    matrices = []
    for number in range(series.shape[3]):
        moving = to_ants(nib.Nifti1Image(np.ascontiguousarray(series[..., number]), affine))
        found = ants.registration(fixed, moving, "BOLDRigid", mask=mask, random_seed=1)
        made = ants.read_transform(found["fwdtransforms"][0])
        matrix, centre = np.eye(4), np.array(made.fixed_parameters)
        matrix[:3, :3] = made.parameters[:9].reshape(3, 3)
        matrix[:3, 3] = made.parameters[9:] + centre - matrix[:3, :3] @ centre
        matrices.append(FLIP @ matrix @ FLIP)
    return np.array(matrices)


def timed(program: Callable, *arguments: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what ``program`` gives and the CPU seconds that it took."""
    start = time.process_time()
    return program(*arguments), time.process_time() - start


def report(name: str, errors: np.ndarray, seconds: float) -> None:
    """Print one line."""
    mm, degrees = np.sqrt((errors[:, :3] ** 2).mean()), np.degrees(np.sqrt((errors[:, 3:] ** 2).mean()))
    print(f"{name:28s} {mm:8.4f} mm {degrees:8.4f} degrees {seconds:8.2f} s CPU ({len(errors)} volumes)")


def moved_on_purpose(volume: np.ndarray, affine: np.ndarray, noise: float, n: int) -> tuple[np.ndarray, list]:
    """Return one volume moved ``n`` times, and how."""
    rng = np.random.default_rng(0)
    true = [motion.rigid_matrix(row) for row in rng.normal(0, [[1.0] * 3 + [0.015] * 3], (n, 6))]
    series = np.empty((*volume.shape, n), dtype=np.float32)
    for number, matrix in enumerate(true):
        back = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ affine
        series[..., number] = ndimage.affine_transform(volume, back, order=5, mode="nearest")
    return series + rng.normal(0, noise, series.shape).astype(np.float32), true


def main(arguments: list[str]) -> None:
    """Compare the two on planted motion, and on the series given."""
    if arguments:
        image = nib.load(arguments[0])
        n = int(arguments[1]) if len(arguments) > 1 else 20
        real, affine = np.asarray(image.dataobj[..., :n], dtype=np.float32), image.affine
        noise = np.median(real.std(axis=-1)[real.mean(axis=-1) > 0.6 * np.percentile(real.mean(axis=-1), 95)])
        series, true = moved_on_purpose(real[..., 0], affine, float(noise), min(n, 20))
    else:
        series, affine, parameters = simulate_bold(n_volumes=20, mm=3.0, active=0)
        true = [motion.rigid_matrix(row) for row in parameters]
    print("planted motion, error:")
    for name, program in (("this workflow", own), ("ANTs BOLDRigid", of_ants)):
        found, seconds = timed(program, series, affine)
        report(name, relative_error(found, true, len(true) // 2), seconds)
    if arguments:
        print("the series as it is, difference of the two:")
        mine, seconds = timed(own, real, affine)
        theirs, ants_seconds = timed(of_ants, real, affine)
        report("this workflow against ANTs", relative_error(mine, theirs, n // 2), seconds)
        print(f"{'ANTs took':28s} {ants_seconds:.1f} s CPU")


if __name__ == "__main__":
    main(sys.argv[1:])
