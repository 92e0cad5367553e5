"""Preprocessed fMRI whose voxel graphs differ between groups in their triangles and not in their degrees.

Within a region, every voxel has three partners with which it is correlated. In some people partners of partners are
partners (four voxels, all six pairs: three triangles at each voxel), in others never (ten voxels of a Petersen graph:
no triangle, and no cycle of four either). The correlation of partners is the same in both, and so is that of all
others, hence every pair passes any threshold equally often: degrees have the same distribution, cycles do not. Who is
whose partner is drawn anew for each person, so that no single connection tells the groups apart.

The Petersen graph is triangle-free with least eigenvalue -2, therefore partners can be correlated by up to a half
beyond what the region shares (Holton and Sheehan 1993, The Petersen Graph, doi:10.1017/CBO9780511662058).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, to_tsv, write_text
from ..shared import sim_anatomy, sim_bold
from ..shared.nifti import SPACE, save_image, template
from ..shared.words import count, digits, percent

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

GROUPS = ("control", "adhd")
TASK = "rest"
#: Voxels of a block: the least that both graphs divide.
BLOCK = 20
#: Middles of the networks of the rest of the brain, template space, mm.
NETWORKS = (
    *((0, 50, 4), (-44, -64, 34), (44, -64, 34), (-40, -24, 54), (40, -24, 54), (0, -88, 4)),
    *((-44, 20, 4), (44, 20, 4), (0, -62, -36), (-30, -24, -18), (30, -24, -18)),
)
#: Correlation from one volume to the next.
MEMORY = 0.3
#: Part of a voxel's variance, of that which partners share, that makes them partners: a half is the most there can be.
PARTNERS = 0.48


@dataclass(frozen=True)
class Space:
    """The voxels of the brain: indices ``(n, 3)``, positions (mm), network of each, and which are in the region."""

    shape: tuple[int, ...]
    affine: np.ndarray
    mask: np.ndarray
    positions: np.ndarray
    network: np.ndarray
    region: np.ndarray
    radius: float


@component
class NetworkBold(Simulator):
    """A derivative dataset as fMRIPrep writes it: series in standard space with confounds.

    Every voxel's series has unit variance: a share ``common`` from its network, the rest its own, smooth over
    neighbours outside of the region, wired to partners inside. Noise of the site and confounds (movement, fluid, white
    matter, drift) come on top, the same for both groups. Thresholds between the correlations of partners and of
    others show the wiring, best the one in the facts, once the confounds are regressed out.

    Parameters
    ----------
    contrast : {"cycles", "degree"}
        ``"cycles"``: the affected have all-to-all fours, the others Petersen graphs. ``"degree"``: the affected have
        Petersen graphs (three partners), the others pairs (one partner), and neither has triangles.
    effect : float
        The share of the region's blocks of 20 voxels that is wired like that in the affected; the others are wired as
        in everyone else.
    n_subjects, n_sites : int
        Both groups are equally large at each site; sites differ in noise and movement.
    n_volumes, tr : int, float
        Number of volumes, and the time from one to the next, s.
    mm : float
        Voxel size. The template has 1,090 voxels of 12 mm, 1,880 of 10, 3,670 of 8.
    region : tuple of float
        Middle of the region, template space, mm.
    n_voxels : int
        Voxels of the region, those of grey matter nearest to its middle; a multiple of 20.
    common : float
        Correlation of two voxels of a network that nothing else connects.
    noise : float
        Part of the noise in a voxel's variance, averaged over sites.
    motion : float
        Scale of the movement (see :func:`~replicortex.shared.sim_bold.movement`).
    confounds : float
        Variance of each confound in a voxel, over that of its signal.

    Raises
    ------
    InputError
        If the region does not fit the brain.

    """

    datatype = "func"
    family = "mri"
    tiny = {"n_subjects": 2, "n_volumes": 30, "n_voxels": 20, "mm": 16.0}

    contrast: Literal["cycles", "degree"] = "cycles"
    effect: Annotated[float, Field(ge=0, le=1)] = 1.0
    n_subjects: Count = 40
    n_sites: Count = 4
    n_volumes: Annotated[int, Field(ge=20)] = 180
    tr: Positive = 2.0
    mm: Annotated[float, Field(ge=4, le=16)] = 12.0
    region: tuple[float, float, float] = (0.0, -50.0, 28.0)
    n_voxels: Annotated[int, Field(ge=BLOCK, multiple_of=BLOCK)] = 60
    common: Annotated[float, Field(ge=0, le=0.6)] = 0.1
    noise: Annotated[float, Field(ge=0, le=0.8)] = 0.1
    motion: NotNegative = 1.0
    confounds: NotNegative = 0.04

    def space(self) -> Space:
        """Return the voxels of the brain.

        Raises
        ------
        InputError
            If the region leaves no brain around it.

        """
        mask_image = template("mask", self.mm)
        mask = mask_image.get_fdata(dtype=np.float32) > 0
        places = np.argwhere(mask) @ mask_image.affine[:3, :3].T + mask_image.affine[:3, 3]
        # Of grey matter, so that who looks there alone sees all of the region.
        grey = template("GM", self.mm).get_fdata(dtype=np.float32)[mask] > 0.3
        if grey.sum() < 2 * self.n_voxels:
            fault = f"a region of {self.n_voxels} voxels, where the brain has {grey.sum()} of grey matter"
            raise InputError("simulators/network_bold", fault, "lower n_voxels or mm")
        distance = np.where(grey, np.linalg.norm(places - self.region, axis=1), np.inf)
        inside = np.sort(np.argsort(distance, kind="stable")[: self.n_voxels])
        network = np.linalg.norm(places[:, None] - np.array(NETWORKS, float), axis=-1).argmin(axis=1)
        network[inside] = len(NETWORKS)
        return Space(mask.shape, mask_image.affine, mask, places, network, inside, float(distance[inside].max()))

    def wiring(self, affected: bool, rng: np.random.Generator) -> np.ndarray:
        """Return who is whose partner in the region, ``(n_voxels, n_voxels)`` of 0 and 1, drawn anew."""
        plain, other = (_petersen(), _fours()) if self.contrast == "cycles" else (_pairs(), _petersen())
        n_blocks = self.n_voxels // BLOCK
        n_other = round(self.effect * n_blocks) if affected else 0
        made = np.zeros((self.n_voxels, self.n_voxels))
        for number in range(n_blocks):
            block = slice(BLOCK * number, BLOCK * (number + 1))
            made[block, block] = other if number < n_other else plain
        order = rng.permutation(self.n_voxels)
        return made[np.ix_(order, order)]

    def signals(self, space: Space, affected: bool, noise: float, rng: np.random.Generator) -> np.ndarray:
        """Return the series of all voxels without confounds, ``(n_volumes, n_voxels)``, variance one.

        Time and memory grow with the number of voxels.
        """
        from scipy import ndimage, signal

        n, n_brain = self.n_volumes, len(space.network)
        shared = (
            rng.standard_normal((n, len(NETWORKS) + 1)) @ np.linalg.cholesky(0.9 * np.eye(len(NETWORKS) + 1) + 0.1).T
        )
        smooth = ndimage.gaussian_filter(
            rng.standard_normal((n, *space.shape), dtype=np.float32), (0, 0.65, 0.65, 0.65)
        )
        own = smooth[:, space.mask] / smooth.std()
        correlation = np.eye(self.n_voxels) + PARTNERS * self.wiring(affected, rng)
        own[:, space.region] = rng.standard_normal((n, self.n_voxels)) @ np.linalg.cholesky(correlation).T
        made = np.sqrt(self.common) * shared[:, space.network] + np.sqrt(1 - self.common) * own
        made = np.sqrt(1 - noise) * made + np.sqrt(noise) * rng.standard_normal((n, n_brain))
        # All voxels remember alike: correlations between them are left as they are.
        steady = made[:1] / np.sqrt(1 - MEMORY**2)
        later = signal.lfilter([1.0], [1.0, -MEMORY], made[1:], axis=0, zi=MEMORY * steady)[0]
        return np.sqrt(1 - MEMORY**2) * np.concatenate([steady, later])

    def recording(
        self, space: Space, affected: bool, noise: float, motion: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the series of all voxels, ``(n_volumes, n_voxels)`` of signal intensity, and the confounds."""
        series = self.signals(space, affected, noise, rng)
        n = self.n_volumes
        parameters = sim_bold.movement(rng, n, motion, 0.03)
        fluid, white = (_standard(np.cumsum(rng.standard_normal(n)) * 0.3 + rng.standard_normal(n)) for _ in range(2))
        drifts = _cosines(n, self.tr)
        # Each confound reaches every voxel by a weight that is smooth in space.
        courses = np.stack([_standard(course) for course in (*parameters.T, fluid, white, *drifts.T)], axis=1)
        weights = np.stack([sim_anatomy.mottled(rng, space.shape, 5)[space.mask] for _ in range(courses.shape[1])])
        series = series + np.sqrt(self.confounds) * courses @ weights
        displacement = sim_bold.framewise_displacement(parameters)
        # A jerk is seen in the volume in which it happens, by each voxel otherwise.
        series = series + 0.2 * np.nan_to_num(displacement)[:, None] * rng.standard_normal(len(space.network))
        grey, wm = (template(kind, self.mm).get_fdata(dtype=np.float32)[space.mask] for kind in ("GM", "WM"))
        level = 5000 * (1 - 0.25 * grey - 0.4 * wm)
        made = level * (1 + 0.01 * series)

        table = {"global_signal": made.mean(axis=1), "csf": 5000 + 40 * fluid, "white_matter": 3000 + 12 * white}
        table |= dict(zip(_MOTION, parameters.T, strict=True))
        table = {name: entry for key, course in table.items() for name, entry in _expanded(key, course).items()}
        difference = np.sqrt((np.diff(made, axis=0) ** 2).mean(axis=1))
        # Standardised by what the variance and memory of the voxels let expect.
        quartiles = np.percentile(made, [25, 75], axis=0)
        spread = (quartiles[1] - quartiles[0]) / 1.349
        centred = made - made.mean(axis=0)
        memory = (centred[1:] * centred[:-1]).sum(axis=0) / (centred**2).sum(axis=0)
        expected = np.sqrt((2 * (1 - memory)).clip(0)) * spread
        table["framewise_displacement"] = displacement
        table["dvars"] = np.concatenate([[np.nan], difference])
        table["std_dvars"] = table["dvars"] / expected.mean()
        noisy = np.stack([fluid, white, fluid * white, fluid + white], axis=1) + 0.5 * rng.standard_normal((n, 4))
        components = np.linalg.svd(noisy - noisy.mean(axis=0), full_matrices=False)[0]
        table |= {f"a_comp_cor_{k:02d}": components[:, k] for k in range(components.shape[1])}
        table |= {f"cosine{k:02d}": drifts[:, k] for k in range(drifts.shape[1])}
        return made, table

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        people = sim_anatomy.People.drawn(
            self.n_subjects, self.n_sites, GROUPS, truth == "absent", seed, ages=(8.0, 20.0)
        )
        space = self.space()
        site_rng = np.random.default_rng([seed, 3])
        noises = (self.noise * site_rng.uniform(0.5, 1.5, self.n_sites)).clip(0, 0.9).tolist()
        motions = (self.motion * np.exp(0.3 * site_rng.standard_normal(self.n_sites))).tolist()
        subjects = people.facts()
        for number, label in enumerate(people.labels):
            rng = np.random.default_rng([seed, 2, number])
            site = int(people.site[number].removeprefix("site")) - 1
            motion = motions[site] * float(np.exp(0.4 * rng.standard_normal()))
            series, confounds = self.recording(space, people.severity[number] > 0.5, noises[site], motion, rng)
            self._write(root, label, space, series, confounds)
            subjects[f"sub-{label}"]["mean_fd_mm"] = float(np.nanmean(confounds["framewise_displacement"]))
        extra = {
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "replicortex", "Version": __version__, "Description": "Simulated."}],
        }
        sim_anatomy.describe(root, "Simulated preprocessed fMRI", _README, people, _LEVELS, extra)
        # The table of confounds is of a proposal that the validator does not know yet.
        write_text(root / ".bidsignore", "*_desc-confounds_timeseries.*\n")
        linked = self.common + (1 - self.common) * PARTNERS
        return {
            "contrast": self.contrast,
            "effect": self.effect,
            "truth": truth,
            "region": {
                "centre_mni_mm": list(self.region),
                "radius_mm": space.radius,
                "voxels_mni_mm": space.positions[space.region].tolist(),
                "voxels_ijk": np.argwhere(space.mask)[space.region].tolist(),
            },
            # Nearer to the partners: pairs of others are many more.
            "threshold": (1 - self.noise) * (0.65 * linked + 0.35 * self.common),
            "partners_correlation": {f"site{n + 1}": (1 - noise) * linked for n, noise in enumerate(noises)},
            "others_correlation": {f"site{n + 1}": (1 - noise) * self.common for n, noise in enumerate(noises)},
            "site_noise": {f"site{n + 1}": noise for n, noise in enumerate(noises)},
            "subjects": subjects,
        }

    def _write(
        self, root: Path, label: str, space: Space, series: np.ndarray, confounds: dict[str, np.ndarray]
    ) -> None:
        """Write one recording: series, mask and confounds with their sidecars."""
        folder = root / f"sub-{label}" / "func"
        folder.mkdir(parents=True)
        stem = f"sub-{label}_task-{TASK}"
        data = np.zeros((*space.shape, len(series)), np.float32)
        data[space.mask] = series.T
        path = folder / f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz"
        save_image(data, space.affine, path, dtype=np.int16, repetition_time=self.tr)
        sidecar = {
            "TaskName": TASK,
            "RepetitionTime": self.tr,
            "SkullStripped": True,
            "Sources": [],
            "SpatialReference": _TEMPLATE,
            "Description": "Simulated series, as after correction of movement and slice timing, in standard space.",
        }
        write_text(folder / f"{stem}_space-{SPACE}_desc-preproc_bold.json", to_json(sidecar))
        mask = folder / f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz"
        save_image(space.mask.astype(np.uint8), space.affine, mask, dtype=np.uint8)
        content = {
            "Type": "Brain",
            "Description": "Mask of the template.",
            "Sources": [],
            "SpatialReference": _TEMPLATE,
        }
        write_text(folder / f"{stem}_space-{SPACE}_desc-brain_mask.json", to_json(content))
        names = list(confounds)
        columns = [np.where(np.isfinite(confounds[name]), confounds[name].round(8), np.nan).tolist() for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        write_text(folder / f"{stem}_desc-confounds_timeseries.tsv", to_tsv(rows, names))
        write_text(
            folder / f"{stem}_desc-confounds_timeseries.json",
            to_json({name: {"Description": _meaning(name)} for name in names}),
        )

    def described(self) -> str:
        """Return what it does, in words."""
        petersen = "blocks of ten voxels wired as the Petersen graph [@holton1993]"
        wiring = (
            "the partners of partners are partners (fours with three triangles at each voxel); everybody else has"
            f" {petersen}, without any cycle of three or four. Degrees have the same distribution in both groups,"
            " cycles do not"
            if self.contrast == "cycles"
            else f"there are {petersen}, with three partners each; everybody else has pairs, with one partner each."
            " Nobody has triangles"
        )
        return (
            f"Preprocessed BOLD of {count(self.n_subjects, 'participant')} at {count(self.n_sites, 'site')} was"
            f" simulated ({self.n_volumes} volumes, {digits(self.tr)} s apart, voxels of {digits(self.mm)} mm). In a"
            f" region of {self.n_voxels} voxels each voxel has partners with which it correlates more than with others."
            f" In {percent(self.effect)} of the region of the affected {wiring}. Who is whose partner was drawn anew"
            " for each participant; noise of the site and confounds (movement, fluid, white matter, drift) are the same"
            " for both groups."
        )


def _fours() -> np.ndarray:
    """Return 20 voxels in fives of four, each with the three others: three partners, three triangles."""
    return np.kron(np.eye(5), 1 - np.eye(4))


def _pairs() -> np.ndarray:
    """Return 20 voxels in ten pairs."""
    return np.kron(np.eye(10), 1 - np.eye(2))


def _petersen() -> np.ndarray:
    """Return 20 voxels in two Petersen graphs: three partners, no triangle."""
    edges = [(i, (i + 1) % 5) for i in range(5)]
    edges += [(i, i + 5) for i in range(5)]
    edges += [(5 + i, 5 + (i + 2) % 5) for i in range(5)]
    graph = np.zeros((10, 10))
    for a, b in edges:
        graph[a, b] = graph[b, a] = 1
    return np.kron(np.eye(2), graph)


def _standard(course: np.ndarray) -> np.ndarray:
    spread = course.std()
    return (course - course.mean()) / (spread if spread > 0 else 1.0)


def _cosines(n: int, tr: float, slowest: float = 128.0) -> np.ndarray:
    """Return the discrete cosines slower than ``slowest`` s, ``(n, n_cosines)``; at least one."""
    count = max(int(2 * n * tr / slowest), 1)
    times = np.arange(n) + 0.5
    return np.sqrt(2 / n) * np.cos(np.pi / n * times[:, None] * np.arange(1, count + 1))


def _expanded(name: str, course: np.ndarray) -> dict[str, np.ndarray]:
    """Return a confound with its derivative and the squares of both, named as fMRIPrep does."""
    derivative = np.concatenate([[np.nan], np.diff(course)])
    return {
        name: course,
        f"{name}_derivative1": derivative,
        f"{name}_power2": course**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def _meaning(name: str) -> str:
    stem = next((key for key in _MEANINGS if name.startswith(key)), name)
    kind = " Squared derivative." if name.endswith("derivative1_power2") else ""
    kind = kind or (" Derivative." if name.endswith("derivative1") else " Squared." if name.endswith("power2") else "")
    return _MEANINGS[stem] + kind


_TEMPLATE = "https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/"
_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_MEANINGS = {
    "global_signal": "Mean within the brain.",
    "csf": "Mean of the fluid.",
    "white_matter": "Mean of the white matter.",
    **{f"trans_{axis}": f"Translation along {axis}, mm." for axis in "xyz"},
    **{f"rot_{axis}": f"Rotation about {axis}, rad." for axis in "xyz"},
    "framewise_displacement": "Movement since the volume before, mm.",
    "dvars": "Root mean square of the change since the volume before.",
    "std_dvars": "The same over what is expected.",
    "a_comp_cor": "Principal component of fluid and white matter.",
    "cosine": "Discrete cosine slower than 128 s.",
}
_LEVELS = {"control": "Control.", "adhd": "Attention deficit and hyperactivity."}
_README = """\
Simulated preprocessed fMRI
No person was recorded, and nothing was preprocessed: series of coarse voxels were drawn in standard space, with
networks, noise that differs between sites, movement, fluid, white matter and slow drift.
Files are named as fMRIPrep names them.
"""
