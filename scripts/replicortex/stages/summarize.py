"""The scores of a run: one long table, and one summary over subjects and sessions."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..shared.statistics import bootstrap_mean, permutation_p
from ..shared.tables import read_scores, unit_means, write_table
from .score import COLUMNS

_CELL = ["run", "method", "variant", "scheme", "seed", "subject", "session", "metric", "better", "per"]
_GROUP = ["run", "method", "variant", "scheme", "metric", "better"]
_BOUNDS = ["lowest", "highest"]
SCORES = [*_CELL, "value", "ci_low", "ci_high", "n", "n_folds", "chance", "null", "reason", *_BOUNDS]
SUMMARY = [*_GROUP, "unit", "n_units", "mean", "ci_low", "ci_high", "chance", "null_mean", "p_permutation"]
#: Half width of a 95 % interval in standard errors.
_Z = 1.959963984540054


def is_null(variant: pd.Series) -> pd.Series:
    """Return which rows belong to a variant with permuted targets (``null-1``, ``null-2``, ...)."""
    return variant.str.fullmatch(r"null-\d+")


def summarize_run(
    scores: Sequence[str | os.PathLike], out_scores: str | os.PathLike, out_summary: str | os.PathLike
) -> None:
    """Put together the scores of all methods and variants of a run.

    Parameters
    ----------
    scores : sequence of path
        What :func:`replicortex.stages.score.score_predictions` wrote.
    out_scores : path
        Written: a row per method, variant, scheme, seed, subject, session and metric. ``value`` is the mean
        over folds, ``n`` the held-out rows. ``ci_low`` and ``ci_high`` are the 95 % interval of that value
        over held-out rows, given the fitted models: the folds' jackknife errors, normal approximation, so it
        may pass the metric's bounds. An interval over folds is not given, because folds share training rows
        and their spread is no estimate of the error (Bengio & Grandvalet 2004). ``null`` is the mean of the
        same cell over the variants with permuted targets.
    out_summary : path
        Written: a row per method, variant, scheme, metric and unit (subject; session, resampled by subject).
        ``mean`` over units with its bootstrap interval; ``null_mean`` over the variants with permuted
        targets; ``p_permutation`` of the observed mean among theirs, at best 1 / (1 + number of variants).

    Raises
    ------
    InputError
        If a table is missing or not a score table.
    """
    folds = read_scores(scores, COLUMNS)
    cells = _over_folds(folds)
    write_table(cells[SCORES], out_scores)
    summary = pd.concat([_over_units(cells, unit) for unit in ("subject", "session")])
    write_table(summary.sort_values([*_GROUP, "unit"], kind="stable")[SUMMARY], out_summary)


def _over_folds(folds: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over folds, with its interval and the mean of the same cell under permuted targets."""
    defined = folds["value"].notna()
    folds = folds.assign(
        # Held-out rows of different folds are different rows: the variances of their values add.
        variance=folds["error"] ** 2,
        rows=folds["n"].where(defined, 0),
        chance=folds["chance"].where(defined),
        reason=folds["reason"].where(~defined),
    )
    grouped = folds.groupby(_CELL, sort=True)
    cells = grouped.agg(value=("value", "mean"), n=("rows", "sum"), n_folds=("value", "count"),
                        chance=("chance", "mean"), reason=("reason", "first"),
                        lowest=("lowest", "first"), highest=("highest", "first")).reset_index()  # fmt: skip
    error = np.sqrt(grouped["variance"].sum(min_count=1).to_numpy()) / cells["n_folds"]
    # One fold without an error leaves the sum without it; then there is no interval to give.
    known = grouped["variance"].count().to_numpy() == cells["n_folds"]
    cells["ci_low"] = np.fmax(cells["value"] - _Z * error, cells["lowest"]).where(known)
    cells["ci_high"] = np.fmin(cells["value"] + _Z * error, cells["highest"]).where(known)
    cells["n"] = cells["n"].astype(int)
    same = [column for column in _CELL if column != "variant"]
    null = cells[is_null(cells["variant"])].groupby(same, as_index=False).agg(null=("value", "mean"))
    return cells.merge(null, on=same, how="left")


def _over_units(cells: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return mean, interval and permutation p over the units of each method, variant, scheme and metric."""
    units = unit_means(cells, unit, _GROUP).dropna(subset=["value"])
    bounds = cells.groupby("metric")[_BOUNDS].first().astype(float)
    rows = []
    for key, group in units.groupby(_GROUP, sort=True):
        low, high = bootstrap_mean(group["value"].to_numpy(), group["subject"].to_numpy())
        lowest, highest = bounds.loc[key[_GROUP.index("metric")]]
        rows.append(
            dict(zip(_GROUP, key, strict=True))
            | {
                "unit": unit,
                "n_units": len(group),
                "mean": group["value"].mean(),
                "ci_low": np.fmax(low, lowest),
                "ci_high": np.fmin(high, highest),
            }
            | {"chance": group["chance"].mean()}
        )
    if not rows:
        return pd.DataFrame(columns=SUMMARY)
    summary = pd.DataFrame(rows)
    same = [column for column in _GROUP if column != "variant"]
    nulls = {key: group["mean"].to_numpy() for key, group in summary[is_null(summary["variant"])].groupby(same)}
    null = [nulls.get(key, np.empty(0)) for key in summary[same].itertuples(index=False, name=None)]
    summary["null_mean"] = [values.mean() if len(values) else np.nan for values in null]
    summary["p_permutation"] = [
        permutation_p(row.mean, values, greater_is_better=row.better == "greater")
        if row.variant == "observed"
        else np.nan
        for row, values in zip(summary.itertuples(index=False), null, strict=True)
    ]
    return summary
