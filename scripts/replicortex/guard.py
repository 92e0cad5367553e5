"""The leak guard: what every fitted thing has seen, compared with what is held out.

Three kinds of evidence are compared, so that a leak has to get past all of them:

1. the *splits file*: no unit that a scheme holds out may have rows on both sides of a fold;
2. the *ledger*: every ``fit`` of a component writes down the rows it was given (``Method`` wraps ``fit``; the
   author of a method need not, and can not forget to, call anything);
3. the *lineage* of a bundle: what :func:`fitted_transform` made from rows carries those rows in
   ``meta["fitted"]``, through files and concatenation, into the ledger of whatever is fitted on it later. A
   selection before the split shows up here. Models that a fit started from (``init_from``) bring theirs along.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .bundle import Bundle
from .errors import InputError

_ledger: contextvars.ContextVar[list[dict[str, Any]] | None] = contextvars.ContextVar("ledger", default=None)

#: Row columns that identify the unit which a scheme holds out.
UNITS = {
    "row": ("row_id",),
    "session": ("subject", "session"),
    "subject": ("subject",),
    # Where stimuli are shown, the label of a row is what was shown.
    "stimulus": ("label",),
    # A trial, or a stretch of recording without a gap.
    "segment": ("subject", "session", "segment"),
    # Rows are ordered pairs of nodes of a graph.
    "node": ("node_from",),
}


class LeakError(InputError):
    """Something that was fitted has seen rows that are held out."""


@contextlib.contextmanager
def ledger() -> Iterator[list[dict[str, Any]]]:
    """Collect a record of every fit inside the block."""
    entries: list[dict[str, Any]] = []
    token = _ledger.set(entries)
    try:
        yield entries
    finally:
        _ledger.reset(token)


def entry(artefact: str, bundle: Bundle) -> dict[str, Any]:
    """Return the record of fitting ``artefact`` on ``bundle``: which rows and subjects it saw."""
    return {
        "artefact": artefact,
        "rows": sorted(map(str, bundle.rows["row_id"])),
        "subjects": sorted(set(map(str, bundle.rows["subject"]))),
    }


def record(artefact: str, bundle: Bundle) -> None:
    """Write into the open ledger that ``artefact`` was fitted on ``bundle``, and on whatever made ``bundle``."""
    entries = _ledger.get()
    if entries is not None:
        entries.extend(dict(fitted) for fitted in bundle.meta.get("fitted", []))
        entries.append(entry(artefact, bundle))


def fitted_transform(artefact: str, fitted_on: Bundle, result: Bundle) -> Bundle:
    """Return ``result`` marked as made by something fitted on ``fitted_on``.

    Whoever transforms a bundle with fitted quantities (a selector, a scaler, a codebook) and hands the result
    to another stage calls this; the mark travels in the file.
    """
    lineage = [*result.meta.get("fitted", []), *fitted_on.meta.get("fitted", []), entry(artefact, fitted_on)]
    return result.with_meta(fitted=lineage)


def summarise(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ledger entries with repeats removed: nested searches fit the same rows many times."""
    unique: dict[tuple, dict[str, Any]] = {}
    for item in entries:
        unique.setdefault((item["artefact"], tuple(item["rows"])), dict(item))
    return [unique[key] for key in sorted(unique)]


def check_splits(
    scheme: str, fold: str, held_out: str, rows: Mapping[str, np.ndarray], train: np.ndarray, test: np.ndarray
) -> None:
    """Stop if a unit that ``scheme`` holds out stands on both sides of ``fold``.

    Parameters
    ----------
    held_out : {"row", "session", "subject", "stimulus"}
        The unit that may not be shared.
    rows : mapping of str to ndarray
        The row table; ``train`` and ``test`` are indices into it.

    Raises
    ------
    LeakError
        Naming the scheme, the fold and the first shared unit.
    """
    if not len(train) or not len(test):
        raise LeakError(f"splits of {scheme}, fold {fold}", "one side is empty", "correct the splitter")
    columns = UNITS[held_out]
    sides = [set(zip(*(rows[c][side].astype(str) for c in columns), strict=True)) for side in (train, test)]
    shared = sorted(sides[0] & sides[1])
    if shared:
        named = " ".join(f"{column} {value}" for column, value in zip(columns, shared[0], strict=True))
        raise LeakError(
            f"splits of {scheme}, fold {fold}",
            f"{named} is on both sides ({len(shared)} {held_out}(s) shared)",
            "a scheme must hold out whole units; correct the splitter",
        )


def check_fit(
    what: str,
    held_out: str,
    entries: Iterable[Mapping[str, Any]],
    test_rows: Mapping[str, np.ndarray],
    all_rows: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Stop if anything in ``entries`` has seen a held-out row, or a held-out subject where subjects are held out.

    Parameters
    ----------
    what : str
        The run, variant, method, scheme and fold, for the message.
    held_out : {"row", "session", "subject", "stimulus"}
        The unit that the scheme holds out.
    entries : iterable of dict
        The ledger of the fit, lineage and ``init_from`` parents included.
    test_rows : mapping of str to ndarray
        The held-out part of the row table.
    all_rows : mapping of str to ndarray, optional
        The whole of it: where stimuli are held out, it says what was shown in a row that a fit saw.

    Raises
    ------
    LeakError
        Naming the fitted thing and the subject.
    """
    subject_of = dict(zip(map(str, test_rows["row_id"]), map(str, test_rows["subject"]), strict=True))
    shown_in: dict[str, str] = {}
    if held_out == "stimulus" and all_rows is not None:
        shown_in = dict(zip(map(str, all_rows["row_id"]), map(str, all_rows["label"]), strict=True))
    held_stimuli = {shown_in[row] for row in subject_of if row in shown_in}
    for item in entries:
        seen = sorted(subject_of.keys() & set(item["rows"]))
        if seen:
            raise LeakError(
                what,
                f"{item['artefact']} was fitted on {len(seen)} held-out row(s) of subject {subject_of[seen[0]]}"
                f" (first: {seen[0]})",
                "fit it on the training rows of the fold only",
            )
        shown = {shown_in.get(row) for row in item["rows"]} & held_stimuli
        if shown:
            raise LeakError(
                what,
                f"{item['artefact']} has seen responses to the held-out stimulus {min(shown)} ({len(shown)} in all)",
                "fit it on other stimuli, or use a scheme that does not hold stimuli out",
            )
        if held_out == "subject":
            shared = sorted(set(subject_of.values()) & set(item["subjects"]))
            if shared:
                raise LeakError(
                    what,
                    f"{item['artefact']} has seen the held-out subject {shared[0]}",
                    "fit it on other subjects, or use a scheme that does not hold subjects out",
                )
