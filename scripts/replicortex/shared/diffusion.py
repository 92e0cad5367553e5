"""Diffusion between data and Gaussian noise: one path, four ways to say what a network predicts, two samplers.

On the variance-preserving path a volume at step t is ``x_t = a_t x_0 + s_t e`` with ``a_t^2 + s_t^2 = 1`` and Gaussian
``e``. What a network predicts (its target) is linear in ``x_0`` and ``e``, and each of the targets together with
``x_t`` gives both:

======== =================== ==========================
target   is                  x_0 from it
======== =================== ==========================
sample   ``x_0``             itself
epsilon  ``e``               ``(x_t - s e) / a``
velocity ``a e - s x_0``     ``a x_t - s v``
flow     ``e - x_0``         ``(x_t - s f) / (a + s)``
======== =================== ==========================

``flow`` is on the same path, not on the straight line between data and noise that flow matching means.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Target = Literal["sample", "epsilon", "velocity", "flow"]


@dataclass(frozen=True)
class Path:
    """The variance-preserving path of Ho et al. (2020, arXiv:2006.11239): noise that grows linearly with the step.

    Parameters
    ----------
    n_steps : int
        Steps from data to noise.
    first, last : float
        Variance that the first and the last step add. With another number of steps than 1,000 they are scaled so that
        the end of the path is as noisy.
    """

    n_steps: int = 1000
    first: float = 1e-4
    last: float = 0.02

    def alphas(self) -> np.ndarray:
        """Return the share of variance that is still of the data after steps 1, 2, ...: ``a_t^2``, (n_steps,)."""
        return _alphas(self)

    def at(self, steps: Any, like: Any) -> tuple[Any, Any]:
        """Return ``a`` and ``s`` of steps (n,) as tensors that multiply ``like`` (n, ...)."""
        import torch

        share = torch.as_tensor(self.alphas(), dtype=like.dtype, device=like.device)[steps]
        share = share.reshape(-1, *[1] * (like.ndim - 1))
        return share.sqrt(), (1 - share).sqrt()


@functools.cache
def _alphas(path: Path) -> np.ndarray:
    scale = 1000 / path.n_steps
    betas = np.clip(np.linspace(path.first * scale, path.last * scale, path.n_steps), 0, 0.999)
    return np.cumprod(1 - betas)


def target_of(x0: Any, noise: Any, a: Any, s: Any, target: Target) -> Any:
    """Return what the network is to predict."""
    if target == "sample":
        return x0
    if target == "epsilon":
        return noise
    if target == "velocity":
        return a * noise - s * x0
    return noise - x0


def sample_from(prediction: Any, xt: Any, a: Any, s: Any, target: Target) -> Any:
    """Return ``x_0`` from a prediction and ``x_t``."""
    if target == "sample":
        return prediction
    if target == "epsilon":
        return (xt - s * prediction) / a
    if target == "velocity":
        return a * xt - s * prediction
    return (xt - s * prediction) / (a + s)


def noise_from(x0: Any, xt: Any, a: Any, s: Any) -> Any:
    """Return the noise in ``x_t`` if the data are ``x_0``."""
    return (xt - a * x0) / s


def ddim_steps(n_steps: int, n_sampled: int) -> np.ndarray:
    """Return the steps that a sampler visits, from noise to data: evenly spaced, the last one of the path first."""
    return np.linspace(n_steps - 1, 0, n_sampled).round().astype(int)


def draw(
    predict: Callable[[Any, Any], Any],
    start: Any,
    path: Path,
    target: Target,
    n_sampled: int,
    *,
    eta: float = 0.0,
    clip: float | None = None,
    generator: Any = None,
) -> Any:
    """Return samples: noise ``start`` (n, ...) led back along the path.

    Parameters
    ----------
    predict : callable
        ``predict(x_t, steps)`` returns the target at steps (n,), counted from 0.
    start : Tensor of shape (n, ...)
        Standard normal.
    path : Path
    target : {"sample", "epsilon", "velocity", "flow"}
        What ``predict`` predicts.
    n_sampled : int
        Steps to take, at most those of the path. Cost: one call of ``predict`` each.
    eta : float
        Share of fresh noise: 0 is DDIM (Song et al. 2021, arXiv:2010.02502), deterministic given ``start``; 1 is the
        ancestral sampler of DDPM.
    clip : float, optional
        Largest magnitude of the data; predictions of ``x_0`` are cut off there at every step.
    generator : torch.Generator, optional
        Of the fresh noise.
    """
    import torch

    alphas = path.alphas()
    steps = ddim_steps(path.n_steps, min(n_sampled, path.n_steps))
    x = start
    for number, step in enumerate(steps):
        share = float(alphas[step])
        before = float(alphas[steps[number + 1]]) if number + 1 < len(steps) else 1.0
        a, s = share**0.5, (1 - share) ** 0.5
        x0 = sample_from(predict(x, torch.full((len(x),), int(step), device=x.device)), x, a, s, target)
        if clip is not None:
            x0 = x0.clamp(-clip, clip)
        noise = noise_from(x0, x, a, s)
        fresh = eta * ((1 - before) / (1 - share) * (1 - share / before)) ** 0.5
        x = before**0.5 * x0 + max(1 - before - fresh**2, 0.0) ** 0.5 * noise
        if fresh:
            drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + fresh * drawn.to(x.device)
    return x
