"""People look at made-up pictures while their visual areas are recorded: which place an area responds to is planted.

A picture is a grid of patches. Every patch has contents, and four patches are objects, one of each of four categories,
at places drawn anew for every picture. An area responds either to the contents of the object of its own category,
wherever it is (``routed``), or to the contents around one place that is always the same (``static``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..components import Simulator, component
from ..files import to_json, to_tsv, write_text
from ..shared.sim_tables import describe_tables
from ..shared.trial_responses import regressors
from ..shared.words import count, digits, percent, text

TASK = "view"
#: Areas, and the category whose objects each responds to where responses are routed.
AREAS = ("FFA", "EBA", "PPA", "VWFA")
CATEGORIES = ("face", "body", "scene", "word")
#: Numbers that a patch carries: its contents, and how much it is an object of each category.
N_CONTENTS = 8
N_CHANNELS = N_CONTENTS + len(CATEGORIES)
#: Pixels a side of a patch: with three colours as many values as channels.
PATCH = 2
#: Grey of a value of 0, and steps of grey of 1.
_GREY, _STEP = 128, 32

Share = Annotated[float, Field(gt=0, lt=1)]


@component
class RoutedResponses(Simulator):
    """Region series of people who view pictures, with the pictures and the times that they were shown.

    The response to a picture is ``contents @ weights`` of the patch that counts, or of patches around a place weighted
    by a Gaussian, plus noise of the presentation of which the signal is the share ``snr``; so that no prediction
    correlates with single responses by more than the root of ``snr``. Responses last as the blood flow does, in series
    with slow drift and a little noise of the scanner.

    If the truth is absent, responses are those to other pictures that were never shown: repeats of a picture still
    give the same response, the ceiling is the same, and nothing that can be computed from the pictures predicts it.

    Parameters
    ----------
    routing : {"routed", "static"}
        Where the contents that an area responds to come from.
    n_subjects, n_pictures, n_repeated : int
        People; pictures that each of them sees, those shown more than once among them.
    n_presentations : int
        How often these are shown.
    n_runs : int
        Runs that the presentations of a subject are dealt to.
    side : int
        Patches a side of a picture.
    n_units : int
        Responses of an area.
    snr : float
        Share of the signal in the variance of responses to single presentations.
    mark : float
        How much an object shows its category, in standard deviations of the contents.
    width : float
        Standard deviation of the Gaussian where responses are static, in patches.
    interval, tr : float
        Seconds from picture to picture, and between volumes.
    scanner_noise : float
        Standard deviation of the noise of a volume over that of responses.
    """

    datatype = "func"
    tiny = {"n_subjects": 2, "n_pictures": 24, "n_repeated": 4, "n_runs": 1, "side": 3, "n_units": 2}

    routing: Literal["routed", "static"] = "routed"
    n_subjects: PositiveInt = 6
    n_pictures: Annotated[int, Field(ge=4)] = 1000
    n_repeated: PositiveInt = 100
    n_presentations: Annotated[int, Field(ge=2)] = 3
    n_runs: PositiveInt = 6
    side: Annotated[int, Field(ge=2)] = 6
    n_units: PositiveInt = 10
    snr: Share = 0.5
    mark: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.5
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.7
    interval: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    tr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    scanner_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02

    @property
    def responses(self) -> list[str]:
        """Names of the responses: the area, and a number."""
        return [f"{area}_{number:03d}" for area in AREAS for number in range(1, self.n_units + 1)]

    def pictures(self, seed: int | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens (n_pictures, side^2, N_CHANNELS) and the patch of each category's object (n_pictures, 4)."""
        rng = np.random.default_rng(seed)
        n_patches = self.side**2
        tokens = rng.standard_normal((self.n_pictures, n_patches, N_CHANNELS))
        tokens[:, :, N_CONTENTS:] *= 0.3
        place = np.stack([rng.permutation(n_patches)[: len(CATEGORIES)] for _ in range(self.n_pictures)])
        for category in range(len(CATEGORIES)):
            tokens[np.arange(self.n_pictures), place[:, category], N_CONTENTS + category] += self.mark
        return tokens, place

    def centres(self, seed: int, subject: int) -> np.ndarray:
        """Return the patch that each area of a subject looks at where responses are static, (4,)."""
        return np.random.default_rng([seed, 1, subject]).choice(self.side**2, len(AREAS), replace=False)

    def signal(self, tokens: np.ndarray, place: np.ndarray, seed: int, subject: int) -> np.ndarray:
        """Return what the areas of a subject respond to pictures, without noise: (n_pictures, 4 n_units), variance 1.

        Contents are independent of each other with variance 1, and so are the weights' lengths: the variance is exact.
        """
        weights = np.random.default_rng([seed, 2, subject]).standard_normal((len(AREAS), N_CONTENTS, self.n_units))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        row, column = np.divmod(np.arange(self.side**2), self.side)
        found = []
        for area, centre in enumerate(self.centres(seed, subject)):
            if self.routing == "routed":
                contents = tokens[np.arange(len(tokens)), place[:, area], :N_CONTENTS]
            else:
                far = (row - centre // self.side) ** 2 + (column - centre % self.side) ** 2
                field = np.exp(-far / (2 * self.width**2))
                contents = np.einsum("npc,p->nc", tokens[:, :, :N_CONTENTS], field / np.linalg.norm(field))
            found.append(contents @ weights[area])
        return np.concatenate(found, axis=1)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        tokens, place = self.pictures([seed, 0])
        names = [f"picture{number:04d}.png" for number in range(1, self.n_pictures + 1)]
        (root / "stimuli").mkdir(parents=True)
        for name, picture in zip(names, tokens, strict=True):
            write_picture(root / "stimuli" / name, picture, self.side)
        # What the pictures show is what their files hold.
        tokens = (as_grey(tokens).astype(float) - _GREY) / _STEP
        driving = self.pictures([seed, 9]) if truth == "absent" else (tokens, place)
        people, planted = [], {}
        for subject in range(1, self.n_subjects + 1):
            clean = self.signal(*driving, seed, subject)
            self._write_subject(root, subject, names, clean, seed)
            rng = np.random.default_rng([seed, 3, subject])
            about = {"age": int(rng.integers(18, 41)), "sex": str(rng.choice(["F", "M"]))}
            people.append({"participant_id": f"sub-{subject:02d}", **about})
            if self.routing == "static":
                centres = self.centres(seed, subject).tolist()
                planted[f"{subject:02d}"] = dict(zip(AREAS, centres, strict=True))
        describe_tables(root, "Simulated responses to pictures", _README, people, "timeseries", _PEOPLE)
        if self.routing == "routed":
            planted = {area: dict(zip(names, place[:, i].tolist(), strict=True)) for i, area in enumerate(AREAS)}
        return {
            "contrast": self.routing,
            "truth": truth,
            "planted_token": planted,
            "n_tokens": self.side**2,
            "highest_correlation": float(np.sqrt(self.snr)),
            "repeated": names[: self.n_repeated],
        }

    def _write_subject(self, root: Path, subject: int, names: list[str], clean: np.ndarray, seed: int) -> None:
        """Write the runs of a subject: series, sidecars and events."""
        rng = np.random.default_rng([seed, 4, subject])
        n_repeated = min(self.n_repeated, self.n_pictures)
        shown = np.concatenate([np.arange(self.n_pictures), np.tile(np.arange(n_repeated), self.n_presentations - 1)])
        shown = rng.permutation(shown)
        noise = np.sqrt((1 - self.snr) / self.snr) * rng.standard_normal((len(shown), clean.shape[1]))
        level = 1 + 0.2 * rng.standard_normal(clean.shape[1])
        responses = level + clean[shown] + noise
        folder = root / f"sub-{subject:02d}" / "func"
        for run, trials in enumerate(np.array_split(np.arange(len(shown)), self.n_runs), start=1):
            onsets = 4.0 + self.interval * np.arange(len(trials))
            n_volumes = int(np.ceil((onsets[-1] + 20) / self.tr))
            times = self.tr * np.arange(n_volumes)
            # Pictures last for three quarters of the interval; responses are those to the whole of it.
            lasting = np.full(len(trials), 0.75 * self.interval)
            expected = regressors(onsets, lasting, times)
            series = expected @ responses[trials]
            drift = np.cos(np.pi * np.arange(1, 4)[:, None] * (np.arange(n_volumes) + 0.5) / n_volumes)
            series += rng.standard_normal((series.shape[1], 3)).dot(drift).T
            series += self.scanner_noise * expected.max() * rng.standard_normal(series.shape)
            stem = f"sub-{subject:02d}_task-{TASK}_run-{run}"
            lines = ["\t".join(f"{value:.5f}" for value in volume) for volume in 1000 + 10 * series]
            table = folder / f"{stem}_atlas-SIM_stat-mean_timeseries"
            write_text(table.with_suffix(".tsv"), "\n".join(["\t".join(self.responses), *lines]) + "\n")
            write_text(table.with_suffix(".json"), to_json({"RepetitionTime": self.tr, "TaskName": TASK}))
            events = [
                {"onset": f"{onset:g}", "duration": f"{duration:g}", "trial_type": "picture", "stim_file": names[i]}
                for onset, duration, i in zip(onsets, lasting, shown[trials], strict=True)
            ]
            write_text(folder / f"{stem}_events.tsv", to_tsv(events, list(events[0])))
            write_text(folder / f"{stem}_events.json", to_json(_EVENTS))

    def described(self) -> str:
        """Return what it does, in words."""
        where = (
            "to the contents of the object of its own category, wherever that was in the picture"
            if self.routing == "routed"
            else f"to the contents around a place of its own, weighted by a Gaussian ({digits(self.width)} patches),"
            " whatever was in the picture"
        )
        return text(
            f"Responses of {len(AREAS)} visual areas ({count(self.n_units, 'response')} each) were simulated for"
            f" {count(self.n_subjects, 'participant')} who viewed {count(self.n_pictures, 'picture')}, one every"
            f" {digits(self.interval)} s in {count(self.n_runs, 'run')}, {self.n_repeated} of them"
            f" {count(self.n_presentations, 'time')}, with volumes {digits(self.tr)} s apart.",
            f"Each picture has {self.side} by {self.side} patches with random contents, of which four are objects, one"
            f" of each category, that stand out by {digits(self.mark)} standard deviations. An area responds {where}."
            f" Signal is {percent(self.snr)} of the variance of single responses; the noise of the scanner is"
            f" {percent(self.scanner_noise)} of the response.",
        )


def as_grey(tokens: np.ndarray) -> np.ndarray:
    """Return the values of tokens as they stand in a picture, uint8."""
    return np.clip(np.round(_GREY + _STEP * tokens), 0, 255).astype(np.uint8)


def write_picture(path: Path, tokens: np.ndarray, side: int) -> None:
    """Write tokens (side^2, 12) as a picture whose patches of 2 by 2 pixels they are."""
    from matplotlib import image

    grey = as_grey(tokens).reshape(side, side, PATCH, PATCH, 3).transpose(0, 2, 1, 3, 4)
    # Without a name of the software, which has a version.
    image.imsave(path, grey.reshape(side * PATCH, side * PATCH, 3), format="png", metadata={"Software": None})


_PEOPLE = {
    "age": {"Description": "Age of the simulated participant.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
}
_EVENTS = {
    "Description": "When which picture was shown.",
    "trial_type": {"Description": "What was shown.", "Levels": {"picture": "A made-up picture."}},
    "stim_file": {"Description": "The picture, in the folder stimuli."},
}
_README = """\
Simulated responses to pictures
===============================

No person was recorded. People view made-up pictures, which lie in the folder stimuli; each table holds the series of
the responses of four visual areas, a row a volume, and the events beside it say when which picture was shown. A picture
is a grid of patches of two by two pixels. Some pictures were shown more than once.
"""
