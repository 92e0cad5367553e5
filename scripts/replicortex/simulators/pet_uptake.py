"""Raw PET of a tracer that one region takes up more in patients, and a T1-weighted image of each subject.

Heads are those of :mod:`replicortex.shared.sim_anatomy`. Activity by tissue is blurred by the scanner, counted
(Poisson), divided by what a count means, and smoothed as reconstruction does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared import sim_anatomy
from ..shared.nifti import save_image
from ..shared.words import count, digits

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

GROUPS = ("control", "patient")
#: Uptake in the long run, over that of grey matter in the reference region.
UPTAKE = {"CSF": 0.1, "GM": 1.15, "WM": 0.85, "bone": 0.25, "fat": 0.15, "muscle": 0.35}
#: Grey matter of the cerebellum takes up the tracer without binding it.
REFERENCE = [(-26.0, -66.0, -40.0), (26.0, -66.0, -40.0)]
REFERENCE_RADIUS = 22.0
#: Activity of the reference region in the long run, corrected for decay, Bq/ml.
LEVEL = 8000.0
#: Half-life of fluorine-18, s.
HALF_LIFE = 6586.2
#: Uptake nears its final ratio with this time constant, s.
SETTLING = 1200.0


@component
class PetUptake(Simulator):
    """One PET scan and one T1-weighted image a subject; patients take up more in the region.

    Uptake of tissue with final ratio ``r`` is, ``t`` after injection, ``1 + (r - 1) * (1 - exp(-t / 20 min))`` times
    that of the reference region.

    Parameters
    ----------
    n_subjects, n_sites : int
        Both groups are equally large at each site; sites differ in resolution and counts.
    mm, t1_mm : float
        Voxel sizes of PET and T1-weighted image.
    ratio : float
        Uptake of the region's grey matter in controls, over that of the reference region's, in the long run.
    effect : float
        What patients have more of it.
    region, radius : list of list of float, float
        Centres and radius of the balls that make the region, template space, mm. By default precuneus and medial
        prefrontal cortex.
    variation : float
        Standard deviation of the ratio between subjects of a group.
    start : float
        When the scan begins after the injection, s.
    frames : list of float
        Duration of each frame, s. One makes a static image, three-dimensional.
    counts : float
        Counts in a voxel of 4 mm of the reference region in 5 minutes.
    fwhm : float
        Resolution of the scanner (full width at half maximum), mm; reconstruction smooths by half of it again.
    shift, turn : float
        Standard deviation of where the head lies against the T1-weighted image: mm, degrees, in each direction.
    shape : float
        Root mean square of the displacement that makes heads differ, mm.

    Raises
    ------
    InputError
        If the region touches the reference region.

    """

    datatype = "pet"
    family = "mri"
    tiny = {"n_subjects": 2, "mm": 8.0, "t1_mm": 7.0, "frames": [300.0, 300.0]}

    n_subjects: Count = 24
    n_sites: Count = 2
    mm: Annotated[float, Field(ge=1, le=20)] = 4.0
    t1_mm: Annotated[float, Field(ge=1, le=20)] = 3.0
    ratio: Positive = 1.2
    effect: Annotated[float, Field(ge=-1, le=5)] = 0.5
    region: Annotated[list[tuple[float, float, float]], Field(min_length=1)] = [(0, -62, 36), (0, 52, 8)]
    radius: Positive = 20.0
    variation: NotNegative = 0.1
    start: NotNegative = 3000.0
    frames: Annotated[list[Positive], Field(min_length=1)] = [300.0, 300.0, 300.0, 300.0]
    counts: Positive = 200.0
    fwhm: NotNegative = 6.0
    shift: NotNegative = 4.0
    turn: NotNegative = 3.0
    shape: NotNegative = 3.0

    def __post_init__(self) -> None:
        """Refuse a region without a reference."""
        gaps = np.linalg.norm(np.array(self.region, float)[:, None] - np.array(REFERENCE), axis=-1)
        if gaps.min() < self.radius + REFERENCE_RADIUS:
            remedy = "move the region away from the cerebellum, or lower radius"
            raise InputError("simulators/pet_uptake", "the region touches the reference region", remedy)

    def uptake(self, fwhm: float) -> np.ndarray:
        """Return maps that make an image, blurred by a scanner of ``fwhm`` mm, ``(3, x, y, z)`` on the model's grid.

        Final uptake over the reference region's where the region has the uptake of other grey matter; the grey
        matter of the region; all of the head.
        """
        model, _ = sim_anatomy.head()
        places = sim_anatomy.model_positions()
        reference = sim_anatomy.ball(places, np.array(REFERENCE), REFERENCE_RADIUS) * model[..., 1]
        region = sim_anatomy.ball(places, np.array(self.region, float), self.radius) * model[..., 1]
        base = sim_anatomy.mixture(model, UPTAKE) + reference * np.float32(1 - UPTAKE["GM"])
        voxel = max(self.mm**2 - sim_anatomy.MODEL_MM**2, 0)
        spread = np.hypot(fwhm, np.sqrt(voxel))
        return np.stack(
            [sim_anatomy.blur(part, spread, sim_anatomy.MODEL_MM) for part in (base, region, model.sum(axis=-1))]
        )

    def settled(self) -> np.ndarray:
        """Return how far uptake has come in each frame on its way to the final ratio, 0 to 1: means over frames."""
        ends = self.start + np.cumsum(self.frames)
        begins = ends - np.array(self.frames)
        falls = np.exp(-begins / SETTLING) - np.exp(-ends / SETTLING)
        return 1 - SETTLING * falls / np.array(self.frames)

    def reference(self) -> np.ndarray:
        """Return the activity of the reference region in each frame, decay corrected, Bq/ml."""
        middle = self.start + np.cumsum(self.frames) - np.array(self.frames) / 2
        return LEVEL * (1 - np.exp(-middle / 60)) * (1 + 1.5 * np.exp(-middle / 1500))

    def scan(
        self, maps: np.ndarray, ratio: float, to_template: Any, fwhm: float, counts: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames, ``(x, y, z, n_frames)`` in Bq/ml, and the affine.

        Parameters
        ----------
        maps : array, (3, x, y, z)
            Of :meth:`uptake`.
        ratio : float
            Final uptake of the region over that of the reference region.
        to_template : callable
            From positions in the scanner to those in template space, mm.
        fwhm, counts : float
            Of this site; counts of 0 mean no noise, and no smoothing against it.
        rng : Generator

        """
        shape, affine = sim_anatomy.grid(self.mm)
        seen = to_template(sim_anatomy.positions(affine, shape))
        base, region, body = (sim_anatomy.sample(part, sim_anatomy.head()[1], seen).reshape(shape) for part in maps)
        bound = base + np.float32(ratio - UPTAKE["GM"]) * region
        begins = self.start + np.cumsum(self.frames) - np.array(self.frames)
        made = np.empty((*shape, len(self.frames)), np.float32)
        for n, (settled, level) in enumerate(zip(self.settled(), self.reference(), strict=True)):
            # Tissue without binding is at the reference's level from the first.
            activity = level * (body + settled * (bound - body)).clip(0)
            if counts > 0:
                decay = 2 ** (-(begins[n] + self.frames[n] / 2) / HALF_LIFE)
                each = counts / LEVEL * (self.mm / 4) ** 3 * self.frames[n] / 300 * decay * 2 ** (3600 / HALF_LIFE)
                # A floor of random coincidences, which correction removes in the mean.
                randoms = 0.05 * level
                activity = rng.poisson(each * (activity + randoms)) / each - randoms
            made[..., n] = sim_anatomy.blur(activity.astype(np.float32), fwhm / 2 if counts > 0 else 0, self.mm)
        return made, affine

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        people = sim_anatomy.People.drawn(self.n_subjects, self.n_sites, GROUPS, truth == "absent", seed)
        site_rng = np.random.default_rng([seed, 3])
        scanners = [sim_anatomy.Scanner.drawn(site_rng, number) for number in range(self.n_sites)]
        blurs = (self.fwhm * (1 + 0.2 * site_rng.random(self.n_sites))).tolist()
        counts = (self.counts * np.exp(0.3 * site_rng.standard_normal(self.n_sites))).tolist()
        maps = [self.uptake(blur) for blur in blurs]
        subjects = people.facts()
        for number, label in enumerate(people.labels):
            rng = np.random.default_rng([seed, 2, number])
            warp = sim_anatomy.Warp.drawn(rng, self.shape)
            site = int(people.site[number].removeprefix("site")) - 1
            t1, t1_affine = sim_anatomy.t1_image(sim_anatomy.head()[0], warp, scanners[site], self.t1_mm, 0.03, rng)
            t1, t1_affine = sim_anatomy.turned(t1, t1_affine, scanners[site].orientation)
            sim_anatomy.write_t1(root, label, t1, t1_affine, people.site[number])
            ratio = self.ratio + self.effect * float(people.severity[number])
            ratio += self.variation * float(np.clip(rng.standard_normal(), -2, 2))
            lying = np.concatenate(
                [
                    self.shift * rng.standard_normal(3).clip(-2, 2),
                    np.radians(self.turn) * rng.standard_normal(3).clip(-2, 2),
                ]
            )
            to_t1 = sim_anatomy.rigid(lying, np.zeros(3))
            dose = float(np.round(rng.normal(185, 10), 1))
            frames, affine = self.scan(
                maps[site],
                ratio,
                lambda points, to_t1=to_t1, warp=warp: warp.to_template(points @ to_t1[:3, :3].T + to_t1[:3, 3]),
                blurs[site],
                counts[site],
                rng,
            )
            self._write(root, label, frames, affine, dose, blurs[site])
            subjects[f"sub-{label}"] |= {
                "ratio": ratio,
                "pet_to_t1w": to_t1.tolist(),
                "landmarks_t1w_mm": sim_anatomy.landmarks(warp),
            }
        sim_anatomy.describe(root, "Simulated PET", _README, people, _LEVELS)
        return {
            "contrast": "regional_uptake",
            "effect": self.effect,
            "truth": truth,
            "ratio": {"control": self.ratio, "patient": self.ratio + self.effect},
            "region": {"centres_mni_mm": [list(centre) for centre in self.region], "radius_mm": self.radius},
            "reference": {"centres_mni_mm": [list(centre) for centre in REFERENCE], "radius_mm": REFERENCE_RADIUS},
            "settled": self.settled().tolist(),
            "reference_bq_per_ml": self.reference().tolist(),
            "pet_to_t1w_convention": "affine from positions of the PET image to positions of the T1w image, mm",
            "fwhm_mm": {f"site{number + 1}": fwhm for number, fwhm in enumerate(blurs)},
            "landmarks_mni_mm": [list(map(float, place)) for place in sim_anatomy.LANDMARKS.values()],
            "subjects": subjects,
        }

    def _write(self, root: Path, label: str, frames: np.ndarray, affine: np.ndarray, dose: float, fwhm: float) -> None:
        """Write one scan and its sidecar."""
        folder = root / f"sub-{label}" / "pet"
        folder.mkdir(parents=True)
        path = folder / f"sub-{label}_pet.nii.gz"
        data = frames if frames.shape[-1] > 1 else frames[..., 0]
        # Whole Bq/ml: a count means more than that. Randoms leave some values below zero.
        repetition = self.frames[0] if len(set(self.frames)) == 1 and data.ndim == 4 else None
        save_image(data, affine, path, dtype=np.int32, repetition_time=repetition)
        starts = self.start + np.cumsum(self.frames) - np.array(self.frames)
        content = sim_anatomy.SCANNER | _PET
        content |= {
            "InjectedRadioactivity": dose,
            "SpecificRadioactivity": round(dose / _PET["InjectedMass"], 3),
            "MolarActivity": round(dose / _PET["InjectedMass"] * _PET["TracerMolecularWeight"] / 1000, 3),
            "ScanStart": self.start,
            "FrameTimesStart": (starts - self.start).tolist(),
            "FrameDuration": list(self.frames),
            "DecayCorrectionFactor": [
                float(2 ** ((time + length / 2) / HALF_LIFE)) for time, length in zip(starts, self.frames, strict=True)
            ],
            **{key: [0.0] * len(self.frames) for key in ("ScatterFraction", "PromptRate", "RandomRate", "SinglesRate")},
            "ScaleFactor": [1.0] * len(self.frames),
            "ReconFilterSize": round(fwhm / 2, 3),
            "ReconMethodParameterLabels": ["resolution"],
            "ReconMethodParameterUnits": ["mm"],
            "ReconMethodParameterValues": [round(fwhm, 3)],
        }
        write_text(folder / f"sub-{label}_pet.json", to_json(content))

    def described(self) -> str:
        """Return what it does, in words."""
        where = "precuneus and medial prefrontal cortex" if self.region == type(self)().region else "the region"
        return (
            f"A PET scan of {count(len(self.frames), 'frame')} ({digits(sum(self.frames) / 60)} min, from"
            f" {digits(self.start / 60)} min after injection, voxels of {digits(self.mm)} mm) and a T1-weighted image"
            f" were simulated for each of {count(self.n_subjects, 'participant')} at {count(self.n_sites, 'site')}:"
            f" activity by tissue, blurred by a scanner of {digits(self.fwhm)} mm and counted. Grey matter within"
            f" {digits(self.radius)} mm of {where} takes up {digits(self.ratio)} times as much as the cerebellum in"
            f" controls, and {digits(self.effect)} more in patients."
        )


_PET = {
    "Modality": "PT",
    "BodyPart": "BRAIN",
    "Units": "Bq/mL",
    "TracerName": "simulated tracer",
    "TracerRadionuclide": "F18",
    "TracerMolecularWeight": 361.4,
    "TracerMolecularWeightUnits": "g/mol",
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": 2.0,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivityUnits": "MBq/ug",
    "ModeOfAdministration": "bolus",
    "TimeZero": "10:00:00",
    "InjectionStart": 0,
    "InjectionEnd": 10,
    "AcquisitionMode": "list mode",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "ReconMethodName": "none (simulated)",
    "ReconFilterType": "Gaussian",
    "AttenuationCorrection": "none (simulated)",
    "AttenuationCorrectionMethodReference": "none (simulated)",
    "ReconMethodImplementationVersion": __version__,
    "DoseCalibrationFactor": 1.0,
    "InfusionRadioactivity": 0.0,
    "InfusionStart": 0.0,
    "InfusionSpeed": 0.0,
    "InfusionSpeedUnits": "mL/s",
    "InjectedMassPerWeight": round(2.0 / 70, 6),
    "InjectedMassPerWeightUnits": "ug/kg",
    "InjectedVolume": 10.0,
    "MolarActivityUnits": "GBq/umol",
    "MolarActivityMeasTime": "10:00:00",
    "SpecificRadioactivityMeasTime": "10:00:00",
    "Purity": 99.0,
    "PharmaceuticalName": "none",
    "PharmaceuticalDoseAmount": 0.0,
    "PharmaceuticalDoseUnits": "mg",
    "PharmaceuticalDoseRegimen": "none",
    "PharmaceuticalDoseTime": 0.0,
    "TracerRadLex": "n/a",
    "TracerSNOMED": "n/a",
}
_LEVELS = {"control": "Control.", "patient": "Patient."}
_README = """\
Simulated PET
No person was recorded. Every head is a template (ICBM 152, nonlinear, symmetric, 2009a) that was bent to another shape,
with a made-up skull, scalp, face and neck. Activity by tissue is blurred as by a scanner, and counted. The images are
corrected for decay, attenuation, scatter and randoms; where a head lies is not that of its T1-weighted image.
"""
