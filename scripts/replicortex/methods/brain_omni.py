"""BrainOmni, stage 2: a criss-cross transformer that learns to fill in hidden codes of a frozen tokenizer.

Xiao, Cui, Zhang, Chen, Wu, Thwaites, Woolgar, Zhou & Zhang (2025), BrainOmni: a brain foundation model for unified EEG
and MEG signals. doi:10.48550/arXiv.2505.18185

Reproduced: the base configuration, 12 blocks of width 512 with 16 heads, half of them over time (rotary positions) and
half over sources; tokens of windows that overlap by a quarter; half of the tokens hidden, of these 80 % by a mask and
20 % by other tokens of the batch; cross-entropy of the codes of all codebooks at once; AdamW, 4e-4 (5e-4 for width 256
and 8 heads, called tiny). Names of parameters are those of the released weights, which can be read.

Differs: epochs, batch size, weight decay and warm-up are not told by the sources at hand, and are chosen here. Rows may
be shorter than the paper's 30 s. Since the tokenizer is frozen and eats no noise here, codes are computed once. The
number of parameters is not published in the sources at hand; a test derives it in closed form (32.7 million, without
the tokenizer).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.brain_tokens import RELEASED_NAMES, prepared, tokens_of, transformer_network
from ..shared.checkpoints import load_weights
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, train
from ..shared.weights import Weights
from ..shared.words import count, digits, percent, text

Share = Annotated[float, Field(ge=0, lt=1)]
#: The tokenizer that the paper's transformer stands on.
_TOKENIZER = {
    "window": 512,
    "n_filters": 32,
    "ratios": [8, 4, 2],
    "kernel": 5,
    "dim": 256,
    "n_sources": 16,
    "n_heads": 4,
    "codebook_size": 512,
    "n_codebooks": 4,
    "rotation": True,
    "sensor_encoder": True,
    "spread": 0.02,
    "keep_scale": False,
    "named_sources": False,
}


@component
class BrainOmni(TorchMethod):
    """A transformer over codes of sources and times, trained to fill in hidden ones.

    Parameters
    ----------
    width, n_heads, depth, dropout : int, int, int, float
        Of the blocks.
    overlap : float
        Of the windows that are tokenised, as a share of a window.
    spread : float
        Standard deviation of the normal distribution that linear layers start from.
    token_scale : float
        What tokens are multiplied by before the query of their source is added, beside which they are short as
        published. Short trainings want them as long.
    mask_share, swap_share : float
        Share of the tokens that are hidden, and of these the share in whose place another token stands.
    epochs, batch_size : int
    learning_rate, weight_decay, warmup : float
        Of AdamW, with a cosine after a linear warm-up over a share ``warmup`` of the steps.
    validation : float
        Share of the training subjects on which the best epoch is found; none if 0.
    weights : Weights or None
        Published weights instead of training, those of the tokenizer included.
    """

    tasks = frozenset({"pretrain"})
    needs = ("channel", "time", "sfreq", "sensor")
    starts_from = ("brain_tokenizer",)
    tiny = {
        "width": 32,
        "n_heads": 4,
        "depth": 2,
        "spread": 0.1,
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "validation": 0.0,
    }
    paper_shapes = {"tokenizer": _TOKENIZER}
    state = ("shapes_", "sfreq_", "unigram_", "history_")

    width: PositiveInt = 512
    n_heads: PositiveInt = 16
    depth: PositiveInt = 12
    dropout: Share = 0.1
    overlap: Share = 0.25
    spread: PositiveFloat = 0.02
    token_scale: PositiveFloat = 1.0
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    swap_share: Share = 0.2
    epochs: PositiveInt = 16
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 4e-4
    weight_decay: NonNegativeFloat = 0.05
    warmup: Share = 0.1
    validation: Share = 0.1
    weights: Weights | None = None

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on the codes of the signals; the targets are not looked at.

        Raises
        ------
        InputError
            If there is no tokenizer to start from, or published weights do not fit.
        """
        tokenizer = self.context.parent
        if tokenizer is None:
            raise InputError("method brain_omni", "starts from no tokenizer", "give it init_from in the study card")
        self.shapes_, self.sfreq_ = {"tokenizer": tokenizer.architecture()}, tokenizer.sfreq
        with reproducible(seed):
            network = self.network(**self.shapes_)
        network.tokenizer.load_state_dict(tokenizer.network_.state_dict())
        if self.weights is not None and not self.context.untrained:
            load_weights(network, self.weights, rename=released_name)
        codes = tokens_of(network, prepared(train_rows, self.sfreq_))
        self.unigram_ = most_frequent(codes)
        self.network_, self.history_ = network.eval(), []
        if self.weights is None:
            groups = train_rows.rows["subject"]
            done = train(
                network, self.step, {"codes": codes}, self.training(), seed=seed, context=self.context, groups=groups
            )
            self.network_ = done.network
            self.history_ = [{key: entry[key] for key in ("epoch", "loss", "val_loss")} for entry in done.history]

    def network(self, tokenizer: dict[str, Any]) -> Any:
        """Return the transformer over a tokenizer of this architecture."""
        names = ("width", "n_heads", "depth", "dropout", "overlap", "spread", "token_scale")
        return transformer_network(tokenizer, **{name: getattr(self, name) for name in names})

    def training(self) -> Training:
        """Return how it is trained."""
        return Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, schedule="warmup_cosine",
            warmup=self.warmup, weight_decay=self.weight_decay, clip=1.0, validation=self.validation,
        )  # fmt: skip

    def step(self, network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the mean cross-entropy of the codes of hidden tokens, and for the record how many are right."""
        from torch.nn import functional

        codes = batch["codes"]
        logits, masked = network(codes, self.mask_share, self.swap_share)
        # Costs are counted on tensors without content, whose mask is not known.
        hidden = codes.flatten(0, 2) if codes.is_meta else codes[masked]
        # Nothing to fill in is no loss, where a mean would be of nothing.
        loss = functional.cross_entropy(logits.flatten(0, 1), hidden.flatten(), reduction="sum")
        loss = loss / max(hidden.numel(), 1)
        return {"masked": loss, "_accuracy": (logits.argmax(dim=-1) == hidden).float().mean().detach()}

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch: the codes of 30 s."""
        tokenizer = self.paper_shapes["tokenizer"]
        window, step = tokenizer["window"], int(tokenizer["window"] * (1 - self.overlap))
        n_windows = -(-(30 * 256 - window) // step) + 1
        frames = n_windows * window // int(np.prod(tokenizer["ratios"]))
        return {"codes": ((self.batch_size, tokenizer["n_sources"], frames, tokenizer["n_codebooks"]), "int64")}

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
            else f"{percent(self.mask_share)} of the tokens were hidden, {percent(self.swap_share)} of these by other"
            " tokens of the batch and the others by a mask, and the cross-entropy of their codes was minimised. AdamW"
            f" [@loshchilov2019] ran for {digits(self.epochs)} epochs with {digits(self.batch_size)} rows a batch, a"
            f" learning rate of {digits(self.learning_rate)} (a linear warm-up over {percent(self.warmup)} of the"
            f" steps, then a cosine) and a weight decay of {digits(self.weight_decay)}. {kept}"
        )
        return text(
            "A criss-cross transformer [@xiao2025] was trained with PyTorch [@paszke2019] on the codes of a frozen"
            f" tokenizer, of windows that overlapped by {percent(self.overlap)}: {count(self.depth, 'block')} of width"
            f" {self.width} with {count(self.n_heads, 'head')} and a dropout of {digits(self.dropout)}, half of the"
            " width attending over time, with rotary positions [@su2024], and half over sources; linear layers started"
            f" from a standard deviation of {digits(self.spread)}, and tokens were multiplied by"
            f" {digits(self.token_scale)}.",
            trained.strip(),
        )


def most_frequent(codes: np.ndarray) -> np.ndarray:
    """Return the most frequent code of each source and codebook, of codes (n, sources, frames, codebooks)."""
    flat = codes.transpose(1, 3, 0, 2).reshape(codes.shape[1], codes.shape[3], -1)
    return np.array([[np.bincount(values).argmax() for values in source] for source in flat])


def released_name(name: str) -> str | None:
    """Return what a tensor of the released checkpoints is called here; tables of angles are computed instead."""
    if "rope_embedding_layer" in name:
        return None
    for old, new in RELEASED_NAMES.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name
