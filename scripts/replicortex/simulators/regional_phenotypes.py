"""T1-weighted images in the standard space, with regions of each subject's own shape and a phenotype of one of them.

A BIDS derivative dataset, as sMRIPrep with FreeSurfer would leave it: image, brain mask, map of grey matter and regions
of each subject after a linear transform. Brains are the template of nilearn, bent for each subject by a displacement
that is known (see :mod:`replicortex.shared.sim_anatomy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..errors import InputError, did_you_mean
from ..files import to_json, to_tsv, write_text
from ..shared import sim_anatomy
from ..shared.nifti import SPACE, save_image, template
from ..shared.words import count, digits, percent, text

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

#: Regions on both sides: a place of the left one in template space (mm; the right one mirrors it), and the labels that
#: FreeSurfer gives the two. Each holds the grey matter that is nearer to its place than to any other.
REGIONS: dict[str, tuple[tuple[float, float, float], tuple[int, int]]] = {
    "hippocampus": ((-28, -20, -16), (17, 53)),
    "thalamus": ((-11, -18, 8), (10, 49)),
    "caudate": ((-11, 15, 6), (11, 50)),
    "putamen": ((-26, 4, 2), (12, 51)),
    "cerebellum": ((-26, -62, -38), (8, 47)),
    "precentral": ((-38, -24, 56), (1024, 2024)),
    "frontal_pole": ((-14, 62, 6), (1032, 2032)),
    "temporal_pole": ((-42, 12, -32), (1033, 2033)),
    "lateral_occipital": ((-30, -86, 2), (1011, 2011)),
    "superior_parietal": ((-24, -60, 56), (1029, 2029)),
    "superior_temporal": ((-58, -20, 4), (1030, 2030)),
    "inferior_frontal": ((-48, 28, 6), (1020, 2020)),
    "medial_frontal": ((-8, 42, 34), (1028, 2028)),
    "fusiform": ((-36, -52, -18), (1007, 2007)),
    "precuneus": ((-8, -60, 38), (1025, 2025)),
}
_STEM = f"space-{SPACE}"


@dataclass(frozen=True)
class Stage:
    """What all subjects share: maps in template space on a coarse grid, and the grid of the images."""

    affine: np.ndarray
    #: T1-weighted signal without loss, and what each region's signal changes by if all its grey matter is lost.
    signal: np.ndarray
    change: np.ndarray
    grey: np.ndarray
    brain: np.ndarray
    #: Number of the region of each voxel, 1, 2, ... on the left and from R + 1 on the right; 0 outside of all.
    label: np.ndarray
    shape: tuple[int, int, int]
    grid: np.ndarray


@component
class RegionalPhenotypes(Simulator):
    """People whose regions lose grey matter each by its own amount, and a table with the volume of one region.

    Losses share a part between regions, so that the volume of any region tells something of all others; what is left
    when that is taken away is seen in the region alone. If the truth is absent the brains are dealt out anew among
    people, and the table stays.

    Parameters
    ----------
    n_subjects : int
    mm : float
        Voxel size.
    region : str
        The region whose volume, on both sides, is in the table of participants.
    loss, spread : float
        Mean and standard deviation of the share of grey matter that a region has lost.
    common : float
        Share of the variance of losses that all regions have in common.
    amplitude : float
        Root mean square of the displacement that makes brains differ, mm in each direction.
    noise : float
        Standard deviation of the noise over the signal of white matter.
    error : float
        Error of the volume in the table, in standard deviations of the volume over people.

    Raises
    ------
    InputError
        If there is no such region.
    """

    datatype = "anat"
    family = "mri"
    tiny = {"n_subjects": 4, "mm": 14.0}

    n_subjects: Count = 300
    mm: Annotated[float, Field(ge=2, le=20)] = 10.0
    region: str = "hippocampus"
    loss: Annotated[float, Field(ge=0, le=0.9)] = 0.35
    spread: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    common: Share = 0.4
    amplitude: NotNegative = 2.0
    noise: NotNegative = 0.02
    error: NotNegative = 0.1

    def __post_init__(self) -> None:
        """Refuse an unknown region."""
        if self.region not in REGIONS:
            raise InputError(
                "simulators/regional_phenotypes", f"no region {self.region!r}", did_you_mean(self.region, REGIONS)
            )

    def stage(self) -> Stage:
        """Return what all subjects share."""
        from scipy import spatial

        model, affine = sim_anatomy.head(skull=False)
        left = np.array([place for place, _ in REGIONS.values()], dtype=float)
        brain = model[..., :3].sum(axis=-1) > 0.5
        inside = brain & (model[..., 1] > 0.2)
        tree = spatial.cKDTree(np.concatenate([left, left * [-1, 1, 1]]))
        label = np.zeros(brain.shape, np.int16)
        label[inside] = tree.query(sim_anatomy.model_positions()[inside])[1] + 1
        step = max(1, round(self.mm / sim_anatomy.MODEL_MM / 2))
        size = step * sim_anatomy.MODEL_MM
        coarse = affine @ np.diag([step, step, step, 1.0])
        coarse[:3, 3] += (step - 1) / 2 * sim_anatomy.MODEL_MM

        def thin(volume: np.ndarray) -> np.ndarray:
            # A voxel is the mean of what lies in it.
            shape = [n // step for n in volume.shape]
            cut = volume[tuple(slice(n * step) for n in shape)].astype(np.float32)
            blocks = cut.reshape(shape[0], step, shape[1], step, shape[2], step).mean(axis=(1, 3, 5))
            return sim_anatomy.blur(blocks, np.sqrt(max(self.mm**2 - size**2, 0)), size)

        grey = model[..., 1]
        fall = sim_anatomy.T1_SIGNAL["CSF"] - sim_anatomy.T1_SIGNAL["GM"]
        both = [np.isin(label, (number + 1, number + 1 + len(left))) * grey for number in range(len(left))]
        mask = template("mask", self.mm)
        return Stage(
            affine=coarse,
            signal=thin(sim_anatomy.mixture(model, sim_anatomy.T1_SIGNAL)),
            change=np.stack([fall * thin(part) for part in both]),
            grey=np.stack([thin(part) for part in both] + [thin(grey * (label == 0))]),
            brain=thin(brain),
            label=label,
            shape=mask.shape,
            grid=mask.affine,
        )

    def losses(self, number: int, seed: int) -> np.ndarray:
        """Return the share of grey matter that each region of subject ``number`` (0, 1, ...) has lost."""
        rng = np.random.default_rng([seed, 2, number])
        shared, own = rng.standard_normal(), rng.standard_normal(len(REGIONS))
        return np.clip(
            self.loss + self.spread * (np.sqrt(self.common) * shared + np.sqrt(1 - self.common) * own), 0, 0.95
        )

    def subject(self, number: int, stage: Stage, seed: int) -> dict[str, np.ndarray]:
        """Return ``image``, ``brain``, ``grey`` and ``label`` of a subject on the grid, and its ``volumes`` (mL)."""
        losses = self.losses(number, seed)
        rng = np.random.default_rng([seed, 4, number])
        warp = sim_anatomy.Warp.drawn(rng, self.amplitude, posed=False)
        seen = warp.to_template(sim_anatomy.positions(stage.grid, stage.shape))
        signal = stage.signal + np.tensordot(losses, stage.change, axes=1)
        image = sim_anatomy.sample(signal, stage.affine, seen)
        white = sim_anatomy.T1_SIGNAL["WM"]
        image = np.hypot(image + self.noise * white * rng.standard_normal(len(seen)),
                         self.noise * white * rng.standard_normal(len(seen)))  # fmt: skip
        brain = sim_anatomy.sample(stage.brain, stage.affine, seen) > 0.5
        kept = np.append(1 - losses, 1.0)
        grey = sim_anatomy.sample(np.tensordot(kept, stage.grey, axes=1), stage.affine, seen).clip(0, 1)
        label = sim_anatomy.sample(stage.label, sim_anatomy.head()[1], seen, order=0).astype(np.int16)
        parts = [sim_anatomy.sample(part, stage.affine, seen).sum(dtype=float) for part in stage.grey[:-1]]
        made = {"image": 1000 * image * brain, "brain": brain, "grey": grey * brain, "label": label}
        made = {name: values.reshape(stage.shape) for name, values in made.items()}
        return made | {"volumes": np.array(parts) * kept[:-1] * self.mm**3 / 1000}

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        stage, names = self.stage(), list(REGIONS)
        codes = np.array([0, *(pair[0] for _, pair in REGIONS.values()), *(pair[1] for _, pair in REGIONS.values())])
        width = max(2, len(str(self.n_subjects)))
        # Without an effect everybody has somebody else's brain; the table is the same.
        order = np.arange(self.n_subjects)
        order = order if truth == "planted" else np.random.default_rng([seed, 3]).permutation(order)
        volumes: dict[int, np.ndarray] = {}
        for number, whose in enumerate(order.tolist()):
            made = self.subject(whose, stage, seed)
            volumes[whose] = made.pop("volumes")
            self._write(root, f"sub-{number + 1:0{width}d}", stage, made, codes)
        told = np.array([volumes[number][names.index(self.region)] for number in range(self.n_subjects)])
        told = told + self.error * told.std() * np.random.default_rng([seed, 1]).standard_normal(len(told))
        about = np.random.default_rng([seed, 0])
        rows = [
            {
                "participant_id": f"sub-{number + 1:0{width}d}",
                "age": round(float(about.uniform(45, 80)), 1),
                "sex": str(about.choice(["F", "M"])),
                f"{self.region}_ml": round(float(value), 4),
            }
            for number, value in enumerate(told)
        ]
        self._describe(root, rows)
        return {
            "contrast": "regional_phenotype",
            "truth": truth,
            "region": self.region,
            "labels": {name: list(pair) for name, (_, pair) in REGIONS.items()},
            "common": self.common,
            "volumes_ml": {
                row["participant_id"]: volumes[whose].tolist() for row, whose in zip(rows, order, strict=True)
            },
        }

    def _write(self, root: Path, name: str, stage: Stage, made: dict[str, np.ndarray], codes: np.ndarray) -> None:
        folder = root / name / "anat"
        folder.mkdir(parents=True)
        files = {
            "desc-preproc_T1w": (made["image"], np.int16, {"SkullStripped": True}),
            "desc-brain_mask": (made["brain"].astype(np.uint8), np.uint8, {"Type": "Brain"}),
            "label-GM_probseg": (made["grey"], np.float32, {}),
            "desc-aparcaseg_dseg": (codes[made["label"]], np.int16, {}),
        }
        for ending, (data, kind, more) in files.items():
            stem = folder / f"{name}_{_STEM}_{ending}"
            save_image(data, stage.grid, stem.with_name(f"{stem.name}.nii.gz"), dtype=kind)
            # That of the regions is described once, beside the table of their names.
            about = {"Description": _WORDS[ending], "SpatialReference": _TEMPLATE} if ending in _WORDS else {}
            sidecar = {**about, "Sources": [], **more}
            write_text(stem.with_name(f"{stem.name}.json"), to_json(sidecar))

    def _describe(self, root: Path, rows: list[dict[str, Any]]) -> None:
        columns = {
            "age": {"Description": "Age of the simulated participant.", "Units": "year"},
            "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
            f"{self.region}_ml": {
                "Description": f"Grey matter of the {self.region.replace('_', ' ')} on both sides, by another tool.",
                "Units": "mL",
            },
        }
        description = {
            "Name": "Simulated regional phenotypes",
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
        labels = [
            {"index": code, "name": f"{side}-{name}"}
            for name, (_, pair) in REGIONS.items()
            for side, code in zip(("Left", "Right"), pair, strict=True)
        ]
        write_text(root / "desc-aparcaseg_dseg.tsv", to_tsv(labels, ["index", "name"]))
        about = {
            "Description": "Regions of each participant, numbered as by FreeSurfer.",
            "SpatialReference": _TEMPLATE,
        }
        write_text(root / "desc-aparcaseg_dseg.json", to_json(about))

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"T1-weighted images of {count(self.n_subjects, 'participant')} in the standard space were simulated"
            f" (voxels of {digits(self.mm)} mm) from the template, bent by {digits(self.amplitude)} mm (root mean"
            f" square in each direction), with noise of {percent(self.noise)} of the signal of white matter. Each of"
            f" {count(len(REGIONS), 'region')} had lost {percent(self.loss)} of its grey matter, with a standard"
            f" deviation of {percent(self.spread)}, {percent(self.common)} of the variance common to all. The table of"
            f" participants gives the grey matter of the {self.region.replace('_', ' ')}, with an error of"
            f" {percent(self.error)} of its standard deviation.",
        )


_TEMPLATE = f"{SPACE}: the template that nilearn ships"
_WORDS = {
    "desc-preproc_T1w": "Simulated T1-weighted image of the brain in standard space.",
    "desc-brain_mask": "Where the brain is.",
    "label-GM_probseg": "Share of grey matter.",
}
_README = """\
Simulated regional phenotypes
=============================

No person was recorded. Every image is a template brain (ICBM 152, nonlinear, symmetric, 2009a) that was bent to another
shape and whose regions have each lost some grey matter. The table of participants gives the volume of one region, as
another tool would have measured it.
"""
