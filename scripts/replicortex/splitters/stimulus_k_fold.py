"""K-fold over stimuli within each subject: what is predicted is the response to what was never shown in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.words import spelled


@component
class StimulusKFold(Splitter):
    """Hold out one of ``folds`` parts of the stimuli of a subject; train on the others of the same subject.

    All presentations of a stimulus stay together, also those of other sessions. Stimuli are dealt out by how often
    they were presented, so that each fold has repeats where there are any.

    Parameters
    ----------
    folds : int
        Parts; fewer where there are fewer stimuli.
    """

    held_out = "stimulus"
    tiny = {"folds": 2}

    folds: Annotated[int, Field(ge=2)] = 5

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: there is one stimulus only."""
        return "there is only one stimulus" if len(np.unique(rows["label"])) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds of every subject."""
        subject = rows["subject"].astype(str)
        for number, name in enumerate(np.unique(subject)):
            here = np.flatnonzero(subject == name)
            stimuli, index, counts = np.unique(rows["label"][here].astype(str), return_inverse=True, return_counts=True)
            n_folds = min(self.folds, len(stimuli))
            if n_folds < 2:
                continue
            generator = np.random.default_rng([seed, number])
            order = np.lexsort([generator.permutation(len(stimuli)), counts])
            fold_of = np.empty(len(stimuli), dtype=int)
            fold_of[order] = np.arange(len(stimuli)) % n_folds
            for fold in range(n_folds):
                held = fold_of[index] == fold
                yield f"sub-{name}_{fold}", here[~held], here[held]

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Within participants, the stimuli were split into {spelled(self.folds)} parts, or as many as there were"
            " stimuli if these were fewer, and each part was held out in turn with all of its presentations; models"
            " were"
            " trained on the responses of the same participant to the other stimuli."
        )
