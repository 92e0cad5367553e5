"""BrainTokenizer, stage 1 of BrainOmni: EEG and MEG of any device become codes of a fixed number of sources.

Xiao, Cui, Zhang, Chen, Wu, Thwaites, Woolgar, Zhou & Zhang (2025), BrainOmni: a brain foundation model for unified EEG
and MEG signals. doi:10.48550/arXiv.2505.18185

Reproduced: windows of 512 samples at 256 Hz; a SEANet encoder a channel (32 filters, strides 8, 4, 2, width 256); a
sensor encoder of place, direction and type; 16 learned sources that attend to the channels (keys with, values without
the sensors); residual quantisation of unit vectors by 4 x 512 codes with moving averages, k-means start, dead codes and
the rotation trick; sensors that attend to the sources, and a SEANet decoder. A quarter of the channels is withheld from
the encoder and rebuilt all the same, the others get noise of 0.1; the loss is l1 in time, exp(-correlation),
commitment, l1 of amplitudes and half of the l1 of phases. AdamW, 2e-4, 16 epochs. Names of parameters are those of the
released weights, which can be read.

Differs: batch size, weight decay and warm-up are not told by the sources at hand, and are chosen here. Withheld
channels are drawn a row instead of a batch, since rows of several devices share a batch. The learning rate that the
released code gives codebooks has nothing to act on, since moving averages move them. The start and the revival of codes
are kept from being undone, see :mod:`replicortex.shared.rvq`. In the paper nothing but its content tells the decoder
which source a token is of; ``named_sources`` says it, and short trainings need it. Rows may be shorter than the paper's
10 s. The number of parameters is not published for this stage; a test derives it in closed form.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.brain_tokens import (
    RELEASED_NAMES,
    SENSOR_TYPES,
    cut,
    picked,
    prepared,
    reconstruction_losses,
    standardised,
    tokenizer_network,
)
from ..shared.checkpoints import load_weights
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, train
from ..shared.weights import Weights
from ..shared.words import count, digits, numbers, percent, text

Share = Annotated[float, Field(ge=0, lt=1)]


@component
class BrainTokenizer(TorchMethod):
    """A quantising autoencoder of EEG and MEG that is told where the sensors are.

    Parameters
    ----------
    sfreq : float
        Sampling rate of the network (Hz); features of another rate are resampled, each row by itself.
    window : int
        Samples that are encoded together; a multiple of the product of ``ratios``.
    n_filters, ratios, kernel : int, list of int, int
        Of SEANet: channels at the full rate, strides, width of the first and last convolution.
    dim, n_sources, n_heads : int
        Width of frames and codes, latent sources, heads of cross-attention.
    codebook_size, n_codebooks : int
        Codes of each stage, and stages.
    rotation : bool
        The rotation trick; else gradients pass straight through the codes.
    sensor_encoder : bool
        Whether the network is told of the sensors; without it all are alike to it.
    spread : float
        Standard deviation of the normal distribution that linear layers start from; narrower networks want a greater
        one to be of the same scale.
    keep_scale : bool
        Start convolutions such that signals keep their scale, see :func:`replicortex.shared.seanet.seanet`; short
        trainings get nowhere without.
    named_sources : bool
        Add its query to the key by which the decoder finds a source. The paper has nothing of the kind.
    withheld, noise : float
        Share of the channels that the encoder does not get, and standard deviation of the noise added to the others.
    epochs, batch_size : int
    learning_rate, weight_decay, warmup : float
        Of AdamW, with a cosine after a linear warm-up over a share ``warmup`` of the steps.
    validation : float
        Share of the training subjects on which the best epoch is found; none if 0.
    weights : Weights or None
        Published weights instead of training.
    """

    tasks = frozenset({"pretrain"})
    needs = ("channel", "time", "sfreq", "sensor")
    tiny = {
        "sfreq": 40.0,
        "window": 40,
        "n_filters": 4,
        "ratios": [4, 2],
        "kernel": 3,
        "dim": 16,
        "n_sources": 8,
        "n_heads": 4,
        "codebook_size": 16,
        "n_codebooks": 2,
        "spread": 0.4,
        "keep_scale": True,
        "named_sources": True,
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 4e-3,
        "validation": 0.0,
    }
    paper_shapes = {"n_types": len(SENSOR_TYPES)}
    state = ("shapes_", "history_")

    sfreq: PositiveFloat = 256.0
    window: PositiveInt = 512
    n_filters: PositiveInt = 32
    ratios: list[PositiveInt] = [8, 4, 2]
    kernel: PositiveInt = 5
    dim: PositiveInt = 256
    n_sources: PositiveInt = 16
    n_heads: PositiveInt = 4
    codebook_size: PositiveInt = 512
    n_codebooks: PositiveInt = 4
    rotation: bool = True
    sensor_encoder: bool = True
    spread: PositiveFloat = 0.02
    keep_scale: bool = False
    named_sources: bool = False
    withheld: Share = 0.25
    noise: NonNegativeFloat = 0.1
    epochs: PositiveInt = 16
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 0.01
    warmup: Share = 0.1
    validation: Share = 0.1
    weights: Weights | None = None

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on the signals alone; the targets are not looked at.

        Raises
        ------
        InputError
            If the features have no sensors, or published weights do not fit.
        """
        self.shapes_ = dict(self.paper_shapes)
        with reproducible(seed):
            network = self.network(**self.shapes_)
        if self.weights is not None and not self.context.untrained:
            load_weights(network, self.weights, rename=RELEASED_NAMES)
            self.network_, self.history_ = network.eval(), []
            return
        groups = train_rows.rows["subject"]
        done = train(
            network, self.step, prepared(train_rows, self.sfreq), self.training(), seed=seed, context=self.context,
            groups=groups,
        )  # fmt: skip
        self.network_ = done.network
        self.history_ = [{key: entry[key] for key in ("epoch", "loss", "val_loss")} for entry in done.history]

    def network(self, n_types: int) -> Any:
        """Return the tokenizer; ``n_types`` is that of :data:`replicortex.shared.brain_tokens.SENSOR_TYPES`."""
        return tokenizer_network(**self.architecture())

    def architecture(self) -> dict[str, Any]:
        """Return the arguments of :func:`replicortex.shared.brain_tokens.tokenizer_network`."""
        names = ("window", "n_filters", "ratios", "kernel", "dim", "n_sources", "n_heads", "codebook_size")
        names += ("n_codebooks", "rotation", "sensor_encoder", "spread", "keep_scale", "named_sources")
        return {name: getattr(self, name) for name in names}

    def training(self) -> Training:
        """Return how it is trained."""
        return Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, schedule="warmup_cosine",
            warmup=self.warmup, weight_decay=self.weight_decay, clip=1.0, validation=self.validation,
        )  # fmt: skip

    def step(self, network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the terms of the loss of a batch: channels are withheld, noise is added, all are rebuilt."""
        import torch

        x, present = batch["x"], batch["present"]
        # The first quarter of a random order of the channels that are there, one at least.
        drawn = torch.rand(present.shape, device=x.device).masked_fill(~present, 2.0)
        rank = drawn.argsort(dim=1).argsort(dim=1)
        n_withheld = (self.withheld * present.sum(dim=1)).floor().clamp(min=1 if self.withheld else 0)
        given = present & (rank >= n_withheld[:, None])
        noisy = x + self.noise * torch.randn_like(x)
        rebuilt, commitment, _ = network(noisy, batch["position"], batch["sensor_type"], present, given)
        wanted = standardised(cut(x, self.window))
        pairs = [picked(values, present).flatten(0, 1) for values in (rebuilt, wanted)]
        return {**reconstruction_losses(*pairs), "commitment": commitment}

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch: 10 s of 64 channels."""
        n, n_channels, n_times = self.batch_size, 64, round(10 * self.sfreq)
        return {
            "x": ((n, n_channels, n_times), "float32"),
            "position": ((n, n_channels, 6), "float32"),
            "sensor_type": ((n, n_channels), "int64"),
            "present": ((n, n_channels), "bool"),
        }

    def predict(self, test: Bundle) -> Bundle:
        """Return the rows alone: what it learned is judged in what starts from it."""
        return Bundle({}, test.rows)

    def chosen(self) -> dict[str, Any]:
        """Return the loss of the first and the last epoch."""
        return {"first_loss": self.history_[0]["loss"], "last_loss": self.history_[-1]["loss"]} if self.history_ else {}

    def described(self, task: str = "pretrain") -> str:
        """Return what it does, in words."""
        kept = (
            f"The epoch was that of the lowest loss on {percent(self.validation)} of the training participants."
            if self.validation
            else ""
        )
        trained = (
            self.weights.described()
            if self.weights is not None
            else "The loss was l1 in time, exp(-r) of the correlation r, l1 of spectral amplitudes, half of the l1 of"
            f" phases, and commitment. AdamW [@loshchilov2019] ran for {digits(self.epochs)} epochs with"
            f" {digits(self.batch_size)} rows a batch, a learning rate of {digits(self.learning_rate)} (a linear"
            f" warm-up over {percent(self.warmup)} of the steps, then a cosine) and a weight decay of"
            f" {digits(self.weight_decay)}. {kept}"
        )
        turned = ", with gradients rotated through them [@fifty2024]" if self.rotation else ""
        named = ", each source being known by its query" if self.named_sources else ""
        return text(
            f"Signals at {digits(self.sfreq)} Hz were tokenised by BrainTokenizer [@xiao2025], with PyTorch"
            f" [@paszke2019]: windows of {count(self.window, 'sample')} of each channel were encoded by convolutions"
            f" with an LSTM ({count(self.n_filters, 'filter')}, strides {numbers(self.ratios)}, kernels of"
            f" {digits(self.kernel)}) [@defossez2022], to which {count(self.n_sources, 'learned source')} of width"
            f" {self.dim} attended ({count(self.n_heads, 'head')}); linear layers started from a standard deviation of"
            f" {digits(self.spread)}{', convolutions so that signals kept their scale' if self.keep_scale else ''}.",
            "Place, direction and type of each sensor were encoded and added to the keys."
            if self.sensor_encoder
            else "The network was not told of the sensors.",
            f"Sources were quantised by {count(self.n_codebooks, 'codebook')} of {digits(self.codebook_size)} codes"
            f" that followed moving averages [@zeghidour2021]{turned}; a decoder asked the sources for each"
            f" sensor{named}. {percent(self.withheld)} of the channels were withheld from the encoder and rebuilt all"
            f" the same, and noise of {digits(self.noise)} standard deviations was added to the others.",
            trained.strip(),
        )
