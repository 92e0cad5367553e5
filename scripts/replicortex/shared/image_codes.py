"""Small autoencoders of pictures: the code that low-level decoders predict, trained on training pictures alone.

The form is that of latent diffusion (Rombach et al. 2022, doi:10.48550/arXiv.2112.10752): residual blocks with group
normalisation, a code of few channels with a Gaussian posterior that a small penalty keeps near the standard normal
one. torch is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .torch_device import reproducible
from .training import Training, predict, train
from .words import count, digits

#: Weight of the divergence from the standard normal distribution.
_PENALTY = 1e-6
#: Weight of squared beside absolute errors.
_SQUARED = 10.0
#: Logarithm of the variance of codes before training.
_FIRST_LOG = -6.0


class ImageCode(BaseModel):
    """How pictures are coded.

    Parameters
    ----------
    width : int
        Channels, twice as many from the first halving on, which is where the network begins.
    halvings : int
        Times that the sides are halved: the sides of pictures must be multiples of ``2 ** halvings``.
    channels : int
        Of the code.
    epochs, batch_size : int
    learning_rate : float
        Of Adam.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(32, ge=4, multiple_of=4)
    halvings: int = Field(3, ge=1)
    channels: int = Field(4, ge=1)
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"An autoencoder of pictures [@rombach2022] ({count(self.width, 'channel')}, sides halved"
            f" {count(self.halvings, 'time')}, a code of {count(self.channels, 'channel')}) was trained on the"
            f" training pictures alone (Adam, learning rate {digits(self.learning_rate)},"
            f" {count(self.batch_size, 'picture')} a batch, {count(self.epochs, 'epoch')})."
        )

    def network(self, colours: int = 3) -> Any:
        """Return the untrained autoencoder: ``encode`` to (n, channels, side, side), ``decode`` back."""
        import torch
        from torch import nn

        wide, code = 2 * self.width, self.channels
        # The first halving moves pixels to channels and the last doubling back: full resolution costs most.
        down: list[Any] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * colours, wide, 3, padding=1)]
        up: list[Any] = [nn.Conv2d(code, wide, 3, padding=1), residual_block(wide)]
        for _ in range(self.halvings - 1):
            down += [nn.SiLU(), nn.Conv2d(wide, wide, 3, stride=2, padding=1)]
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide, 3, padding=1), nn.SiLU()]
        down += [residual_block(wide), nn.GroupNorm(4, wide), nn.SiLU(), nn.Conv2d(wide, 2 * code, 3, padding=1)]
        up += [nn.Conv2d(wide, 4 * colours, 3, padding=1), nn.PixelShuffle(2)]

        class Autoencoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
                # Codes begin with little noise: with as much as the prior has, pictures would be lost in it at first.
                nn.init.constant_(self.encoder[-1].bias[code:], _FIRST_LOG)

            def encode(self, pictures: torch.Tensor) -> torch.Tensor:
                return self.encoder(pictures)[:, :code]

            def decode(self, codes: torch.Tensor) -> torch.Tensor:
                return self.decoder(codes)

            def loss(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
                mean, log = self.encoder(pictures).chunk(2, dim=1)
                log = log.clamp(-30, 20)
                drawn = mean + (log / 2).exp() * torch.randn_like(mean)
                kept = (mean**2 + log.exp() - 1 - log).flatten(1).sum(dim=1).mean() / 2
                difference = self.decode(drawn) - pictures
                # Squares too: where most of a picture is ground, absolute errors alone are content with the ground.
                return {
                    "absolute": difference.abs().mean(),
                    "squared": _SQUARED * (difference**2).mean(),
                    "penalty": _PENALTY * kept,
                }

        return Autoencoder()

    def fit(self, pictures: np.ndarray, seed: int, context: Any) -> Any:
        """Return the autoencoder trained on ``pictures`` (n, colours, height, width), values between 0 and 1."""
        with reproducible(seed):
            network = self.network(pictures.shape[1])
        settings = Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, optimiser="adam",
            schedule="one_cycle",
        )  # fmt: skip
        return train(network, _loss, {"pictures": pictures}, settings, seed=seed, context=context).network


def _loss(network: Any, batch: Mapping[str, Any]) -> Any:
    return network.loss(batch["pictures"])


def encoded(network: Any, pictures: np.ndarray) -> np.ndarray:
    """Return the codes of pictures, the means of their posteriors, (n, channels, side, side)."""
    return predict(network, {"pictures": pictures}, 64, lambda net, batch: net.encode(batch["pictures"]))


def decoded(network: Any, codes: np.ndarray) -> np.ndarray:
    """Return pictures (n, colours, height, width) of codes, values between 0 and 1."""
    found = predict(network, {"codes": codes}, 64, lambda net, batch: net.decode(batch["codes"]))
    return np.clip(found, 0.0, 1.0)


def residual_block(channels: int) -> Any:
    """Return a block of two convolutions beside the identity."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            groups = 4 if channels % 4 == 0 else 1
            self.path = nn.Sequential(
                nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
                nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.path(x)

    return Block()
