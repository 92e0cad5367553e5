"""EEG and MEG of attention to the left or right, from the same sources with several devices, as a BIDS dataset.

Every participant is recorded with one device: an EEG cap, or a helmet of planar gradiometers and magnetometers.
Rhythms of cortical areas of both sides and background dipoles with 1/f spectra are taken to the sensors by a sphere
(Berg and Scherg 1994, doi:10.1016/0013-4694(94)90113-9, and Sarvas 1987, doi:10.1088/0031-9155/32/1/004, as computed by
MNE).
The sources are tangential: what one device sees, any other sees too, from elsewhere.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import mne
import mne_bids
import numpy as np
from mne.io.constants import FIFF
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..errors import InputError
from ..files import read_json, to_json, to_tsv, write_text
from ..shared.meg_raw import make_neutral
from ..shared.processes import ar2, pink_noise
from ..shared.words import count, digits, listed, percent, text

TASK = "attention"
CLASSES = ("left", "right")
#: Electrodes above the left and the right area of each pair, and the centres (Hz) of their rhythms. Areas can be told
#: by their rhythm, but for the two of the back of the head.
AREAS = {
    "frontal": (("F3", "F4"), (4.0, 5.0)),
    "central": (("C3", "C4"), (6.0, 7.0)),
    "temporal": (("T7", "T8"), (8.0, 9.0)),
    "parietal": (("P3", "P4"), (12.0, 13.5)),
    "occipital": (("PO7", "PO8"), (10.5, 10.5)),
}
_PLANAR, _MAGNETOMETER = FIFF.FIFFV_COIL_VV_PLANAR_T1, FIFF.FIFFV_COIL_VV_MAG_T3
CAPS = {
    "cap19": (
        *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"),
        *("P7", "P3", "Pz", "P4", "P8", "O1", "O2"),
    ),
    "cap22": (
        *("AF3", "AF4", "F5", "F1", "F2", "F6", "FT7", "FC3", "FCz", "FC4", "FT8", "C5", "C1", "C2", "C6"),
        *("CP3", "CPz", "CP4", "P5", "P6", "PO3", "PO4"),
    ),
}
#: Helmets: how many places, and the coils at each: name, type, unit, and at which places of two a planar one is turned
#: by 90 degrees.
_NEVER, _ALWAYS, _IN_TURN = (False, False), (True, True), (False, True)
HELMETS = {
    "helmet20": (10, (("GRAD", _PLANAR, "T/m", _IN_TURN), ("MAG", _MAGNETOMETER, "T", _NEVER))),
    "helmet24": (
        8,
        (("GRAD1", _PLANAR, "T/m", _NEVER), ("GRAD2", _PLANAR, "T/m", _ALWAYS), ("MAG", _MAGNETOMETER, "T", _NEVER)),
    ),
}
#: How far (m) the helmet's coils are from the scalp.
GAP = 0.02

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@component
class EegMegSources(Simulator):
    """Participants with one device each, whose rhythms are strong on the side that they attend to.

    Parameters
    ----------
    devices : list of str
        ``cap19`` and ``cap22`` are EEG caps without a place in common, ``helmet20`` has a planar
        gradiometer, along and across in turn, and a magnetometer at each of ten places, ``helmet24`` two crossed
        gradiometers and a magnetometer at each of eight. Participants are dealt to them in turn.
    areas : list of str
        Pairs of cortical areas, a left and a right one, that have rhythms.
    bandwidth : float
        Of the rhythms (Hz).
    effect : float
        Share of their power that the areas of the side opposite to attention lose, from 0 to 1.
    n_subjects, n_trials : int
        Participants, and trials of each side and participant.
    sfreq, trial_duration : float
        Sampling frequency (Hz) and length of a trial (s); pauses of up to 0.5 s follow.
    moment : float
        Root mean square of the dipole moment of an area (nAm).
    n_background, background : int, float
        Background dipoles, and the root mean square of the moment of each (nAm).
    eeg_noise, mag_noise, grad_noise : float
        White noise of the sensors: µV, fT, fT/cm.
    line_freq : {50, 60}
        Frequency of the power line (Hz), whose amplitude at the sensors is twice the noise.

    Raises
    ------
    InputError
        If there are fewer participants than devices, areas are named twice, or the sampling frequency is too low.
    """

    datatype = "meg"
    tiny = {"n_subjects": 4, "n_trials": 8, "n_background": 10}

    devices: list[Literal["cap19", "cap22", "helmet20", "helmet24"]] = ["cap19", "helmet20", "cap22", "helmet24"]
    areas: list[Literal["frontal", "central", "temporal", "parietal", "occipital"]] = list(AREAS)
    bandwidth: Positive = 1.5
    effect: Annotated[float, Field(ge=0, le=1)] = 0.7
    n_subjects: Count = 16
    n_trials: Count = 12
    sfreq: Positive = 256.0
    trial_duration: Annotated[float, Field(ge=1)] = 2.0
    moment: Positive = 40.0
    n_background: Count = 40
    background: Positive = 5.0
    eeg_noise: NotNegative = 0.5
    mag_noise: NotNegative = 20.0
    grad_noise: NotNegative = 8.0
    line_freq: Literal[50, 60] = 50

    def __post_init__(self) -> None:
        """Refuse parameters that do not fit together."""
        where = "simulators/eeg_meg_sources"
        if self.n_subjects < len(self.devices) or len(set(self.devices)) < len(self.devices):
            fault = f"{self.n_subjects} participants for {len(self.devices)} devices, or a device twice"
            raise InputError(where, fault, "name each device once, and let there be a participant for each")
        if not self.areas or len(set(self.areas)) < len(self.areas):
            raise InputError(where, f"areas {', '.join(self.areas) or 'none'}", "name one at least, and each once")
        if self.sfreq <= 2 * self.line_freq:
            raise InputError(where, f"sfreq {self.sfreq} is too low", "raise it beyond twice line_freq")

    def device(self, subject: int) -> str:
        """Return the device of ``subject`` (1, 2, ...)."""
        return self.devices[(subject - 1) % len(self.devices)]

    def dipoles(self, subject: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (m) and directions of a subject's dipoles, ``(n, 3)``: areas first, left before right."""
        rng = np.random.default_rng([seed, subject])
        info, sphere = _template()
        centre, radius = sphere["r0"], sphere.radius
        names = [name for area in self.areas for name in AREAS[area][0]]
        at = np.array([info["chs"][info.ch_names.index(name)]["loc"][:3] for name in names])
        outward = _unit(at - centre)
        areas = centre + 0.75 * radius * outward + rng.normal(0, 0.002, outward.shape)
        shell = rng.normal(size=(self.n_background, 3))
        shell[:, 2] = np.abs(shell[:, 2]) - 0.3
        places = np.concatenate([areas, centre + radius * rng.uniform(0.4, 0.75, (len(shell), 1)) * _unit(shell)])
        # In the wall of a sulcus that runs from left to right: tangential, so that no device is blind to it.
        forwards = np.cross(np.cross(outward, [0.0, 1.0, 0.0]), outward)
        directions = np.concatenate([forwards + rng.normal(0, 0.1, outward.shape), rng.normal(size=shell.shape)])
        radial = _unit(places - centre)
        directions -= (directions * radial).sum(axis=1, keepdims=True) * radial
        return places, _unit(directions)

    def recording(self, subject: int, truth: str, seed: int) -> tuple[mne.io.RawArray, dict[str, Any]]:
        """Return the recording of a subject with its annotations, and what was planted in it.

        The signal does not depend on ``truth``: if it is ``"absent"`` only the labels are drawn anew.
        """
        rng = np.random.default_rng([seed, subject, 1])
        kinds = rng.permutation(np.repeat(np.arange(len(CLASSES)), self.n_trials))
        shuffled = np.random.default_rng([seed, subject, 2]).permutation(kinds)
        labels = kinds if truth == "planted" else shuffled
        pauses = rng.uniform(0.1, 0.5, len(kinds))
        onsets = (
            np.round((2 + self.trial_duration * np.arange(len(kinds)) + np.cumsum(pauses)) * self.sfreq) / self.sfreq
        )
        n_times = int((onsets[-1] + self.trial_duration + 2) * self.sfreq)

        info = _info(self.device(subject), self.sfreq)
        # Where the cap sits and the head lies differs from one participant to the next, and nobody measures it.
        turn = mne.transforms.rotation(*np.radians(rng.normal(0, 1.5, 3)))[:3, :3]
        lead = _lead_field(info, *self.dipoles(subject, seed), turn)
        moments = np.concatenate(
            [
                self._areas(kinds, onsets, n_times, rng),
                self.background * pink_noise(rng, (self.n_background, n_times), self.sfreq),
            ]
        )
        data = lead @ (1e-9 * moments)
        noise = self._noise(info)[:, None]
        line = np.sin(2 * np.pi * self.line_freq * np.arange(n_times) / self.sfreq + rng.uniform(0, 2 * np.pi))
        data += noise * (rng.standard_normal(data.shape) + 2 * rng.uniform(0.5, 1.5, (len(data), 1)) * line)
        if mne.pick_types(info, meg=False, eeg=True).size:
            data -= data.mean(axis=0)
        raw = mne.io.RawArray(data, info, verbose="ERROR")
        raw.info["line_freq"] = float(self.line_freq)
        durations = np.full(len(labels), self.trial_duration)
        raw.set_annotations(mne.Annotations(onsets, durations, np.array(CLASSES)[labels]))
        trials = [
            {"onset": onset, "kind": CLASSES[kind], "label": CLASSES[label]}
            for onset, kind, label in zip(onsets.tolist(), kinds, labels, strict=True)
        ]
        return raw, {"device": self.device(subject), "trials": trials}

    def _areas(self, kinds: np.ndarray, onsets: np.ndarray, n_times: int, rng: np.random.Generator) -> np.ndarray:
        """Return the moments (nAm) of the areas, ``(2 * n_pairs, n_times)``."""
        centres = [centre for area in self.areas for centre in AREAS[area][1]]
        courses = np.concatenate([ar2(rng, centre, self.bandwidth, (1, n_times), self.sfreq) for centre in centres])
        gain = np.ones((len(courses), n_times))
        for kind, onset in zip(kinds, onsets, strict=True):
            start = round(onset * self.sfreq)
            here = slice(start, start + round(self.trial_duration * self.sfreq))
            # Equal power in every trial, then a fluctuation that knows nothing of its side.
            power = (courses[:, here] ** 2).mean(axis=1, keepdims=True)
            gain[:, here] = np.exp(rng.normal(0, 0.15, (len(courses), 1))) / np.sqrt(power)
            # Attention to the left (0) leaves rhythms on the left and takes from those on the right.
            gain[1 - kind :: 2, here] *= np.sqrt(1 - self.effect)
        return self.moment * gain * courses

    def _noise(self, info: mne.Info) -> np.ndarray:
        """Return the root mean square of the noise of each sensor, in its unit."""
        of = {"eeg": 1e-6 * self.eeg_noise, "mag": 1e-15 * self.mag_noise, "grad": 1e-13 * self.grad_noise}
        return np.array([of[kind] for kind in info.get_channel_types()])

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset; see :class:`replicortex.components.Simulator`."""
        recordings, rows = {}, []
        for subject in range(1, self.n_subjects + 1):
            raw, facts = self.recording(subject, truth, seed)
            datatype = "eeg" if self.device(subject) in CAPS else "meg"
            path = mne_bids.BIDSPath(f"{subject:02d}", task=TASK, datatype=datatype, root=root)
            _write(raw, path)
            recordings[path.basename] = facts
            rng = np.random.default_rng([seed, subject, 3])
            person = {"age": int(rng.integers(20, 41)), "sex": str(rng.choice(["F", "M"])), "hand": "R"}
            rows.append({"participant_id": f"sub-{subject:02d}", **person, "device": self.device(subject)})
        mne_bids.make_dataset_description(
            path=root,
            name="Simulated EEG and MEG of attention",
            data_license="CC0",
            authors=["Replicortex"],
            generated_by=[{"Name": "replicortex", "Version": __version__}],
            overwrite=True,
            verbose="ERROR",
        )
        write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", *_PARTICIPANTS]))
        write_text(root / "participants.json", to_json(_PARTICIPANTS))
        write_text(root / "README", _README)
        planted = {
            "classes": list(CLASSES),
            "contrast": "side",
            "effect": self.effect,
            "truth": truth,
            "rhythms_hz": [list(AREAS[area][1]) for area in self.areas],
        }
        return {**planted, "areas": [list(AREAS[area][0]) for area in self.areas], "recordings": recordings}

    def described(self) -> str:
        """Return what it does, in words."""
        shown = {
            "cap19": "an EEG cap of 19 electrodes",
            "cap22": "an EEG cap of 22 other electrodes",
            "helmet20": "a helmet of 10 planar gradiometers and 10 magnetometers",
            "helmet24": "a helmet of 16 planar gradiometers and 8 magnetometers",
        }
        return text(
            f"EEG and MEG of attention to the left or right were simulated for {count(self.n_subjects, 'participant')},"
            f" each recorded with one device ({listed([shown[name] for name in self.devices])}) at"
            f" {digits(self.sfreq)} Hz, with {count(self.n_trials, 'trial')} of {digits(self.trial_duration)} s a"
            " side.",
            f"Rhythms of {listed(self.areas)} areas of both sides ({digits(self.moment)} nAm, autoregressive processes"
            f" of order 2, {digits(self.bandwidth)} Hz wide) and"
            f" {count(self.n_background, 'background dipole')} with 1/f spectra ({digits(self.background)} nAm each)"
            " were taken to electrodes by a three-shell sphere [@berg1994] and to coils by Sarvas' formula"
            f" [@sarvas1987]; sensors had white noise of {digits(self.eeg_noise)} µV, {digits(self.mag_noise)} fT or"
            f" {digits(self.grad_noise)} fT/cm, and twice as much of the power line ({self.line_freq} Hz).",
            f"The areas of the side opposite to attention lost {percent(self.effect)} of their power.",
        )


def _write(raw: mne.io.RawArray, path: mne_bids.BIDSPath) -> None:
    """Write one recording, with the metadata that a file of the device does not hold."""
    form = "BrainVision" if path.datatype == "eeg" else "FIF"
    mne_bids.write_raw_bids(raw, path, format=form, allow_preload=True, readme=False, verbose="ERROR")
    folder = path.directory
    if form == "FIF":
        for file in folder.glob("*.fif"):
            make_neutral(file)
    (sidecar,) = folder.glob(f"*_{path.datatype}.json")
    content = read_json(sidecar)
    if path.datatype == "eeg":
        # MNE-BIDS counts miscellaneous channels under another name than the standard's for EEG.
        content.pop("MiscChannelCount", None)
        content["HeadCircumference"] = round(200 * np.pi * _template()[1].radius, 1)
    write_text(sidecar, to_json(content | _DEVICE | (_EEG if path.datatype == "eeg" else _MEG)))
    (events,) = folder.glob("*_events.json")
    content = read_json(events)
    content["trial_type"] = {"Description": "Where to attend.", "Levels": _LEVELS}
    write_text(events, to_json(content | {"StimulusPresentation": _STIMULUS}))
    (system,) = folder.glob("*_coordsystem.json")
    content = read_json(system)
    if "EEGCoordinateSystemDescription" in content:
        content["AnatomicalLandmarkCoordinateSystemDescription"] = content["EEGCoordinateSystemDescription"]
        write_text(system, to_json(content))


@functools.cache
def _template() -> tuple[mne.Info, mne.bem.ConductorModel]:
    """Return all electrodes of the 10-05 system in head coordinates, and the sphere fitted to them."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    info = mne.create_info(montage.ch_names, 1.0, "eeg").set_montage(montage, verbose="ERROR")
    return info, mne.make_sphere_model("auto", "auto", info, verbose="ERROR")


def _info(device: str, sfreq: float) -> mne.Info:
    """Return the measurement information of a device."""
    if device in CAPS:
        info = mne.create_info(list(CAPS[device]), sfreq, "eeg")
        return info.set_montage(mne.channels.make_standard_montage("colin27_1005"), verbose="ERROR")
    n_places, coils = HELMETS[device]
    names = [f"{kind}{place:03d}" for place in range(n_places) for kind, *_ in coils]
    info = mne.create_info(
        names, sfreq, ["grad" if unit == "T/m" else "mag" for _ in range(n_places) for _, _, unit, _ in coils]
    )
    centre, radius = _template()[1]["r0"], _template()[1].radius
    for place, outward in enumerate(_spiral(n_places)):
        ex = _unit(np.cross([0.0, 1.0, 0.0], outward))
        for number, (_, coil, unit, crossed) in enumerate(coils):
            channel = info["chs"][place * len(coils) + number]
            channel["coil_type"], channel["coord_frame"] = coil, FIFF.FIFFV_COORD_DEVICE
            channel["unit"] = FIFF.FIFF_UNIT_T_M if unit == "T/m" else FIFF.FIFF_UNIT_T
            along = np.cross(outward, ex) if crossed[place % 2] else ex
            axes = np.stack([along, np.cross(outward, along), outward])
            channel["loc"] = np.concatenate([centre + (radius + GAP) * outward, axes.ravel()])
    # Device and head coordinates agree: the helmet was built around this head.
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    landmarks = _template()[0].get_montage().get_positions()
    fiducials = {key: landmarks[key] for key in ("nasion", "lpa", "rpa")}
    return info.set_montage(mne.channels.make_dig_montage(**fiducials, coord_frame="head"), verbose="ERROR")


def _spiral(n: int) -> np.ndarray:
    """Return ``n`` directions ``(n, 3)`` evenly over a helmet: the upper part of a sphere, open to the face."""
    number = np.arange(4 * n) + 0.5
    height = 1 - 2 * number / (4 * n)
    angle = np.pi * (1 + np.sqrt(5)) * number
    flat = np.sqrt(1 - height**2)
    every = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
    # Best covered first: those highest above a plane that falls to the back of the head.
    order = np.argsort(-(every @ _unit(np.array([0.0, -0.35, 1.0]))), kind="stable")
    return every[np.sort(order[: 2 * n])][::2]


def _lead_field(info: mne.Info, places: np.ndarray, directions: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return what each sensor measures of unit dipoles, ``(n_sensors, n_dipoles)``, the head turned under them."""
    sphere = _template()[1]
    info, centre, n = info.copy(), sphere["r0"], len(places)
    for channel in info["chs"]:
        channel["loc"][:3] = centre + turn @ (channel["loc"][:3] - centre)
        channel["loc"][3:] = (channel["loc"][3:].reshape(3, 3) @ turn.T).ravel()
    dipoles = mne.Dipole(np.arange(n), places, np.ones(n), directions, np.full(n, 100.0))
    return mne.make_forward_dipole(dipoles, sphere, info, verbose="ERROR")[0]["sol"]["data"]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


_LEVELS = {"left": "An arrow to the left: attend to that side.", "right": "An arrow to the right."}
_STIMULUS = {"OperatingSystem": "n/a", "SoftwareName": "replicortex", "SoftwareVersion": __version__}
_PARTICIPANTS = {
    "age": {"Description": "Age of the simulated participant.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
    "hand": {"Description": "Preferred hand.", "Levels": {"L": "left", "R": "right"}},
    "device": {
        "Description": "What the participant was recorded with.",
        "Levels": dict.fromkeys([*CAPS, *HELMETS], "A simulated device."),
    },
}
_NONE = (
    *("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
)
_DEVICE = dict.fromkeys(_NONE, "none (simulated)") | {
    "TaskName": TASK,
    "TaskDescription": "Attention to the left or right side of the visual field.",
    "Instructions": "Attend to the side that the arrow points to, and look at the cross.",
    "SoftwareVersions": f"replicortex {__version__}",
    "SubjectArtefactDescription": "n/a",
}
_EEG = {
    **dict.fromkeys(("CapManufacturer", "CapManufacturersModelName", "EEGGround"), "none (simulated)"),
    "EEGReference": "average",
    "EEGPlacementScheme": "10-05 system",
    "MISCChannelCount": 0,
    "HardwareFilters": "n/a",
}
_MEG = {
    **dict.fromkeys(("EEGChannelCount", "ECOGChannelCount", "SEEGChannelCount", "MiscChannelCount"), 0),
    "DewarPosition": "upright",
    "DigitizedLandmarks": True,
    "DigitizedHeadPoints": False,
    "MaxMovement": 0,
    "HardwareFilters": "n/a",
}
_README = """\
Simulated EEG and MEG of attention
==================================

No person was recorded. The signals come from current dipoles in a spherical head: rhythms of cortical areas and a
background with a 1/f spectrum, to which noise of the sensors and the power line were added. Each participant was
recorded with one device, an EEG cap or an MEG helmet. Positions are those of a template head.

A trial is an arrow to the left or right: attend to that side. Their order is random.
"""
