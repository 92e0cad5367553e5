"""A diffusion prior: a transformer that turns the embedding that a brain gives into one as pictures have it.

Ramesh et al. (2022), Hierarchical text-conditional image generation with CLIP latents
(doi:10.48550/arXiv.2204.06125), in the form of Scotti et al. (2023; doi:10.48550/arXiv.2305.18274): tokens of the
condition, one token of the time and the noisy tokens go through a transformer without causal mask, whose last tokens
are the clean embedding (not the noise). The variance follows the cosine schedule of Nichol & Dhariwal (2021;
doi:10.48550/arXiv.2102.09672). torch is imported where it is needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def kept_signal(n_steps: int) -> np.ndarray:
    """Return the share of variance that is signal after each step (the cumulative product of alphas), (n_steps,)."""

    def level(share: np.ndarray) -> np.ndarray:
        return np.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    edges = level(np.arange(n_steps + 1) / n_steps)
    return np.cumprod(1 - np.clip(1 - edges[1:] / edges[:-1], 0, 0.999))


def prior(n_tokens: int, width: int, depth: int, n_heads: int, head: int, n_steps: int, dropped: float) -> Any:
    """Return the untrained prior, an ``nn.Module``.

    Parameters
    ----------
    n_tokens, width : int
        Of the embedding.
    depth, n_heads, head : int
        Layers; heads of attention, which share one key and one value; and their dimension.
    n_steps : int
        Steps of noise.
    dropped : float
        Share of the training rows whose condition is replaced by a learnt one.

    Notes
    -----
    ``loss(condition, target)`` and ``sample(condition, noise)`` take embeddings (n, n_tokens, width) of about unit
    variance a value.
    """
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.LayerNorm(width, bias=False)
            self.query = nn.Linear(width, n_heads * head, bias=False)
            self.shared = nn.Linear(width, 2 * head, bias=False)
            self.out = nn.Linear(n_heads * head, width, bias=False)
            self.between = nn.LayerNorm(width, bias=False)
            self.gated = nn.Linear(width, 8 * width, bias=False)
            self.down = nn.Linear(4 * width, width, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.before(x)
            query = self.query(z).unflatten(2, (n_heads, head)).transpose(1, 2)
            key, value = self.shared(z).unsqueeze(1).chunk(2, dim=3)
            key, value = (part.expand(-1, n_heads, -1, -1) for part in (key, value))
            attended = nn.functional.scaled_dot_product_attention(query, key, value)
            x = x + self.out(attended.transpose(1, 2).flatten(2))
            straight, gate = self.gated(self.between(x)).chunk(2, dim=2)
            return x + self.down(straight * nn.functional.silu(gate))

    class Prior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Embedding(n_steps, width)
            self.place = nn.Parameter(torch.randn(2 * n_tokens + 1, width) * width**-0.5)
            self.nothing = nn.Parameter(torch.randn(n_tokens, width))
            self.layers = nn.ModuleList(Layer() for _ in range(depth))
            self.after = nn.LayerNorm(width, bias=False)
            self.project = nn.Linear(width, width, bias=False)
            self.register_buffer("kept", torch.tensor(kept_signal(n_steps), dtype=torch.float32), persistent=False)

        def forward(self, noisy: torch.Tensor, step: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            x = torch.cat([condition, self.time(step)[:, None], noisy], dim=1) + self.place
            for layer in self.layers:
                x = layer(x)
            return self.project(self.after(x[:, -n_tokens:]))

        def loss(self, condition: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            """Return the mean squared distance of the embedding found in noise from ``target``."""
            step = torch.randint(n_steps, (len(target),), device=target.device)
            kept = self.kept[step][:, None, None]
            noisy = kept.sqrt() * target + (1 - kept).sqrt() * torch.randn_like(target)
            lost = torch.rand(len(target), 1, 1, device=target.device) < dropped
            return nn.functional.mse_loss(self(noisy, step, torch.where(lost, self.nothing, condition)), target)

        def sample(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            """Return an embedding for each condition; ``noise`` (n_steps + 1, n_tokens, width) is that of every row."""
            x = noise[0].expand_as(condition)
            for number in reversed(range(n_steps)):
                step = torch.full((len(condition),), number, device=condition.device)
                clean = self(x, step, condition)
                if number == 0:
                    return clean
                mean, spread = posterior(self.kept, number, x, clean)
                x = mean + spread * noise[number]
            return x

    return Prior()


def posterior(kept: Any, step: int, noisy: Any, clean: Any) -> tuple[Any, Any]:
    """Return mean and standard deviation of the embedding one step earlier, given the noisy and the clean one."""
    now, before = kept[step], kept[step - 1] if step else kept[step] * 0 + 1
    alpha = now / before
    mean = (before.sqrt() * (1 - alpha) * clean + alpha.sqrt() * (1 - before) * noisy) / (1 - now)
    return mean, ((1 - before) / (1 - now) * (1 - alpha)).sqrt()
