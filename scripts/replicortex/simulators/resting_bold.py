"""Raw fMRI at rest or with a task, and a T1-weighted image of each subject, from one head that moves in the scanner.

Slow signals of twelve regions in four networks have a known correlation matrix. The head, its movement, the time at
which each slice is taken, physiology, drift and noise are known too. See :mod:`replicortex.shared.sim_anatomy` for the
heads and :mod:`replicortex.shared.sim_bold` for the signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, to_tsv, write_text
from ..shared import sim_anatomy, sim_bold
from ..shared.nifti import save_image
from ..shared.words import count, digits, percent, text

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

GROUPS = ("control", "patient")
#: What an echo-planar image shows of pure tissue; fat is suppressed.
EPI_SIGNAL = {"CSF": 1.0, "GM": 0.75, "WM": 0.60, "bone": 0.03, "fat": 0.15, "muscle": 0.30}
#: Regions that respond to the task's events.
TASK_REGIONS = ("lM1", "rM1", "SMA")
#: How much more signal there is in the first volume, over that at a steady state; fluid recovers slowest.
FIRST_VOLUMES = {"CSF": 0.9, "GM": 0.35, "WM": 0.25, "bone": 0.3, "fat": 0.2, "muscle": 0.3}


@dataclass(frozen=True)
class Scene:
    """What does not change during a run: fields on the grid of the run, and where that is."""

    affine: np.ndarray
    baseline: np.ndarray
    first: np.ndarray
    regions: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    white: np.ndarray
    drifts: np.ndarray


@component
class RestingBold(Simulator):
    """One run and one T1-weighted image a subject; in patients two networks are connected otherwise.

    A voxel at time ``t`` is ``baseline * (1 + signals + physiology + drift)``, moved with the head, plus noise. All
    voxels of a slice are taken at one time; the head moves between volumes only. What a movement brings into a
    slice from its neighbour carries the time of that neighbour.

    Parameters
    ----------
    n_subjects, n_sites : int
        Both groups are equally large at each site; sites differ in noise and in the T1-weighted contrast.
    n_volumes : int
    tr : float
        Time from volume to volume, s.
    mm, t1_mm : float
        Voxel sizes of run and T1-weighted image.
    within, between : float
        Correlation of two regions of one network, and of two networks.
    effect : float
        What is added, in patients, to the correlation of every pair of a region of the default and one of the
        salience network.
    amplitude : float
        Standard deviation of the signal in the middle of a region, of the baseline in grey matter.
    width : float
        Standard deviation of a region's Gaussian profile, mm.
    local : float
        Standard deviation of slow signals that no region has: smooth noise of grey matter, of the baseline.
    task : bool
        Whether there are events, to which the motor network responds by ``task_amplitude`` of the baseline.
    task_amplitude : float
    motion, spikes : float
        Scale of the movement (see :func:`~replicortex.shared.sim_bold.movement`) and share of volumes with a jerk.
    physiology : float
        Standard deviation of the heart beat in fluid, of the baseline; breathing has half of it everywhere.
    drift : float
        Slow drift over the run, of the baseline.
    noise : float
        Standard deviation of the (Rician) noise, of the baseline in grey matter.
    dummies : int
        Number of first volumes that are not at a steady state.
    shape : float
        Root mean square of the displacement that makes heads differ, mm.

    Raises
    ------
    InputError
        If no signals can have the correlations.

    """

    datatype = "func"
    family = "mri"
    tiny = {"n_subjects": 2, "n_volumes": 24, "mm": 8.0, "t1_mm": 7.0, "task": True}

    n_subjects: Count = 20
    n_sites: Count = 2
    n_volumes: Annotated[int, Field(ge=4)] = 150
    tr: Positive = 2.0
    mm: Annotated[float, Field(ge=2, le=12)] = 5.0
    t1_mm: Annotated[float, Field(ge=1, le=20)] = 3.0
    within: Annotated[float, Field(gt=-1, lt=1)] = 0.6
    between: Annotated[float, Field(gt=-1, lt=1)] = 0.1
    effect: Annotated[float, Field(gt=-2, lt=2)] = 0.35
    amplitude: NotNegative = 0.02
    width: Positive = 8.0
    local: NotNegative = 0.005
    task: bool = False
    task_amplitude: float = 0.02
    motion: NotNegative = 1.0
    spikes: Annotated[float, Field(ge=0, le=1)] = 0.03
    physiology: NotNegative = 0.01
    drift: NotNegative = 0.02
    noise: NotNegative = 0.01
    dummies: Annotated[int, Field(ge=0)] = 2
    shape: NotNegative = 3.0

    def __post_init__(self) -> None:
        """Refuse correlations that do not fit together, and runs that never become steady."""
        try:
            self.matrix(0.0), self.matrix(1.0)
        except ValueError as error:
            remedy = "bring within, between and effect nearer to zero"
            raise InputError("simulators/resting_bold", str(error), remedy) from None
        if self.dummies >= self.n_volumes:
            raise InputError("simulators/resting_bold", "no volume is left after dummies", "raise n_volumes")

    def matrix(self, severity: float) -> np.ndarray:
        """Return the correlation matrix of the regions, ``(12, 12)``."""
        changes = {("default", "salience"): self.effect}
        return sim_bold.network_matrix(self.within, self.between, changes, severity)

    # What a subject is, and what one run of it looks like.

    def tissues(self) -> np.ndarray:
        """Return maps on the model's grid, blurred as the run is, ``(5, x, y, z)``.

        Fluid, grey matter, white matter, the steady signal, and what the first volume has more of it.
        """
        model, _ = sim_anatomy.head()
        first = {tissue: EPI_SIGNAL[tissue] * FIRST_VOLUMES[tissue] for tissue in EPI_SIGNAL}
        parts = [model[..., kind] for kind in range(3)]
        parts += [sim_anatomy.mixture(model, signal) for signal in (EPI_SIGNAL, first)]
        # A voxel is the mean of what lies in it, and of a little more: the spread of echo-planar images.
        return np.stack([sim_anatomy.blur(part, 1.2 * self.mm, sim_anatomy.MODEL_MM) for part in parts])

    def scene(self, tissues: np.ndarray, warp: sim_anatomy.Warp, to_t1: np.ndarray, rng: np.random.Generator) -> Scene:
        """Return the fields of a run.

        Parameters
        ----------
        tissues : array
            Of :meth:`tissues`.
        warp : Warp
        to_t1 : array, (4, 4)
            From positions in the run's space to those in the T1-weighted image's, mm.
        rng : Generator

        """
        shape, affine = sim_anatomy.grid(self.mm)
        points = sim_anatomy.positions(affine, shape)
        seen = warp.to_template(points @ to_t1[:3, :3].T + to_t1[:3, 3])
        fluid, grey, white, baseline, first = (
            sim_anatomy.sample(part, sim_anatomy.head()[1], seen).reshape(shape) for part in tissues
        )
        centres = np.array([place for _, place in sim_bold.REGIONS.values()])
        squares = ((seen[:, None] - centres) ** 2).sum(axis=-1).T.reshape(len(centres), *shape)
        drifts = np.stack([sim_anatomy.mottled(rng, shape, 4) for _ in range(2)])
        return Scene(
            affine=affine,
            baseline=baseline,
            first=first,
            regions=(np.exp(-squares / (2 * self.width**2)) * grey).astype(np.float32),
            grey=grey,
            fluid=fluid,
            white=white,
            drifts=drifts,
        )

    def events(self, rng: np.random.Generator) -> list[float]:
        """Return the onsets of the task's blocks of 10 s: jittered, 20 to 30 s apart."""
        onsets, now = [], 6.0
        while now + 10 < self.n_volumes * self.tr:
            onsets.append(round(float(now + rng.uniform(0, 4)), 1))
            now += 24.0
        return onsets

    def run(
        self, scene: Scene, severity: float, noise: float, gain: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return one run, ``(x, y, z, n_volumes)`` int16, and what is true of it."""
        shape = scene.baseline.shape
        offsets = sim_bold.slice_times(shape[2], self.tr)
        times = self.tr * np.arange(self.n_volumes)[:, None] + offsets
        duration = (self.n_volumes + 1) * self.tr
        sources = sim_bold.Oscillations.drawn(rng, self.matrix(severity), (0.01, 0.1), duration)
        onsets = self.events(rng)
        parameters = sim_bold.movement(rng, self.n_volumes, self.motion, self.spikes)
        n_local = 40
        background = sim_bold.Oscillations.drawn(rng, np.eye(n_local), (0.01, 0.1), duration)
        where = np.stack([sim_anatomy.mottled(rng, shape, 12) for _ in range(n_local)]) / np.sqrt(n_local)
        heart, breath = (
            sim_bold.Oscillations.drawn(rng, np.eye(1), band, duration) for band in ((0.95, 1.15), (0.22, 0.32))
        )
        phase = rng.uniform(0, 2 * np.pi)

        fields = [self.amplitude * scene.regions, self.local * where * scene.grey]
        courses = [sources.at(times), background.at(times)]
        fields += [(self.physiology * scene.fluid)[None], (self.physiology / 2 * (scene.white + 0.5))[None]]
        courses += [heart.at(times), breath.at(times)]
        along = times / duration
        fields.append(self.drift * scene.drifts)
        courses.append(np.stack([along - 0.5, np.cos(np.pi * along + phase) - np.cos(phase)], axis=-1))
        if self.task:
            names = list(sim_bold.REGIONS)
            response = scene.regions[[names.index(name) for name in TASK_REGIONS]].sum(axis=0)
            fields.append(self.task_amplitude * response[None])
            courses.append(sim_bold.responses(times, onsets, 10.0)[..., None])
        # (z, x * y, fields) and (volumes, z, fields): one product of matrices for each slice.
        stacked = np.concatenate(fields).astype(np.float32)
        stacked = np.ascontiguousarray(stacked.reshape(len(stacked), -1, shape[2]).transpose(2, 1, 0))
        together = np.concatenate(courses, axis=-1).astype(np.float32)
        change = np.empty((self.n_volumes, *shape), np.float32)
        for k in range(shape[2]):
            change[..., k] = (together[:, k] @ stacked[k].T).reshape(-1, *shape[:2])

        centre = sim_bold.centre_of(shape, scene.affine)
        made = np.empty((*shape, self.n_volumes), np.int16)
        level = noise * EPI_SIGNAL["GM"]
        for n in range(self.n_volumes):
            volume = scene.baseline * (1 + change[n])
            if n < self.dummies:
                volume = volume + scene.first * np.exp(-1.5 * n)
            volume = sim_bold.moved(volume, scene.affine, parameters[n], centre)
            one, two = level * rng.standard_normal((2, *shape), dtype=np.float32)
            made[..., n] = np.rint(gain * np.hypot(volume + one, two)).clip(0, 32767)
        return made, {
            "realised_correlation": np.round(sources.correlation(), 6).tolist(),
            "motion": np.round(parameters, 6).tolist(),
            "onsets": onsets if self.task else [],
        }

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        people = sim_anatomy.People.drawn(self.n_subjects, self.n_sites, GROUPS, truth == "absent", seed)
        site_rng = np.random.default_rng([seed, 3])
        scanners = [sim_anatomy.Scanner.drawn(site_rng, number) for number in range(self.n_sites)]
        noises = (self.noise * np.exp(0.2 * site_rng.standard_normal(self.n_sites))).tolist()
        tissues = self.tissues()
        subjects = people.facts()
        offsets = sim_bold.slice_times(sim_anatomy.grid(self.mm)[0][2], self.tr)
        task = "tapping" if self.task else "rest"
        for number, label in enumerate(people.labels):
            rng = np.random.default_rng([seed, 2, number])
            warp = sim_anatomy.Warp.drawn(rng, self.shape)
            site = int(people.site[number].removeprefix("site")) - 1
            t1, t1_affine = sim_anatomy.t1_image(sim_anatomy.head()[0], warp, scanners[site], self.t1_mm, 0.03, rng)
            t1, t1_affine = sim_anatomy.turned(t1, t1_affine, scanners[site].orientation)
            sim_anatomy.write_t1(root, label, t1, t1_affine, people.site[number])
            # Between T1-weighted image and run the head has shifted a little.
            between = np.concatenate([1.5 * rng.standard_normal(3), np.radians(1.0) * rng.standard_normal(3)])
            to_t1 = sim_anatomy.rigid(between, np.zeros(3))
            scene = self.scene(tissues, warp, to_t1, rng)
            bold, facts = self.run(scene, float(people.severity[number]), noises[site], scanners[site].gain, rng)
            self._write(root, label, task, bold, scene.affine, offsets, facts["onsets"], people.site[number])
            subjects[f"sub-{label}"] |= facts | {
                "bold_to_t1w": to_t1.tolist(),
                "landmarks_t1w_mm": sim_anatomy.landmarks(warp),
            }
        sim_anatomy.describe(root, "Simulated raw fMRI", _README, people, _LEVELS)
        names = list(sim_bold.REGIONS)
        return {
            "contrast": "network_difference",
            "effect": self.effect,
            "truth": truth,
            "regions": names,
            "networks": [network for network, _ in sim_bold.REGIONS.values()],
            "coordinates_mni_mm": [list(place) for _, place in sim_bold.REGIONS.values()],
            "width_mm": self.width,
            "correlation": {"control": self.matrix(0.0).tolist(), "patient": self.matrix(1.0).tolist()},
            "changed_edges": [
                [a, b]
                for i, a in enumerate(names)
                for b in names[i + 1 :]
                if {sim_bold.REGIONS[a][0], sim_bold.REGIONS[b][0]} == {"default", "salience"}
            ],
            "motion_convention": (
                "trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (rad): a point p of the head in volume 0 (scanner "
                "space, RAS+, mm) is at c + Rz Ry Rx (p - c) + t, c the middle of the grid"
            ),
            "bold_to_t1w_convention": "affine from positions of volume 0 of the run to positions of the T1w image, mm",
            "site_noise": {f"site{number + 1}": noise for number, noise in enumerate(noises)},
            "dummies": self.dummies,
            "slice_times": offsets.tolist(),
            "task_regions": list(TASK_REGIONS) if self.task else [],
            "landmarks_mni_mm": [list(map(float, place)) for place in sim_anatomy.LANDMARKS.values()],
            "subjects": subjects,
        }

    def _write(
        self,
        root: Path,
        label: str,
        task: str,
        bold: np.ndarray,
        affine: np.ndarray,
        offsets: np.ndarray,
        onsets: list[float],
        site: str,
    ) -> None:
        """Write one run with its sidecar and its events."""
        folder = root / f"sub-{label}" / "func"
        folder.mkdir(parents=True)
        stem = f"sub-{label}_task-{task}"
        path = folder / f"{stem}_bold.nii.gz"
        # Stored from right to left, as scanners do.
        bold, affine = sim_anatomy.turned(bold, affine, "LAS")
        save_image(bold, affine, path, dtype=np.int16, repetition_time=self.tr)
        sidecar = sim_anatomy.SCANNER | sim_anatomy.COILS | _BOLD
        sidecar |= {
            "TaskName": task,
            "TaskDescription": _TASKS[task],
            "RepetitionTime": self.tr,
            "SliceTiming": [round(float(time), 6) for time in offsets],
            "StationName": site,
            "TotalReadoutTime": round(0.0005 * (bold.shape[1] - 1), 6),
        }
        write_text(folder / f"{stem}_bold.json", to_json(sidecar))
        if self.task:
            rows = [{"onset": onset, "duration": 10.0, "trial_type": "tapping"} for onset in onsets]
            write_text(folder / f"{stem}_events.tsv", to_tsv(rows, ["onset", "duration", "trial_type"]))
            write_text(folder / f"{stem}_events.json", to_json(_EVENTS))

    def described(self) -> str:
        """Return what it does, in words."""
        task = (
            f" Events were added, to which the motor network responds by {percent(self.task_amplitude)}."
            if self.task
            else ""
        )
        return text(
            f"Raw BOLD ({self.n_volumes} volumes, {digits(self.tr)} s apart, voxels of {digits(self.mm)} mm) and a"
            f" T1-weighted image were simulated for each of {count(self.n_subjects, 'participant')} at"
            f" {count(self.n_sites, 'site')}. Slow signals of twelve regions correlate by {digits(self.within)} within"
            f" and {digits(self.between)} between networks; in patients {digits(self.effect)} is added between the"
            " default and the salience network. Head motion, slice times, physiology, drift and noise were simulated"
            f" too.{task}",
        )


_TASKS = {
    "rest": "Lying still with eyes open.",
    "tapping": "Blocks of tapping the fingers of both hands, 10 s each, between rests.",
}
_EVENTS = {
    "trial_type": {
        "Description": "What the participant did.",
        "Levels": {"tapping": "Tapping the fingers of both hands."},
    },
    "StimulusPresentation": {"OperatingSystem": "n/a", "SoftwareName": "replicortex"},
}
_BOLD = {
    "Instructions": "Lie still.",
    "EchoTime": 0.03,
    "FlipAngle": 80,
    "PulseSequenceType": "EPI",
    "ScanningSequence": "EP",
    "SequenceVariant": "SK",
    "MRAcquisitionType": "2D",
    "PhaseEncodingDirection": "j-",
    "EffectiveEchoSpacing": 0.0005,
    "SliceEncodingDirection": "k",
    "NumberOfVolumesDiscardedByScanner": 0,
    "NumberOfVolumesDiscardedByUser": 0,
}
_LEVELS = {"control": "Control.", "patient": "Patient."}
_README = """\
Simulated raw fMRI
No person was recorded. Every head is a template (ICBM 152, nonlinear, symmetric, 2009a) that was bent to another shape,
with a made-up skull, scalp, face and neck. Slow signals of brain regions, heart beat, breathing, drift, movement of the
head and noise make the runs. Slices are taken one after the other, the even ones first; the first volumes are not at a
steady state. There is no distortion by the uneven field: echo spacing and readout time are nominal.
"""
