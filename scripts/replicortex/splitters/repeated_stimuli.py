"""Hold out what was shown repeatedly: the usual test set of large experiments with pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from ..components import Splitter, component
from ..shared.words import count


@component
class RepeatedStimuli(Splitter):
    """Hold out the stimuli that a subject saw at least ``presentations`` times; train on the others of the subject.

    One fold a subject. Repeats make the ceiling of what can be predicted known where it is needed, and training loses
    few different stimuli. A subject who saw all or none that often has no fold.

    Parameters
    ----------
    presentations : int
        As many make a stimulus one to hold out.
    """

    held_out = "stimulus"
    tiny = {"presentations": 2}

    presentations: Annotated[int, Field(ge=2)] = 3

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: nobody saw one stimulus often and another one less often."""
        if any(True for _ in self.split(rows, np.empty(0), 0)):
            return None
        often = count(self.presentations, "time")
        return f"no one saw at least one stimulus {often} or more and another one less often"

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold a subject."""
        subject = rows["subject"].astype(str)
        for name in np.unique(subject):
            here = np.flatnonzero(subject == name)
            _, index, counts = np.unique(rows["label"][here].astype(str), return_inverse=True, return_counts=True)
            held = counts[index] >= self.presentations
            if held.any() and not held.all():
                yield f"sub-{name}", here[~held], here[held]

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"The stimuli that a participant saw {count(self.presentations, 'time')} or more were held out with all of"
            " their presentations, and models were trained on the responses of the same participant to the others."
        )
