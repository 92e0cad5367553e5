"""One transformer over the tokens of all modalities, with a learned token in place of each that is missing.

Ma, Ren, Zhao, Testuggine & Peng (2022), Are multimodal transformers robust to missing modality?
doi:10.1109/CVPR52688.2022.01764; Devlin et al. (2019), doi:10.18653/v1/N19-1423

Reproduced: a transformer encoder over the concatenated tokens of all modalities and a class token, read out from the
class token, a masked modality being replaced by a learned token (as BERT does with words); random masking of
modalities in training, which the first of the papers finds that such transformers need.
Differs: the fusion strategy is not searched for; encoders, budget and masking are those of the cascade that it is
compared with, so that the two differ by the way in which modalities meet and nothing else. The number of parameters of
such a network is not published.
"""

from __future__ import annotations

import copy
import functools
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.modalities import Inputs, with_patterns
from ..shared.modality_tokens import as_batch, dropped, embedding, values_of
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import count, digits, names, percent, text

Share = Annotated[float, Field(ge=0, lt=1)]


@component
class MaskTokenTransformer(TorchMethod):
    """A transformer encoder over all modalities at once; what is missing is a learned token.

    Parameters
    ----------
    columns, order, width, n_tokens, heads, dropout, epochs, batch_size, learning_rate, weight_decay, validation
        As of :class:`~replicortex.methods.cascaded_multimodal.CascadedMultimodal`.
    layers : int
        Layers of the encoder.
    modality_dropout : float
        Probability with which a modality that is there is masked in a training row.
    """

    tasks = frozenset({"classify"})
    tiny = {"width": 16, "n_tokens": 2, "layers": 1, "heads": 2, "epochs": 60, "batch_size": 32, "learning_rate": 3e-3}
    state = ("shapes_", "inputs_", "classes_")
    #: Those of the cascade that it stands beside.
    paper_shapes = {
        "kinds": {"image": "volume", "sex": "category", "age": "numbers", "mmse": "numbers"},
        "shapes": {"image": [91, 109, 91], "sex": [2], "age": [1], "mmse": [1]},
        "n_classes": 2,
    }

    columns: list[str] = []
    order: list[str] | None = None
    width: PositiveInt = 512
    n_tokens: PositiveInt = 8
    layers: PositiveInt = 8
    heads: PositiveInt = 8
    modality_dropout: Share = 0.3
    dropout: Share = 0.1
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    validation: Share = 0.0

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on the modalities of ``train_rows``."""
        inputs = Inputs(self.columns, self.order).fit(train_rows)
        self.inputs_ = inputs.told()
        self.classes_ = np.unique(train_rows.rows["target"])
        self.shapes_ = {
            "kinds": dict(inputs.kinds_), "shapes": dict(inputs.shapes_), "n_classes": len(self.classes_)
        }  # fmt: skip
        batch = as_batch(*inputs.transform(train_rows))
        batch["target"] = np.searchsorted(self.classes_, train_rows.rows["target"])
        with reproducible(seed):
            network = self.network(**self.shapes_)
        settings = Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, schedule="cosine",
            weight_decay=self.weight_decay, clip=1.0, validation=self.validation,
        )  # fmt: skip
        loss = functools.partial(masked_loss, rate=self.modality_dropout)
        groups = train_rows.rows["subject"]
        self.network_ = train(network, loss, batch, settings, seed=seed, context=self.context, groups=groups).network

    def network(self, kinds: dict[str, str], shapes: dict[str, list[int]], n_classes: int) -> Any:
        """Return the network for modalities of these kinds and shapes."""
        return encoder([(kinds[name], shapes[name]) for name in kinds], n_classes, self.width, self.n_tokens,
                       self.layers, self.heads, self.dropout)  # fmt: skip

    def predict(self, test: Bundle) -> Bundle:
        """Return class scores of the rows as they are and for every pattern of modalities."""
        inputs = Inputs.of(self.inputs_)
        arrays, present = inputs.transform(test)
        network = copy.deepcopy(self.network_).double()

        def score(seen: np.ndarray) -> np.ndarray:
            return predict(network, as_batch(arrays, seen), function=class_scores)

        return with_patterns(test, inputs.names_, present, score, self.classes_)

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the loss of a batch, for prices."""
        return masked_loss(network, batch, rate=self.modality_dropout)

    def paper_batch(self) -> dict[str, tuple[list[int], str]]:
        """Return shape and type of each array of a batch of the configuration of its paper."""
        shapes = list(self.paper_shapes["shapes"].values())
        modalities = {f"modality_{i:02d}": ([self.batch_size, *shape], "float32") for i, shape in enumerate(shapes)}
        flags = {"present": ([self.batch_size, len(shapes)], "bool"), "target": ([self.batch_size], "int64")}
        return {**modalities, **flags}

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        chosen = (
            f"the epoch was that of the lowest loss on {percent(self.validation)} of the training participants"
            if self.validation
            else "the last state was kept"
        )
        return text(
            "One transformer took the tokens of all modalities at once, a learned token standing for each that was"
            f" missing [@ma2022], with PyTorch [@paszke2019]: width {self.width}, {count(self.layers, 'layer')},"
            f" {count(self.heads, 'head')}, dropout {digits(self.dropout)}; a table of numbers made at most"
            f" {count(self.n_tokens, 'token')}.",
            f"Beside the features, {names(self.columns)} counted as modalities." if self.columns else "",
            f"Modalities were taken in the order {names(self.order)}." if self.order else "",
            f"In training a modality at hand was masked with a probability of {digits(self.modality_dropout)}. AdamW"
            f" [@loshchilov2019] ran for {digits(self.epochs)} epochs with {digits(self.batch_size)} rows a batch, a"
            f" learning rate from {digits(self.learning_rate)} to zero by a cosine and a weight decay of"
            f" {digits(self.weight_decay)}; {chosen}.",
        )


def encoder(
    modalities: list[tuple[str, list[int]]],
    n_classes: int,
    width: int,
    n_tokens: int,
    layers: int,
    heads: int,
    dropout: float,
) -> Any:
    """Return the network: modalities and which are there, to class scores (n, classes)."""
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, width) / width**0.5)
            self.missing = nn.Parameter(torch.randn(len(modalities), width) * 0.02)
            self.kind = nn.Parameter(torch.randn(len(modalities), width) * 0.02)
            self.embeddings = nn.ModuleList(embedding(kind, shape, width, n_tokens) for kind, shape in modalities)
            layer = nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            # Nested tensors would change the numbers between training and evaluation.
            self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
            self.head = nn.Linear(width, n_classes)

        def forward(self, values: list[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
            tokens = [self.token.expand(len(present), 1, -1)]
            for number, embed in enumerate(self.embeddings):
                here = present[:, number, None, None]
                tokens.append(torch.where(here, embed(values[number]), self.missing[number]) + self.kind[number])
            return self.head(self.encoder(torch.cat(tokens, dim=1))[:, 0])

    return Encoder()


def masked_loss(network: Any, batch: dict[str, Any], rate: float) -> Any:
    """Return the cross-entropy, with modalities masked at random in training."""
    import torch

    present = dropped(batch["present"], rate) if network.training else batch["present"]
    return torch.nn.functional.cross_entropy(network(values_of(batch), present), batch["target"])


def class_scores(network: Any, batch: dict[str, Any]) -> Any:
    """Return the log probabilities of the classes."""
    return network([value.double() for value in values_of(batch)], batch["present"]).log_softmax(dim=1)
