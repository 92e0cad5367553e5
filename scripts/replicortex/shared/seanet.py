"""The convolutional encoder and decoder of SEANet, as EnCodec has them: residual blocks, strides, an LSTM.

Tagliasacchi et al. (2020), doi:10.21437/Interspeech.2020-1563; Defossez et al. (2022), doi:10.48550/arXiv.2210.13438.
Modules are numbered and named as in EnCodec and the checkpoints derived from it (``model.0.conv.conv`` and so on).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def seanet(
    part: str,
    dim: int,
    n_filters: int,
    ratios: Sequence[int],
    kernel: int,
    *,
    lstm: int = 2,
    compress: int = 2,
    keep_scale: bool = False,
) -> Any:
    """Return an encoder of signals ``(n, 1, T)`` to ``(n, dim, T / product of ratios)``, or a decoder back.

    Parameters
    ----------
    part : {"encoder", "decoder"}
    dim : int
        Of a frame.
    n_filters : int
        Channels at the full rate; each stride doubles them.
    ratios : sequence of int
        Strides in the order of the decoder; the encoder has them in reverse.
    kernel : int
        Of the first and the last convolution.
    lstm : int
        Layers of the LSTM at the lowest rate.
    compress : int
        How many times fewer channels the middle of a residual block has.
    keep_scale : bool
        Start convolutions such that signals keep their scale through the layers, without biases (He et al. 2015,
        doi:10.1109/ICCV.2015.123); torch's own start, which EnCodec has, shrinks them to a thousandth, and it takes
        long training until they count beside the biases.
    """
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    class Named(nn.Module):
        """A convolution under the names that checkpoints have."""

        def __init__(self, name: str, layer: nn.Module) -> None:
            super().__init__()
            if keep_scale:
                fan = layer.weight[0].numel() if name == "conv" else layer.weight[:, 0].numel() / layer.stride[0]
                nn.init.normal_(layer.weight, std=(1.5 / fan) ** 0.5)
                nn.init.zeros_(layer.bias)
            setattr(self, name, weight_norm(layer))

    class Conv(nn.Module):
        def __init__(self, n_in: int, n_out: int, width: int, stride: int = 1) -> None:
            super().__init__()
            self.conv = Named("conv", nn.Conv1d(n_in, n_out, width, stride))
            self.width, self.stride = width, stride

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = self.width - self.stride
            frames = -(-(x.shape[-1] - self.width + total) // self.stride)
            extra = frames * self.stride + self.width - total - x.shape[-1]
            return self.conv.conv(reflected(x, total - total // 2, total // 2 + extra))

    class Transposed(nn.Module):
        def __init__(self, n_in: int, n_out: int, stride: int) -> None:
            super().__init__()
            self.convtr = Named("convtr", nn.ConvTranspose1d(n_in, n_out, 2 * stride, stride))
            self.stride = stride

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.convtr.convtr(x)
            return y[..., self.stride - self.stride // 2 : y.shape[-1] - self.stride // 2]

    class Block(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.ELU(), Conv(n, n // compress, 3), nn.ELU(), Conv(n // compress, n, 1))
            self.shortcut = Conv(n, n, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shortcut(x) + self.block(x)

    class Recurrent(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.lstm = nn.LSTM(n, n, lstm)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.permute(2, 0, 1)
            return (self.lstm(x)[0] + x).permute(1, 2, 0)

    class Seanet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            most = n_filters * 2 ** len(ratios)
            memory = [Recurrent(most)] if lstm else []
            if part == "encoder":
                layers, n = [Conv(1, n_filters, kernel)], n_filters
                for ratio in reversed(ratios):
                    layers += [Block(n), nn.ELU(), Conv(n, 2 * n, 2 * ratio, ratio)]
                    n *= 2
                layers += [*memory, nn.ELU(), Conv(most, dim, kernel)]
            else:
                layers, n = [Conv(dim, most, kernel), *memory], most
                for ratio in ratios:
                    layers += [nn.ELU(), Transposed(n, n // 2, ratio), Block(n // 2)]
                    n //= 2
                layers += [nn.ELU(), Conv(n_filters, 1, kernel)]
            self.model = nn.Sequential(*layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

    return Seanet()


def reflected(x: Any, before: int, after: int) -> Any:
    """Return ``x`` (n, c, T) continued by its mirror image; by slices, whose gradients add up in a fixed order.

    A signal shorter than what is asked for is first continued by zeros, as EnCodec does.
    """
    import torch

    n_times, short = x.shape[-1], max(before, after) - x.shape[-1] + 1
    if short > 0:
        x = torch.nn.functional.pad(x, (0, short))
    parts = [x[..., 1 : before + 1].flip(-1), x, x[..., x.shape[-1] - 1 - after : x.shape[-1] - 1].flip(-1)]
    whole = torch.cat(parts, dim=-1)
    return whole[..., : n_times + before + after]
