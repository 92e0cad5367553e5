"""T1-weighted heads of ellipsoids, each with regions of known volume; nothing is registered or stripped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..files import to_json, to_tsv, write_text
from ..shared.nifti import save_image
from ..shared.words import count, digits, text

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Half axes (mm) of head and brain, and intensities as T1w shows them.
HEAD, BRAIN = np.array([72.0, 90.0, 72.0]), np.array([60.0, 78.0, 60.0])
SCALP, TISSUE = 300.0, 550.0
#: Regions on both sides: place (mm), half axes (mm), intensity; the first is fluid, and grows as the others shrink.
REGIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "ventricle": ((14, -8, 14), (11, 26, 12), 60.0),
    "thalamus": ((14, -18, -14), (13, 16, 12), 800.0),
    "putamen": ((30, 22, -8), (12, 18, 14), 1000.0),
}


@component
class HeadEllipsoids(Simulator):
    """People whose regions differ in volume, with shared and own parts; heads differ in size and place.

    The logarithm of a region's volume is Gaussian. Ventricles grow with a shared factor with which the other regions
    shrink. If the truth is absent there is no anatomy: the voxels of every image are shuffled, each by itself, so that
    intensities stay and no place means anything.

    Parameters
    ----------
    n_subjects : int
    mm : float
        Voxel size of the images.
    spread : float
        Standard deviation of the logarithm of the regions' volumes.
    shared : float
        Share of its variance that is the shared factor's.
    shift : float
        Standard deviation of the place of the head, mm.
    noise : float
        Standard deviation of the noise of the images, in that of the scale of intensities (1,000).
    """

    datatype = "anat"
    family = "mri"
    tiny = {"n_subjects": 4, "mm": 16.0}

    n_subjects: Count = 200
    mm: Annotated[float, Field(ge=2, le=20)] = 8.0
    spread: NotNegative = 0.35
    shared: Annotated[float, Field(ge=0, le=1)] = 0.5
    shift: NotNegative = 3.0
    noise: NotNegative = 0.02

    def volumes(self, subject: int, seed: int) -> dict[str, float]:
        """Return the volume (mL) of each region of ``subject`` (1, 2, ...) on both sides together."""
        rng = np.random.default_rng([seed, 1, subject])
        factor, own = rng.standard_normal(), rng.standard_normal(len(REGIONS))
        found = {}
        for number, (name, (_, axes, _)) in enumerate(REGIONS.items()):
            sign = 1 if number == 0 else -1
            z = np.sqrt(self.shared) * sign * factor + np.sqrt(1 - self.shared) * own[number]
            found[name] = float(2 * 4 / 3 * np.pi * np.prod(axes) / 1000 * np.exp(self.spread * z))
        return found

    def image(self, subject: int, truth: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return image, brain mask and affine of ``subject``."""
        rng = np.random.default_rng([seed, 2, subject])
        size, place = np.exp(0.05 * rng.standard_normal()), self.shift * rng.standard_normal(3)
        shape = np.ceil(np.array([192.0, 224.0, 192.0]) / self.mm).astype(int)
        # Four points a side and voxel: the share of a voxel that a region fills.
        fine = 4
        grid = [
            (np.arange(n * fine) + 0.5) / fine * self.mm - n * self.mm / 2 - shift
            for n, shift in zip(shape, place, strict=True)
        ]
        x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)

        def inside(centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
            parts = ((axis - c) / a for axis, c, a in zip((x, y, z), centre, axes, strict=True))
            return sum(part**2 for part in parts) < 1

        signal = np.where(inside(np.zeros(3), HEAD * size), SCALP, 0.0)
        brain = inside(np.zeros(3), BRAIN * size)
        signal[brain] = TISSUE
        volumes = self.volumes(subject, seed)
        for name, (centre, axes, level) in REGIONS.items():
            usual = 2 * 4 / 3 * np.pi * np.prod(axes) / 1000
            scale = (volumes[name] / usual) ** (1 / 3)
            for side in (-1, 1):
                signal[inside(size * np.array(centre) * [side, 1, 1], np.array(axes) * scale)] = level

        def thin(values: np.ndarray) -> np.ndarray:
            return values.reshape(shape[0], fine, shape[1], fine, shape[2], fine).mean(axis=(1, 3, 5))

        seen = thin(signal)
        seen = np.abs(seen + 1000 * self.noise * rng.standard_normal(seen.shape))
        if truth != "planted":
            seen = rng.permuted(seen.ravel()).reshape(seen.shape)
        affine = np.diag([self.mm, self.mm, self.mm, 1.0])
        affine[:3, 3] = -self.mm * (shape - 1) / 2
        return seen, thin(brain.astype(float)) > 0.5, affine

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        rows, width, volumes = [], max(2, len(str(self.n_subjects))), []
        about = np.random.default_rng([seed, 0])
        for subject in range(1, self.n_subjects + 1):
            name = f"sub-{subject:0{width}d}"
            folder = root / name / "anat"
            folder.mkdir(parents=True)
            image, brain, affine = self.image(subject, truth, seed)
            for ending, data, kind, more in (
                ("desc-preproc_T1w", image, np.int16, {"SkullStripped": False}),
                ("desc-brain_mask", brain.astype(np.uint8), np.uint8, {"Type": "Brain"}),
            ):
                save_image(data, affine, folder / f"{name}_{ending}.nii.gz", dtype=kind)
                told = {"Description": _WORDS[ending], "Sources": [], "SpatialReference": "orig", **more}
                write_text(folder / f"{name}_{ending}.json", to_json(told))
            age, sex = round(float(about.uniform(20, 80)), 1), str(about.choice(["F", "M"]))
            rows.append({"participant_id": name, "age": age, "sex": sex})
            volumes.append(self.volumes(subject, seed))
        columns = {
            "age": {"Description": "Age of the simulated participant.", "Units": "year"},
            "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
        }
        description = {
            "Name": "Simulated heads",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "Authors": ["Replicortex"],
            "GeneratedBy": [{"Name": "replicortex", "Version": __version__, "Description": "Simulated."}],
        }
        write_text(root / "dataset_description.json", to_json(description))
        write_text(root / "README", _README)
        write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", *columns]))
        write_text(root / "participants.json", to_json({**columns, "Description": "Simulated participants."}))
        return {
            "contrast": "anatomy",
            "truth": truth,
            "volumes_ml": {name: [of_one[name] for of_one in volumes] for name in REGIONS},
        }

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"T1-weighted heads of {count(self.n_subjects, 'participant')} were simulated with voxels of"
            f" {digits(self.mm)} mm: scalp, brain, and ventricles, thalami and putamina as ellipsoids whose volumes are"
            f" log-normal with a standard deviation of {digits(self.spread)}, of which a factor shared by all regions"
            f" has a share of {digits(self.shared)} in the variance. Heads are displaced by {digits(self.shift)} mm,"
            f" and noise is {digits(self.noise)} of the intensity of the brightest region.",
        )


_WORDS = {
    "desc-preproc_T1w": "Simulated T1-weighted image, arbitrary units, in the space of the participant.",
    "desc-brain_mask": "Where the brain of the participant is.",
}
_README = """\
Simulated heads
===============

No person was recorded. Each T1-weighted image shows a head of ellipsoids (scalp, brain, ventricles, thalami, putamina)
in a space of its own; heads differ in size, place and in the volumes of their regions.
"""
