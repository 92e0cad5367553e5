"""Measures along a simulated surface of the cortex: neighbours are alike, and a few of them tell something."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.signal import lfilter

from ..errors import InputError


def variable_names(n_variables: int) -> list[str]:
    """Return names of the variables, in their order along the surface."""
    width = len(str(n_variables))
    return [f"V{number:0{width}d}" for number in range(1, n_variables + 1)]


def refuse_neighbours(n_support: int, n_variables: int, where: str) -> None:
    """Refuse a support whose variables would be neighbours.

    Raises
    ------
    InputError
        If it is more than a quarter of the variables; ``where`` names the simulator.
    """
    if 4 * n_support > n_variables:
        fault = f"n_support = {n_support} of {n_variables} variables stand too close"
        raise InputError(where, fault, "plant at most a quarter of the variables")


def spread_support(n_support: int, n_variables: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of a support, one in each stretch of the surface, and their signs."""
    rng = np.random.default_rng([seed, 0])
    edges = np.linspace(0, n_variables, n_support + 1).astype(int)
    # Not in the last quarter of a stretch, so that no two are neighbours.
    indices = [int(rng.integers(a, a + max(1, 3 * (b - a) // 4))) for a, b in itertools.pairwise(edges)]
    return np.array(indices), rng.choice([-1.0, 1.0], n_support)


def along_surface(rng: np.random.Generator, n_variables: int, smoothness: float) -> np.ndarray:
    """Return one person's variables, (n_variables,), standard normal each.

    Neighbours have the correlation ``smoothness``, others its powers: a first-order autoregression.
    """
    steps = rng.standard_normal(n_variables)
    steps[1:] *= np.sqrt(1 - smoothness**2)
    return lfilter([1.0], [1.0, -smoothness], steps)
