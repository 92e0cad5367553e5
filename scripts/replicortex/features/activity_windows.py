"""Windows of the activity of all neurons of a recording, and their activity some samples later."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..shared.binned import read_binned, segment_edges
from ..shared.words import count, text
from ..shared.worm import NEURONS, canonical


@component
class ActivityWindows(Extractor):
    """The last samples of every neuron, to foretell the one ``horizon`` samples later; no window reaches over a gap.

    All recordings have the same slots: one for each neuron that is known by name, and as many as asked for neurons that
    are not. A slot of the second kind is another neuron in each recording, so that no model may pool them; slots
    without a neuron are 0, which ``present`` tells.

    Parameters
    ----------
    lags : int
        Samples of a window.
    horizon : int
        How many samples after the last of the window the activity is to be foretold.
    labelled : bool
        Whether there is a slot for each of the 302 neurons; without it a recording's named neurons are treated as those
        without a name.
    unlabelled : int
        Slots for neurons without a name.
    """

    datatypes = ("ephys",)
    suffixes = ("ephys",)
    tiny = {"lags": 2, "horizon": 1}

    lags: Annotated[int, Field(ge=1)] = 4
    horizon: Annotated[int, Field(ge=1)] = 1
    labelled: bool = True
    unlabelled: Annotated[int, Field(ge=0, le=10_000)] = 128

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` (n, lags, n_slots), the last sample last, ``y`` and ``present`` (n, n_slots).

        Row columns are ``segment`` and ``onset`` (s), of the last sample of the window.

        Raises
        ------
        InputError
            If there are more neurons without a name than slots, or no stretch is long enough.
        """
        binned = read_binned(path, recording)
        slots = self.slots()
        place, free = {name: i for i, name in enumerate(slots)}, iter(slots[len(slots) - self.unlabelled :])
        columns = []
        for name in binned.input_units:
            known = canonical(name) if self.labelled else None
            slot = known or next(free, None)
            if slot is None:
                fault = f"has more than {self.unlabelled} neurons without a name"
                raise InputError(recording["path"], fault, "raise unlabelled in the feature card")
            columns.append(place[slot])
        values = np.zeros((len(binned.onset), len(slots)), np.float32)
        values[:, columns] = binned.inputs
        reach = self.lags + self.horizon
        last = [
            np.arange(a + self.lags - 1, b - self.horizon) for a, b in segment_edges(binned.segment) if b - a >= reach
        ]
        if not last:
            raise InputError(recording["path"], f"has no stretch of {reach} samples", "lower lags or horizon")
        now = np.concatenate(last)
        present = np.zeros(len(slots), np.int8)
        present[columns] = 1
        stem = f"{recording['recording']}_{recording['suffix']}"
        n, width = len(now), len(str(len(binned.onset)))
        rows = {
            "row_id": np.array([f"{stem}_{i:0{width}d}" for i in now]),
            **{key: np.full(n, recording[key]) for key in ("subject", "session", "run", "recording")},
            "segment": binned.segment[now],
            "onset": binned.onset[now],
        }
        arrays = {
            "x": values[now[:, None] + np.arange(1 - self.lags, 1)],
            "y": values[now + self.horizon],
            "present": np.repeat(present[None], n, axis=0),
        }
        axes = {
            "lag": [round(k * binned.width, 9) for k in range(1 - self.lags, 1)],
            "neuron": slots,
            "output": slots,
            "bin_s": [binned.width],
        }
        return Bundle(arrays, rows, axes, {"horizon": self.horizon, "fitted": []})

    def slots(self) -> list[str]:
        """Return the names of the slots."""
        width = len(str(self.unlabelled))
        others = [f"unlabelled{i:0{width}d}" for i in range(1, self.unlabelled + 1)]
        return [*(NEURONS if self.labelled else ()), *others]

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        kinds = " and ".join(
            filter(
                None,
                [
                    "one place for each of the 302 neurons" if self.labelled else "",
                    f"{self.unlabelled} places for neurons without a name" if self.unlabelled else "",
                ],
            )
        )
        return text(
            f"The features are the last {count(self.lags, 'sample')} of all neurons ({kinds or 'no place'}), the target"
            f" their activity {count(self.horizon, 'sample')} later; no window reaches over a gap."
        )
