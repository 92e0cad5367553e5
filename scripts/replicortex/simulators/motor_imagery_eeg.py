"""EEG of imagined left- and right-hand movement, from dipoles in a spherical head to a BIDS dataset.

Sources are a rhythm in each hand area, posterior alpha, background dipoles with 1/f spectra, and blinks.
A three-shell sphere (Berg and Scherg 1994, doi:10.1016/0013-4694(94)90113-9, as computed by MNE) takes them
to the electrodes, where muscle bursts, power line, sensor noise and bad channels are added.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import mne
import mne_bids
import numpy as np
from pydantic import Field
from scipy import signal

from .. import __version__
from ..components import Simulator, component
from ..errors import InputError
from ..files import read_json, to_json, to_tsv, write_text
from ..shared.processes import ar2, ar2_coefficients, pink_noise, pink_share
from ..shared.words import count, digits, percent, text

TASK = "imagery"
CLASSES = ("left_hand", "right_hand")
#: Electrodes above the hand areas, left and right; a hand's own hemisphere is the opposite one.
HAND_AREAS = ("C3", "C4")
CONTRALATERAL = np.array([1, 0])
OCCIPITAL_AREAS = ("O1", "O2")
TEMPORAL_SITES = ("T7", "T8")
#: Linked mastoids; part of the head model, not recorded.
REFERENCE = ("TP9", "TP10")
#: The order of a head's dipoles.
HANDS, OCCIPITAL, EYES, BACKGROUND = slice(0, 2), slice(2, 4), slice(4, 6), slice(6, None)
#: Half-power bandwidth of every rhythm, Hz: the same for all, so that their powers fluctuate alike.
BANDWIDTH = 2.0
#: The rhythms are steady from so long after the cue until so long before the end of the trial, s.
MARGIN = 0.5

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Head:
    """One subject: dipoles of shape ``(n, 3)`` in m, frequencies in Hz, gains without unit."""

    positions: np.ndarray
    orientations: np.ndarray
    mu: float
    beta: float
    alpha: float
    rhythm_gain: float
    background_gain: float
    age: int
    sex: str
    hand: str


@component
class MotorImageryEeg(Simulator):
    """Subjects and sessions of cued motor imagery, with a known difference between the two hands.

    Each hand area carries the sum of a mu and a beta rhythm, both AR(2) processes, at rest in equal parts.

    Parameters
    ----------
    contrast : {"temporal", "spatial"}
        What the kind of a trial changes. ``"temporal"``: in the contralateral hand area power moves from mu
        to beta, in the ipsilateral one from beta to mu, while power within ``band`` is equalised trial by
        trial: both kinds have the same spatial covariance and differ in their spectra alone.
        ``"spatial"``: the contralateral rhythm loses power (event-related desynchronisation) and keeps its
        spectrum.
    effect : float
        The fraction of a rhythm's power that moves (temporal) or is lost (spatial), from 0 to 1.
    snr : float
        Power of a hand area over that of the background, within ``band``, where an electrode sees it best.
    n_subjects, n_sessions, n_trials : int
        Number of subjects, of sessions a subject, and of trials a class and session.
    sfreq : float
        Sampling frequency, Hz.
    trial_duration, rest_duration : float
        Length of a trial and of the rest before it, s; a pause of up to 0.5 s follows.
    band : tuple of float
        The band of the analysis, Hz.
    channels : tuple of str
        Electrodes of the 10-05 system.
    n_background, background : int, float
        Number of background dipoles, and their root mean square averaged over electrodes, uV.
    sensor_noise, line_noise : float
        Root mean square of white noise, and typical amplitude of the power line, uV.
    line_freq : {50, 60}
        Frequency of the power line, Hz.
    blinks, bursts : float
        Blinks, and bursts of the temporal muscles, a minute.
    bad_channels : int
        Number of channels a session that are flat or swamped by noise.

    Raises
    ------
    InputError
        If channels, band and sampling frequency do not fit the model.

    """

    datatype = "eeg"
    tiny = {"n_subjects": 2, "n_trials": 6, "n_background": 30}

    contrast: Literal["temporal", "spatial"] = "temporal"
    effect: Annotated[float, Field(ge=0, le=1)] = 0.3
    snr: Positive = 0.5
    n_subjects: Count = 8
    n_sessions: Count = 2
    n_trials: Count = 20
    sfreq: Positive = 160.0
    trial_duration: Annotated[float, Field(ge=4 * MARGIN)] = 4.0
    rest_duration: Positive = 2.0
    band: tuple[float, float] = (8.0, 35.0)
    channels: tuple[str, ...] = (
        *("Fp1", "Fp2", "F7", "F3", "F4", "F8", "FC3", "FC1", "FCz", "FC2", "FC4"),
        *("T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8", "CP3", "CP1", "CPz", "CP2", "CP4"),
        *("P7", "P3", "Pz", "P4", "P8", "O1", "O2"),
    )
    n_background: Count = 80
    background: Positive = 12.0
    sensor_noise: NotNegative = 1.0
    line_noise: NotNegative = 2.0
    line_freq: Literal[50, 60] = 50
    blinks: NotNegative = 10.0
    bursts: NotNegative = 3.0
    bad_channels: Annotated[int, Field(ge=0)] = 1

    def __post_init__(self) -> None:
        """Refuse parameters that do not fit together."""
        where = "simulators/motor_imagery_eeg"
        odd = set(self.channels) - set(_electrodes()[0].ch_names) | set(self.channels) & set(REFERENCE)
        if odd or len(set(self.channels)) < max(len(self.channels), self.bad_channels + 2):
            fault = f"channels {sorted(odd)} are unknown or the reference, or channels repeat or are too few"
            remedy = "name electrodes of the 10-05 system, each once, two or more beyond bad_channels"
            raise InputError(where, fault, remedy)
        (low, high), nyquist = self.band, self.sfreq / 2
        if not (0 < low < 10 and 25 < high < nyquist and self.line_freq < nyquist):
            fault = f"band {list(self.band)} misses a rhythm (10 to 22 Hz), or sfreq {self.sfreq} is too low"
            raise InputError(where, fault, "widen band, or raise sfreq beyond twice its end and line_freq")

    # What a subject is, and what one session of it looks like.

    def head(self, subject: int, seed: int) -> Head:
        """Return the head of ``subject`` (1, 2, ...)."""
        rng = np.random.default_rng([seed, subject])
        info, sphere = _electrodes()
        centre, radius = sphere["r0"], sphere.radius
        outward = _unit(_positions(info, HAND_AREAS + OCCIPITAL_AREAS) - centre)
        areas = centre + 0.78 * radius * outward + rng.normal(0, 0.003, outward.shape)
        # Crown and wall of the gyrus together: mostly radial, tilted forwards.
        tilt = np.radians(rng.normal(30, 8, (len(outward), 1)))
        tilted = _unit(np.cos(tilt) * outward + np.sin(tilt) * [0.0, 1.0, 0.0])
        # Eyes lie outside the brain's sphere; the nearest place inside it gives their topography.
        eyes = centre + 0.84 * radius * _unit(np.array([[-0.35, 0.9, -0.25], [0.35, 0.9, -0.25]]))
        shell = rng.normal(size=(self.n_background, 3))
        shell[:, 2] = np.abs(shell[:, 2]) - 0.3
        shell = centre + radius * rng.uniform(0.5, 0.8, (len(shell), 1)) * _unit(shell)
        return Head(
            positions=np.concatenate([areas, eyes, shell]),
            orientations=_unit(np.concatenate([tilted, [[0.0, 1.0, 0.5]] * 2, rng.normal(size=shell.shape)])),
            mu=rng.uniform(10, 12),
            beta=rng.uniform(18, 22),
            alpha=rng.uniform(9.5, 11),
            rhythm_gain=np.exp(rng.normal(0, 0.15)),
            background_gain=np.exp(rng.normal(0, 0.1)),
            age=rng.integers(20, 41),
            sex=rng.choice(["F", "M"]),
            hand=rng.choice(["R", "L"], p=[0.9, 0.1]),
        )

    def recording(self, subject: int, session: int, truth: str, seed: int) -> tuple[mne.io.RawArray, dict[str, Any]]:
        """Return one recording with its annotations, and what was planted in it.

        The signal does not depend on ``truth``: if it is ``"absent"`` only the labels are drawn anew. They
        are permuted over the whole session, not within each kind: labels balanced within kinds would make
        every training set the mirror of its test set and drive cross-validated scores below chance.
        """
        head = self.head(subject, seed)
        rng = np.random.default_rng([seed, subject, session])
        kinds = rng.permutation(np.repeat(np.arange(len(CLASSES)), self.n_trials))
        shuffled = np.random.default_rng([seed, subject, session, 1]).permutation(kinds)
        labels = kinds if truth == "planted" else shuffled
        rests, cues, n_times = self._schedule(rng, len(kinds))

        lead = self._lead_field(head, rng)
        # Every source has unit power, the background 1/f; scales are set at the electrodes.
        spread = np.sqrt((_referenced(lead[:, BACKGROUND]) ** 2).sum(axis=1))
        scale = self.background * head.background_gain / spread.mean()
        potential = scale * lead[:, BACKGROUND] @ pink_noise(rng, (self.n_background, n_times), self.sfreq)
        in_band = np.sqrt(pink_share(self.band, self.sfreq)) * scale * spread
        motor = self._motor_rhythms(head, kinds, cues, n_times, rng)
        alpha = ar2(rng, head.alpha, BANDWIDTH, (len(OCCIPITAL_AREAS), n_times), self.sfreq)
        for courses, dipoles in ((motor, HANDS), (alpha, OCCIPITAL)):
            seen = np.abs(_referenced(lead[:, dipoles]))
            best = seen.argmax(axis=0)
            gain = head.rhythm_gain * np.sqrt(self.snr) * in_band[best] / seen.max(axis=0)
            potential += lead[:, dipoles] @ (gain[:, None] * courses)
        potential += self._blinks(lead[:, EYES], n_times, rng) + self._bursts(n_times, rng)
        potential += self._line(n_times, rng) + self.sensor_noise * rng.standard_normal(potential.shape)

        data = _referenced(potential) * np.exp(rng.normal(0, 0.05))
        facts = {"bad_channels": self._spoil(data, rng)}
        raw = mne.io.RawArray(data * 1e-6, self._info(len(self.channels)), verbose="ERROR")
        raw.info["line_freq"] = float(self.line_freq)
        descriptions = np.stack([np.full(len(labels), "rest", "U10"), np.array(CLASSES)[labels]], axis=1)
        onsets = np.stack([rests, cues], axis=1) / self.sfreq
        durations = np.tile([self.rest_duration, self.trial_duration], len(cues))
        raw.set_annotations(mne.Annotations(onsets.ravel(), durations, descriptions.ravel()))
        facts["trials"] = [
            {"onset": cue / self.sfreq, "kind": CLASSES[kind], "label": CLASSES[label]}
            for cue, kind, label in zip(cues.tolist(), kinds, labels, strict=True)
        ]
        return raw, facts

    def _schedule(self, rng: np.random.Generator, n_trials: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the first samples of rests and of trials, and the number of samples of the recording."""
        pauses = rng.uniform(0, 0.5, n_trials)
        period = self.rest_duration + self.trial_duration
        starts = 2 + period * np.arange(n_trials) + np.cumsum(pauses) - pauses
        rests = np.round(starts * self.sfreq).astype(int)
        cues = rests + round(self.rest_duration * self.sfreq)
        return rests, cues, int(cues[-1] + (self.trial_duration + 2) * self.sfreq)

    def _info(self, n_channels: int | None = None) -> mne.Info:
        """Return the measurement information of the first ``n_channels`` of channels and reference."""
        info = mne.create_info([*self.channels, *REFERENCE][:n_channels], self.sfreq, "eeg")
        return info.set_montage(mne.channels.make_standard_montage("colin27_1005"))

    def _lead_field(self, head: Head, rng: np.random.Generator) -> np.ndarray:
        """Return potentials of unit dipoles, ``(n_channels + 2, n_dipoles)``; the cap sits askew."""
        info, sphere = self._info(), _electrodes()[1]
        turn = mne.transforms.rotation(*np.radians(rng.normal(0, 1.5, 3)))[:3, :3]
        for channel in info["chs"]:
            channel["loc"][:3] = sphere["r0"] + turn @ (channel["loc"][:3] - sphere["r0"])
        n = len(head.positions)
        dipoles = mne.Dipole(np.arange(n), head.positions, np.ones(n), head.orientations, np.full(n, 100.0))
        return mne.make_forward_dipole(dipoles, sphere, info, verbose="ERROR")[0]["sol"]["data"]

    def _motor_rhythms(
        self, head: Head, kinds: np.ndarray, cues: np.ndarray, n_times: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the time courses of both hand areas, ``(2, n_times)``, of unit power within the band."""
        mu = ar2(rng, head.mu, BANDWIDTH, (2, n_times), self.sfreq)
        beta = ar2(rng, head.beta, BANDWIDTH, (2, n_times), self.sfreq)
        # How far each hand area is in a contralateral trial (row 0 left, row 1 right), from 0 to 1.
        contra = np.zeros((2, n_times))
        for kind, cue in zip(kinds, cues, strict=True):
            area = CONTRALATERAL[kind]
            contra[area, cue + round(0.1 * self.sfreq) : cue + round(self.trial_duration * self.sfreq)] = 1
        ramp = signal.windows.hann(round(0.3 * self.sfreq) | 1)
        contra = signal.fftconvolve(contra, ramp[None] / ramp.sum(), mode="same", axes=1).clip(0, 1)

        temporal = self.contrast == "temporal"
        share = 0.5 + (0.5 * self.effect * (contra - contra[::-1]) if temporal else 0)
        course = np.sqrt(1 - share) * mu + np.sqrt(share) * beta

        # Equal power in every trial, then a fluctuation that knows nothing of the trial's kind.
        start, stop = round(MARGIN * self.sfreq), round((self.trial_duration - MARGIN) * self.sfreq)
        window = cues[:, None] + np.arange(start, stop)
        filtered = mne.filter.filter_data(course, self.sfreq, *self.band, verbose="ERROR")
        power = (filtered[:, window] ** 2).mean(axis=2)
        gain = np.sqrt(np.exp(rng.normal(0, 0.3, power.shape)) / power)
        course *= [np.interp(np.arange(n_times), window[:, [0, -1]].ravel(), np.repeat(row, 2)) for row in gain]
        return course if temporal else course * np.sqrt(1 - self.effect * contra)

    # Artefacts, uV at every electrode.

    def _starts(self, rate: float, length: int, n_times: int, rng: np.random.Generator) -> np.ndarray:
        """Return the first samples of artefacts of ``length`` samples that come ``rate`` times a minute."""
        return rng.integers(0, n_times - length, rng.poisson(rate * n_times / self.sfreq / 60))

    def _blinks(self, lead: np.ndarray, n_times: int, rng: np.random.Generator) -> np.ndarray:
        topography = lead.sum(axis=1)
        topography = topography / np.abs(_referenced(topography)).max()
        course = np.zeros(n_times)
        shape = signal.windows.hann(round(0.35 * self.sfreq))
        for start in self._starts(self.blinks, len(shape), n_times, rng):
            course[start : start + len(shape)] += 180 * np.exp(rng.normal(0, 0.2)) * shape
        return np.outer(topography, course)

    def _bursts(self, n_times: int, rng: np.random.Generator) -> np.ndarray:
        info = self._info()
        sites = _positions(_electrodes()[0], TEMPORAL_SITES)
        distance = np.linalg.norm(_positions(info, info.ch_names)[:, None] - sites, axis=2)
        course = np.zeros((len(sites), n_times))
        high_pass = signal.butter(4, 20, "highpass", fs=self.sfreq, output="sos")
        longest = round(1.5 * self.sfreq)
        for start in self._starts(self.bursts, longest, n_times, rng):
            length, side = rng.integers(longest // 3, longest), rng.integers(len(sites))
            noise = signal.sosfilt(high_pass, rng.standard_normal(length)) * signal.windows.tukey(length, 0.5)
            course[side, start : start + length] += 25 * np.exp(rng.normal(0, 0.3)) * noise
        return np.exp(-((distance / 0.03) ** 2)) @ course

    def _line(self, n_times: int, rng: np.random.Generator) -> np.ndarray:
        n_electrodes = len(self.channels) + len(REFERENCE)
        amplitude = self.line_noise * np.exp(rng.normal(0, 0.3, (n_electrodes, 1)))
        phase = 2 * np.pi * self.line_freq * np.arange(n_times) / self.sfreq
        return amplitude * np.sin(phase + rng.normal(0, 0.2, (n_electrodes, 1)))

    def _spoil(self, data: np.ndarray, rng: np.random.Generator) -> list[str]:
        """Spoil some channels of ``data`` in place and return their names."""
        bad = sorted(rng.choice(len(data), self.bad_channels, replace=False).tolist())
        for channel in bad:
            if rng.random() < 0.5:
                data[channel] = 0.05 * rng.standard_normal(data.shape[1])
            else:
                data[channel] += 150 * pink_noise(rng, (1, data.shape[1]), self.sfreq)[0]
        return [self.channels[channel] for channel in bad]

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        subjects, recordings = {}, {}
        for subject in range(1, self.n_subjects + 1):
            head = self.head(subject, seed)
            subjects[f"sub-{subject:02d}"] = {
                "hand_dipole_positions_m": head.positions[HANDS].tolist(),
                "hand_dipole_orientations": head.orientations[HANDS].tolist(),
                "mu_hz": head.mu,
                "beta_hz": head.beta,
                "alpha_hz": head.alpha,
                "mu_ar": ar2_coefficients(head.mu, BANDWIDTH, self.sfreq),
                "beta_ar": ar2_coefficients(head.beta, BANDWIDTH, self.sfreq),
                "rhythm_gain": head.rhythm_gain,
                "background_gain": head.background_gain,
            }
            for session in range(1, self.n_sessions + 1):
                raw, facts = self.recording(subject, session, truth, seed)
                path = mne_bids.BIDSPath(f"{subject:02d}", str(session), TASK, datatype="eeg", root=root)
                _write(raw, path)
                recordings[path.basename] = facts
        self._describe(root, seed)
        return {
            "classes": list(CLASSES),
            "contrast": self.contrast,
            "effect": self.effect,
            "truth": truth,
            "subjects": subjects,
            "recordings": recordings,
        }

    def _describe(self, root: Path, seed: int) -> None:
        """Write the files that describe the whole dataset."""
        mne_bids.make_dataset_description(
            path=root,
            name="Simulated EEG of motor imagery",
            data_license="CC0",
            authors=["Replicortex"],
            generated_by=[{"Name": "replicortex", "Version": __version__}],
            overwrite=True,
            verbose="ERROR",
        )
        heads = {f"sub-{n:02d}": vars(self.head(n, seed)) for n in range(1, self.n_subjects + 1)}
        rows = [{"participant_id": subject, **head} for subject, head in heads.items()]
        write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", *_PARTICIPANTS]))
        write_text(root / "participants.json", to_json(_PARTICIPANTS))
        write_text(root / "README", _README)

    def described(self) -> str:
        """Return what it does, in words."""
        planted = (
            f"In the hand area opposite to the imagined hand {percent(self.effect)} of the power moved from mu to beta"
            f" and in the other from beta to mu, with power from {digits(self.band[0])} to {digits(self.band[1])} Hz"
            " equalised trial by trial: the classes have the same spatial covariance and differ in their spectra alone."
            if self.contrast == "temporal"
            else f"In the hand area opposite to the imagined hand the rhythm lost {percent(self.effect)} of its power"
            " and kept its spectrum: the classes differ in space."
        )
        return text(
            "EEG of imagined movements of the left and the right hand was simulated for"
            f" {count(self.n_subjects, 'participant')} with {count(self.n_sessions, 'session')} of"
            f" {count(self.n_trials, 'trial')} a class, {digits(self.trial_duration)} s long, from {len(self.channels)}"
            f" electrodes at {digits(self.sfreq)} Hz.",
            "Rhythms of both hand areas (mu and beta, autoregressive processes of order 2), occipital alpha,"
            f" {count(self.n_background, 'background dipole')} with 1/f spectra and blinks were taken to the electrodes"
            " by a three-shell sphere [@berg1994]; muscle bursts, power line, sensor noise and"
            f" {count(self.bad_channels, 'bad channel')} a session were added. Where an electrode sees it best a hand"
            f" area has {digits(self.snr)} times the power of the background.",
            planted,
        )


def _write(raw: mne.io.RawArray, path: mne_bids.BIDSPath) -> None:
    """Write one recording as BrainVision, with the metadata that an amplifier's file does not hold."""
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, readme=False, verbose="ERROR")
    folder = path.directory
    (eeg,) = folder.glob("*_eeg.json")
    # MNE-BIDS counts miscellaneous channels under another name than the standard's.
    content = {key: value for key, value in read_json(eeg).items() if key != "MiscChannelCount"}
    circumference = round(200 * np.pi * _electrodes()[1].radius, 1)
    write_text(eeg, to_json(content | _EEG | {"HeadCircumference": circumference}))
    (events,) = folder.glob("*_events.json")
    content = read_json(events)
    content["trial_type"] = {"Description": "What was shown.", "Levels": _LEVELS}
    write_text(events, to_json(content | {"StimulusPresentation": _STIMULUS}))
    (system,) = folder.glob("*_coordsystem.json")
    content = read_json(system)
    content["AnatomicalLandmarkCoordinateSystemDescription"] = content["EEGCoordinateSystemDescription"]
    write_text(system, to_json(content))


@functools.cache
def _electrodes() -> tuple[mne.Info, mne.bem.ConductorModel]:
    """Return all electrodes of the 10-05 system in head coordinates, and the sphere fitted to them."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    info = mne.create_info(montage.ch_names, 1.0, "eeg").set_montage(montage, verbose="ERROR")
    return info, mne.make_sphere_model("auto", "auto", info, verbose="ERROR")


def _positions(info: mne.Info, names: tuple[str, ...] | list[str]) -> np.ndarray:
    """Return the positions of electrodes, ``(n, 3)``, m."""
    return np.array([info["chs"][info.ch_names.index(name)]["loc"][:3] for name in names])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _referenced(potential: np.ndarray) -> np.ndarray:
    """Subtract the reference, whose electrodes are the last rows, and drop it."""
    return potential[: -len(REFERENCE)] - potential[-len(REFERENCE) :].mean(axis=0)


_LEVELS = {
    "rest": "A fixation cross: relax.",
    "left_hand": "An arrow to the left: imagine closing the left hand.",
    "right_hand": "An arrow to the right: imagine closing the right hand.",
}
_STIMULUS = {"OperatingSystem": "n/a", "SoftwareName": "replicortex", "SoftwareVersion": __version__}
_PARTICIPANTS = {
    "age": {"Description": "Age of the simulated participant.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
    "hand": {"Description": "Preferred hand.", "Levels": {"L": "left", "R": "right"}},
}
_NONE = (
    *("Manufacturer", "ManufacturersModelName", "CapManufacturer", "CapManufacturersModelName", "EEGGround"),
    *("DeviceSerialNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
)
_EEG = dict.fromkeys(_NONE, "none (simulated)") | {
    "TaskName": TASK,
    "TaskDescription": "Imagined movement of the left or right hand on a visual cue, after a rest.",
    "Instructions": "Imagine opening and closing the hand that the arrow points to until it disappears.",
    "SoftwareVersions": f"replicortex {__version__}",
    "EEGReference": "linked mastoids (TP9, TP10)",
    "EEGPlacementScheme": "10-05 system",
    "MISCChannelCount": 0,
    "HardwareFilters": "n/a",
    "SubjectArtefactDescription": "blinks and bursts of the temporal muscles",
}
_README = """\
Simulated EEG of motor imagery
==============================

No person was recorded. The signals come from current dipoles in a spherical head model: rhythms of the hand
areas, posterior alpha, a background with a 1/f spectrum, blinks, muscle bursts, power line and sensor noise.
Some channels may be bad. Electrode positions are those of a template head, not of the cap as it sat.

A trial is a rest, then an arrow to the left or right: imagine closing that hand. Their order is random.
"""
