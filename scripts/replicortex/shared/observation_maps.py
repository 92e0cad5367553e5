"""What one observation alone says of a state: mean and covariance, learned from examples by three kinds of regression.

The mean is regressed on the observation; the covariance is regressed on it too, as the outer products of residuals that
the mean was not fitted on (Burkhart et al. 2020, doi:10.1162/neco_a_01275). Everything learned is plain arrays.

Cost: n examples of k numbers, p settings tried. Nadaraya-Watson O(n^2 (k + p)) time and O(n^2) memory to learn and O(n
k) to predict; Gaussian process O(n^3) for each length scale tried; network O(n k) for each pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from .words import count, spelled

Kind = Literal["nadaraya_watson", "gaussian_process", "network"]
#: Units of the hidden layer, as in the paper.
HIDDEN = 10
#: Passes of L-BFGS over all examples at most.
_PASSES = 300
#: Starts of a network, of which the one that ends lowest is kept.
_STARTS = 3
#: Grids: bandwidths relative to the median distance, penalties, and length scales with shares of noise.
_BANDWIDTHS, _PENALTIES, _LENGTHS, _NOISES = (0.05, 2.0), (1e-4, 10.0), (0.3, 3.0), (0.02, 0.98)


def learn_map(
    kind: Kind, x: np.ndarray, z: np.ndarray, segment: np.ndarray, n_settings: int, most: int, seed: int
) -> dict[str, Any]:
    """Learn mean and covariance of ``z`` given ``x``.

    Parameters
    ----------
    kind : {"nadaraya_watson", "gaussian_process", "network"}
        Regression of the mean; that of the covariance is by Nadaraya and Watson's kernel smoother for all.
    x : ndarray of shape (n, k)
        Observations, in units of comparable size.
    z : ndarray of shape (n, d)
        States, of mean 0.
    segment : ndarray of shape (n,)
        Stretch of time of each row: neighbours in time are alike, so that no row is predicted by its own stretch while
        settings are chosen, and residuals are those of whole stretches left out.
    n_settings : int
        Settings tried for the mean, and bandwidths tried for the covariance.
    most : int
        Examples that a Gaussian process keeps, evenly over the rows: its cost grows with their cube.
    seed : int
        Of the stretches left out, and of a network's start.

    Returns
    -------
    dict
        For :func:`mean_of` and :func:`covariance_of`; arrays, numbers and text.
    """
    held = held_out_rows(segment, seed)
    first, chosen = _learn_mean(kind, x[~held], z[~held], segment[~held], n_settings, most, seed)
    residual = z[held] - _mean(first, x[held])
    outer = np.einsum("ni,nj->nij", residual, residual).reshape(len(residual), -1)
    bandwidth = _bandwidth(x[held], outer, segment[held], n_settings)
    if kind == "nadaraya_watson":
        # A smoother is its examples: those left out for the residuals join at the bandwidth chosen without them.
        first = {**first, "x": x, "z": z}
    return {
        "mean": first,
        "covariance": {"x": x[held], "z": outer, "bandwidth": bandwidth, "overall": outer.mean(axis=0)},
        "chosen": {**chosen, "covariance_bandwidth": bandwidth},
    }


def held_out_rows(segment: np.ndarray, seed: int, share: float = 0.3) -> np.ndarray:
    """Return which rows lie in the ``share`` of stretches that is left out; the last rows if there is one stretch."""
    names = np.unique(segment)
    if len(names) < 2:
        return np.arange(len(segment)) >= round(len(segment) * (1 - share))
    n = min(max(1, round(share * len(names))), len(names) - 1)
    return np.isin(segment, np.random.default_rng(seed).permutation(names)[:n])


def mean_of(learned: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Return the mean ``(m, d)`` of the state given each observation ``(m, k)`` alone."""
    return _mean(learned["mean"], x)


def covariance_of(learned: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Return the covariance ``(m, d, d)`` of the state given each observation ``(m, k)`` alone.

    Where few examples are near, their residuals may lie in a line: the covariance of all stands in for d + 1 more.
    """
    told = learned["covariance"]
    d = round(np.sqrt(told["z"].shape[1]))
    parts = []
    for part in _parts(x):
        weight = _weights(squared_distances(part, told["x"]), told["bandwidth"])
        near = 1 / np.sum(weight**2, axis=1, keepdims=True)
        parts.append((near * (weight @ told["z"]) + (d + 1) * told["overall"]) / (near + d + 1))
    return np.concatenate(parts).reshape(len(x), d, d)


def _mean(learned: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    if learned["kind"] == "nadaraya_watson":
        return np.concatenate(
            [_smooth(squared_distances(part, learned["x"]), learned["z"], learned["bandwidth"]) for part in _parts(x)]
        )
    if learned["kind"] == "gaussian_process":
        kernel = np.exp(-squared_distances(x, learned["x"]) / (2 * learned["length"] ** 2))
        return kernel @ learned["weights"]
    return network_of(learned["layers"], x)[0] * learned["scale"]


def _learn_mean(
    kind: Kind, x: np.ndarray, z: np.ndarray, segment: np.ndarray, n: int, most: int, seed: int
) -> tuple[dict[str, Any], dict[str, float]]:
    if kind == "nadaraya_watson":
        bandwidth = _bandwidth(x, z, segment, n)
        return {"kind": kind, "x": x, "z": z, "bandwidth": bandwidth}, {"bandwidth": bandwidth}
    if kind == "gaussian_process":
        return _learn_process(x, z, n, most)
    layers, penalty, scale = learn_network(x, z, segment, n, seed)
    return {"kind": kind, "layers": layers, "scale": scale}, {"penalty": penalty}


# ---- Nadaraya-Watson


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distance of each row of ``a`` to each of ``b``."""
    return np.maximum(np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2 * a @ b.T, 0)


def _parts(x: np.ndarray, rows: int = 2048) -> list[np.ndarray]:
    """Return ``x`` in parts, so that distances to all examples fit into memory."""
    return [x[first : first + rows] for first in range(0, max(len(x), 1), rows)]


def _weights(distance: np.ndarray, bandwidth: float) -> np.ndarray:
    """Return Gaussian weights of squared distances, of sum 1; the nearest has all where those of others vanish."""
    exponent = distance / (-2 * bandwidth**2)
    exponent -= exponent.max(axis=1, keepdims=True)
    weight = np.exp(exponent, out=exponent)
    weight /= weight.sum(axis=1, keepdims=True)
    return weight


def _smooth(distance: np.ndarray, z: np.ndarray, bandwidth: float) -> np.ndarray:
    """Return the mean of ``z`` with these weights."""
    return _weights(distance, bandwidth) @ z


def _bandwidth(x: np.ndarray, z: np.ndarray, segment: np.ndarray, n: int) -> float:
    """Return the bandwidth whose smoother errs least on ``z`` if each row is predicted from the other stretches."""
    # At most so many rows are predicted, from all: enough to tell bandwidths apart.
    asked = np.unique(np.linspace(0, len(x) - 1, min(len(x), 1500)).astype(int))
    distance = squared_distances(x[asked], x)
    scale = np.sqrt(np.median(distance))
    same = segment[asked][:, None] == segment
    if same.all():
        same = asked[:, None] == np.arange(len(x))
    distance[same] = np.inf
    tried = max(scale, 1e-12) * np.geomspace(*_BANDWIDTHS, n)
    errors = [np.mean((z[asked] - _smooth(distance, z, bandwidth)) ** 2) for bandwidth in tried]
    # The widest of equals: the simplest.
    return float(tried[::-1][int(np.argmin(errors[::-1]))])


# ---- Gaussian process


def _learn_process(x: np.ndarray, z: np.ndarray, n: int, most: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Learn a process of a squared exponential kernel by its marginal likelihood, over a grid of about ``n``."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), most)).astype(int))
    x, z = x[kept], z[kept]
    distance = squared_distances(x, x)
    scale = max(np.sqrt(np.median(distance)), 1e-12)
    n_lengths = max(1, round(np.sqrt(n)))
    noises = np.linspace(*_NOISES, max(1, n // n_lengths))
    best: tuple[float, float, float, np.ndarray] | None = None
    for length in scale * np.geomspace(*_LENGTHS, n_lengths):
        values, vectors = np.linalg.eigh(np.exp(-distance / (2 * length**2)))
        turned = vectors.T @ z
        for noise in noises:
            # Shares of signal and noise; the variance of each output, which scales both, is that which fits best.
            spread = (1 - noise) * np.maximum(values, 0) + noise
            variance = np.mean(turned**2 / spread[:, None], axis=0)
            loss = len(x) * np.sum(np.log(np.maximum(variance, 1e-300))) + z.shape[1] * np.sum(np.log(spread))
            if best is None or loss < best[0]:
                best = (loss, length, noise, vectors @ (turned * ((1 - noise) / spread)[:, None]))
    _, length, noise, weights = best
    learned = {"kind": "gaussian_process", "x": x, "length": float(length), "weights": weights}
    return learned, {"length_scale": float(length), "noise_share": float(noise)}


# ---- Network


def learn_network(
    x: np.ndarray, z: np.ndarray, segment: np.ndarray, n: int, seed: int
) -> tuple[list[np.ndarray], float, np.ndarray]:
    """Learn a network of one layer of ten tanh units, its penalty chosen on stretches left out.

    Returns
    -------
    layers : list of ndarray
        Weights and biases of the hidden layer, then of the output.
    penalty : float
        Of the mean square of the weights.
    scale : ndarray of shape (d,)
        Standard deviation of each output, by which what the network gives is multiplied.
    """
    scale = np.maximum(np.sqrt(np.mean(z**2, axis=0)), 1e-12)
    z = z / scale
    held = held_out_rows(segment, seed + 1)
    penalties = np.geomspace(*_PENALTIES, n)[::-1]
    errors = [
        np.mean((network_of(_descended(x[~held], z[~held], p, seed), x[held])[0] - z[held]) ** 2) for p in penalties
    ]
    penalty = float(penalties[int(np.argmin(errors))])
    return _descended(x, z, penalty, seed), penalty, scale


def _descended(x: np.ndarray, z: np.ndarray, penalty: float, seed: int) -> list[np.ndarray]:
    """Return the network of least mean squared error plus ``penalty`` times the mean square of all weights."""
    from scipy.optimize import minimize

    k, d = x.shape[1], z.shape[1]
    shapes = [(k, HIDDEN), (HIDDEN,), (HIDDEN, d), (d,)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    n_weights = k * HIDDEN + HIDDEN * d

    def layers(flat: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        first, _, second, _ = now = layers(flat)
        out, hidden = network_of(now, x)
        error = 2 * (out - z) / z.size
        back = (error @ second.T) * (1 - hidden**2)
        shrink = 2 * penalty / n_weights
        slopes = [x.T @ back + shrink * first, back.sum(axis=0), hidden.T @ error + shrink * second, error.sum(axis=0)]
        squares = np.sum(first**2) + np.sum(second**2)
        total = np.mean((out - z) ** 2) + penalty * squares / n_weights
        return float(total), np.concatenate([slope.ravel() for slope in slopes])

    rng = np.random.default_rng(seed)
    ends_at = []
    for _ in range(_STARTS):
        start = [np.sqrt(1 / k) * rng.standard_normal(shapes[0]), rng.standard_normal(HIDDEN)]
        start += [np.sqrt(1 / HIDDEN) * rng.standard_normal(shapes[2]), z.mean(axis=0)]
        flat = np.concatenate([part.ravel() for part in start])
        ends_at.append(minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": _PASSES}))
    return layers(min(ends_at, key=lambda end: end.fun).x)


def network_of(layers: list[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs ``(m, d)`` of a network, and the activations ``(m, h)`` of its hidden layer."""
    hidden = np.tanh(x @ layers[0] + layers[1])
    return hidden @ layers[2] + layers[3], hidden


def slope_of(layers: list[np.ndarray], hidden: np.ndarray) -> np.ndarray:
    """Return the derivatives ``(m, d, k)`` of the outputs of a network by its inputs."""
    return np.einsum("kh,mh,hd->mdk", layers[0], 1 - hidden**2, layers[2])


# ---- words


def map_words(kind: Kind, n_components: int | None, most_rows: int) -> str:
    """Return in words which regression is learned, and on what."""
    inputs = (
        "all inputs, standardised"
        if n_components is None
        else f"{count(n_components, 'principal component')} of the inputs"
    )
    regression = {
        "nadaraya_watson": "Nadaraya-Watson regression [@nadaraya1964]",
        "gaussian_process": f"Gaussian-process regression [@rasmussen2006] with at most {most_rows} rows",
        "network": f"a network of {spelled(HIDDEN)} tanh units",
    }[kind]
    return f"{regression} on {inputs}"


def settings_words(n_settings: int) -> str:
    """Return in words how settings are chosen and the covariance is learned."""
    return (
        f"One of {spelled(n_settings)} settings was chosen without predicting a row from its own stretch of time; the"
        " covariance was learned by Nadaraya-Watson regression of the outer products of residuals of 30 % of the"
        f" stretches, at one of {spelled(n_settings)} bandwidths."
    )
