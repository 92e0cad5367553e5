"""Harmonisation of sites and removal of confounds: fitted on training rows, applied to held-out rows.

ComBat is that of Johnson, Li & Rabinovic (2007, doi:10.1093/biostatistics/kxj037), with covariates as Fortin et al.
(2018, doi:10.1016/j.neuroimage.2017.11.024) use it for images. Fitted on all rows before the split it makes the
site *less* decodable than chance, and flatters whatever comes after; only fitted inside the fold is it honest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from sklearn.base import BaseEstimator

from ..errors import InputError
from ..files import MISSING
from .covariates import CovariateCode, tells
from .linear_search import moments
from .words import names, plain

_ITERATIONS = 1000


class Harmonise(BaseModel):
    """What is done about sites and confounds before a model is fitted; a parameter of methods.

    Parameters
    ----------
    kind : {"none", "combat", "residualise"}
        Nothing; ComBat by ``batch``; or the linear effect of ``regress_out`` taken away.
    batch : str
        Row column of the batches of ComBat.
    preserve : tuple of str
        Row columns whose effects are kept. Never the target, nor a copy of it: the target of held-out rows would
        have to be known.
    regress_out : tuple of str
        Row columns whose linear effects are taken away by ``residualise``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none", "combat", "residualise"] = "none"
    batch: str = "site"
    preserve: tuple[str, ...] = ()
    regress_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Harmonise:
        if (self.kind == "residualise") != bool(self.regress_out):
            raise ValueError("`regress_out` names the columns for kind `residualise`, and only for it")
        if self.kind == "none" and self.preserve:
            raise ValueError("`preserve` means nothing for kind `none`")
        if self.kind == "combat" and self.batch in self.preserve:
            raise ValueError("the batch can not be preserved and removed")
        if set(self.regress_out) & set(self.preserve):
            raise ValueError("a column can not be preserved and regressed out")
        if {"target", "label"} & {self.batch, *self.preserve, *self.regress_out}:
            raise ValueError("the target is unknown for held-out rows")
        return self

    def described(self) -> str:
        """Return what is done, in words; see :class:`replicortex.components.Component`. Nothing, if nothing is."""
        if self.kind == "none":
            return ""
        kept = f", keeping the effects of {names(self.preserve)}" if self.preserve else ""
        how = (
            f"Differences by {plain(self.batch)} were removed by ComBat [@johnson2007; @fortin2018]"
            if self.kind == "combat"
            else f"The linear effects of {names(self.regress_out)} were regressed out"
        )
        return f"{how}{kept}, fitted on the training rows of each fold alone, inner folds included."


class ComBat(BaseEstimator):
    """Location and scale of each feature in each batch, shrunk over features by empirical Bayes, then removed.

    A batch of one row has no spread of its own: only its location is adjusted. Features without spread are left
    alone. With one feature there is nothing to shrink towards, and the batch's own moments are taken.

    Parameters
    ----------
    tolerance : float
        Relative change at which the iteration for the posterior means stops.
    """

    def __init__(self, tolerance: float = 1e-10) -> None:
        self.tolerance = tolerance

    def fit(self, x: np.ndarray, batch: np.ndarray, covariates: np.ndarray | None = None) -> ComBat:
        """Fit. Cost: one least-squares fit of all features at once; memory a few times that of ``x``.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_features)
            Finite.
        batch : ndarray of shape (n_rows,)
            Name of the batch of each row.
        covariates : ndarray of shape (n_rows, n_covariates), optional
            Whose effects are preserved.

        Raises
        ------
        InputError
            If batches and covariates can not be told apart.
        """
        self.batches_, index = np.unique(np.asarray(batch).astype(str), return_inverse=True)
        counts = np.bincount(index).astype(np.float64)
        n_batches = len(self.batches_)
        covariates = np.empty((len(x), 0)) if covariates is None else covariates
        # A covariate that is constant here has no effect to preserve.
        used = np.ptp(covariates, axis=0) > 0 if covariates.size else np.zeros(covariates.shape[1], dtype=bool)
        design = np.hstack([np.eye(n_batches)[index], covariates[:, used]])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise InputError(
                "harmonise", "the preserved covariates are confounded with the batch", "preserve fewer covariates"
            )
        effects = np.linalg.lstsq(design, x, rcond=None)[0]
        self.coef_ = np.zeros((covariates.shape[1], x.shape[1]))
        self.coef_[used] = effects[n_batches:]
        self.mean_ = counts / len(x) @ effects[:n_batches]
        scale = np.sqrt(np.mean((x - design @ effects) ** 2, axis=0))
        varies = scale > 1e-10 * np.maximum(np.abs(x).max(axis=0), 1e-300)
        self.scale_ = np.where(varies, scale, 1.0)
        z = (x - self._standing(covariates))[:, varies] / self.scale_[varies]
        location = _batch_means(z, index, counts)
        # With ``ddof=1``; that of a batch of one is set to what it is for the standardised data as a whole.
        squares = _batch_means((z - location[index]) ** 2, index, counts) * counts[:, None]
        spread = np.where(counts[:, None] > 1, squares / np.maximum(counts - 1, 1)[:, None], 1.0)
        if z.shape[1] > 1:
            location, spread = _posterior(location, spread, counts, self.tolerance)
        self.location_, self.spread_ = np.zeros((n_batches, x.shape[1])), np.ones((n_batches, x.shape[1]))
        self.location_[:, varies] = location
        self.spread_[:, varies] = np.where(counts[:, None] > 1, np.sqrt(np.maximum(spread, 1e-12)), 1.0)
        return self

    def transform(self, x: np.ndarray, batch: np.ndarray, covariates: np.ndarray | None = None) -> np.ndarray:
        """Return ``x`` without the effects of the batches.

        Rows of a batch that was not fitted are returned as they are, with a warning: its effects could only be
        estimated from the held-out rows themselves.
        """
        covariates = np.empty((len(x), 0)) if covariates is None else covariates
        batch = np.asarray(batch).astype(str)
        index = np.minimum(np.searchsorted(self.batches_, batch), len(self.batches_) - 1)
        known = self.batches_[index] == batch
        if not known.all():
            warnings.warn(
                f"ComBat leaves rows of unfitted batches as they are: {', '.join(np.unique(batch[~known])[:5])}",
                stacklevel=2,
            )
        standing = self._standing(covariates)
        z = (x - standing) / self.scale_
        adjusted = (z - self.location_[index]) / self.spread_[index] * self.scale_ + standing
        return np.where(known[:, None], adjusted, x)

    def _standing(self, covariates: np.ndarray) -> np.ndarray:
        """Return what a row of the average batch is expected to be."""
        return self.mean_ + covariates @ self.coef_


def _batch_means(values: np.ndarray, index: np.ndarray, counts: np.ndarray) -> np.ndarray:
    order = np.argsort(index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts[:-1])]).astype(int)
    return np.add.reduceat(values[order], starts, axis=0) / counts[:, None]


def _posterior(
    location: np.ndarray, spread: np.ndarray, counts: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return posterior means of location and squared spread, shape (n_batches, n_features) each.

    Normal and inverse-gamma priors whose parameters are moments over the features. The sum of squares about the
    new location follows from the old one, so an iteration costs no pass over the rows.
    """
    n = counts[:, None]
    prior_location = location.mean(axis=1, keepdims=True)
    prior_variance = location.var(axis=1, ddof=1, keepdims=True)
    mean, variance = spread.mean(axis=1, keepdims=True), spread.var(axis=1, ddof=1, keepdims=True)
    # Equal spreads of all features leave nothing to estimate the prior from: its limit is that spread.
    variance = np.maximum(variance, 1e-12 * mean**2)
    shape, rate = (2 * variance + mean**2) / variance, (mean * variance + mean**3) / variance
    new_location, new_spread = location, spread
    for _ in range(_ITERATIONS):
        before = new_location, new_spread
        pull = n * prior_variance
        new_location = (pull * location + new_spread * prior_location) / (pull + new_spread)
        squares = (n - 1) * spread + n * (location - new_location) ** 2
        new_spread = (0.5 * squares + rate) / (n / 2 + shape - 1)
        change = max(
            np.max(np.abs(after - old) / np.maximum(np.abs(old), 1e-8))
            for after, old in zip((new_location, new_spread), before, strict=True)
        )
        if change < tolerance:
            break
    return new_location, new_spread


class Harmoniser(BaseEstimator):
    """Carries out a :class:`Harmonise` on a matrix of features: fitted on training rows, applied to any.

    Missing values take the training mean of their feature.

    Parameters
    ----------
    settings : Harmonise or mapping
    """

    def __init__(self, settings: Harmonise | Mapping | None = None) -> None:
        # Plain values, so that a saved model holds no class of this package's own for it.
        self.settings = Harmonise.model_validate(settings or {}).model_dump(mode="json")

    def fit(self, x: np.ndarray, rows: Mapping[str, np.ndarray]) -> Harmoniser:
        """Fit on ``x`` of shape (n_rows, n_features) and the row columns of the same rows.

        Raises
        ------
        InputError
            If a column is missing, or a covariate is the target under another name.
        """
        what = self.settings
        for name in (*what["preserve"], *what["regress_out"]):
            if name in rows and "target" in rows and tells(rows[name], rows["target"]):
                raise InputError(
                    f"harmonise, covariate {name!r}",
                    "is what is to be predicted",
                    "name covariates that are known for held-out rows",
                )
        if what["kind"] == "none":
            return self
        self.fill_ = moments(x)[0]
        x = self._filled(x)
        self.preserve_ = CovariateCode(what["preserve"], drop_first=True).fit(rows)
        kept = self.preserve_.transform(rows)
        if what["kind"] == "combat":
            batch = self._batch(rows)
            if np.isin(batch, MISSING).any():
                raise InputError(f"column {what['batch']!r}", "is missing in training rows", "drop rows without it")
            self.combat_ = ComBat().fit(x, batch, kept)
            return self
        self.confounds_ = CovariateCode(what["regress_out"], flag_missing=True, drop_first=True).fit(rows)
        removed = self.confounds_.transform(rows)
        # Columns are centred, so that the mean of the features needs no column of its own.
        design = np.hstack([removed, kept])
        self.coef_ = np.linalg.lstsq(design, x - x.mean(axis=0), rcond=None)[0][: removed.shape[1]]
        return self

    def transform(self, x: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the harmonised features of rows; each depends on its own row and what was fitted."""
        what = self.settings
        if what["kind"] == "none":
            return x
        x = self._filled(x)
        if what["kind"] == "combat":
            return self.combat_.transform(x, self._batch(rows), self.preserve_.transform(rows))
        return x - self.confounds_.transform(rows) @ self.coef_

    def fit_transform(self, x: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Fit on rows and return their harmonised features."""
        return self.fit(x, rows).transform(x, rows)

    def _batch(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        # Coding it checks that the column is there, and names the columns that are if it is not.
        name = self.settings["batch"]
        CovariateCode([name]).fit(rows)
        return np.asarray(rows[name]).astype(str)

    def _filled(self, x: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(x), x, self.fill_)
