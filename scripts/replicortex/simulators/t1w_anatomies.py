"""T1-weighted images of whole heads, each of another shape, with grey matter lost in one region.

Heads are the template of nilearn with scalp and skull (see :mod:`replicortex.shared.sim_anatomy`), deformed by a
displacement and an affine that are known both ways. Sites differ in gain, contrast, receive field and in the order
in which the axes of the image are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..shared import sim_anatomy
from ..shared.words import count, digits, percent, text

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

GROUPS = ("control", "patient")


@component
class T1wAnatomies(Simulator):
    """One T1-weighted image a subject; in the region, grey matter is lost with the outcome.

    Where a share of the grey matter is lost, fluid takes its place: the grey matter's volume in the region is
    smaller by that share in every subject's own space.

    Parameters
    ----------
    n_subjects, n_sites : int
        Both groups are equally large at each site.
    mm : float
        Voxel size. The model of the head has 2 mm: finer images show no more.
    outcome : {"group", "age"}
        What the loss follows: none in controls and ``effect`` in patients, or growing from none at an age of 20
        to ``effect`` at 80 (then groups do not differ).
    effect : float
        The share of the grey matter that is lost, from 0 to 0.9.
    region, radius : list of list of float, float
        Centres and radius of the balls that make the region, template space, mm. By default both hippocampi.
    variation : float
        Standard deviation, between subjects and from place to place (over 40 mm), of a loss of grey matter that
        nobody planted.
    amplitude : float
        Root mean square of the displacement in each direction, mm.
    sites : float
        How much sites differ: 0 not at all, 1 as much as scanners do.
    noise : float
        Standard deviation of the (Rician) noise over the signal of white matter.
    skull : bool
        Whether there is a head around the brain.

    """

    datatype = "anat"
    family = "mri"
    tiny = {"n_subjects": 2, "mm": 7.0}

    n_subjects: Count = 40
    n_sites: Count = 2
    mm: Annotated[float, Field(ge=1, le=20)] = 3.0
    outcome: Literal["group", "age"] = "group"
    effect: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    region: Annotated[list[tuple[float, float, float]], Field(min_length=1)] = [(-28, -20, -16), (28, -20, -16)]
    radius: Positive = 12.0
    variation: Annotated[float, Field(ge=0, le=0.2)] = 0.04
    amplitude: NotNegative = 3.0
    sites: Annotated[float, Field(ge=0, le=3)] = 1.0
    noise: NotNegative = 0.03
    skull: bool = True

    def people(self, truth: str, seed: int) -> sim_anatomy.People:
        """Return who takes part."""
        return sim_anatomy.People.drawn(self.n_subjects, self.n_sites, GROUPS, truth == "absent", seed, self.outcome)

    def subject(
        self, number: int, severity: float, weight: np.ndarray, seed: int
    ) -> tuple[sim_anatomy.Warp, np.ndarray]:
        """Return the shape of subject ``number`` (0, 1, ...) and its tissues in template space, ``(x, y, z, 6)``.

        ``weight``, of :meth:`weight`, says how far each voxel belongs to the region.
        """
        rng = np.random.default_rng([seed, 2, number])
        warp = sim_anatomy.Warp.drawn(rng, self.amplitude)
        model, _ = sim_anatomy.head(self.skull)
        # Mostly a loss: nobody has more grey matter than there is room.
        loss = self.variation * (2 + sim_anatomy.mottled(rng, model.shape[:3]))
        loss += np.float32(self.effect * severity) * weight
        return warp, sim_anatomy.shrunk(model, loss.clip(0, 1))

    def weight(self) -> np.ndarray:
        """Return how far each voxel of the model belongs to the region, 0 to 1, ``(x, y, z)``."""
        return sim_anatomy.ball(sim_anatomy.model_positions(), np.array(self.region, float), self.radius)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        people = self.people(truth, seed)
        site_rng = np.random.default_rng([seed, 3])
        scanners = [sim_anatomy.Scanner.drawn(site_rng, number, self.sites) for number in range(self.n_sites)]
        weight, affine = self.weight(), sim_anatomy.head()[1]
        subjects = people.facts()
        for number, label in enumerate(people.labels):
            warp, tissues = self.subject(number, float(people.severity[number]), weight, seed)
            scanner = scanners[int(people.site[number].removeprefix("site")) - 1]
            rng = np.random.default_rng([seed, 4, number])
            image, image_affine = sim_anatomy.t1_image(tissues, warp, scanner, self.mm, self.noise, rng)
            image, image_affine = sim_anatomy.turned(image, image_affine, scanner.orientation)
            sim_anatomy.write_t1(root, label, image, image_affine, people.site[number])
            shape, fine = sim_anatomy.grid(3.0)
            seen = warp.to_template(sim_anatomy.positions(fine, shape))
            in_region = sim_anatomy.sample(tissues[..., 1] * weight, affine, seen).sum(dtype=float) * 27
            subjects[f"sub-{label}"] |= {
                "affine": warp.affine.tolist(),
                "landmarks_scanner_mm": sim_anatomy.landmarks(warp),
                "volumes_mm3": sim_anatomy.volumes(tissues, warp),
                "region_grey_matter_mm3": float(in_region),
            }
        sim_anatomy.describe(root, "Simulated anatomies", _README, people, _LEVELS)
        return {
            "contrast": "regional_atrophy",
            "outcome": self.outcome,
            "effect": self.effect,
            "truth": truth,
            "region": {"centres_mni_mm": [list(centre) for centre in self.region], "radius_mm": self.radius},
            "landmarks": list(sim_anatomy.LANDMARKS),
            "landmarks_mni_mm": [list(map(float, place)) for place in sim_anatomy.LANDMARKS.values()],
            "sites": {
                f"site{number + 1}": {"gain": s.gain, "gamma": s.gamma, "orientation": s.orientation}
                for number, s in enumerate(scanners)
            },
            "subjects": subjects,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        follows = (
            f"{percent(self.effect)} of it in patients and none in controls"
            if self.outcome == "group"
            else f"from none at an age of 20 to {percent(self.effect)} at 80"
        )
        both = self.region == type(self)().region
        where = "both hippocampi" if both else count(len(self.region), "place")
        return text(
            f"T1-weighted images of {count(self.n_subjects, 'participant')} at {count(self.n_sites, 'site')} were"
            f" simulated (voxels of {digits(self.mm)} mm): heads of different shape, and contrast, gain and receive"
            f" field that differ between sites. Grey matter is lost within {digits(self.radius)} mm of {where}:"
            f" {follows}.",
        )


_LEVELS = {"control": "Control.", "patient": "Patient."}
_README = """\
Simulated anatomies
No person was recorded. Every image is a template head (ICBM 152, nonlinear, symmetric, 2009a) that was bent to another
shape, with a made-up skull, scalp, face and neck around the brain, as one of several scanners would show it:
with its own gain, contrast, uneven receive field and noise.

Grey matter varies from person to person. Groups and ages are balanced over the scanners.
"""
