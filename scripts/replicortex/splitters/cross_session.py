"""Cross-session evaluation: leave one session of a subject out.

The protocol of MOABB's ``CrossSessionEvaluation`` (Jayaram & Barachant 2018, doi:10.1088/1741-2552/aadea0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..components import Splitter, component


@component
class CrossSession(Splitter):
    """Hold out one session of a subject; train on the other sessions of the same subject."""

    held_out = "session"

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: no subject has two sessions."""
        sessions = {(a, b) for a, b in zip(rows["subject"], rows["session"], strict=True)}
        if len(sessions) == len(set(rows["subject"])):
            return "no subject has more than one session"
        return None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold a session of each subject that has several."""
        subject, session = rows["subject"].astype(str), rows["session"].astype(str)
        for name in np.unique(subject):
            for held in np.unique(session[subject == name]):
                test = np.flatnonzero((subject == name) & (session == held))
                train = np.flatnonzero((subject == name) & (session != held))
                if len(train):
                    yield f"sub-{name}_ses-{held}", train, test

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Across sessions, each session of a participant was held out in turn, and models were trained on the other"
            " sessions of the same participant [@jayaram2018]."
        )
