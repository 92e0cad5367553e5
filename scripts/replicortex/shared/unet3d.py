"""A 3D U-Net that knows how noisy its input is. torch is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def unet3d(channels: Sequence[int], n_blocks: int, groups: int, head_channels: int, attention: Sequence[bool]) -> Any:
    """Return the network: volumes (n, 1, X, Y, Z) and steps (n,) to volumes of the same shape.

    Residual blocks (group normalisation, SiLU, convolutions of 3 x 3 x 3) at each level, the step entering each block
    by a shift; halving by convolutions of stride 2, doubling by nearest neighbours and a convolution; skips by
    concatenation. Sides must be multiples of two to the number of levels less one.

    Parameters
    ----------
    channels : sequence of int
        Of the levels, from fine to coarse.
    n_blocks : int
        Blocks a level on the way down; one more on the way up.
    groups : int
        Of the normalisations, at most; the greatest number that divides the channels is taken.
    head_channels : int
        Channels of a head of self-attention.
    attention : sequence of bool
        Levels with self-attention after each block; between the ways there always is one.
    """
    import torch
    from torch import nn

    width = 4 * channels[0]

    def norm(n: int) -> nn.Module:
        return nn.GroupNorm(math.gcd(groups, n), n)

    class Residual(nn.Module):
        def __init__(self, n_in: int, n_out: int) -> None:
            super().__init__()
            self.first = nn.Sequential(norm(n_in), nn.SiLU(), nn.Conv3d(n_in, n_out, 3, padding=1))
            self.step = nn.Linear(width, n_out)
            self.second = nn.Sequential(norm(n_out), nn.SiLU(), nn.Conv3d(n_out, n_out, 3, padding=1))
            # The block begins as what passes by it.
            nn.init.zeros_(self.second[2].weight)
            nn.init.zeros_(self.second[2].bias)
            self.by = nn.Conv3d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

        def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            inner = self.first(x) + self.step(step)[:, :, None, None, None]
            return self.by(x) + self.second(inner)

    class Attention(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norm = norm(n)
            self.attend = nn.MultiheadAttention(n, max(n // head_channels, 1), batch_first=True)

        def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            tokens = self.norm(x).flatten(2).transpose(1, 2)
            told = self.attend(tokens, tokens, tokens, need_weights=False)[0]
            return x + told.transpose(1, 2).reshape(x.shape)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Sequential(nn.Linear(channels[0], width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
            self.enter = nn.Conv3d(1, channels[0], 3, padding=1)
            self.down, self.halve, self.up, self.enlarge = (nn.ModuleList() for _ in range(4))
            held, n = [channels[0]], channels[0]
            for level, wide in enumerate(channels):
                for _ in range(n_blocks):
                    self.down.append(self._block(n, wide, attention[level]))
                    n = wide
                    held.append(n)
                if level + 1 < len(channels):
                    self.halve.append(nn.Conv3d(n, n, 3, stride=2, padding=1))
                    held.append(n)
            self.middle = nn.ModuleList([Residual(n, n), Attention(n), Residual(n, n)])
            for level, wide in reversed(list(enumerate(channels))):
                for _ in range(n_blocks + 1):
                    self.up.append(self._block(n + held.pop(), wide, attention[level]))
                    n = wide
                if level:
                    self.enlarge.append(nn.Conv3d(n, n, 3, padding=1))
            self.leave = nn.Sequential(norm(n), nn.SiLU(), nn.Conv3d(n, 1, 3, padding=1))

        @staticmethod
        def _block(n_in: int, n_out: int, attends: bool) -> nn.ModuleList:
            return nn.ModuleList([Residual(n_in, n_out), *([Attention(n_out)] if attends else [])])

        def forward(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
            half = channels[0] // 2
            rates = torch.exp(-math.log(10_000) * torch.arange(half, device=x.device, dtype=x.dtype) / half)
            angles = steps.to(x.dtype)[:, None] * rates
            step = self.step(torch.cat([angles.cos(), angles.sin()], dim=1))
            x = self.enter(x)
            held, blocks, halve = [x], iter(self.down), iter(self.halve)
            for level in range(len(channels)):
                for _ in range(n_blocks):
                    for part in next(blocks):
                        x = part(x, step)
                    held.append(x)
                if level + 1 < len(channels):
                    x = next(halve)(x)
                    held.append(x)
            for part in self.middle:
                x = part(x, step)
            blocks, enlarge = iter(self.up), iter(self.enlarge)
            for level in reversed(range(len(channels))):
                for _ in range(n_blocks + 1):
                    x = torch.cat([x, held.pop()], dim=1)
                    for part in next(blocks):
                        x = part(x, step)
                if level:
                    # Each voxel eight times; indexing, unlike interpolation, is deterministic on every device.
                    for axis in (2, 3, 4):
                        x = x.repeat_interleave(2, dim=axis)
                    x = next(enlarge)(x)
            return self.leave(x)

    return UNet()
