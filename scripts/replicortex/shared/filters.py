"""Bayesian filters of a linear-Gaussian state: exact algebra, many stretches of time at once.

The state ``z`` (d numbers) is stationary: ``z[t] = A z[t-1] + noise`` of covariance ``G``, each ``z[t]`` of mean 0 and
covariance ``S``. A stretch begins with no knowledge but ``S``. All filters give the mean and covariance of the state
given the observations of the stretch up to and including its moment.

One step costs O(d^3) a stretch for :func:`kalman_filter` and :func:`discriminative_filter`, once the k observed
numbers are brought to d (O(d k)); :func:`extended_filter` and :func:`unscented_filter` add O(k^3). Memory is O(n d^2).
Stretches are computed side by side: n rows in stretches of length T take T steps of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Edges = Sequence[tuple[int, int]]
#: Relative change from one moment to the next below which a covariance has come to rest: that of rounding.
_SETTLED = 1e-14
#: Least eigenvalue of what an observation leaves open, relative to the state's own covariance.
_NARROWEST = 1e-9


@dataclass(frozen=True)
class StateModel:
    """The state: how it moves and how far it strays.

    Parameters
    ----------
    a, g, s : ndarray of shape (d, d)
        Transition, covariance of its noise, and covariance of the state at any time.
    """

    a: np.ndarray
    g: np.ndarray
    s: np.ndarray


def fit_state(z: np.ndarray, edges: Edges, ridge: float = 1e-9) -> StateModel:
    """Return the state model of least squares of a centred path ``(n, d)`` in stretches.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        The path, of mean 0.
    edges : sequence of (int, int)
        First row and row after the last of each stretch.
    ridge : float
        Share of the mean variance that is added to each variance, so that a number that never changes has one.
    """
    d = z.shape[1]
    after = np.concatenate([np.arange(first + 1, last) for first, last in edges] or [np.empty(0, int)]).astype(int)
    s = z.T @ z / len(z)
    floor = ridge * max(np.trace(s) / d, np.finfo(float).tiny) * np.eye(d)
    s = s + floor
    if len(after) <= d:
        # Stretches of one moment say nothing of the next.
        return StateModel(np.zeros((d, d)), s, s)
    before, now = z[after - 1], z[after]
    a = np.linalg.solve(before.T @ before + len(after) * floor, before.T @ now).T
    residual = now - before @ a.T
    return StateModel(a, residual.T @ residual / len(after) + floor, s)


def _moments(edges: Edges) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, moment by moment, which stretches are under way (indices) and their rows at that moment."""
    first = np.array([edge[0] for edge in edges], dtype=int)
    length = np.array([edge[1] - edge[0] for edge in edges], dtype=int)
    for t in range(int(length.max(initial=0))):
        under_way = np.flatnonzero(length > t)
        yield under_way, first[under_way] + t


def _predicted(model: StateModel, mean: np.ndarray, cov: np.ndarray, first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the next state, before it is observed."""
    if first:
        return np.zeros_like(mean), np.broadcast_to(model.s, cov.shape)
    return mean @ model.a.T, model.a @ cov @ model.a.T + model.g


def information_filter(
    eta: np.ndarray, precision: np.ndarray, edges: Edges, model: StateModel
) -> tuple[np.ndarray, np.ndarray]:
    """Filter observations that multiply the density of the state by ``exp(eta'z - z' precision z / 2)``.

    Parameters
    ----------
    eta : ndarray of shape (n, d)
    precision : ndarray of shape (n, d, d) or (d, d)
        Positive semidefinite.
    edges, model
        The stretches, one after another and together all rows, and the state.

    Returns
    -------
    mean : ndarray of shape (n, d)
    cov : ndarray of shape (n, d, d)
    """
    n, d = eta.shape
    precision = np.broadcast_to(precision, (n, d, d))
    mean, cov = np.zeros((n, d)), np.zeros((n, d, d))
    state_mean, state_cov = np.zeros((len(edges), d)), np.zeros((len(edges), d, d))
    for t, (which, rows) in enumerate(_moments(edges)):
        prior_mean, prior_cov = _predicted(model, state_mean[which], state_cov[which], t == 0)
        prior_precision = np.linalg.inv(prior_cov)
        now = _symmetric(np.linalg.inv(precision[rows] + prior_precision))
        told = eta[rows] + np.einsum("nij,nj->ni", prior_precision, prior_mean)
        state_mean[which], state_cov[which] = np.einsum("nij,nj->ni", now, told), now
        mean[rows], cov[rows] = state_mean[which], now
    return mean, cov


def kalman_filter(
    x: np.ndarray, edges: Edges, model: StateModel, c: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Filter ``x[t] = C z[t] + noise`` of covariance ``R``: the Kalman filter (Kalman 1960, doi:10.1115/1.3662552).

    Parameters
    ----------
    x : ndarray of shape (n, k)
    c, r : ndarray of shape (k, d) and (k, k)
    edges, model
        The stretches, and the state.

    Returns
    -------
    mean, cov
        As of :func:`information_filter`.
    """
    return _kalman(x, edges, model, c, r)[:2]


def log_likelihood(x: np.ndarray, edges: Edges, model: StateModel, c: np.ndarray, r: np.ndarray) -> float:
    """Return the log density (nats) of linear-Gaussian observations."""
    return kalman_and_likelihood(x, edges, model, c, r)[2]


def kalman_and_likelihood(
    x: np.ndarray, edges: Edges, model: StateModel, c: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and covariance of :func:`kalman_filter`, and the log density (nats) of all that was observed."""
    mean, cov, before, after, moment = _kalman(x, edges, model, c, r)
    expected = np.zeros_like(mean)
    expected[1:] = mean[:-1] @ model.a.T
    expected[moment == 0] = 0
    surprise = x - expected @ c.T
    # |C M C' + R| = |R| |M| / |P|, and its inverse is R^-1 - R^-1 C P C' R^-1, where M goes before and P after; the
    # mean moved by P C' R^-1 times the surprise.
    r_inverse = np.linalg.inv(r)
    quadratic = np.vdot(r_inverse, surprise.T @ surprise) - np.vdot(surprise @ (r_inverse @ c), mean - expected)
    of_moment = np.bincount(moment, minlength=len(before))
    log_det = np.linalg.slogdet(before)[1] - np.linalg.slogdet(after)[1]
    log_det = of_moment @ log_det + len(x) * np.linalg.slogdet(r)[1]
    return mean, cov, float(-0.5 * (quadratic + log_det + x.size * np.log(2 * np.pi)))


def _kalman(
    x: np.ndarray, edges: Edges, model: StateModel, c: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and covariance of each row, covariances before and after each moment was seen, and rows' moments.

    Covariances do not depend on what is observed: they are computed once for all stretches, until they have settled.
    """
    from scipy.linalg.lapack import dgesv

    d = len(model.a)
    starts, ends = np.array(edges, dtype=int).reshape(-1, 2).T
    lengths = ends - starts
    longest = int(lengths.max(initial=0))
    # Stretches follow each other, and every row lies in one.
    moment = np.arange(len(x)) - np.repeat(starts, lengths)
    weighted = np.linalg.solve(r, c)
    told = _symmetric(c.T @ weighted)
    before, after = np.zeros((2, longest, d, d))
    unit, now, prior, known = np.eye(d), model.s, model.s, longest
    a, g, a_turned = np.ascontiguousarray(model.a), model.g, np.ascontiguousarray(model.a.T)
    for t in range(longest):
        # Arrays this small are mostly overhead, which `dot` and LAPACK itself have least of.
        if t:
            prior = a.dot(now).dot(a_turned) + g
        # P = (M^-1 + told)^-1 = (1 + M told)^-1 M.
        posterior = dgesv(unit + prior.dot(told), prior)[2]
        before[t], after[t] = prior, posterior
        if t % 8 == 7:
            if np.abs(posterior - now).max() <= _SETTLED * np.abs(now).max():
                known = t + 1
                break
            posterior = _symmetric(posterior)
        now = posterior
    before[known:], after[known:] = before[known - 1 : known], after[known - 1 : known]
    after = _symmetric(after)
    # What of the state is carried on from the moment before: P M^-1 A.
    carried = np.swapaxes(np.linalg.solve(before[:known], after[:known]), 1, 2) @ model.a
    carried = np.concatenate([carried, np.broadcast_to(carried[-1:], (longest - known, d, d))])
    cov = after.take(moment, axis=0)
    mean = x @ weighted
    if np.all(lengths == longest):
        # Stretches of one length, as trials are: a view, moment first, and no list of rows.
        steps = mean.reshape(len(edges), longest, d).transpose(1, 0, 2) @ after
        turned = np.ascontiguousarray(np.swapaxes(carried, 1, 2))
        for last, step, matrix in zip(steps, steps[1:], turned[1:], strict=False):
            step += last.dot(matrix)
        mean = steps.transpose(1, 0, 2).reshape(-1, d)
    else:
        mean = (cov @ mean[:, :, None])[:, :, 0]
        for t, (_, rows) in enumerate(_moments(edges)):
            if t:
                mean[rows] += mean[rows - 1] @ carried[t].T
    return mean, cov, before, after, moment


Wider = Literal["ignored", "limited", "robust"]


def discriminative_filter(
    f: np.ndarray, q: np.ndarray, edges: Edges, model: StateModel, *, wider: Wider = "limited", robust: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Filter by what each observation alone says of the state: the discriminative Kalman filter.

    Burkhart, Brandman, Franco, Hochberg & Harrison 2020, doi:10.1162/neco_a_01275. Given its observation the state has
    mean ``f`` and covariance ``Q``; that times the density of the observation and divided by that of the state is the
    density of the observation given the state, which therefore adds ``Q^-1 - S^-1`` to the precision.

    Parameters
    ----------
    f : ndarray of shape (n, d)
    q : ndarray of shape (n, d, d) or (d, d)
    edges, model
        The stretches, and the state.
    wider : {"ignored", "limited", "robust"}
        What is done where ``Q`` is not below ``S``, so that an observation would say less than nothing. ``limited``:
        eigenvalues of ``Q`` relative to ``S`` are at most 1 (the authors' simulations); ``f`` still moves the state
        along such a direction, and without any precision beside it moves it on and on. ``ignored``: it does not, since
        what says nothing has mean 0. ``robust``: ``S^-1`` is left out at that moment (the authors' decoding).
    robust : bool
        Leave ``S^-1`` out at all moments.

    Returns
    -------
    mean, cov
        As of :func:`information_filter`.
    """
    n, d = f.shape
    q = np.broadcast_to(_symmetric(np.asarray(q)), (n, d, d))
    if robust or wider == "robust":
        inverse = _symmetric(np.linalg.inv(q))
        eta = np.einsum("nij,nj->ni", inverse, f)
        if robust:
            return information_filter(eta, inverse, edges, model)
        root = np.linalg.inv(np.linalg.cholesky(model.s))
        below = np.linalg.eigvalsh(_symmetric(root @ q @ root.T))[:, -1] < 1
        return information_filter(eta, inverse - below[:, None, None] * np.linalg.inv(model.s), edges, model)
    # With S = L L' and L^-1 Q L'^-1 = U diag(v) U', all is said along the columns of U.
    inverse_root = np.linalg.inv(np.linalg.cholesky(model.s))
    values, vectors = np.linalg.eigh(_symmetric(inverse_root @ q @ inverse_root.T))
    back = inverse_root.T @ vectors
    weight = 1 / np.clip(values, _NARROWEST, 1.0)
    told = weight * np.einsum("nji,nj->ni", vectors, f @ inverse_root.T)
    if wider == "ignored":
        told[values >= 1] = 0
    precision = (back * (weight - 1)[:, None, :]) @ np.swapaxes(back, 1, 2)
    return information_filter(np.einsum("nij,nj->ni", back, told), precision, edges, model)


def extended_filter(
    x: np.ndarray,
    edges: Edges,
    model: StateModel,
    observe: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    r: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Filter ``x[t] = h(z[t]) + noise`` of covariance ``R``, with ``h`` made linear about the predicted state.

    Parameters
    ----------
    x : ndarray of shape (n, k)
    observe : callable
        Gives ``h`` (m, k) of states (m, d), and its derivatives (m, k, d).
    r : ndarray of shape (k, k)
    edges, model
        The stretches, and the state.

    Returns
    -------
    mean, cov
        As of :func:`information_filter`.
    """

    def moments(mean: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        expected, slope = observe(mean)
        across = cov @ np.swapaxes(slope, 1, 2)
        return expected, slope @ across + r, across

    return _gaussian_filter(x, edges, model, moments)


def unscented_filter(
    x: np.ndarray,
    edges: Edges,
    model: StateModel,
    observe: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    r: np.ndarray,
    alpha: float = 1e-3,
    beta: float = 2.0,
    kappa: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Filter ``x[t] = h(z[t]) + noise`` with the moments of ``h`` from 2 d + 1 points about the predicted state.

    Scaled unscented transform (Julier & Uhlmann 2004, doi:10.1109/JPROC.2003.823141), exact where ``h`` is linear.

    Parameters
    ----------
    x, edges, model, observe, r
        As of :func:`extended_filter`; derivatives are not used.
    alpha, beta, kappa : float
        Spread of the points, what is known of the density (2: Gaussian), and secondary scaling.

    Returns
    -------
    mean, cov
        As of :func:`information_filter`.
    """
    d = len(model.a)
    spread = alpha**2 * (d + kappa)
    of_mean = np.full(2 * d + 1, 0.5 / spread)
    of_mean[0] = 1 - d / spread
    of_cov = of_mean.copy()
    of_cov[0] += 1 - alpha**2 + beta

    def moments(mean: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        root = np.swapaxes(np.linalg.cholesky(spread * cov), 1, 2)  # a row a direction
        steps = np.concatenate([np.zeros((len(mean), 1, d)), root, -root], axis=1)
        seen = observe((mean[:, None] + steps).reshape(-1, d))[0].reshape(len(mean), 2 * d + 1, -1)
        # Weights of a small alpha are huge and nearly cancel: their sum is taken of differences to the centre.
        change = seen - seen[:, :1]
        shift = np.einsum("s,nsk->nk", of_mean, change)
        about = change - shift[:, None]
        spread_seen = np.einsum("s,nsk,nsl->nkl", of_cov, about, about)
        return seen[:, 0] + shift, spread_seen + r, np.einsum("s,nsd,nsk->ndk", of_cov, steps, about)

    return _gaussian_filter(x, edges, model, moments)


def _gaussian_filter(
    x: np.ndarray,
    edges: Edges,
    model: StateModel,
    moments: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Filter by expected observation (m, k), its covariance (m, k, k), and that of state with it (m, d, k)."""
    n, d = len(x), len(model.a)
    mean, cov = np.zeros((n, d)), np.zeros((n, d, d))
    state_mean, state_cov = np.zeros((len(edges), d)), np.zeros((len(edges), d, d))
    for t, (which, rows) in enumerate(_moments(edges)):
        prior_mean, prior_cov = _predicted(model, state_mean[which], state_cov[which], t == 0)
        expected, spread, across = moments(prior_mean, np.array(prior_cov))
        gain = np.swapaxes(np.linalg.solve(_symmetric(spread), np.swapaxes(across, 1, 2)), 1, 2)
        state_mean[which] = prior_mean + np.einsum("ndk,nk->nd", gain, x[rows] - expected)
        state_cov[which] = _symmetric(prior_cov - gain @ spread @ np.swapaxes(gain, 1, 2))
        mean[rows], cov[rows] = state_mean[which], state_cov[which]
    return mean, cov


def _symmetric(matrices: np.ndarray) -> np.ndarray:
    return (matrices + np.swapaxes(matrices, -1, -2)) / 2
