"""Score tables: read into pandas, averaged to the units over which tests run, written back."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pandas as pd

from ..errors import InputError
from ..files import columns_to_tsv, write_text

#: Columns that are numbers; everything else is text, so that subject "01" stays "01".
_NUMBERS = (
    "value", "error", "n", "n_folds", "chance", "null", "ci_low", "ci_high", "mean", "n_units", "lowest", "highest",
)  # fmt: skip


def read_scores(paths: Iterable[str | os.PathLike], columns: Iterable[str]) -> pd.DataFrame:
    """Read and stack score tables.

    Parameters
    ----------
    columns : iterable of str
        Columns that each table must have.

    Raises
    ------
    InputError
        If a table is missing, empty, lacks a column, or holds text where numbers belong.
    """
    frames = []
    for path in paths:
        try:
            frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
            for column in set(_NUMBERS) & set(frame.columns):
                frame[column] = pd.to_numeric(frame[column].where(frame[column] != "n/a"))
        except FileNotFoundError:
            raise InputError(path, "no such file", "run the scoring first") from None
        except (ValueError, pd.errors.ParserError) as error:
            raise InputError(path, f"not a score table ({error})", "delete it and score again") from None
        if missing := [column for column in columns if column not in frame]:
            raise InputError(path, f"lacks the column {missing[0]!r}", "delete it and score again")
        frames.append(frame)
    if not frames:
        raise InputError("scores", "no score table", "name at least one")
    return pd.concat(frames, ignore_index=True)


def write_table(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as tab-separated text, ``n/a`` for what is missing."""
    write_text(path, columns_to_tsv({name: frame[name].tolist() for name in frame}))


def unit_means(scores: pd.DataFrame, unit: str, by: list[str]) -> pd.DataFrame:
    """Average scores to one row a unit: over seeds within a session, then over the sessions of a subject.

    Parameters
    ----------
    scores : DataFrame
        A row per subject, session and seed, with ``value`` and ``chance``.
    unit : {"session", "subject", "fold", "dataset"}
        What a row of the result stands for. What is scored for a fold as a whole has the fold for a subject.
    by : list of str
        Columns that are kept apart, such as ``method`` and ``variant``.

    Returns
    -------
    DataFrame
        Columns ``by``, ``subject``, ``session`` (``n/a`` for other units), ``value`` and ``chance``, both
        ``nan`` for a unit without a score. The subject of unit ``dataset`` is ``n/a``.
    """
    # What could not be scored must not count in the chance level either.
    scores = scores.assign(chance=scores["chance"].where(scores["value"].notna()))
    means = scores.groupby([*by, "subject", "session"], as_index=False)[["value", "chance"]].mean()
    if unit != "session":
        means = means.groupby([*by, "subject"], as_index=False)[["value", "chance"]].mean().assign(session="n/a")
    if unit == "dataset":
        means = means.groupby([*by, "session"], as_index=False)[["value", "chance"]].mean().assign(subject="n/a")
    return means[[*by, "subject", "session", "value", "chance"]]
