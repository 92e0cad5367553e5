"""Criss-cross attention: half of the width attends over time, half over sources; and the parts around it.

Xiao et al. (2025), doi:10.48550/arXiv.2505.18185; rotary positions of Su et al. (2024),
doi:10.1016/j.neucom.2023.127063; norms of Zhang & Sennrich (2019), doi:10.48550/arXiv.1910.07467. Names of parameters
are those of the released BrainOmni checkpoints.
"""

from __future__ import annotations

from typing import Any


def rms_norm(dim: int) -> Any:
    """Return a layer that divides by the root mean square and scales."""
    from torch import nn

    return nn.RMSNorm(dim, eps=1e-6)


def feed_forward(dim: int, dropout: float) -> Any:
    """Return two linear layers, four times as wide between them, with SELU."""
    from torch import nn

    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SELU(), nn.Linear(4 * dim, dim), nn.Dropout(dropout))

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    return FeedForward()


def attend(query: Any, key: Any, value: Any, n_heads: int, *, mask: Any = None, dropout: float = 0.0) -> Any:
    """Return scaled dot-product attention; written out, since its fused kernels differ from run to run on GPUs.

    Parameters
    ----------
    query, key, value : Tensor of shape (n, n_queries or n_keys, width)
        Already projected; ``width`` is shared out among the heads.
    n_heads : int
    mask : Tensor of shape (n, n_keys), optional
        True where a key may be attended to; at least one in every row.
    dropout : float
        Of attention weights; the caller knows whether it trains.
    """
    import torch

    n, n_queries, width = query.shape
    heads = [entry.reshape(n, -1, n_heads, width // n_heads).transpose(1, 2) for entry in (query, key, value)]
    products = heads[0] @ heads[1].transpose(2, 3) / (width // n_heads) ** 0.5
    if mask is not None:
        products = products.masked_fill(~mask[:, None, None, :], float("-inf"))
    weights = products.softmax(dim=-1)
    if dropout:
        weights = torch.nn.functional.dropout(weights, dropout)
    return (weights @ heads[2]).transpose(1, 2).reshape(n, n_queries, width)


def rotary(x: Any, base: float = 10000.0) -> Any:
    """Return ``x`` (n, T, width) with neighbouring pairs of numbers turned by angles that grow with the time.

    The frequencies run through the whole width, so that each head has a range of its own, as in the released code.
    """
    import torch

    n_times, width = x.shape[1:]
    frequency = base ** (-torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    angle = torch.arange(n_times, device=x.device, dtype=torch.float32)[:, None] * frequency
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(2)


def criss_cross_block(dim: int, n_heads: int, dropout: float) -> Any:
    """Return a block on tokens (n, sources, times, dim): attention over time and over sources, then a feed-forward.

    The first half of the width attends over time and the second over sources, and their results stand in the opposite
    order, as in the released code.
    """
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, *, positions: bool) -> None:
            super().__init__()
            self.qkv = nn.Linear(dim // 2, 3 * (dim // 2))
            self.proj = nn.Linear(dim // 2, dim // 2)
            self.positions = positions

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            query, key, value = self.qkv(x).chunk(3, dim=-1)
            if self.positions:
                query, key = rotary(query), rotary(key)
            rate = dropout if self.training else 0.0
            return self.proj(attend(query, key, value, max(n_heads // 2, 1), dropout=rate))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pre_attn_norm = rms_norm(dim)
            self.time_attn = Attention(positions=True)
            self.spatial_attn = Attention(positions=False)
            self.pre_ff_norm = rms_norm(dim)
            self.ff = feed_forward(dim, dropout)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, n_sources, n_times, _ = x.shape
            over_time, over_space = self.pre_attn_norm(x).split(dim // 2, dim=-1)
            over_time = self.time_attn(over_time.reshape(n * n_sources, n_times, -1)).reshape(n, n_sources, n_times, -1)
            over_space = over_space.transpose(1, 2).reshape(n * n_times, n_sources, -1)
            over_space = self.spatial_attn(over_space).reshape(n, n_times, n_sources, -1).transpose(1, 2)
            x = x + torch.cat([over_space, over_time], dim=-1)
            return x + self.ff(self.pre_ff_norm(x))

    return Block()
