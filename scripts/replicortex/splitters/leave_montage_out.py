"""Leave-montage-out evaluation: is what was learnt with some devices true with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..components import Splitter, component
from ..files import MISSING
from ..shared.words import plain


@component
class LeaveMontageOut(Splitter):
    """Hold out one montage of every modality at a time; train on subjects that were recorded with others alone.

    A montage is called by its modality and what tells it from others of that modality, with a dash between, such as
    ``eeg-19``. Fold ``k`` holds out the ``k``-th montage of each modality, if it has so many; a modality with one
    montage is never held out, since nothing could be learnt of it. Rows of unknown montage take no part.

    Parameters
    ----------
    column : str
        Row column of the montages; the study names it under ``covariates``.
    """

    held_out = "subject"
    crossed = True
    # Rows of every kind have subjects; each stands for a montage of its own.
    tiny = {"column": "subject"}

    column: str = "montage"

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: no modality has two montages."""
        if self.column not in rows:
            return f"the rows have no column {self.column!r}; name it under `covariates` of the evaluation"
        if not any(len(names) > 1 for names in _of_modalities(rows[self.column])):
            return f"each modality has one {self.column} at most"
        return None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the folds; one whose training side would lack a class is left out."""
        target = np.asarray(target)
        montage, subject = rows[self.column].astype(str), rows["subject"].astype(str)
        several = [names for names in _of_modalities(montage) if len(names) > 1]
        known = ~np.isin(montage, MISSING)
        for number in range(max(map(len, several), default=0)):
            names = [names[number] for names in several if number < len(names)]
            held = np.isin(montage, names)
            train = known & ~np.isin(subject, subject[held])
            lacks = target.dtype.kind not in "fiu" and set(target[known]) - set(target[train])
            if train.any() and not lacks:
                shown = "_".join(
                    "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in name) for name in names
                )
                yield shown, np.flatnonzero(train), np.flatnonzero(held)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Across devices, one {plain(self.column)} of every modality was held out at a time, and models were"
            " trained on participants who were recorded with others alone. A modality with one of them was never held"
            " out."
        )


def _of_modalities(montages: np.ndarray) -> list[list[str]]:
    """Return the montages of each modality, sorted; those without a dash are of one."""
    known = sorted(set(montages.astype(str)) - set(MISSING))
    modalities = sorted({name.partition("-")[0] if "-" in name else "" for name in known})
    return [[name for name in known if (name.partition("-")[0] if "-" in name else "") == of] for of in modalities]
