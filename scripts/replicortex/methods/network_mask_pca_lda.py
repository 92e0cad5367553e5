"""Maps of voxel networks, a mask of useful voxels, principal components, linear discriminant analysis.

Dey, Rao & Shah (2012), Exploiting the brain's network structure in identifying ADHD subjects.
doi:10.3389/fnsys.2012.00075

Reproduced: maps of each subject's voxel network (how many cycles of three a voxel is part of; its degree), stacked;
a mask of the voxels that tell the classes apart, learned on training subjects; principal components; linear
discriminant analysis. Differs: the abstract does not say how the mask is learned: here it is the share of voxels of the
greatest F statistic, summed over maps; the share and the number of components are chosen by nested search in which
each inner fold learns a mask of its own; the discriminant's covariance is shrunk (Ledoit and Wolf).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError, did_you_mean
from ..shared.linear_search import moments, quick_score
from ..shared.predictions import classified, two_columns
from ..shared.search import inner_folds, select
from ..shared.words import among, names, searched, text

Share = Annotated[float, Field(gt=0, le=1)]


@component
class NetworkMaskPcaLda(Method):
    """LDA on principal components of the masked maps of a voxel network.

    A fold costs O(n^2 M V) for n rows of M maps of V voxels, once a share of voxels; memory O(n M V).

    Parameters
    ----------
    maps : list of str
        Maps to use, entries of axis ``map``; all of them if empty. The paper's best is that of 3-cycles.
    mask : bool
        Whether voxels are selected; otherwise all are used.
    shares : list of float
        Shares of the voxels that the nested search tries, if there is a mask.
    n_components : list of int
        Numbers of principal components that it tries.
    n_inner : int
        Inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("map", "voxel")
    tiny = {"maps": [], "shares": [0.1], "n_components": [5], "n_inner": 2}
    state = ("model_", "search_")
    trusted = ("replicortex.methods.network_mask_pca_lda._MaskedDiscriminant",)

    maps: list[str] = ["triangles"]
    mask: bool = True
    shares: Annotated[list[Share], Field(min_length=1)] = [0.02, 0.05, 0.1, 0.25]
    n_components: Annotated[list[PositiveInt], Field(min_length=1)] = [5, 10, 20, 40]
    n_inner: PositiveInt = 3

    def fit(self, train: Bundle, seed: int) -> None:
        """Search mask and components on the training rows, then fit on all of them."""
        x, target = self._maps(train), train.rows["target"]
        classes = np.unique(target)
        # Fewer components first: the simplest of equals is taken.
        grid = [(share, count) for count in sorted(self.n_components) for share in sorted(self._shares())]
        folds = inner_folds(train, self.n_inner, seed) if len(grid) > 1 else []
        found: dict[tuple, list[float]] = {}
        for inner, held in folds:
            for share in self._shares():
                masked = _Masked(share).fit(x[inner], target[inner])
                components, projected = masked.components(max(self.n_components)), masked.project(x[held])
                for count in self.n_components:
                    lda = _discriminant(components[:, :count], target[inner])
                    y_score = two_columns(lda.decision_function(projected[:, :count]))
                    score = quick_score(target[held], y_score, classes)
                    found.setdefault((share, count), []).append(score)
        best, score = select(
            ({"share": share, "n_components": count} for share, count in grid),
            lambda entry: found.get((entry["share"], entry["n_components"]), []),
        )
        self.model_ = _MaskedDiscriminant(best["share"], best["n_components"]).fit(x, target)
        self.search_ = {**best, "n_voxels": int(self.model_.mask_.sum())}
        if folds:
            self.search_["inner_score"] = score

    def predict(self, test: Bundle) -> Bundle:
        """Return the decision values of the discriminant."""
        return classified(test, self.model_.scores(self._maps(test)), self.model_.classes_)

    def _maps(self, bundle: Bundle) -> np.ndarray:
        """Return the chosen maps, shape (n_rows, n_maps, n_voxels)."""
        known = [str(name) for name in bundle.axes["map"]]
        for name in self.maps:
            if name not in known:
                raise InputError("maps", f"axis 'map' has no entry {name!r}", did_you_mean(name, known))
        keep = [known.index(name) for name in self.maps] or list(range(len(known)))
        return np.asarray(bundle["x"][:, keep], dtype=np.float64)

    def _shares(self) -> list[float]:
        return list(self.shares) if self.mask else [1.0]

    def chosen(self) -> dict[str, Any]:
        """Return share, number of voxels, number of components and, where there was a search, its inner score."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self._shares()) * len(self.n_components)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        chosen = f"maps of {names(self.maps)}" if self.maps else "all maps"
        selection = (
            "A mask of the voxels with the greatest F statistic between classes, summed over maps, was learned on the"
            " training rows; the masked voxels"
            if self.mask
            else "All voxels"
        )
        choices = [among("the share of voxels in the mask", self.shares)] if self.mask else []
        return text(
            f"The {chosen} of the participants' voxel networks were stacked into one vector each [@dey2012].",
            f"{selection} were reduced to principal components and classified by linear discriminant analysis with a"
            " shrunken covariance [@ledoit2004].",
            searched(self.n_inner, *choices, among("the number of components", self.n_components)),
        )


def f_statistics(z: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the F statistic of a one-way analysis of variance for each entry of ``z``, of shape (n_rows, ...)."""
    classes, index = np.unique(target, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    means = np.stack([z[index == code].mean(axis=0) for code in range(len(classes))])
    total = ((z - z.mean(axis=0)) ** 2).sum(axis=0)
    between = np.tensordot(counts, (means - z.mean(axis=0)) ** 2, axes=1)
    within = np.maximum(total - between, 1e-12 * np.maximum(total, 1e-300))
    return (between / max(len(classes) - 1, 1)) / (within / max(len(z) - len(classes), 1))


def _discriminant(components: np.ndarray, target: np.ndarray) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(components, target)


class _Masked:
    """Standardised, masked maps of training rows and their principal components."""

    def __init__(self, share: float) -> None:
        self.share = share

    def fit(self, x: np.ndarray, target: np.ndarray) -> _Masked:
        n_voxels = x.shape[2]
        mean, scale = moments(x.reshape(len(x), -1))
        self.mean, self.scale = mean.reshape(x.shape[1:]), scale.reshape(x.shape[1:])
        z = np.nan_to_num((x - self.mean) / self.scale)
        n_kept = max(1, round(self.share * n_voxels))
        # The sum over maps of a voxel: it is in the mask for all maps or for none.
        statistic = f_statistics(z, target).sum(axis=0)
        self.mask = np.zeros(n_voxels, dtype=bool)
        self.mask[np.argsort(-statistic, kind="stable")[:n_kept]] = True
        flat = z[:, :, self.mask].reshape(len(z), -1)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        keep = values[::-1] > 1e-12 * max(values[-1], 1e-300)
        self.lengths, self.left = np.sqrt(values[::-1][keep]), vectors[:, ::-1][:, keep]
        self.flat = flat
        return self

    def components(self, count: int) -> np.ndarray:
        """Return at most ``count`` components of the training rows."""
        return (self.left * self.lengths)[:, :count]

    def directions(self, count: int) -> np.ndarray:
        return (self.left[:, :count] / self.lengths[:count]).T @ self.flat

    def project(self, x: np.ndarray) -> np.ndarray:
        z = np.nan_to_num((x - self.mean) / self.scale)[:, :, self.mask].reshape(len(x), -1)
        # Through the rows rather than the directions: there are fewer of them than voxels.
        return (z @ self.flat.T) @ (self.left / self.lengths)


class _MaskedDiscriminant(BaseEstimator):
    """Mask, components and discriminant, as plain arrays that a model file can hold."""

    def __init__(self, share: float, n_components: int) -> None:
        self.share = share
        self.n_components = n_components

    def fit(self, x: np.ndarray, target: np.ndarray) -> _MaskedDiscriminant:
        masked = _Masked(self.share).fit(x, target)
        self.mask_, self.mean_, self.scale_ = masked.mask, masked.mean, masked.scale
        self.directions_ = masked.directions(self.n_components)
        self.lda_ = _discriminant(masked.components(self.n_components), target)
        self.classes_ = self.lda_.classes_
        return self

    def scores(self, x: np.ndarray) -> np.ndarray:
        z = np.nan_to_num((x - self.mean_) / self.scale_)[:, :, self.mask_].reshape(len(x), -1)
        return two_columns(self.lda_.decision_function(z @ self.directions_.T))
