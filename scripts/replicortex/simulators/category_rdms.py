"""Dissimilarities of pictures in a region of people's brains that tells categories, and candidate models of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..files import to_json, to_tsv, write_text
from ..shared.rdm import dissimilarities, pairs, square
from ..shared.words import count, digits

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Four kinds of pictures, in turn: the first two are of what is alive.
KINDS = ("face", "body", "natural", "artificial")
#: How much of what the region tells are the two divisions, and what people share beyond them.
_ANIMACY, _KIND, _SHARED = 1.0, 0.8, 0.6
_N_FEATURES = 60


@component
class CategoryRdms(Simulator):
    """People whose region tells the living from other things, faces and bodies among them, and something of its own.

    The pattern of a picture has a part that all living, or all other, things share, one of its kind, one of the picture
    that people have in common, one of the picture for this person alone, and noise of the session. One minus the
    correlation of two patterns is their dissimilarity. Candidate models stand beside: the divisions themselves
    (``animacy``, ``FaceBodyManmadeNatobj``), the same region in another species (``monkeyIT``: the divisions, with less
    of what people share), and early features that know no category (``V1``, and ``HMAX`` with a little of it). Where
    the truth is absent the pictures of each person and session are in another order.

    Parameters
    ----------
    n_people, n_sessions, n_images : int
        People, sessions of each, and pictures.
    own, noise : float
        Size of what is a person's alone, and of the noise of a session, in that of what people share beyond divisions.
    """

    datatype = "func"
    tiny = {"n_people": 2, "n_sessions": 1, "n_images": 8}

    n_people: Annotated[int, Field(ge=2)] = 10
    n_sessions: Count = 2
    n_images: Annotated[int, Field(ge=8)] = 48
    own: NotNegative = 1.5
    noise: NotNegative = 2.5

    def _divisions(self, rng: np.random.Generator) -> np.ndarray:
        """Return the part of patterns that pictures of a division share: (n_images, n_features)."""
        kind = np.arange(self.n_images) % len(KINDS)
        alive = rng.standard_normal((2, _N_FEATURES))[kind // 2]
        return _ANIMACY * alive + _KIND * rng.standard_normal((len(KINDS), _N_FEATURES))[kind]

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((self.n_images, _N_FEATURES))

    def region(self, seed: int) -> np.ndarray:
        """Return the patterns that people have in common: (n_images, n_features)."""
        rng = np.random.default_rng([seed, 0])
        return self._divisions(rng) + _SHARED * self._drawn(rng)

    def models(self, seed: int) -> dict[str, np.ndarray]:
        """Return the candidate models, each (n_pairs,)."""
        rng = np.random.default_rng([seed, 1])
        kind = np.arange(self.n_images) % len(KINDS)
        unlike = {"animacy": kind // 2, "FaceBodyManmadeNatobj": kind}
        divided = {name: pairs((code[:, None] != code).astype(float)[None])[0] for name, code in unlike.items()}
        early = self._drawn(rng)
        monkey = self.region(seed) + 1.2 * self._drawn(rng)
        middle = early + 0.5 * self.region(seed)
        measured = {"monkeyIT": monkey, "HMAX": middle, "V1": early}
        return divided | {name: dissimilarities(patterns) for name, patterns in measured.items()}

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        region, width = self.region(seed), max(2, len(str(self.n_people)))
        items = [f"{KINDS[number % 4]}{number // 4 + 1:02d}" for number in range(self.n_images)]
        people = [f"sub-{person:0{width}d}" for person in range(1, self.n_people + 1)]
        for person, name in enumerate(people, start=1):
            of_person = self.own * _SHARED * self._drawn(np.random.default_rng([seed, 2, person]))
            for session in range(1, self.n_sessions + 1):
                rng = np.random.default_rng([seed, 2, person, session])
                patterns = region + of_person + self.noise * _SHARED * self._drawn(rng)
                if truth != "planted":
                    patterns = patterns[rng.permutation(self.n_images)]
                matrix = square(dissimilarities(patterns)[None])[0]
                stem = f"{name}_ses-{session}_task-view_desc-region_relmat.tsv"
                lines = ["\t".join(["Node", *items])]
                lines += [
                    "\t".join([item, *(f"{v:.6g}" for v in row)]) for item, row in zip(items, matrix, strict=True)
                ]
                write_text(root / name / f"ses-{session}" / "func" / stem, "\n".join(lines) + "\n")
        models = self.models(seed)
        self._describe(root, people, {name: np.round(values, 6).tolist() for name, values in models.items()})
        return {"contrast": "categories", "truth": truth, "kinds": list(KINDS), "models": list(models)}

    def _describe(self, root: Path, people: list[str], models: dict[str, list[float]]) -> None:
        sidecar = {
            "Description": "Dissimilarity of pictures: one minus the correlation of their patterns in a region.",
            "TaskName": "view",
            "Models": models,
        }
        write_text(root / "task-view_relmat.json", to_json(sidecar))
        about = {
            "Name": "Simulated dissimilarities of pictures",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "Authors": ["Replicortex"],
            "GeneratedBy": [{"Name": "replicortex", "Version": __version__}],
        }
        write_text(root / "dataset_description.json", to_json(about))
        write_text(root / "participants.tsv", to_tsv([{"participant_id": name} for name in people], ["participant_id"]))
        told = {"Description": "Simulated people; nothing is known of them."}
        write_text(root / "participants.json", to_json(told))
        write_text(root / "README", _README)
        write_text(root / ".bidsignore", "*_relmat.tsv\n*_relmat.json\n")

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Patterns of {digits(self.n_images)} pictures in a region of {count(self.n_people, 'participant')} were"
            f" simulated in {count(self.n_sessions, 'session')} each: they tell the living from other things and four"
            " kinds of pictures, share something of each picture between participants, and have"
            f" {digits(self.own)} times as much of a participant alone and {digits(self.noise)} times as much noise of"
            " the session. Dissimilarity is one minus the correlation of patterns; candidate models are the divisions,"
            " the region of another species, and features without any division."
        )


_README = """\
Simulated dissimilarities of pictures
=====================================

No person was recorded. Each matrix says how unlike each other pictures are in a region of one person in one session;
task-view_relmat.json lists candidate models of it.
"""
