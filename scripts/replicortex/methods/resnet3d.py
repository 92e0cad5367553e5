"""A three-dimensional residual network that reads a local phenotype from structural images.

Siegel et al. (2025), Explainable AI methods for neuroimaging, doi:10.48550/arXiv.2508.02560; the network is that of
Hara et al. (2018), doi:10.1109/CVPR.2018.00685, as the authors' code has it.

Reproduced: a target whose place is known, since a phenotype of one region is regressed on principal components of the
phenotypes of all other regions; ResNet-50 with one input channel and one output, mean squared error on the scaled
target, AdamW without decay, one-cycle learning rate, batches of two, 150,000 steps, no augmentation.

Differs: the regression on components is fitted on the training rows of each fold, by the paper once on all people. The
number of components is a parameter; the paper raises it until a map of voxelwise tests is local. The last state is
taken. Maximum pooling is computed by comparisons, so that a GPU gives the same gradients twice. Each fold draws its
own initial weights.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.coreset import draw_seed
from ..shared.torch_device import reproducible
from ..shared.torch_method import Published, TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import capital, count, digits, listed, text

Positive = Annotated[int, Field(ge=1)]
#: Blocks of each layer by depth; from 50 layers on they are bottlenecks.
BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
#: Rows that are read at a time where only their mean is wanted.
_CHUNK = 32


@component
class Resnet3d(TorchMethod):
    """A residual network of volumes ``x`` (n, X, Y, Z), trained on what other regions do not tell of the target.

    Parameters
    ----------
    depth : int
        Layers.
    width : int
        Channels of the first layer, doubled with each of the three that follow.
    stem_kernel : int
        Width of the first convolution.
    stem_stride : (int, int, int)
        Its steps.
    pool : bool
        Whether a maximum over 3 x 3 x 3 voxels, in steps of 2, follows.
    components : int
        Principal components of the other phenotypes that the target is regressed on; 0 leaves the target as it is.
    region : list of str
        Regions that the target is of: their phenotypes stay out of the components.
    steps, batch_size : int
        Steps of the optimiser, and rows in each.
    learning_rate : float
        The highest of the one-cycle schedule.
    precision : str
        Of training on a device that has it; see :class:`~replicortex.shared.training.Training`.
    at_once : int
        Images in one pass of prediction: more need more memory and less time, and predictions then differ by rounding.
    """

    untold = frozenset(["at_once"])
    tasks = frozenset({"regress"})
    needs = ("x_mm", "y_mm", "z_mm")
    tiny = {
        "depth": 10,
        "width": 4,
        "stem_kernel": 3,
        "stem_stride": [1, 1, 1],
        "pool": False,
        "components": 2,
        "region": ["R1"],
        "steps": 120,
        "batch_size": 10,
        "learning_rate": 0.01,
    }
    state = ("shapes_", "scale_", "expected_", "loss_")
    streams = True
    paper_shapes = {"channels": 1}
    published = Published(
        46_157_121, 0.0, "closed form over the layers of the released network, one channel in and one number out"
    )

    depth: Literal[10, 18, 34, 50, 101, 152] = 50
    width: Positive = 64
    stem_kernel: Positive = 7
    stem_stride: tuple[Positive, Positive, Positive] = (1, 2, 2)
    pool: bool = True
    components: Annotated[int, Field(ge=0)] = 100
    region: list[str] = ["hippocampus"]
    steps: Positive = 150_000
    batch_size: Annotated[int, Field(ge=2)] = 2
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    at_once: Positive = 1

    def network(self, channels: int) -> Any:
        """Return the untrained network: (n, channels, X, Y, Z) to (n,)."""
        return resnet(self.depth, self.width, self.stem_kernel, self.stem_stride, self.pool, channels)

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Regress the target on components of other phenotypes, then train the network on what is left."""
        # Folds of one seed would else start from the same weights, and their twins be one network.
        own_seed = int(np.random.default_rng(draw_seed(train_rows, seed)).integers(2**31))
        target = np.asarray(train_rows.rows["target"], dtype=np.float64)
        self.expected_ = self._regress(train_rows, target)
        left = target - self._expected(train_rows)
        self.shapes_ = {"channels": 1}
        self.scale_ = {"image": moments(train_rows["x"]), "target": [float(left.mean()), float(left.std() or 1.0)]}
        mean, spread = self.scale_["target"]
        with reproducible(own_seed):
            network = self.network(**self.shapes_)
        n_batches = math.ceil(len(target) / self.batch_size)
        trained = train(
            network,
            self.step,
            {"x": train_rows["x"], "y": ((left - mean) / spread).astype(np.float32)},
            Training(
                epochs=math.ceil(self.steps / n_batches),
                max_steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                schedule="one_cycle",
                precision=self.precision,
            ),
            seed=own_seed,
            context=self.context,
        )
        self.network_ = trained.network
        self.loss_ = [float(entry["loss"]) for entry in trained.history]

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the mean squared error of a batch."""
        return ((network(self.scaled(batch["x"])) - batch["y"]) ** 2).mean()

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shapes and types of a batch of the published configuration: images at 1 mm in MNI space."""
        return {"x": ((self.batch_size, 182, 218, 182), "float32"), "y": ((self.batch_size,), "float32")}

    def scaled(self, x: Any) -> Any:
        """Return volumes (n, X, Y, Z) as the network takes them: (n, 1, X, Y, Z), by the training rows' moments."""
        mean, spread = getattr(self, "scale_", {"image": (0.0, 1.0)})["image"]
        return (x[:, None] - mean) / spread

    def _phenotypes(self, bundle: Bundle) -> np.ndarray:
        if "phenotypes" not in bundle.arrays:
            raise InputError("features", "have no array 'phenotypes'", "choose labelled regions, or set components: 0")
        names = [str(name) for name in bundle.axes["region"]]
        unknown = sorted(set(self.region) - set(names))
        if unknown:
            raise InputError("method resnet3d", f"no region {unknown[0]!r}", f"choose among {', '.join(names[:12])}")
        others = [number for number, name in enumerate(names) if name not in self.region]
        return np.asarray(bundle["phenotypes"], dtype=np.float64)[:, others]

    def _regress(self, bundle: Bundle, target: np.ndarray) -> dict[str, Any]:
        """Return how the target follows from components of the other phenotypes of training rows."""
        if self.components == 0:
            return {"mean": [], "spread": [], "weights": [], "level": 0.0}
        values = self._phenotypes(bundle)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        spread[spread == 0] = 1.0
        axes = np.linalg.svd((values - mean) / spread, full_matrices=False)[2][: self.components]
        scores = (values - mean) / spread @ axes.T
        level = target.mean()
        weights = axes.T @ np.linalg.lstsq(scores, target - level, rcond=None)[0]
        return {"mean": mean, "spread": spread, "weights": weights, "level": float(level)}

    def _expected(self, bundle: Bundle) -> np.ndarray:
        """Return what the other regions tell of the target."""
        known = self.expected_
        if self.components == 0:
            return np.zeros(len(bundle))
        return known["level"] + (self._phenotypes(bundle) - known["mean"]) / known["spread"] @ known["weights"]

    def predict(self, test: Bundle) -> Bundle:
        """Return ``y_pred``, and as ``y_expected`` the part of it that the other regions tell."""
        # One at a time as a rule: rounding then does not depend on which rows stand beside each other.
        found = predict(
            self.network_, {"x": test["x"]}, self.at_once, lambda network, batch: network(self.scaled(batch["x"]))
        )
        mean, spread = self.scale_["target"]
        expected = self._expected(test)
        read = expected + mean + spread * found.astype(np.float64)
        return Bundle({"y_pred": read, "y_expected": expected}, test.rows)

    def chosen(self) -> dict[str, Any]:
        """Return the loss of the first and the last epoch; nothing for an untrained twin."""
        return {"first_loss": self.loss_[0], "last_loss": self.loss_[-1]} if self.loss_ else {}

    def described(self, task: str = "regress") -> str:
        """Return what it does, in words."""
        local = (
            ""
            if self.components == 0
            else f"The target was regressed on {count(self.components, 'principal component')} of the phenotypes of all"
            f" regions{f' but {listed(self.region)}' if self.region else ''}, and the network learned what was left"
            " [@siegel2025]."
        )
        pooled = " and maximum pooling" if self.pool else ""
        return text(
            local,
            f"A residual network of {self.depth} layers for volumes [@hara2018; @he2016] ({digits(self.width)} channels"
            f" in the first of four stages, a first convolution of width {self.stem_kernel} with steps of"
            f" {listed(map(str, self.stem_stride))}{pooled}) was trained with PyTorch [@paszke2019] on the squared"
            f" error: AdamW [@loshchilov2019] without weight decay, one-cycle learning rate [@smith2019] up to"
            f" {capital(f'{self.learning_rate:.8f}'.rstrip('0'))}, {digits(self.steps)} steps of"
            f" {digits(self.batch_size)} images ({_PRECISION[self.precision]}).",
        )


_PRECISION = {
    "32-true": "single precision",
    "bf16-mixed": "bfloat16 mixed precision",
    "16-mixed": "half mixed precision",
}


def moments(x: Any) -> list[float]:
    """Return mean and standard deviation over all voxels of all volumes, read a few at a time."""
    total = squares = 0.0
    for start in range(0, len(x), _CHUNK):
        part = np.asarray(x[start : start + _CHUNK], dtype=np.float64)
        total, squares = total + part.sum(), squares + (part**2).sum()
    n = float(np.prod(x.shape))
    return [total / n, float(np.sqrt(max(squares / n - (total / n) ** 2, 0)) or 1.0)]


def resnet(depth: int, width: int, kernel: int, stride: tuple[int, int, int], pool: bool, channels: int = 1) -> Any:
    """Return the network. Sums, means and maxima are modules, so that explainers can see them."""
    import torch
    from torch import nn

    class Add(nn.Module):
        sums = True

        def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return one + other

    class Mean(nn.Module):
        averages = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3, 4))

    class Maximum(nn.Module):
        """Over 3 x 3 x 3 voxels in steps of 2, one axis after the other."""

        pools = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for axis in (2, 3, 4):
                length = x.shape[axis]
                lowest = torch.finfo(x.dtype).min
                edge = x.new_full([n if i != axis else 1 for i, n in enumerate(x.shape)], lowest)
                padded = torch.cat([edge, x, edge], dim=axis)
                n = (length - 1) // 2 + 1
                parts = [padded.narrow(axis, k, length + 2 - k) for k in range(3)]
                parts = [part[(*[slice(None)] * axis, slice(None, 2 * n - 1, 2))] for part in parts]
                x = torch.maximum(torch.maximum(parts[0], parts[1]), parts[2])
            return x

    class Block(nn.Module):
        def __init__(self, before: int, planes: int, step: int) -> None:
            super().__init__()
            after = planes * (4 if depth >= 50 else 1)
            kernels = [(before, planes, 1, 1), (planes, planes, 3, step), (planes, after, 1, 1)]
            if depth < 50:
                kernels = [(before, planes, 3, step), (planes, planes, 3, 1)]
            layers: list[nn.Module] = []
            for number, (one, other, size, move) in enumerate(kernels):
                layers += [nn.Conv3d(one, other, size, move, size // 2, bias=False), nn.BatchNorm3d(other)]
                layers += [nn.ReLU()] if number < len(kernels) - 1 else []
            self.branch = nn.Sequential(*layers)
            self.shortcut = nn.Sequential()
            if step != 1 or before != after:
                self.shortcut = nn.Sequential(nn.Conv3d(before, after, 1, step, bias=False), nn.BatchNorm3d(after))
            self.add, self.relu = Add(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.add(self.branch(x), self.shortcut(x)))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(channels, width, kernel, tuple(stride), kernel // 2, bias=False)
            self.norm = nn.BatchNorm3d(width)
            self.relu = nn.ReLU()
            self.pool = Maximum() if pool else nn.Identity()
            before = width
            for number, n_blocks in enumerate(BLOCKS[depth]):
                blocks = []
                for block in range(n_blocks):
                    blocks.append(Block(before, width * 2**number, 2 if number and not block else 1))
                    before = width * 2**number * (4 if depth >= 50 else 1)
                setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
            self.mean = Mean()
            self.head = nn.Linear(before, 1)
            for module in self.modules():
                if isinstance(module, nn.Conv3d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # Channels side by side in memory: the convolutions that follow, and their gradients, take less time so.
            x = self.conv(x).contiguous(memory_format=torch.channels_last_3d)
            x = self.pool(self.relu(self.norm(x)))
            for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
                x = layer(x)
            return self.head(self.mean(x))[:, 0]

    return ResNet()
