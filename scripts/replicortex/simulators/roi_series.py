"""Resting-state series of brain regions of known connectivity, as a BIDS derivative dataset of tables.

Connectivity is a mixture of prototypes with one mixture a subject (its fingerprint), laid over three kinds of
coupling that differ in which operators of functional connectivity can see them; a group of edges is stronger in
patients, sites differ in gain and in a signal shared by all regions, and bursts of motion spoil some volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import signal

from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.sim_tables import PARTICIPANTS, describe_tables
from ..shared.words import count, digits, percent, text

TASK = "rest"
#: Kinds of coupling, and for each an operator of the bank that is made for it.
KINDS = ("linear", "lagged", "nonlinear")
SEEN_BY = {"linear": "pearson", "lagged": "weighted_phase_lag_index", "nonlinear": "envelope_correlation"}
#: Latent sources of each kind and of each prototype.
N_SOURCES = 3
#: Greatest delay of lagged coupling, in volumes.
MAX_DELAY = 4
#: Regions that the diagnosis couples.
N_GROUP = 5
#: Volumes that are drawn and thrown away: filters forget their start.
WARM_UP = 50

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Person:
    """One subject: what the table of participants says, and its loadings ``(3, n_regions, N_SOURCES)``."""

    age: int
    sex: str
    site: str
    diagnosis: str
    mixture: np.ndarray
    loadings: np.ndarray


@component
class RoiSeries(Simulator):
    """Subjects and sessions of region series with planted connectivity.

    The series of a region is a sum of the kinds of coupling, each with its share of the variance, and of noise of
    its own; all parts have the spectrum of the haemodynamic response, most of it between 0.01 and 0.1 Hz.
    ``linear``: sources that all regions hear at once. ``lagged``: sources that arrive with a delay of the region,
    evenly spread over 0 to 4 volumes, so that correlation at zero lag is weaker and phases differ. ``nonlinear``:
    carriers of the region's own whose amplitude a shared slow source modulates, so that series are uncorrelated and
    their envelopes are not. How much a region hears a source are its loadings: those of a subject are a mixture of
    the prototypes' (Dirichlet) plus a deviation of its own.

    If the truth is absent every subject has the mean of the prototypes, without deviation or group: subjects can
    not be told apart, nor patients; sites and motion stay as they are.

    Parameters
    ----------
    n_subjects, n_sessions, n_runs : int
        Number of subjects, of sessions a subject, and of runs a session.
    n_regions, n_volumes : int
        Size of a table.
    tr : float
        Repetition time, s.
    n_prototypes : int
        Prototypes of connectivity.
    concentration : float
        Of the Dirichlet distribution of mixtures: small, and subjects are near one prototype.
    individuality : float
        Standard deviation of a subject's own loadings over that of the prototypes.
    linear, lagged, nonlinear : float
        Share of each kind of coupling in the variance of a region; the rest is noise.
    group_effect : float
        Amplitude of the source that couples five regions in patients; half of it couples them in nobody.
    site_effect : float
        Amplitude of the signal that all regions share at the last site; sites before it have less, the first none.
    n_sites : int
        Number of sites; patients and controls alternate in each.
    noisy_share : float
        Expected share of volumes within bursts of motion; it varies between subjects.
    noise_gain : float
        Amplitude of a burst over that of the signal.

    Raises
    ------
    InputError
        If the shares leave no variance for noise, or there are too few regions or volumes.
    """

    datatype = "func"
    tiny = {"n_subjects": 3, "n_regions": 8, "n_volumes": 60}

    n_subjects: Count = 60
    n_sessions: Count = 2
    n_runs: Count = 1
    n_regions: Annotated[int, Field(ge=N_GROUP + 1)] = 20
    n_volumes: Annotated[int, Field(ge=40)] = 210
    tr: Positive = 2.0
    n_prototypes: Count = 4
    concentration: Positive = 0.5
    individuality: NotNegative = 0.7
    linear: NotNegative = 0.3
    lagged: NotNegative = 0.1
    nonlinear: NotNegative = 0.2
    group_effect: NotNegative = 0.5
    site_effect: NotNegative = 0.4
    n_sites: Count = 3
    noisy_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    noise_gain: NotNegative = 4.0

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing for noise."""
        if sum(self._shares) >= 1:
            fault = f"linear, lagged and nonlinear add up to {sum(self._shares):g}"
            raise InputError("simulators/roi_series", fault, "leave some variance for noise: below 1 in all")

    @property
    def _shares(self) -> np.ndarray:
        return np.array([self.linear, self.lagged, self.nonlinear])

    @property
    def regions(self) -> list[str]:
        """Names of the regions."""
        return [f"R{number:02d}" for number in range(1, self.n_regions + 1)]

    # What is the same for all, what a subject is, and what one run of it looks like.

    def prototypes(self, seed: int) -> np.ndarray:
        """Return loadings of shape ``(n_prototypes, 3 kinds, n_regions, N_SOURCES)``, standard normal."""
        shape = (self.n_prototypes, len(KINDS), self.n_regions, N_SOURCES)
        return np.random.default_rng([seed, 0]).standard_normal(shape)

    def group_regions(self, seed: int) -> np.ndarray:
        """Return the indices of the regions that the diagnosis couples."""
        return np.sort(np.random.default_rng([seed, 0, 1]).choice(self.n_regions, N_GROUP, replace=False))

    def person(self, subject: int, truth: str, seed: int) -> Person:
        """Return ``subject`` (1, 2, ...). Nothing but mixture and loadings depends on ``truth``."""
        rng = np.random.default_rng([seed, subject])
        prototypes = self.prototypes(seed)
        mixture = rng.dirichlet(np.full(self.n_prototypes, self.concentration))
        own = self.individuality * rng.standard_normal(prototypes.shape[1:])
        if truth != "planted":
            mixture, own = np.full(self.n_prototypes, 1 / self.n_prototypes), np.zeros_like(own)
        loadings = np.einsum("p,pkrs->krs", mixture, prototypes) + own
        # Every region hears every kind by the same amount in all: subjects differ in what goes with what.
        loadings /= np.linalg.norm(loadings, axis=2, keepdims=True)
        site = (subject - 1) // 2 % self.n_sites
        return Person(
            age=int(rng.integers(18, 66)),
            sex=str(rng.choice(["F", "M"])),
            site=f"site{site + 1}",
            diagnosis=("control", "patient")[subject % 2],
            mixture=mixture,
            loadings=loadings,
        )

    def bursts(self, subject: int, session: int, run: int, seed: int) -> list[tuple[int, int]]:
        """Return first and last-plus-one volumes of the bursts of motion of a run."""
        liable = np.random.default_rng([seed, subject, 2]).gamma(2.0, self.noisy_share / 2)
        rng = np.random.default_rng([seed, subject, session, run, 1])
        noisy = np.zeros(self.n_volumes + 2, dtype=int)
        length = 10
        for _ in range(rng.poisson(min(liable, 0.45) * self.n_volumes / length)):
            start = int(rng.integers(0, self.n_volumes - length))
            noisy[start + 1 : start + 1 + length] = 1
        edges = np.diff(noisy)
        return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))

    def series(self, subject: int, session: int, run: int, truth: str, seed: int) -> tuple[np.ndarray, float]:
        """Return the series of one run, ``(n_volumes, n_regions)``, and its mean framewise displacement, mm."""
        person = self.person(subject, truth, seed)
        rng = np.random.default_rng([seed, subject, session, run])
        parts = (self._linear, self._lagged, self._nonlinear)
        data = np.sqrt(1 - self._shares.sum()) * _bold(rng, (self.n_volumes, self.n_regions), self.tr)
        for share, loadings, make in zip(self._shares, person.loadings, parts, strict=True):
            data += np.sqrt(share) * make(rng, loadings)

        group = self.group_regions(seed)
        strength = {"patient": 1.0, "control": 0.0}[person.diagnosis] if truth == "planted" else 0.5
        data[:, group] += self.group_effect * strength * _bold(rng, (self.n_volumes, 1), self.tr)
        site = (int(person.site.removeprefix("site")) - 1) / max(self.n_sites - 1, 1)
        data += self.site_effect * site * _bold(rng, (self.n_volumes, 1), self.tr)

        displacement = 0.08 + 0.04 * np.abs(rng.standard_normal(self.n_volumes))
        for start, stop in self.bursts(subject, session, run, seed):
            # The head moves: one course with a weight of either sign in each region, and noise beside it.
            shape = signal.windows.tukey(stop - start, 0.3)[:, None]
            course, weights = rng.standard_normal((stop - start, 1)), rng.standard_normal(self.n_regions)
            noise = course * weights + rng.standard_normal((stop - start, self.n_regions))
            data[start:stop] += self.noise_gain * shape * noise / np.sqrt(2)
            displacement[start:stop] += np.abs(rng.normal(0.6, 0.2, stop - start))
        gain = 1 + 0.3 * site
        return 1000 + 10 * gain * data, float(displacement.mean())

    def _linear(self, rng: np.random.Generator, loadings: np.ndarray) -> np.ndarray:
        return _bold(rng, (self.n_volumes, N_SOURCES), self.tr) @ loadings.T

    def _lagged(self, rng: np.random.Generator, loadings: np.ndarray) -> np.ndarray:
        sources = _bold(rng, (self.n_volumes + MAX_DELAY, N_SOURCES), self.tr)
        delays = np.arange(self.n_regions) % (MAX_DELAY + 1)
        times = np.arange(self.n_volumes)[:, None] + MAX_DELAY - delays
        return np.einsum("trs,rs->tr", sources[times], loadings)

    def _nonlinear(self, rng: np.random.Generator, loadings: np.ndarray) -> np.ndarray:
        # Slow compared with the carrier: a tenth of the window at most.
        slow = signal.lfilter([1], [1, -0.9], rng.standard_normal((self.n_volumes + WARM_UP, N_SOURCES)), axis=0)
        slow = slow[WARM_UP:] * np.sqrt(1 - 0.9**2)
        carriers = _bold(rng, (self.n_volumes, self.n_regions), self.tr)
        # The mean of exp(2 x) is exp(2) for unit variance: the product has unit variance as well.
        return carriers * np.exp(slow @ loadings.T - 1)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        subjects, noisy, rows = {}, {}, []
        several = {"session": self.n_sessions > 1, "run": self.n_runs > 1}
        for subject in range(1, self.n_subjects + 1):
            person, displaced = self.person(subject, truth, seed), []
            name = f"sub-{subject:02d}"
            for session in range(1, self.n_sessions + 1):
                for run in range(1, self.n_runs + 1):
                    folder, stem = root / name, name
                    if several["session"]:
                        folder, stem = folder / f"ses-{session}", f"{stem}_ses-{session}"
                    stem = f"{stem}_task-{TASK}" + (f"_run-{run}" if several["run"] else "")
                    stem = f"{stem}_atlas-SIM{self.n_regions}_stat-mean_timeseries"
                    data, displacement = self.series(subject, session, run, truth, seed)
                    displaced.append(displacement)
                    lines = ["\t".join(f"{value:.4f}" for value in row) for row in data]
                    text = "\n".join(["\t".join(self.regions), *lines]) + "\n"
                    write_text(folder / "func" / f"{stem}.tsv", text)
                    sidecar = {"RepetitionTime": self.tr, "MeanFramewiseDisplacement": round(displacement, 4)}
                    write_text(folder / "func" / f"{stem}.json", to_json(sidecar | {"TaskName": TASK}))
                    noisy[stem] = [list(burst) for burst in self.bursts(subject, session, run, seed)]
            about = {key: vars(person)[key] for key in ("age", "sex", "site", "diagnosis")}
            rows.append({"participant_id": name, **about, "mean_fd": round(float(np.mean(displaced)), 4)})
            subjects[name] = {"mixture": person.mixture.round(6).tolist(), "diagnosis": person.diagnosis}
        name = "Simulated resting-state series of brain regions"
        describe_tables(root, name, _README, rows, "timeseries", PARTICIPANTS | _MOTION)
        group = [self.regions[index] for index in self.group_regions(seed)]
        return {
            "contrast": "prototypes",
            "truth": truth,
            "shares": dict(zip(KINDS, self._shares.tolist(), strict=True)),
            "seen_by": SEEN_BY,
            "group_effect": self.group_effect,
            "planted_edges": [f"{a}--{b}" for i, a in enumerate(group) for b in group[i + 1 :]],
            "noisy_volumes": noisy,
            "subjects": subjects,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        return text(
            f"Time series of {self.n_regions} regions were simulated for {count(self.n_subjects, 'participant')} at"
            f" {count(self.n_sites, 'site')}, {count(self.n_sessions, 'session')} each with {count(self.n_runs, 'run')}"
            f" of {self.n_volumes} volumes, {digits(self.tr)} s apart.",
            f"Connectivity is a mixture of {count(self.n_prototypes, 'prototype')}, one mixture a participant, in three"
            f" kinds: linear ({percent(self.linear)} of the variance), lagged ({percent(self.lagged)}) and of envelopes"
            f" ({percent(self.nonlinear)}). In patients five regions are coupled by a source of amplitude"
            f" {digits(self.group_effect)}. Sites differ in gain and in a signal shared by all regions, and bursts of"
            " motion spoil some volumes.",
        )


def _bold(rng: np.random.Generator, shape: tuple[int, int], tr: float) -> np.ndarray:
    """Return series of unit expected variance with the spectrum of neural noise seen through blood flow.

    White noise filtered by a gamma-shaped response (peak at 5 s), which leaves little above 0.1 Hz.
    """
    times = np.arange(0, 25, tr)
    response = times**5 * np.exp(-times)
    response /= np.sqrt((response**2).sum())
    noise = rng.standard_normal((shape[0] + len(times) - 1, shape[1]))
    return signal.oaconvolve(noise, response[:, None], mode="valid", axes=0)


_MOTION = {"mean_fd": {"Description": "Mean framewise displacement over all runs.", "Units": "mm"}}
_README = """\
Simulated resting-state series of brain regions
===============================================

No person was recorded. Each table holds the mean series of the regions of a made-up atlas, a row a volume. The
series are sums of sources that regions share at once, with delays or in their amplitude, of noise of their own, of a
signal that all regions of a site share, and of bursts of motion. The sidecar has the repetition time and the mean
framewise displacement of the run.
"""
