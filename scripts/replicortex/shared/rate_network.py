"""A network of graded neurons: random wiring, what a stimulated neuron does to the others, activity over time.

The neurons of C. elegans mostly have no action potentials; a rate model with a smooth gain stands for them
(Wicks et al. 1996, doi:10.1523/JNEUROSCI.16-12-04017.1996; Kunert et al. 2014, doi:10.1103/PhysRevE.89.052805).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Synapses of a contact: mean beyond the first, of a geometric number; gap junctions have fewer.
_MORE_SYNAPSES, _MORE_JUNCTIONS = 2.0, 0.8
#: Euler steps a time constant.
_STEPS = 20


@dataclass(frozen=True)
class Wiring:
    """Connections of ``n`` neurons; ``[i, j]`` leads from ``i`` to ``j``.

    Parameters
    ----------
    chemical : ndarray of shape (n, n)
        Number of synapses.
    gap : ndarray of shape (n, n)
        Number of gap junctions; symmetric.
    sign : ndarray of shape (n,)
        1 for neurons that excite, -1 for those that inhibit.
    """

    chemical: np.ndarray
    gap: np.ndarray
    sign: np.ndarray

    def coupling(self, gain: float) -> np.ndarray:
        """Return the effect of ``i`` on ``j`` for a unit of activity, scaled to a spectral radius of ``gain``."""
        weights = np.log1p(self.chemical) * self.sign[:, None] + np.log1p(self.gap)
        radius = np.abs(np.linalg.eigvals(weights)).max()
        return weights * (gain / radius) if radius > 0 else weights


def random_wiring(n: int, density: float, inhibitory: float, generator: np.random.Generator) -> Wiring:
    """Return a wiring of ``n`` neurons, ``density`` of whose ordered pairs have synapses.

    Out- and in-degrees differ between neurons by a log-normal factor, as those of the worm do; gap junctions are a
    third as many. ``inhibitory`` is the share of neurons that inhibit.
    """
    out, into = (np.exp(0.5 * generator.standard_normal(n)) for _ in range(2))
    chance = np.outer(out / out.mean(), into / into.mean()) * density
    np.fill_diagonal(chance, 0)
    there = generator.random((n, n)) < chance
    chemical = np.where(there, generator.geometric(1 / (1 + _MORE_SYNAPSES), (n, n)), 0)
    joined = np.triu(generator.random((n, n)) < density / 3, 1)
    gap = np.where(joined, generator.geometric(1 / (1 + _MORE_JUNCTIONS), (n, n)), 0)
    return Wiring(chemical, gap + gap.T, np.where(generator.random(n) < inhibitory, -1.0, 1.0))


def responses(coupling: np.ndarray, strength: float = 1.0, duration: float = 10.0) -> np.ndarray:
    """Return how far each neuron is from rest while another is stimulated: ``[i, j]``, that of ``j`` to ``i``.

    Solves ``dx/dt = -x + tanh(x) @ coupling + input`` (time in time constants, rest at 0) for all stimulated neurons at
    once. Cost: O(n^3) a step. The stimulated neuron's own value is what it answers itself.
    """
    n = len(coupling)
    drive, x = strength * np.eye(n), np.zeros((n, n))
    for _ in range(round(duration * _STEPS)):
        x += (drive - x + np.tanh(x) @ coupling) / _STEPS
    return x


def activity(
    coupling: np.ndarray,
    n_samples: int,
    rate: float,
    time_constant: float,
    noise: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return activity of shape (n_samples, n) of neurons with noise of their own, at ``rate`` (Hz).

    ``time_constant`` (s) is that of each neuron; the stationary standard deviation of one that is not coupled is
    ``noise``.
    """
    # Even steps, as many a sample as the finest of them needs.
    steps = max(1, int(np.ceil(_STEPS / (rate * time_constant) / 4)))
    dt = 1 / (rate * steps * time_constant)
    n, warm = len(coupling), round(10 * time_constant * rate)
    x, out = np.zeros(n), np.empty((n_samples, n))
    for sample in range(-warm, n_samples):
        for _ in range(steps):
            x = x + dt * (np.tanh(x) @ coupling - x) + noise * np.sqrt(2 * dt) * generator.standard_normal(n)
        if sample >= 0:
            out[sample] = x
    return out
