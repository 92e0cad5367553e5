"""Tokens of modalities for transformers, and modality dropout. torch is imported where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Voxels along the longest side of the grid that convolutions of a volume end at, and channels of the first one.
_COARSEST, _CHANNELS, _GROUPS = 6, 32, 8


def as_batch(arrays: Sequence[np.ndarray], present: np.ndarray) -> dict[str, np.ndarray]:
    """Return modalities and which are there as arrays of a batch."""
    return {**{f"modality_{number:02d}": values for number, values in enumerate(arrays)}, "present": present}


def values_of(batch: dict[str, Any]) -> list[Any]:
    """Return the modalities of a batch in their order."""
    return [batch[name] for name in sorted(batch) if name.startswith("modality_")]


def dropped(present: Any, rate: float) -> Any:
    """Return ``present`` (n_rows, n_modalities) with flags taken away at random; the last one of a row never.

    Each flag is taken away with probability ``rate`` by itself. A row that would lose all keeps one, each that it
    had with the same probability.
    """
    import torch

    if not rate:
        return present
    kept = present & (torch.rand(present.shape, device=present.device) >= rate)
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    spared = torch.zeros_like(present).scatter_(1, draw.argmax(dim=1, keepdim=True), True) & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, spared)


def volume_channels(shape: Sequence[int]) -> list[int]:
    """Return the channels of the convolutions of a volume, which halve it until it is coarse."""
    channels, size = [_CHANNELS], -(-max(shape) // 2)
    while size > _COARSEST:
        channels.append(min(2 * channels[-1], 8 * _CHANNELS))
        size = -(-size // 2)
    return channels


def coarse(shape: Sequence[int]) -> list[int]:
    """Return the grid that the convolutions of a volume end at."""
    grid = list(shape)
    for _ in volume_channels(shape):
        grid = [-(-size // 2) for size in grid]
    return grid


def embedding(kind: str, shape: Sequence[int], width: int, n_tokens: int) -> Any:
    """Return the encoder of a modality: its values (n, ...) to tokens (n, tokens, width).

    Parameters
    ----------
    kind : {"numbers", "category", "volume"}
        Numbers (p,) pass a perceptron that makes ``min(n_tokens, p)`` tokens, a category, coded (levels,), takes its
        row of a table, a volume (X, Y, Z) passes convolutions, whose places are the tokens.
    shape : sequence of int
        Of one row's values.
    width, n_tokens : int
    """
    import torch
    from torch import nn

    class Numbers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = min(n_tokens, shape[0])
            self.layers = nn.Sequential(nn.Linear(shape[0], width), nn.GELU(), nn.Linear(width, self.n * width))

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.layers(values).view(len(values), self.n, width)

    class Category(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(shape[0], width, bias=False)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.table(values)[:, None]

    class Volume(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers, before = [], 1
            for channels in volume_channels(shape):
                layers += [nn.Conv3d(before, channels, 3, stride=2, padding=1, bias=False),
                           nn.GroupNorm(_GROUPS, channels), nn.GELU()]  # fmt: skip
                before = channels
            self.layers = nn.Sequential(*layers, nn.Conv3d(before, width, 1))
            n_places = int(np.prod(coarse(shape)))
            self.places = nn.Parameter(torch.randn(n_places, width) * 0.02)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.layers(values[:, None]).flatten(2).transpose(1, 2) + self.places

    return {"numbers": Numbers, "category": Category, "volume": Volume}[kind]()
