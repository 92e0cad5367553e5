"""Covariates of rows (site, age, sex, head motion) as columns of a design matrix, coded by training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.base import BaseEstimator

from ..errors import InputError, did_you_mean


class CovariateCode(BaseEstimator):
    """Codes row columns: numbers standardised, text as one column a level, all centred on the training rows.

    Zero is thus the average training row. A missing number, and a text value that no training row had, are coded
    as that average: nothing is learnt about them from held-out rows.

    Parameters
    ----------
    columns : sequence of str
        Row columns.
    flag_missing : bool
        Add a column that says whether a number is missing, where some training rows lack it.
    drop_first : bool
        Leave out the first level of each text column, so that the columns are not linearly dependent.
    """

    def __init__(self, columns: Sequence[str], flag_missing: bool = False, drop_first: bool = False) -> None:
        self.columns = columns
        self.flag_missing = flag_missing
        self.drop_first = drop_first

    def fit(self, rows: Mapping[str, np.ndarray]) -> CovariateCode:
        """Learn levels, means and spreads from the row columns of training rows.

        Raises
        ------
        InputError
            If a column is not there.
        """
        self.levels_, self.means_, self.scales_ = {}, {}, {}
        for name in self.columns:
            column = self._column(rows, name)
            if column.dtype.kind == "U":
                levels, index = np.unique(column, return_inverse=True)
                self.levels_[name] = levels
                self.means_[name] = np.bincount(index, minlength=len(levels)) / len(column)
                continue
            finite = np.isfinite(column)
            mean = column[finite].mean() if finite.any() else 0.0
            spread = column[finite].std() if finite.any() else 0.0
            self.means_[name] = np.array([mean, np.mean(~finite)])
            # A constant column tells nothing; dividing by infinity makes it zero.
            self.scales_[name] = float(spread) if spread > 1e-12 * max(abs(mean), 1e-300) else float("inf")
        return self

    def transform(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the coded columns, shape (n_rows, n_codes)."""
        parts = [np.empty((len(rows["row_id"]), 0))]
        for name in self.columns:
            column = self._column(rows, name)
            if (name in self.levels_) != (column.dtype.kind == "U"):
                raise InputError(f"covariate {name!r}", "is text in some rows and a number in others", "make it one")
            if name in self.levels_:
                hit = column[:, None] == self.levels_[name]
                coded = np.where(hit.any(axis=1, keepdims=True), hit - self.means_[name], 0.0)
                parts.append(coded[:, 1:] if self.drop_first else coded)
                continue
            mean, share_missing = self.means_[name]
            finite = np.isfinite(column)
            parts.append((np.where(finite, column - mean, 0.0) / self.scales_[name])[:, None])
            if self.flag_missing and share_missing > 0:
                parts.append((~finite - share_missing)[:, None])
        return np.hstack(parts)

    def _column(self, rows: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        if name not in rows:
            known = [entry for entry in rows if entry not in ("row_id", "target", "label")]
            raise InputError("covariates", f"the rows have no column {name!r}", did_you_mean(name, known))
        column = np.asarray(rows[name])
        return column.astype(str) if column.dtype.kind not in "fiub" else column.astype(np.float64)


def tells(column: np.ndarray, target: np.ndarray) -> bool:
    """Return whether ``column`` is ``target`` under another name: equal up to names or a linear rescaling."""
    column, target = np.asarray(column), np.asarray(target)
    if column.dtype.kind in "fiub" and target.dtype.kind in "fiub":
        both = np.isfinite(column.astype(float)) & np.isfinite(target.astype(float))
        x, y = column[both].astype(float), target[both].astype(float)
        if len(x) < 3 or x.std() == 0 or y.std() == 0:
            return False
        return bool(abs(np.corrcoef(x, y)[0, 1]) > 0.999)
    pairs = set(zip(column.astype(str).tolist(), target.astype(str).tolist(), strict=True))
    n_levels = len(np.unique(column.astype(str)))
    # One level a row would tell any target; that is an identifier and no covariate.
    return 1 < len(pairs) < len(target) and len(pairs) == n_levels == len(np.unique(target.astype(str)))
