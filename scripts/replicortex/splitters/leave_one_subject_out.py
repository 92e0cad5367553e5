"""Leave-one-subject-out evaluation: train on all other subjects.

The protocol of MOABB's ``CrossSubjectEvaluation`` (Jayaram & Barachant 2018, doi:10.1088/1741-2552/aadea0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..components import Splitter, component


@component
class LeaveOneSubjectOut(Splitter):
    """Hold out one subject; train on all others."""

    held_out = "subject"
    crossed = True

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: there is one subject only."""
        return "there is only one subject" if len(set(rows["subject"])) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold a subject."""
        subject = rows["subject"].astype(str)
        for name in np.unique(subject):
            yield f"sub-{name}", np.flatnonzero(subject != name), np.flatnonzero(subject == name)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Across participants, each participant was held out in turn, and models were trained on all others"
            " [@jayaram2018]."
        )
