"""Transformer brain encoder: every region asks the picture with a query of its own, and answers from what it gets.

Adeli, Sun & Kriegeskorte (2025), Transformer brain encoders explain human high-level visual responses.
doi:10.48550/arXiv.2505.17329

Reproduced: features of a frozen backbone as a map of tokens, sine encodings of their places added to the keys (and not
to the values); a learned query for each region (or for each response, or one for all); no encoder layer and one decoder
layer of cross-attention (16 heads, width 768) and, normalised before, a perceptron (1,024, ReLU), dropout 0.1, with a
last normalisation, as in the released code; a linear readout of each response from the output of its region. Mean
squared error, AdamW (5e-4, weight decay 1e-4), gradients clipped at 0.1, 16 pictures a batch, 15 epochs. The attention
of each region to each picture is handed on.

Differs: the released layer has, and does not use, self-attention among queries, and normalises a zero before
cross-attention, which adds a constant to every query; both are left out. Learning rates fall along a cosine instead of
in steps; pictures are not mirrored, since the features are computed once. Channels and responses are standardised by
the training rows, and responses averaged over presentations of a picture; training stops early by training pictures
that are kept back. Ensembles over layers of the backbone are not built. A backbone of another width is projected to
that of the decoder, as the authors do for convolutional backbones.
"""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.encoding import encoded, parts_of, places, rows_of, tokens_of, training
from ..shared.torch_device import reproducible
from ..shared.torch_method import Published, TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import count, digits, percent, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class BrainEncoder(TorchMethod):
    """Cross-attention of region queries to the tokens of a picture, and a linear readout of each response.

    Parameters
    ----------
    width, n_heads, feedforward : int
        Of the decoder; the width is a multiple of four and of the heads.
    dropout : float
        Of attention, perceptron and residual branches.
    queries : {"part", "response", "one"}
        A query for each part that responses are grouped by (regions, by hemisphere where their names tell), for each
        response, or one for all.
    epochs, batch_size : int
    learning_rate, weight_decay, clip : float
        Of AdamW, and the largest norm of gradients.
    validation : float
        Share of the training pictures that early stopping watches; 0 trains to the end.
    patience : int
        Epochs without a better validation after which training ends.
    """

    tasks = frozenset({"encode"})
    needs = ("response",)
    tiny = {"width": 16, "n_heads": 2, "feedforward": 16, "dropout": 0.0, "epochs": 120, "learning_rate": 1e-2,
            "clip": 1.0, "validation": 0.0}  # fmt: skip
    state = ("shapes_", "mean_", "scale_", "channel_mean_", "channel_scale_", "places_", "history_")
    streams = True
    # DINOv2-base; 24 regions and the rest of the cortex, in each hemisphere; vertices of subject 1 of Algonauts 2023.
    paper_shapes = {"n_channels": 768, "n_queries": 50, "parts": [i * 50 // 39548 for i in range(39548)]}
    published = Published(
        34_390_908,
        0.0,
        "Not stated; in closed form 4 d (d + 1) for the attention, 2 d f + d + f for the perceptron, 4 d for two"
        " normalisations, q d queries and r (d + 1) readouts with d = 768, f = 1,024, q = 50, r = 39,548.",
    )

    width: PositiveInt = 768
    n_heads: PositiveInt = 16
    feedforward: PositiveInt = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    queries: Literal["part", "response", "one"] = "part"
    epochs: PositiveInt = 15
    batch_size: PositiveInt = 16
    learning_rate: Positive = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Positive = 0.1
    validation: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    patience: PositiveInt = 5

    def __post_init__(self) -> None:
        """Refuse a width that heads and sine encodings can not share out."""
        if self.width % 4 or self.width % self.n_heads:
            fault = f"width {self.width} is no multiple of 4 and of {self.n_heads} heads"
            raise InputError("methods/brain_encoder", fault, "choose another width")

    def network(self, n_channels: int, n_queries: int, parts: list[int]) -> Any:
        """Return the untrained network: tokens (n, p, c) and places (p, 2) to responses and attention (n, q, p).

        ``parts`` has the number of its query for each response.
        """
        return decoder(n_channels, n_queries, parts, self.width, self.n_heads, self.feedforward, self.dropout)

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on the mean response to each training picture."""
        stimuli = self.context.stimuli
        shown = training(train_rows, stimuli)
        tokens = tokens_of(shown.rows, stimuli)
        self.mean_, scale = shown.responses.mean(axis=0), shown.responses.std(axis=0)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        # Channels of a backbone differ in size by orders: standardised over training pictures and places.
        self.channel_mean_, self.channel_scale_ = _channel_moments(tokens)
        self.places_ = places(stimuli)
        _, part = parts_of(train_rows)
        if self.queries != "part":
            part = np.zeros(len(part), dtype=int) if self.queries == "one" else np.arange(len(part))
        self.shapes_ = {
            "n_channels": int(tokens.shape[2]),
            "n_queries": int(part.max()) + 1,
            "parts": [int(number) for number in part],
        }
        with reproducible(seed):
            network = self.network(**self.shapes_)
        settings = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="cosine",
            clip=self.clip,
            validation=self.validation,
            patience=self.patience if self.validation else None,
        )
        response = ((shown.responses - self.mean_) / self.scale_).astype(np.float32)
        arrays = {"tokens": tokens, "response": response}
        trained = train(network, self.step, arrays, settings, seed=seed, context=self.context)
        self.network_, self.history_ = trained.network, trained.history

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the mean squared error of a batch of pictures."""
        import torch

        y_pred, _ = network(*self._inputs(batch["tokens"]))
        return torch.nn.functional.mse_loss(y_pred, batch["response"])

    def _inputs(self, tokens: Any) -> tuple[Any, Any]:
        """Return standardised tokens and the places of tokens, where the tokens are."""
        import torch

        if not hasattr(self, "places_"):
            # To be priced: places do not matter.
            return tokens, torch.zeros(tokens.shape[1], 2, device=tokens.device)
        mean, scale, where = (
            torch.as_tensor(values, dtype=tokens.dtype, device=tokens.device)
            for values in (self.channel_mean_, self.channel_scale_, self.places_)
        )
        return (tokens - mean) / scale, where

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch of the published configuration."""
        return {
            "tokens": ((self.batch_size, 31 * 31, self.paper_shapes["n_channels"]), "float32"),
            "response": ((self.batch_size, len(self.paper_shapes["parts"])), "float32"),
        }

    def predict(self, test: Bundle) -> Bundle:
        """Return the responses (n_rows, n_responses) and ``attention`` (n_rows, n_queries, n_tokens)."""
        stimuli = self.context.stimuli
        names, index = np.unique(test.rows["target"].astype(str), return_inverse=True)
        arrays = {"tokens": tokens_of(rows_of(names, stimuli), stimuli)}

        def answer(network: Any, batch: dict[str, Any]) -> dict[str, Any]:
            y_pred, attention = network(*self._inputs(batch["tokens"].double()))
            return {"y_pred": y_pred, "attention": attention}

        # In double precision: products of single precision differ in the last digits with the rows beside them.
        made = predict(copy.deepcopy(self.network_).double(), arrays, self.batch_size, answer)
        told = encoded(test, (made["y_pred"] * self.scale_ + self.mean_)[index], attention=made["attention"][index])
        parts, _ = parts_of(test)
        named = parts if self.queries == "part" else [str(i) for i in range(self.shapes_["n_queries"])]
        return Bundle(told.arrays, told.rows, {**told.axes, "query": named}, told.meta)

    def chosen(self) -> dict[str, Any]:
        """Return the number of epochs, and the loss of the first and the last one."""
        if not self.history_:
            return {"epochs": 0}
        losses = [entry["loss"] for entry in self.history_]
        return {"epochs": len(losses), "first_loss": losses[0], "last_loss": losses[-1]}

    def described(self, task: str = "encode") -> str:
        """Return what it does, in words."""
        queries = {
            "part": "a learned query for each region",
            "response": "a learned query for each response",
            "one": "one learned query for all regions",
        }[self.queries]
        stopping = (
            f"Training ended after {count(self.patience, 'epoch')} without a better prediction of"
            f" {percent(self.validation)} of the training pictures that were kept back."
            if self.validation
            else "Training went on to the last epoch"
            + ("" if self.patience == 5 else f" whatever the patience of {count(self.patience, 'epoch')}")
            + "."
        )
        return text(
            f"A transformer brain encoder [@adeli2025] had {queries}, which attended to the tokens of a picture in one"
            f" decoder layer (width {self.width}, {count(self.n_heads, 'head')}, perceptron of"
            f" {digits(self.feedforward)}, dropout {digits(self.dropout)}) [@vaswani2017; @carion2020], with sine"
            " encodings"
            " of places added to the keys; each response was a linear readout of the output of its query.",
            "It was trained with PyTorch [@paszke2019] by the mean squared error with AdamW [@loshchilov2019]:"
            " learning"
            f" rate {digits(self.learning_rate)}, falling along a cosine, weight decay {digits(self.weight_decay)},"
            f" gradients clipped at {digits(self.clip)}, {count(self.batch_size, 'picture')} a batch, up to"
            f" {count(self.epochs, 'epoch')}.",
            stopping,
        )


def decoder(
    n_channels: int, n_queries: int, parts: list[int], width: int, n_heads: int, feedforward: int, dropout: float
) -> Any:
    """Return the network of :class:`BrainEncoder`."""
    import torch
    from torch import nn

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(n_channels, width) if n_channels != width else nn.Identity()
            self.query = nn.Parameter(torch.empty(n_queries, width))
            self.attention = nn.MultiheadAttention(width, n_heads, dropout=dropout, batch_first=True)
            self.inner_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.perceptron = nn.Sequential(
                nn.Linear(width, feedforward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
            )
            self.dropout = nn.Dropout(dropout)
            self.readout = nn.Parameter(torch.empty(len(parts), width))
            self.bias = nn.Parameter(torch.zeros(len(parts)))
            order = np.argsort(parts, kind="stable")
            # The responses of each query, so that a readout takes one product a query.
            self.of_query = [order[np.asarray(parts)[order] == number].tolist() for number in range(n_queries)]
            self.back = np.argsort(order).tolist()
            for values in self.parameters():
                if values.dim() > 1:
                    nn.init.xavier_uniform_(values)

        def forward(self, tokens: Any, places: Any) -> tuple[Any, Any]:
            memory = self.project(tokens)
            query = self.query.expand(len(tokens), -1, -1)
            # Places say where to look, and are no part of what is seen.
            x, weights = self.attention(query, memory + sine(places, width), memory)
            x = self.dropout(x)
            x = self.norm(x + self.dropout(self.perceptron(self.inner_norm(x))))
            made = [x[:, number] @ self.readout[rows].T for number, rows in enumerate(self.of_query)]
            return torch.cat(made, dim=1)[:, self.back] + self.bias, weights

    return Decoder()


def sine(places: Any, width: int) -> Any:
    """Return the sine encodings (n_places, width) of places (n_places, 2) between 0 and 1, as DETR has them.

    Half of the channels for rows, half for columns; wavelengths from one picture to 10,000 of them.
    """
    import torch

    number = torch.arange(width // 4, dtype=places.dtype, device=places.device)
    angle = 2 * torch.pi * places[:, :, None] / 10000 ** (number / (width // 4))
    return torch.stack([angle.sin(), angle.cos()], dim=3).flatten(1)


def _channel_moments(tokens: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over pictures and places; 1 where it has no spread."""
    total, squares, n = 0.0, 0.0, 0
    for first in range(0, len(tokens), 256):
        part = np.asarray(tokens[first : first + 256], dtype=np.float64)
        total, squares = total + part.sum(axis=(0, 1)), squares + (part**2).sum(axis=(0, 1))
        n += part.shape[0] * part.shape[1]
    mean = total / n
    spread = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return mean, np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1e-30), spread, 1.0)
