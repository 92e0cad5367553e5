"""Leave-site-out evaluation: is what was learnt at other sites true at this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..components import Splitter, component
from ..files import MISSING
from ..shared.words import plain


@component
class LeaveSiteOut(Splitter):
    """Hold out all rows of one site; train on the subjects that were never there.

    Rows without a site are on neither side, since nobody knows whether they are from the site held out. So are the
    rows of a held-out subject from other sites. A site whose absence leaves a class without training rows is not
    held out.

    Parameters
    ----------
    column : str
        Row column of the sites; the study names it under ``covariates``.
    """

    held_out = "subject"
    crossed = True
    # Rows of every kind have subjects; each stands for a site of its own.
    tiny = {"column": "subject"}

    column: str = "site"

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why the scheme can not be used: no column of sites, or fewer than two of them."""
        if self.column not in rows:
            return f"the rows have no column {self.column!r}; name it under `covariates` of the evaluation"
        known = set(rows[self.column].astype(str)) - set(MISSING)
        if not known:
            return f"no row has a {self.column}"
        return f"there is only one {self.column}" if len(known) < 2 else None

    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield one fold a site."""
        target = np.asarray(target)
        site, subject = rows[self.column].astype(str), rows["subject"].astype(str)
        known = ~np.isin(site, MISSING)
        names = np.unique(site[known])
        # A fold's name stands in tables and keys: letters, digits and a few signs only.
        plain = ["".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) for name in names]
        numbered = len(set(plain)) < len(plain)
        for number, (name, shown) in enumerate(zip(names, plain, strict=True)):
            held = known & (site == name)
            train = known & ~np.isin(subject, subject[held])
            lacks = target.dtype.kind not in "fiu" and set(target[known]) - set(target[train])
            if train.any() and not lacks:
                fold = f"{self.column}-{shown}" + (f"-{number}" if numbered else "")
                yield fold, np.flatnonzero(train), np.flatnonzero(held)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"Across sites, all rows of one {plain(self.column)} were held out in turn, and models were trained on"
            f" participants who were never there. Rows of unknown {plain(self.column)} took no part, and where holding"
            " out would have left a class without training rows it was not done."
        )
