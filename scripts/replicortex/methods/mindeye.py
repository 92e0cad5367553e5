"""MindEye: retrieve and reconstruct what was seen, by contrastive learning and a diffusion prior.

Scotti, Banerjee, Goode, Shabalin, Nguyen, Cohen, Dempster, Verlinde, Yundler, Weisberg, Norman & Abraham (2023),
Reconstructing the mind's eye: fMRI-to-image with contrastive learning and diffusion priors.
doi:10.48550/arXiv.2305.18274

Reproduced: responses go through a layer of 4,096 (normalisation, GELU, dropout 0.5), four residual blocks (dropout
0.15) and a linear layer to all tokens of the picture's embedding (257 of 768 for CLIP ViT-L/14); from there a
projector (768, 2,048, 2,048, 768) serves retrieval alone and a diffusion prior (six layers, 12 heads of 64, 100
steps, the clean embedding predicted, condition dropped for one row in five) reconstruction. The contrastive loss is
BiMixCo (mixtures from Beta(0.15, 0.15) for half of the rows, temperature 0.006) for the first third of training, then
SoftCLIP (temperature 0.004 to 0.0075 along a cosine); the prior's loss weighs 30. AdamW (weight decay 0.01), one
cycle to 3e-4, 32 rows a batch, 240 epochs. The low-level branch is a network of its own: a perceptron of the same
form with SiLU (dropout 0.5 and 0.25) and a convolutional upsampler to the code of a picture, absolute error. The
backbone has the 940 million parameters of the paper.

Differs: pictures are generated neither by Versatile Diffusion nor from the low-level picture, since their weights are
not at hand; the low-level picture is what an autoencoder, trained on the training pictures of the fold, makes of the
predicted code, and the semantic one is the training picture nearest to the prior's output, as the paper retrieves
pictures from LAION-5B. The low-level branch has no contrast to a teacher network and the optimiser of the other. The
prior has learnt places in place of rotary and relative ones. Pictures are not augmented. Embeddings are scaled by one
number, and responses standardised, both by the training rows. Training goes on to its last epoch: no held-out row
decides when to stop. Every trial is a row; repeats of a picture are trained on singly.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.contrastive import blend, by_likeness, by_mixture, contrast, mixture
from ..shared.decoding import JUDGED, check_finite, flat, judged_on, nearest, pictures, retrieved, targets
from ..shared.diffusion_prior import prior
from ..shared.image_codes import ImageCode, decoded, encoded, residual_block
from ..shared.moments import moments
from ..shared.torch_device import reproducible
from ..shared.torch_method import Published, TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import capital, count, digits, numbers, percent, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
CODE = ImageCode()


@component
class Mindeye(TorchMethod):
    """Residual perceptron to the embedding of what was seen, with a projector, a diffusion prior, a low-level branch.

    Parameters
    ----------
    loss : {"contrastive", "mse"}
        Of the projector: BiMixCo and SoftCLIP, or (the twin without contrast) the mean squared error, without mixing.
    target : {"tokens", "pooled"}
        All tokens of the embedding, or their mean.
    hidden, n_blocks : int
        Width of the perceptron, and its residual blocks.
    first_dropout, dropout : float
        After the first layer, and in the blocks; the low-level branch has 0.1 more in its blocks.
    projector : int
        Width of the projector.
    mixed_epochs, concentration, mixed_rows : float
        Share of training in which responses are mixed, parameter of the beta distribution, share of the rows.
    temperature, first_temperature, last_temperature : float
        Of BiMixCo, and of SoftCLIP at its begin and end.
    prior_weight : float
        Of the prior's loss beside that of the projector; 0.03 for pooled embeddings.
    prior_depth, prior_heads, prior_head, prior_steps : int
        Layers of the prior, heads of attention, their dimension, and steps of noise.
    condition_dropout : float
        Share of the training rows whose condition the prior does not see.
    epochs, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the rate is the highest of its cycle.
    low_level : bool
        Whether to fit the low-level branch, where stimuli are pictures.
    code : ImageCode
        The autoencoder whose code the low-level branch predicts.
    """

    tasks = frozenset({"retrieve"})
    modules = ("network_", "perceptual_", "autoencoder_")
    state = ("shapes_", "mean_", "spread_", "scale_", "code_scale_", "gallery_", "history_")
    judged_on = JUDGED[:1]
    tiny = {
        "target": "pooled", "hidden": 64, "n_blocks": 1, "first_dropout": 0.1, "projector": 32, "prior_depth": 1,
        "prior_heads": 2, "prior_head": 4, "prior_steps": 4, "epochs": 150, "learning_rate": 3e-3, "prior_weight": 1.0,
        "temperature": 0.1, "first_temperature": 0.05, "last_temperature": 0.1,
        "code": {"width": 4, "epochs": 1},
    }  # fmt: skip
    paper_shapes = {"n_inputs": 15724, "n_tokens": 257, "width": 768, "colours": 3, "side": 512}
    published = Published(
        1_198_284_824,
        0.0,
        "closed form for 15,724 voxels and the layers of the released code: backbone 940,225,280 (the paper says 940"
        " million), projector 7,354,624, prior 51,404,544, low-level branch 198,983,428; and 316,948 of this"
        " workflow's autoencoder",
    )

    loss: Literal["contrastive", "mse"] = "contrastive"
    target: Literal["tokens", "pooled"] = "tokens"
    hidden: PositiveInt = 4096
    n_blocks: PositiveInt = 4
    first_dropout: Share = 0.5
    dropout: Annotated[float, Field(ge=0, lt=0.9)] = 0.15
    projector: PositiveInt = 2048
    mixed_epochs: Share = 1 / 3
    concentration: Positive = 0.15
    mixed_rows: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Positive = 0.006
    first_temperature: Positive = 0.004
    last_temperature: Positive = 0.0075
    prior_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    prior_depth: PositiveInt = 6
    prior_heads: PositiveInt = 12
    prior_head: PositiveInt = 64
    prior_steps: Annotated[int, Field(ge=2)] = 100
    condition_dropout: Share = 0.2
    epochs: PositiveInt = 240
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 3e-4
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2
    low_level: bool = True
    code: ImageCode = CODE

    # ---- networks

    def network(self, n_inputs: int, n_tokens: int, width: int, **picture: int) -> Any:
        """Return the untrained network: responses (n, n_inputs) to tokens (n, n_tokens, width) and their projection."""
        import torch
        from torch import nn

        made = self

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.backbone = nn.Sequential(
                    *_perceptron(n_inputs, made.hidden, made.n_blocks, nn.GELU, made.first_dropout, made.dropout),
                    nn.Linear(made.hidden, n_tokens * width),
                )
                widths = (width, made.projector, made.projector, width)
                layers = [(nn.LayerNorm(a), nn.GELU(), nn.Linear(a, b)) for a, b in itertools.pairwise(widths)]
                self.projector = nn.Sequential(*(layer for group in layers for layer in group))
                self.prior = prior(
                    n_tokens, width, made.prior_depth, made.prior_heads, made.prior_head, made.prior_steps,
                    made.condition_dropout,
                )  # fmt: skip
                # Steps taken: losses change during training, and a training that is taken up must know where it was.
                self.register_buffer("steps", torch.zeros(()))

            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                tokens = self.backbone(x).unflatten(1, (n_tokens, width))
                return tokens, self.projector(tokens)

        return Network()

    def perceptual(self, n_inputs: int, colours: int, side: int, **embedding: int) -> Any:
        """Return the untrained low-level branch: responses to the code of a picture. Nothing where there are none."""
        from torch import nn

        if not colours:
            return nn.Identity()
        # The upsampler doubles sides twice, as far as the code allows it.
        small = side >> self.code.halvings
        doublings = 2 if small % 4 == 0 else 0
        small, wide = small >> doublings, min(64, max(16, self.hidden // 8))
        layers: list[Any] = [
            *_perceptron(n_inputs, self.hidden, self.n_blocks, nn.SiLU, self.first_dropout, self.dropout + 0.1),
            nn.Linear(self.hidden, wide * small * small, bias=False),
            nn.Unflatten(1, (wide, small, small)),
            nn.GroupNorm(1, wide),
            residual_block(wide),
        ]
        for _ in range(doublings):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide, 3, padding=1), residual_block(wide)]
        layers += [nn.GroupNorm(4, wide), nn.SiLU(), nn.Conv2d(wide, self.code.channels, 3, padding=1)]
        return nn.Sequential(*layers)

    def autoencoder(self, colours: int, **shapes: int) -> Any:
        """Return the untrained autoencoder of pictures. Nothing where there are none."""
        from torch import nn

        return self.code.network(colours) if colours else nn.Identity()

    # ---- fitting

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train the network, and the autoencoder and the low-level branch where stimuli are pictures."""
        stimuli, names = self.context.stimuli, train_rows.rows["target"].astype(str)
        x = flat(train_rows["x"])
        check_finite(x, "responses")
        self.mean_, self.spread_ = (values.astype(np.float32) for values in moments(x))
        self.gallery_ = sorted(set(names.tolist()))
        embedding = targets(stimuli, names, self.target)
        self.scale_ = float(np.sqrt(np.mean(embedding.astype(np.float64) ** 2))) or 1.0
        seen = pictures(stimuli, self.gallery_) if self.low_level else None
        self.judged_on = judged_on(stimuli, self.target, pixels=seen is not None)
        colours, side = (seen.shape[1], seen.shape[3]) if seen is not None else (0, 0)
        self.shapes_ = {
            "n_inputs": x.shape[1], "n_tokens": embedding.shape[1], "width": embedding.shape[2],
            "colours": int(colours), "side": int(side),
        }  # fmt: skip
        with reproducible(seed):
            network = self.network(**self.shapes_)
        x = (x - self.mean_) / self.spread_
        self._n_steps = math.ceil(len(x) / self.batch_size) * self.epochs
        arrays = {"x": x, "target": embedding / self.scale_}
        trained = train(network, self.step, arrays, self.training(), seed=seed, context=self.context, augment=self._mix)
        self.network_, self.history_ = trained.network, trained.history
        self.perceptual_, self.autoencoder_, self.code_scale_ = self._fit_low_level(x, names, seen, seed)

    def _fit_low_level(
        self, x: np.ndarray, names: np.ndarray, seen: np.ndarray | None, seed: int
    ) -> tuple[Any, Any, float]:
        from torch import nn

        if seen is None:
            return nn.Identity(), nn.Identity(), 1.0
        autoencoder = self.code.fit(seen, seed, self.context)
        codes = encoded(autoencoder, seen)
        scale = float(codes.std()) or 1.0
        with reproducible(seed):
            branch = self.perceptual(**self.shapes_)
        arrays = {"x": x, "code": codes[np.searchsorted(self.gallery_, names)] / scale}
        return (
            train(branch, _absolute, arrays, self.training(), seed=seed, context=self.context).network,
            autoencoder,
            scale,
        )

    def training(self) -> Training:
        """Return how both networks are trained; on one device, since a contrast needs the whole batch."""
        return Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, schedule="one_cycle", devices=1,
        )  # fmt: skip

    def _mix(self, batch: dict[str, Any], generator: Any) -> dict[str, Any]:
        x = batch["x"]
        share, partner = mixture(len(x), self.concentration, self.mixed_rows, generator, x.device)
        return {**batch, "share": share, "partner": partner}

    def step(self, network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the terms of the loss of one batch: that of the projector, and that of the prior."""
        import torch

        x, target = batch["x"], batch["target"]
        done = network.steps / getattr(self, "_n_steps", 1)
        if network.training:
            network.steps += 1
        early = done < self.mixed_epochs
        share, partner = torch.ones(len(x), device=x.device), torch.arange(len(x), device=x.device)
        if self.loss == "contrastive" and "share" in batch:
            # Chosen without asking for values, which a GPU would have to be waited for.
            share, partner = torch.where(early, batch["share"], share), torch.where(early, batch["partner"], partner)
            x = blend(x, share, partner)
        tokens, projected = network(x)
        if self.loss == "mse":
            term = torch.nn.functional.mse_loss(projected, target)
        else:
            late = ((done - self.mixed_epochs) / (1 - self.mixed_epochs)).clamp(0, 1)
            rise = (1 - torch.cos(math.pi * late)) / 2
            soft = self.first_temperature + (self.last_temperature - self.first_temperature) * rise
            mixed, alike = by_mixture(share, partner), by_likeness(target, soft)
            wanted = torch.where(early, mixed, alike[0]), torch.where(early, mixed.T, alike[1])
            term = contrast(projected, target, wanted, torch.where(early, self.temperature, soft))
        return {self.loss: term, "prior": self.prior_weight * network.prior.loss(tokens, target)}

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch of the published configuration."""
        shapes = self.paper_shapes
        return {
            "x": ((self.batch_size, shapes["n_inputs"]), "float32"),
            "target": ((self.batch_size, shapes["n_tokens"], shapes["width"]), "float32"),
        }

    # ---- prediction

    def predict(self, test: Bundle) -> Bundle:
        """Return the projection of each trial, and further arrays that it is judged by.

        ``y_backbone`` and ``y_prior`` are embeddings before and after the prior, in the units of the target;
        ``y_semantic`` the training picture nearest to the latter and ``y_low_level`` that of the low-level branch,
        where stimuli are pictures. All trials share the noise that the prior starts from.
        """
        x = (flat(test["x"]) - self.mean_) / self.spread_
        shape = (self.prior_steps + 1, self.shapes_["n_tokens"], self.shapes_["width"])
        noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

        def answer(network: Any, batch: dict[str, Any]) -> dict[str, Any]:
            import torch

            # In double precision a trial's numbers do not depend on the others of its batch.
            tokens, projected = network(batch["x"].double())
            sampled = network.prior.sample(tokens, torch.as_tensor(noise, device=tokens.device).double())
            return {"projected": projected, "backbone": tokens, "prior": sampled}

        self.network_.double()
        made = predict(self.network_, {"x": x}, 64, answer)
        self.network_.float()
        arrays = {"y_backbone": made["backbone"] * self.scale_, "y_prior": made["prior"] * self.scale_}
        if self.shapes_["colours"]:
            gallery = targets(self.context.stimuli, self.gallery_, self.target)
            shown = pictures(self.context.stimuli, self.gallery_)
            arrays["y_semantic"] = shown[nearest(arrays["y_prior"], gallery)]
            codes = predict(self.perceptual_, {"x": x}, 64) * self.code_scale_
            arrays["y_low_level"] = decoded(self.autoencoder_, codes)
        return retrieved(test, made["projected"], **arrays)

    def restore(self, content: bytes) -> None:
        """Read what :meth:`dump` wrote."""
        super().restore(content)
        if self.shapes_["colours"]:
            self.judged_on = (self.target, "pixels")

    def chosen(self) -> dict[str, Any]:
        """Return the losses of the last epoch; nothing is searched for."""
        last = self.history_[-1] if self.history_ else {}
        return {name: value for name, value in last.items() if name.startswith("loss")}

    def described(self, task: str = "retrieve") -> str:
        """Return what it does, in words."""
        what = "all tokens of the embedding" if self.target == "tokens" else "the mean token of the embedding"
        if self.loss == "mse":
            learned = (
                "The projector was trained by the mean squared error, without contrast and without mixing responses"
                f" (of the contrastive loss nothing was used: neither its mixtures, for {percent(self.mixed_epochs)}"
                " of training,"
            )
            end = " nor its temperatures"
        else:
            learned = (
                "The projector was trained by a contrastive loss: BiMixCo [@kim2020] for the first"
                f" {percent(self.mixed_epochs)} of training, with mixtures"
            )
            end = ", then SoftCLIP"
        details = (
            f" from a beta distribution of parameter {digits(self.concentration)} for {percent(self.mixed_rows)} of"
            f" the rows and temperature {digits(self.temperature)}{end}, temperature {digits(self.first_temperature)}"
            f" to {digits(self.last_temperature)}" + (")." if self.loss == "mse" else " [@radford2021].")
        )
        low = (
            "A low-level branch, where stimuli were pictures, predicted the code of the picture."
            f" {self.code.described()}"
            if self.low_level
            else "There was no low-level branch."
        )
        return text(
            f"MindEye [@scotti2023] mapped standardised responses to {what} of what was seen by a perceptron of width"
            f" {digits(self.hidden)} with {count(self.n_blocks, 'residual block')} (dropout"
            f" {digits(self.first_dropout)} after the first layer and {digits(self.dropout)} in blocks), followed by"
            f" a projector of width {digits(self.projector)} for retrieval and a diffusion prior [@ramesh2022] for"
            " reconstruction.",
            learned + details,
            f"The prior was a transformer of {count(self.prior_depth, 'layer')} with"
            f" {count(self.prior_heads, 'head')} of {self.prior_head} and {numbers([self.prior_steps])} steps of"
            f" noise that predicted the clean embedding, its condition dropped for {percent(self.condition_dropout)}"
            f" of the rows; its loss weighed {digits(self.prior_weight)}.",
            "Networks were trained with PyTorch [@paszke2019] and AdamW [@loshchilov2019]: one cycle to a learning"
            f" rate of {digits(self.learning_rate)}, weight decay {digits(self.weight_decay)},"
            f" {count(self.batch_size, 'trial')} a batch, {count(self.epochs, 'epoch')}.",
            capital(low),
        )


def _perceptron(n_inputs: int, hidden: int, n_blocks: int, act: Any, first: float, dropout: float) -> list[Any]:
    """Return the first layer and the residual blocks."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path = nn.Sequential(nn.Linear(hidden, hidden), nn.LayerNorm(hidden), act(), nn.Dropout(dropout))

        def forward(self, x: Any) -> Any:
            return x + self.path(x)

    return [
        nn.Linear(n_inputs, hidden),
        nn.LayerNorm(hidden),
        act(),
        nn.Dropout(first),
        *(Block() for _ in range(n_blocks)),
    ]


def _absolute(network: Any, batch: dict[str, Any]) -> Any:
    """Return the mean absolute error of codes."""
    return (network(batch["x"]) - batch["code"]).abs().mean()
