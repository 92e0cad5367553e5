"""Linear mixed models with a random intercept of each site, whose errors are Gaussian or q-Gaussian, and sparse.

Laird & Ware (1982), doi:10.2307/2529876; with heavy tails Pinheiro, Liu & Wu (2001), doi:10.1198/10618600152628059. The
distribution of greatest Tsallis entropy for a given covariance is the q-Gaussian, doi:10.1007/BF01016429, which for q
above 1 is the multivariate t: of ``n_s`` people of a site it is ``y_s ~ t_nu(X_s b + m, V_s)`` with
``V_s = sigma^2 (I + rho 1 1')`` and ``q = 1 + 2 / (nu + n_s)``. A site that is far from what the others say, in the
distance that ``V_s`` measures, counts for less: ``(nu + n_s) / (nu + distance^2)``.

Scale: a value and gradient of the likelihood cost O(n m) for m variables, since the inverse of ``V_s`` is known; the
method of conjugate gradients takes some ten to a hundred of them for every amount of penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .penalties import Penalty, soft

#: Bounds of 1 / sigma, in standard deviations of the outcome: a model that fits all rows has no greatest likelihood.
_PRECISION = (1e-3, 1e3)


@dataclass(frozen=True)
class Sites:
    """Rows sorted by site: where each begins, how many it has, and the site of every row."""

    starts: np.ndarray
    sizes: np.ndarray
    of_row: np.ndarray

    @classmethod
    def of(cls, code: np.ndarray) -> Sites:
        """Return them for sorted codes 0, 1, ... of rows."""
        sizes = np.bincount(code)
        return cls(np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes.astype(float), code)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the rows of each site."""
        return np.add.reduceat(values, self.starts)


class Likelihood:
    """Negative log-likelihood of a mixed model over the number of rows, up to a constant.

    Its argument is ``(b / sigma, m / sigma, 1 / sigma, root of rho)``, the last in units in which its curvature is
    about that of the others, and with a root so that no variance between sites is nothing special. As Städler,
    Bühlmann & van de Geer (2010), doi:10.1007/s11749-010-0197-z: for Gaussian errors it is convex in the first three,
    an amount of penalty means the same whatever the scale of the outcome, and a small sigma does not make it small too.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Standardised, rows sorted by site.
    y : ndarray of shape (n,)
    sites : Sites
    freedom : float
        nu, the degrees of freedom of a site; infinite for Gaussian errors.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, sites: Sites, freedom: float) -> None:
        self.x, self.sites, self.freedom = x, sites, freedom
        self.centre, self.scale = float(y.mean()), float(y.std()) or 1.0
        self.y = (y - self.centre) / self.scale
        # Few sites say little about the variance of their intercepts, so that the likelihood is flat along it.
        self.unit = 0.5 * float(np.sqrt(len(y) / len(sites.sizes)))

    def unpacked(self, at: np.ndarray) -> tuple[np.ndarray, float, float, float]:
        """Return b, m, sigma^2 and rho in the scale of the outcome."""
        sigma = self.scale / at[-2]
        return at[:-3] * sigma, self.centre + float(at[-3] * sigma), float(sigma**2), self._ratio(at)

    def _ratio(self, at: np.ndarray) -> float:
        return float((at[-1] * self.unit) ** 2)

    def bounded(self, at: np.ndarray) -> np.ndarray:
        """Return the nearest argument within bounds."""
        at[-2] = min(max(at[-2], _PRECISION[0]), _PRECISION[1])
        return at

    def _rest(self, at: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return residuals over sigma, (n,)."""
        b = at[:-3]
        used = b != 0
        return at[-2] * self.y - at[-3] - self.x[:, columns[used]] @ b[used]

    def _distances(self, rest: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
        """Return squared distances of sites, and the sums of their residuals."""
        total = self.sites.sums(rest)
        return self.sites.sums(rest * rest) - ratio * total**2 / (1 + self.sites.sizes * ratio), total

    def terms(self, at: np.ndarray, columns: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the value, its derivatives by residuals (n,), and those by the last three entries.

        ``at`` has the coefficients of ``columns`` alone.
        """
        ratio, rest, sites, n = self._ratio(at), self._rest(at, columns), self.sites, len(self.y)
        distance, total = self._distances(rest, ratio)
        grown = 1 + sites.sizes * ratio
        value = -n * np.log(at[-2]) + 0.5 * float(np.log(grown).sum())
        if np.isinf(self.freedom):
            weight = np.ones(len(distance))
            value += 0.5 * float(distance.sum())
        else:
            weight = (self.freedom + sites.sizes) / (self.freedom + distance)
            value += 0.5 * float((self.freedom + sites.sizes) @ np.log1p(distance / self.freedom))
        by_rest = (rest - (ratio * total / grown)[sites.of_row]) * weight[sites.of_row] / n
        by_root = at[-1] * self.unit * float(np.sum(sites.sizes / grown - weight * (total / grown) ** 2))
        others = np.array([-by_rest.sum(), by_rest @ self.y - 1 / at[-2], by_root / n * self.unit])
        return float(value) / n, by_rest, others

    def gradient(self, by_rest: np.ndarray) -> np.ndarray:
        """Return the derivatives by all coefficients (p,)."""
        return -(by_rest @ self.x)

    def intercepts(self, at: np.ndarray) -> np.ndarray:
        """Return the predicted intercept of each site: its mean given the rows, of Gaussian errors and of t alike."""
        ratio = self._ratio(at)
        total = self.sites.sums(self._rest(at, np.arange(self.x.shape[1])))
        return ratio * total / (1 + self.sites.sizes * ratio) * self.scale / at[-2]

    def weights(self, at: np.ndarray) -> np.ndarray:
        """Return how much each site counts; one for all if errors are Gaussian."""
        if np.isinf(self.freedom):
            return np.ones(len(self.sites.sizes))
        distance = self._distances(self._rest(at, np.arange(self.x.shape[1])), self._ratio(at))[0]
        return (self.freedom + self.sites.sizes) / (self.freedom + distance)


@dataclass(frozen=True)
class Found:
    """Where the method of conjugate gradients ended: the argument, its value, and the norm of the gradient mapping."""

    at: np.ndarray
    value: float
    norm: float
    n_iterations: int
    n_restarts: int


def conjugate_gradients(
    smooth: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    reach: np.ndarray,
    bounded: Callable[[np.ndarray], np.ndarray] = lambda at: at,
    *,
    tolerance: float = 1e-6,
    most: int = 500,
) -> Found:
    """Return a stationary point of a smooth function plus ``sum(reach * abs(at))``, by a proximal nonlinear method.

    Directions are those of Polak and Ribiere, of gradient mappings in the place of gradients and never with a negative
    share of the last one; each step ends in soft thresholding, its length found by backtracking until the value falls
    enough. Where a direction does not lead down, the step is one along the gradient, and directions begin anew. Without
    a penalty this is the nonlinear method of conjugate gradients.

    Parameters
    ----------
    smooth : callable
        Value and gradient.
    reach : ndarray of shape (m,)
        Weight of the absolute value of each entry.
    bounded : callable
        Brings an argument within bounds.
    tolerance : float
        Greatest entry of the gradient mapping at the end.
    """
    at = start
    value, slope = smooth(at)
    whole = value + float(reach @ np.abs(at))
    direction, before, previous, length, n_restarts, stalled = -slope, None, slope, 1.0, 0, 0
    for number in range(most + 1):
        mapping = at - soft(at - slope, reach)
        norm = float(np.abs(mapping).max(initial=0.0))
        if norm <= tolerance or number == most:
            break
        if before is not None:
            share = max(0.0, float(mapping @ (mapping - before)) / float(before @ before))
            # Thresholding adds what the mapping has beyond the slope; entries that stay at zero keep no momentum.
            uphill = share * float(previous @ mapping) >= float(mapping @ mapping)
            direction, n_restarts = -slope if uphill else -slope + share * previous, n_restarts + uphill
        before, taken = mapping, None
        for attempt in range(60):
            if attempt == 10:
                direction, length, n_restarts = -slope, 2.0**10 * length, n_restarts + 1
            new = bounded(soft(at + length * direction, length * reach))
            moved = new - at
            new_value, new_slope = smooth(new)
            new_whole = new_value + float(reach @ np.abs(new))
            if not whole - new_whole >= 1e-4 / length * float(moved @ moved):
                length /= 2
                if taken is None:
                    continue
                break
            if taken is not None and new_whole >= taken[2]:
                break
            refined = taken is not None
            taken = new, new_value, new_whole, new_slope, length
            # Where the slope along the step would vanish if it were linear: directions are only as good as the steps.
            ahead = float((slope + reach * np.sign(np.where(at != 0, at, new))) @ moved)
            behind = float((new_slope + reach * np.sign(np.where(new != 0, new, at))) @ moved)
            factor = min(max(ahead / (ahead - behind), 0.1), 10.0) if ahead < behind else 10.0
            if refined or 0.8 < factor < 1.25:
                break
            length *= factor
        if taken is None:
            # No shorter step leads down: rounding is all that is left.
            break
        # At the end falls are lost in the rounding of the value, long before the slope is.
        stalled = stalled + 1 if whole - taken[2] <= 1e-15 * abs(whole) else 0
        if stalled == 5:
            break
        previous = (taken[0] - at) / taken[4]
        at, value, whole, slope, length = taken
    return Found(at, whole, norm, number, n_restarts)


@dataclass(frozen=True)
class MixedPath:
    """Solutions for a falling amount of penalty: arguments with all coefficients (n_amounts, p + 3)."""

    arguments: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray


def without_variables(model: Likelihood) -> np.ndarray:
    """Return the argument of the model that has no variables."""
    none = np.empty(0, dtype=int)

    def smooth(at: np.ndarray) -> tuple[float, np.ndarray]:
        value, _, others = model.terms(at, none)
        return value, others

    start = np.array([0.0, 1.0, np.sqrt(0.1) / model.unit])
    return conjugate_gradients(smooth, start, np.zeros(3), model.bounded, tolerance=1e-7).at


def mixed_path(
    model: Likelihood, penalty: Penalty, amounts: Sequence[float], *, tolerance: float = 1e-5, most: int = 500
) -> MixedPath:
    """Return the solutions for falling ``amounts``, in units of the greatest that leaves any variable.

    Each starts from the one before, the first from a model without variables. Variables are left out and brought back
    as by :func:`replicortex.shared.accelerated.solution_path`. Once more than a quarter as many variables are in as
    there are rows the path ends, and the last solution stands for the rest: below, penalties that are not convex let a
    model fit all rows, whose likelihood has no maximum.
    """
    p = model.x.shape[1]
    every = np.arange(p)

    def solved(at: np.ndarray, gradient: np.ndarray, amount: float, last: float) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the solution, the gradient by all coefficients there, and the number of iterations."""
        keep = (at[:p] != 0) | (np.abs(gradient) >= 2 * amount - last)
        n_iterations = 0
        while True:
            columns = np.flatnonzero(keep)
            z = model.x[:, columns]

            def smooth(here: np.ndarray, z: np.ndarray = z, columns: np.ndarray = columns) -> tuple[float, np.ndarray]:
                value, by_rest, others = model.terms(here, columns)
                b = here[:-3]
                slope = -(by_rest @ z) + penalty.concave_gradient(b, amount)
                return value + penalty.value(b, amount) - amount * float(np.abs(b).sum()), np.append(slope, others)

            reach = np.append(np.full(len(columns), amount), np.zeros(3))
            start = np.append(at[:p][columns], at[p:])
            ended = conjugate_gradients(smooth, start, reach, model.bounded, tolerance=tolerance, most=most)
            n_iterations += ended.n_iterations
            at = np.zeros(p + 3)
            at[columns], at[p:] = ended.at[:-3], ended.at[-3:]
            gradient = model.gradient(model.terms(at, every)[1])
            wrong = ~keep & (np.abs(gradient) > amount + tolerance)
            if not wrong.any():
                return at, gradient, n_iterations
            keep |= wrong

    at = np.concatenate([np.zeros(p), without_variables(model)])
    gradient = model.gradient(model.terms(at, every)[1])
    unit = float(np.abs(gradient).max(initial=0.0)) or 1.0
    last = unit * max(1.0, *amounts)
    found = []
    for share in amounts:
        at, gradient, n_iterations = solved(at, gradient, share * unit, last)
        last = share * unit
        found.append((at, gradient, n_iterations))
        if 4 * np.count_nonzero(at[:p]) > len(model.y):
            break
    residuals = [
        float(penalty.residual(at[:p], gradient, share * unit).max(initial=0.0))
        for (at, gradient, _), share in zip(found, amounts, strict=False)
    ]
    rest = len(amounts) - len(found)
    return MixedPath(
        np.array([at for at, _, _ in found] + [found[-1][0]] * rest),
        np.array([number for *_, number in found] + [0] * rest),
        np.array(residuals + [residuals[-1]] * rest),
    )
