"""People see things whose embedding their brains carry, in a code of choice: linear, late or early, or without phase.

``pictures`` are coloured shapes, and regions respond as slowly as blood flows: early ones to pixels in a receptive
field, late ones to the embedding of the picture. The other codes are for fast recordings of things that have an
embedding and no look: channels carry it in the height of bumps of a trial (``linear``, ``saturated``, ``even``),
which may come earlier or later from trial to trial, or in the power of two rhythms whose phase is random (``power``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..components import Simulator, component
from ..files import to_json, to_tsv, write_text
from ..shared import shape_pictures
from ..shared.sim_embeddings import N_VALUES, embedding_of, stored, write_values
from ..shared.sim_tables import describe_tables
from ..shared.trial_responses import regressors
from ..shared.words import count, digits, text

TASK = "view"
EARLY, LATE = ("V1", "V2"), ("LO", "IT")
#: Channels, samples a trial, bumps a channel, and the samples between trials.
CHANNELS, SAMPLES, BUMPS = 12, 30, 6
#: Seconds between samples of fast recordings.
STEP = 0.1
#: Cycles a sample of the two rhythms.
RHYTHMS = (0.12, 0.28)
#: How strongly the code changes the logarithm of their amplitudes.
_DEPTH = 0.8
#: Seconds between pictures, and between volumes.
_INTERVAL, _TR = 4.0, 2.0

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class EmbeddedResponses(Simulator):
    """Series of regions or channels of people to whom things are shown, with the things and the times of showing.

    If the truth is absent, responses are those to other things that were never shown: repeats still give the same
    response, and nothing that is known of what was shown is told by it.

    Parameters
    ----------
    code : {"pictures", "linear", "saturated", "even", "power"}
        Coloured shapes and regions; else things with a Gaussian embedding (24 values, eigenvalues falling with their
        number to the power -0.7) and 12 channels of 30 samples a trial: heights of six bumps a channel linear in the
        embedding, its hyperbolic tangent, its square, or amplitudes of two rhythms exponential in it.
    n_subjects, n_things, n_repeated : int
        People; things that each of them sees, those shown more than once among them.
    n_presentations : int
        How often these are shown.
    n_runs : int
        Runs that the presentations are dealt to.
    n_units : int
        Regions of each of four areas, for pictures.
    snr : float
        Variance of the signal over that of the noise of a single trial.
    jitter : int
        Most samples by which the bumps of a trial come too early or too late.
    """

    datatype = "func"
    family = "mri"
    tiny = {"n_subjects": 2, "n_things": 12, "n_repeated": 4, "n_presentations": 2, "n_runs": 1, "n_units": 2}

    code: Literal["pictures", "linear", "saturated", "even", "power"] = "pictures"
    n_subjects: PositiveInt = 6
    n_things: Annotated[int, Field(ge=4)] = 1200
    n_repeated: PositiveInt = 200
    n_presentations: Annotated[int, Field(ge=2)] = 2
    n_runs: PositiveInt = 6
    n_units: PositiveInt = 24
    snr: Positive = 0.5
    jitter: Annotated[int, Field(ge=0, le=SAMPLES // 3)] = 0

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        (root / "stimuli").mkdir(parents=True)
        things, names, columns = self._things([seed, 0], root / "stimuli")
        driving = self._things([seed, 9])[0] if truth == "absent" else things
        people = []
        for subject in range(1, self.n_subjects + 1):
            if self.code == "pictures":
                self._write_slow(root, subject, names, columns, self._regions(driving, seed, subject), seed)
            else:
                self._write_fast(root, subject, names, columns, driving, seed)
            rng = np.random.default_rng([seed, 3, subject])
            about = {"age": int(rng.integers(18, 41)), "sex": str(rng.choice(["F", "M"]))}
            people.append({"participant_id": f"sub-{subject:02d}", **about})
        describe_tables(root, "Simulated responses to things shown", _README, people, "timeseries", _PEOPLE)
        jittered = "_jitter" if self.jitter else ""
        return {
            "contrast": f"{self.code}{jittered}",
            "truth": truth,
            "snr": self.snr,
            "repeated": names[: self.n_repeated],
        }

    # ---- what is shown

    def _things(
        self, seed: list[int], folder: Path | None = None
    ) -> tuple[dict[str, np.ndarray], list[str], list[dict]]:
        """Return what is shown (``embedding``, and ``pixels`` of pictures), its files' names and columns of events."""
        n = self.n_things
        if self.code != "pictures":
            names = [f"thing{number:04d}.png" for number in range(1, n + 1)]
            values = stored(np.random.default_rng(seed).standard_normal((n, N_VALUES)))
            for name, one in zip(names, values, strict=True) if folder else ():
                write_values(folder / name, one)
            return {"embedding": embedding_of(values)}, names, [{} for _ in names]
        names = [f"shape{number:04d}.png" for number in range(1, n + 1)]
        factors = shape_pictures.draw_factors(n, seed)
        rows = [{name: values[i].item() for name, values in factors.items()} for i in range(n)]
        pixels = np.stack([shape_pictures.render(**row) for row in rows])
        if folder:
            from matplotlib import image

            for name, picture in zip(names, pixels, strict=True):
                # Without a name of the software, which has a version.
                image.imsave(folder / name, picture, format="png", metadata={"Software": None})
        columns = [{**row, "caption": shape_pictures.caption(row)} for row in rows]
        return {"embedding": shape_pictures.embed(factors).reshape(n, -1), "pixels": pixels}, names, columns

    def _regions(self, things: dict[str, np.ndarray], seed: int, subject: int) -> np.ndarray:
        """Return what regions respond to pictures, without noise, (n_things, n_regions), of variance 1."""
        rng = np.random.default_rng([seed, 2, subject])
        points = np.arange(shape_pictures.SIDE) + 0.5
        found = []
        for width in np.repeat((3.0, 4.5), self.n_units):
            centre = rng.uniform(6, shape_pictures.SIDE - 6, 2)
            row, column = (np.exp(-((points - place) ** 2) / (2 * width**2)) for place in centre)
            weights = rng.standard_normal(3)
            found.append(np.einsum("nijc,i,j,c->n", things["pixels"] - 0.5, row, column, weights))
        embedding = things["embedding"]
        late = embedding @ rng.standard_normal((embedding.shape[1], 2 * self.n_units))
        signal = np.column_stack([*found, late])
        return (signal - signal.mean(axis=0)) / signal.std(axis=0)

    # ---- what is recorded

    def _shown(self, rng: np.random.Generator) -> np.ndarray:
        n_repeated = min(self.n_repeated, self.n_things)
        shown = np.concatenate([np.arange(self.n_things), np.tile(np.arange(n_repeated), self.n_presentations - 1)])
        return rng.permutation(shown)

    def _write_slow(
        self, root: Path, subject: int, names: list[str], columns: list[dict], clean: np.ndarray, seed: int
    ) -> None:
        """Write the runs of a subject whose regions respond as blood flows."""
        rng = np.random.default_rng([seed, 4, subject])
        shown = self._shown(rng)
        responses = 1 + clean[shown] + rng.standard_normal((len(shown), clean.shape[1])) / np.sqrt(self.snr)
        regions = [f"{area}_{number:03d}" for area in (*EARLY, *LATE) for number in range(1, self.n_units + 1)]
        for run, trials in enumerate(np.array_split(np.arange(len(shown)), self.n_runs), start=1):
            onsets = 4.0 + _INTERVAL * np.arange(len(trials))
            times = _TR * np.arange(int(np.ceil((onsets[-1] + 20) / _TR)))
            expected = regressors(onsets, np.full(len(trials), 0.75 * _INTERVAL), times)
            series = expected @ responses[trials]
            drift = np.cos(np.pi * np.arange(1, 4)[:, None] * (np.arange(len(times)) + 0.5) / len(times))
            series += rng.standard_normal((series.shape[1], 3)).dot(drift).T
            series += 0.02 * expected.max() * rng.standard_normal(series.shape)
            place = root / f"sub-{subject:02d}" / "func" / f"sub-{subject:02d}_task-{TASK}_run-{run}"
            events = [_event(onset, 0.75 * _INTERVAL, names[i], columns[i])
                      for onset, i in zip(onsets, shown[trials], strict=True)]  # fmt: skip
            _write_run(place, regions, 1000 + 10 * series, _TR, events)

    def _write_fast(
        self, root: Path, subject: int, names: list[str], columns: list[dict], things: dict[str, np.ndarray], seed: int
    ) -> None:
        """Write the runs of a subject whose channels carry the code within a trial."""
        rng = np.random.default_rng([seed, 4, subject])
        shown = self._shown(rng)
        signal = self._trials(things["embedding"][shown], seed, subject, rng)
        mixing = np.eye(CHANNELS) + 0.4 * np.random.default_rng([seed, 5, subject]).standard_normal(
            (CHANNELS, CHANNELS)
        )
        mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
        noise = np.einsum("cd,ndt->nct", mixing, rng.standard_normal(signal.shape))
        trials = signal / signal.std() + noise / np.sqrt(self.snr)
        channels = [f"C{number:02d}" for number in range(1, CHANNELS + 1)]
        for run, here in enumerate(np.array_split(np.arange(len(shown)), self.n_runs), start=1):
            series = trials[here].transpose(0, 2, 1).reshape(-1, CHANNELS)
            place = root / f"sub-{subject:02d}" / "func" / f"sub-{subject:02d}_task-{TASK}_run-{run}"
            events = [_event(STEP * SAMPLES * number, STEP * SAMPLES, names[i], columns[i])
                      for number, i in enumerate(shown[here])]  # fmt: skip
            _write_run(place, channels, 10 * series, STEP, events)

    def _trials(self, embedding: np.ndarray, seed: int, subject: int, rng: np.random.Generator) -> np.ndarray:
        """Return trials without noise, (n, CHANNELS, SAMPLES)."""
        own = np.random.default_rng([seed, 2, subject])
        scale = np.sqrt((embedding_of(np.ones((1, N_VALUES))) ** 2).sum())
        times = np.arange(SAMPLES)
        if self.code == "power":
            weights = own.standard_normal((embedding.shape[1], CHANNELS, len(RHYTHMS))) / scale
            amplitude = np.exp(_DEPTH * np.einsum("nd,dcr->ncr", embedding, weights))
            phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
            waves = np.cos(2 * np.pi * np.array(RHYTHMS)[:, None] * times + phase[..., None])
            return np.einsum("ncr,ncrt->nct", amplitude, waves)
        weights = own.standard_normal((embedding.shape[1], CHANNELS, BUMPS)) / scale
        heights = np.einsum("nd,dcb->ncb", embedding, weights)
        heights = {"linear": heights, "saturated": np.tanh(2 * heights), "even": heights**2 - 1}[self.code]
        late = rng.integers(-self.jitter, self.jitter + 1, len(embedding))
        centres = np.linspace(3, SAMPLES - 4, BUMPS)[None, :] + late[:, None]
        bumps = np.exp(-((times - centres[..., None]) ** 2) / (2 * 1.5**2))
        return np.einsum("ncb,nbt->nct", heights, bumps)

    def described(self) -> str:
        """Return what it does, in words."""
        often = (
            f"{count(self.n_things, 'thing')}, {self.n_repeated} of them {count(self.n_presentations, 'time')}, in"
            f" {count(self.n_runs, 'run')}"
        )
        start = f"Recordings of {count(self.n_subjects, 'participant')} were simulated to whom {often}, were shown."
        noise = f"The variance of the signal was {digits(self.snr)} times that of the noise of a trial."
        if self.code == "pictures":
            return text(
                start,
                "They were pictures of one coloured shape each. Four areas of"
                f" {count(self.n_units, 'region')} responded: two to colours within receptive fields, two linearly to"
                " an embedding that tells shapes apart first; responses lasted as the blood flow does, in series with"
                " slow drift.",
                noise,
            )
        how = {
            "linear": "bumps whose heights were linear in it",
            "saturated": "bumps whose heights were the hyperbolic tangent of linear functions of it",
            "even": "bumps whose heights were squares of linear functions of it",
            "power": "two rhythms whose amplitudes were exponential in it and whose phases were random",
        }[self.code]
        late = f" Bumps came up to {count(self.jitter, 'sample')} too early or too late." if self.jitter else ""
        return text(
            start,
            f"They had an embedding of {N_VALUES} values, with eigenvalues that fell with the power -0.7 of their"
            f" number, which {CHANNELS} channels carried over {SAMPLES} samples a trial in {how}.{late}",
            noise,
        )


def _event(onset: float, duration: float, name: str, columns: dict[str, Any]) -> dict[str, Any]:
    return {"onset": f"{onset:g}", "duration": f"{duration:g}", "trial_type": "thing", "stim_file": name, **columns}


def _write_run(place: Path, names: list[str], series: np.ndarray, step: float, events: list[dict[str, Any]]) -> None:
    """Write one run: series, sidecar and events. ``place`` is the beginning of their paths."""
    lines = ["\t".join(f"{value:.3f}" for value in sample) for sample in series]
    table = place.with_name(f"{place.name}_atlas-SIM_stat-mean_timeseries")
    write_text(table.with_suffix(".tsv"), "\n".join(["\t".join(names), *lines]) + "\n")
    write_text(table.with_suffix(".json"), to_json({"RepetitionTime": step, "TaskName": TASK}))
    write_text(place.with_name(f"{place.name}_events.tsv"), to_tsv(events, list(events[0])))
    told = {name: entry for name, entry in _EVENTS.items() if name in ("Description", *events[0])}
    write_text(place.with_name(f"{place.name}_events.json"), to_json(told))


_PEOPLE = {
    "age": {"Description": "Age of the simulated participant.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
}
_EVENTS = {
    "Description": "When which thing was shown.",
    "trial_type": {"Description": "What was shown.", "Levels": {"thing": "A made-up thing."}},
    "stim_file": {"Description": "Its file, in the folder stimuli."},
    "shape": {"Description": "Shape in the picture."},
    "hue": {"Description": "Its hue, between 0 and 1."},
    "row": {"Description": "Row of its centre.", "Units": "pixel"},
    "column": {"Description": "Column of its centre.", "Units": "pixel"},
    "size": {"Description": "Its size.", "Units": "pixel"},
    "caption": {"Description": "The picture in words."},
}
_README = """\
Simulated responses to things shown
===================================

No person was recorded. People are shown made-up things, whose files lie in the folder stimuli; each table holds the
series of what was recorded, a row a sample, and the events beside it say when which thing was shown. Some were shown
repeatedly.
"""
