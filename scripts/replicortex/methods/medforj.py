"""MedForj: a 3D diffusion model of minimally preprocessed T1-weighted heads.

Remedios et al. (2025), Diffusion-driven generation of minimally preprocessed brain MRI.
doi:10.48550/arXiv.2510.26834; code: MedForj (Apache-2.0). Path and sampler are those of Ho, Jain & Abbeel (2020),
doi:10.48550/arXiv.2006.11239, and Song, Meng & Ermon (2021), doi:10.48550/arXiv.2010.02502

Reproduced: volumes in [-1, 1] without registration or stripping; a U-Net of 16, 32, 64, 128 and 256 channels with two
blocks a level and attention at the bottom only, in heads of eight channels; 1,000 steps of linearly growing noise; 50
epochs of Adam at 1e-4; a moving average of the weights; the sample, the velocity, the noise, or "flow" (noise less
sample) as targets, all on the same variance-preserving path; 64 steps of DDIM with clipped predictions of the volume;
flips of left and right and shifts.

Differs: nothing is turned (the paper turns by up to five degrees), and shifts are by whole voxels. The paper averages
weights after training, here they are averaged on the way with a decay that was chosen here. The released code trains in
mixed precision on several devices. The number of parameters is not published; a test derives it in closed form.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.diffusion import Path, Target, draw, target_of
from ..shared.generation import generated
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, train
from ..shared.unet3d import unet3d
from ..shared.words import count, digits, listed, text

#: What the network predicts, for people.
_TARGETS = {"sample": "the volume", "epsilon": "the noise", "velocity": "the velocity", "flow": "noise less volume"}


@component
class Medforj(TorchMethod):
    """A U-Net that leads noise back to volumes.

    Parameters
    ----------
    target : {"velocity", "flow", "sample", "epsilon"}
        What the network predicts.
    channels : list of int
        Of the levels, from fine to coarse.
    n_blocks, groups, head_channels : int
        Blocks a level, groups of the normalisations, channels of a head of attention.
    n_steps : int
        Steps of the path.
    n_sampled : int
        Steps of the sampler.
    epochs, batch_size : int
    learning_rate, ema : float
        Of Adam, and the decay a step of the average of the weights.
    shift : int
        Largest shift along each axis, voxels.
    """

    tasks = frozenset({"generate"})
    needs = ("x_mm", "y_mm", "z_mm")
    tiny = {"channels": [4, 8], "n_blocks": 1, "n_steps": 20, "n_sampled": 5, "epochs": 2, "batch_size": 16, "shift": 1}
    state = ("shapes_", "seed_", "history_")
    paper_shapes = {"shape": [192, 224, 192]}

    target: Target = "velocity"
    channels: Annotated[list[PositiveInt], Field(min_length=1)] = [16, 32, 64, 128, 256]
    n_blocks: PositiveInt = 2
    groups: PositiveInt = 8
    head_channels: PositiveInt = 8
    n_steps: PositiveInt = 1000
    n_sampled: PositiveInt = 64
    epochs: PositiveInt = 50
    batch_size: PositiveInt = 1
    learning_rate: PositiveFloat = 1e-4
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    shift: Annotated[int, Field(ge=0)] = 5

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on ``x`` (n, X, Y, Z) in [-1, 1]; targets are not looked at. Time is linear in rows and voxels."""
        x = np.asarray(train_rows["x"], dtype=np.float32)
        self.shapes_, self.seed_ = {"shape": list(x.shape[1:])}, seed
        with reproducible(seed):
            network = self.network(**self.shapes_)
        settings = Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, optimiser="adam",
            ema=self.ema,
        )  # fmt: skip
        loss = functools.partial(diffusion_loss, path=Path(self.n_steps), target=self.target)
        augment = functools.partial(moved, shift=self.shift)
        done = train(network, loss, {"x": self._padded(x)}, settings, seed=seed, context=self.context,
                     groups=train_rows.rows["subject"], augment=augment)  # fmt: skip
        self.network_ = done.network
        self.history_ = [{"epoch": entry["epoch"], "loss": entry["loss"]} for entry in done.history]

    def network(self, shape: list[int]) -> Any:
        """Return the network, which is the same for volumes of any ``shape``; see :meth:`_padded`."""
        bottom = [False] * (len(self.channels) - 1) + [True]
        return unet3d(self.channels, self.n_blocks, self.groups, self.head_channels, bottom)

    def _padded(self, x: np.ndarray) -> np.ndarray:
        """Return volumes with background, -1, added at the far ends, so that the levels divide their sides."""
        unit = 2 ** (len(self.channels) - 1)
        return np.pad(x, [(0, 0), *((0, -side % unit) for side in x.shape[1:])], constant_values=-1.0)

    def predict(self, test: Bundle) -> Bundle:
        """Return one volume drawn for each held-out row, which it does not depend on."""
        import torch

        shape = self._padded(np.zeros((0, *self.shapes_["shape"]), dtype=np.float32)).shape[1:]
        made = []
        with reproducible(self.seed_) as device, torch.inference_mode():
            generator = torch.Generator().manual_seed(self.seed_ + 1)
            network = self.network_.to(device)
            for start in range(0, len(test), self.batch_size):
                n = min(self.batch_size, len(test) - start)
                noise = torch.randn((n, 1, *shape), generator=generator).to(device)
                drawn = draw(network, noise, Path(self.n_steps), self.target, self.n_sampled, clip=1.0)
                made.append(drawn[:, 0].cpu().numpy())
            network.cpu()
        cut = tuple(slice(side) for side in self.shapes_["shape"])
        return generated(test, np.concatenate(made)[:, *cut])

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the loss of a batch, for prices."""
        return diffusion_loss(network, batch, Path(self.n_steps), self.target)

    def paper_batch(self) -> dict[str, tuple[list[int], str]]:
        """Return shape and type of each array of a batch of the published configuration."""
        return {"x": ([self.batch_size, 192, 224, 192], "float32")}

    def chosen(self) -> dict[str, Any]:
        """Return the loss of the first and the last epoch."""
        return {"first_loss": self.history_[0]["loss"], "last_loss": self.history_[-1]["loss"]} if self.history_ else {}

    def described(self, task: str = "generate") -> str:
        """Return what it does, in words."""
        moves = f" and shifted by up to {count(self.shift, 'voxel')}" if self.shift else ", not shifted"
        return text(
            "Volumes were generated by a diffusion model [@remedios2025; @ho2020] whose U-Net, in PyTorch"
            f" [@paszke2019], predicted {_TARGETS[self.target]}: levels of {listed(map(str, self.channels))} channels,"
            f" {count(self.n_blocks, 'block')} each, normalisation in at most {count(self.groups, 'group')},"
            f" self-attention at the bottom in heads of {count(self.head_channels, 'channel')}, {digits(self.n_steps)}"
            " steps of linearly growing noise.",
            f"Adam [@kingma2015] ran for {digits(self.epochs)} epochs with {count(self.batch_size, 'volume')} a batch"
            f" and a learning rate of {digits(self.learning_rate)}; the weights were averaged with a decay of"
            f" {digits(self.ema)}, and volumes were flipped left to right{moves}.",
            f"Volumes were drawn by DDIM [@song2021] in {count(self.n_sampled, 'step')} with predictions of the volume"
            " clipped to the range of the data.",
        )


def diffusion_loss(network: Any, batch: dict[str, Any], path: Path, target: Target) -> Any:
    """Return the mean squared error of the predicted target, at a random step for each volume."""
    import torch

    x0 = batch["x"][:, None]
    steps = torch.randint(path.n_steps, (len(x0),), device=x0.device)
    noise = torch.randn_like(x0)
    a, s = path.at(steps, x0)
    return ((network(a * x0 + s * noise, steps) - target_of(x0, noise, a, s, target)) ** 2).mean()


def moved(batch: dict[str, Any], generator: Any, shift: int) -> dict[str, Any]:
    """Return volumes flipped left to right, each by chance, and shifted; background, -1, comes in at the edges."""
    import torch

    x = batch["x"]
    flip = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(1), x)
    if shift:
        padded = torch.nn.functional.pad(x, [shift] * 6, value=-1.0)
        starts = torch.randint(2 * shift + 1, (len(x), 3), generator=generator, device=x.device).tolist()
        sides = x.shape[1:]
        x = torch.stack([
            volume[tuple(slice(start, start + side) for start, side in zip(of_one, sides, strict=True))]
            for volume, of_one in zip(padded, starts, strict=True)
        ])  # fmt: skip
    return {**batch, "x": x}
