"""People who say which of three objects is the odd one, by a sparse embedding that all of them share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.triplets import POSITIONS, dot_scores, softmax
from ..shared.triplets_bids import TASK, describe
from ..shared.words import count, digits, percent

Count = Annotated[int, Field(ge=1)]


@component
class OddOneOut(Simulator):
    """Odd-one-out choices among objects that have few of many properties.

    Each property (a dimension of the embedding) is shared by some objects, in an amount that is drawn from an
    exponential distribution; of three objects two stay together with the probability of a softmax over the dot products
    of the pairs. Beside the choices there are features of the objects, as word vectors would be: random mixtures of
    properties with noise. Where the truth is absent people choose at random.

    Parameters
    ----------
    n_objects, n_dims : int
        Objects, and properties.
    share : float
        Share of the objects that have a property.
    sureness : float
        Mean probability of the likeliest answer: how often choices could be told if all was known.
    n_people, n_trials : int
        People, and choices of each.
    n_features : int
        Features of the objects.
    feature_noise : float
        Standard deviation of the noise of features, in that of what they tell.
    """

    datatype = "beh"
    tiny = {"n_objects": 12, "n_dims": 4, "n_people": 2, "n_trials": 20, "n_features": 5}

    n_objects: Annotated[int, Field(ge=4)] = 150
    n_dims: Count = 42
    share: Annotated[float, Field(gt=0, le=1)] = 0.12
    sureness: Annotated[float, Field(gt=0.34, lt=0.99)] = 0.64
    n_people: Count = 20
    n_trials: Count = 2000
    n_features: Count = 50
    feature_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def embedding(self, seed: int) -> np.ndarray:
        """Return the properties of the objects: (n_objects, n_dims), not negative; each is there twice at least."""
        return _embedding(self.n_objects, self.n_dims, self.share, self.sureness, seed)

    def features(self, embedding: np.ndarray, seed: int) -> np.ndarray:
        """Return the features of the objects: (n_objects, n_features), standardised."""
        rng = np.random.default_rng([seed, 1])
        told = embedding @ rng.standard_normal((self.n_dims, self.n_features))
        told = (told - told.mean(axis=0)) / np.maximum(told.std(axis=0), 1e-12)
        return (told + self.feature_noise * rng.standard_normal(told.shape)) / np.sqrt(1 + self.feature_noise**2)

    def choices(self, person: int, truth: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the objects shown to a person (1, 2, ...), (n_trials, 3), and where the odd one is, (n_trials,)."""
        rng = np.random.default_rng([seed, 2, person])
        triplets = _triplets(rng, self.n_trials, self.n_objects)
        scores = dot_scores(self.embedding(seed), triplets)
        chances = softmax(scores if truth == "planted" else np.zeros_like(scores))
        drawn = rng.random((self.n_trials, 1)) > chances.cumsum(axis=1)
        return triplets, np.minimum(drawn.sum(axis=1), 2)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        embedding = self.embedding(seed)
        names = [f"object{number:0{len(str(self.n_objects))}d}" for number in range(1, self.n_objects + 1)]
        features = np.round(self.features(embedding, seed), 4).tolist()
        width = max(2, len(str(self.n_people)))
        people = [f"sub-{person:0{width}d}" for person in range(1, self.n_people + 1)]
        for person, name in enumerate(people, start=1):
            triplets, odd = self.choices(person, truth, seed)
            lines = ["\t".join(["object_1", "object_2", "object_3", "response"])]
            lines += [
                "\t".join([*(names[i] for i in shown), POSITIONS[position]])
                for shown, position in zip(triplets, odd, strict=True)
            ]
            path = root / name / "beh" / f"{name}_task-{TASK}_beh.tsv"
            write_text(path, "\n".join(lines) + "\n")
        nobody = dict.fromkeys(_NOWHERE, "none (simulated)")
        describe(root, names, features, "as word vectors would be: mixtures of what they have in common", **nobody)
        about = {
            "Name": "Simulated choices of the odd one out",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["Replicortex"],
            "GeneratedBy": [{"Name": "replicortex", "Version": __version__}],
        }
        write_text(root / "dataset_description.json", to_json(about))
        write_text(root / "participants.tsv", "\n".join(["participant_id", *people]) + "\n")
        write_text(root / "README", _README)
        return {
            "contrast": "planted",
            "truth": truth,
            "embedding": np.round(embedding, 6).tolist(),
            "objects": names,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"{count(self.n_people, 'participant').capitalize()} made {digits(self.n_trials)} simulated choices each of"
            f" the odd one among three of {digits(self.n_objects)} objects. Objects have {percent(self.share)} of"
            f" {digits(self.n_dims)} properties each, in amounts drawn from an exponential distribution, and"
            f" two stay together with the probability of a softmax over the dot products of"
            f" the pairs [@hebart2020]; the likeliest answer has a probability of {digits(self.sureness)} on average."
            f" {digits(self.n_features)} features of the objects are random mixtures of the"
            f" properties, with noise of {digits(self.feature_noise)} times their standard deviation."
        )


@functools.lru_cache(maxsize=4)
def _embedding(n_objects: int, n_dims: int, share: float, sureness: float, seed: int) -> np.ndarray:
    """Draw properties, in amounts for which the likeliest answer has on average the probability ``sureness``."""
    rng = np.random.default_rng([seed, 0])
    there = rng.random((n_objects, n_dims)) < share
    for dimension in range(n_dims):
        there[rng.choice(n_objects, 2, replace=False), dimension] = True
    amounts = there * rng.exponential(1.0, there.shape)
    scores = dot_scores(amounts, _triplets(rng, 20_000, n_objects))
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        # Dot products grow with the square of the amounts.
        surer = softmax(middle**2 * scores).max(axis=1).mean() > sureness
        low, high = (low, middle) if surer else (middle, high)
    return high * amounts


def _triplets(rng: np.random.Generator, n: int, n_objects: int) -> np.ndarray:
    """Return three different objects for each of ``n`` trials: (n, 3)."""
    return rng.random((n, n_objects)).argpartition(3, axis=1)[:, :3]


_NOWHERE = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")
_README = """\
Simulated choices of the odd one out
====================================

No person was asked. Every table holds choices: three objects, and which of them was named the odd one. The file
task-oddoneout_beh.json lists all objects, with features of them.
"""
