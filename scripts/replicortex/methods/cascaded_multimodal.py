"""3MT: cascaded multi-modal mixing transformer for classification with missing modalities.

Liu, Liu, Zhang, To, Nasrallah & Chandra (2023), Cascaded Multi-Modal Mixing Transformers for Alzheimer's disease
classification with incomplete data. doi:10.1016/j.neuroimage.2023.120267

Reproduced: an encoder a modality into a shared width of 512 (convolutions for volumes, a perceptron for numbers, a
learned embedding for categories); a learned class query that passes through one transformer a modality, where it
attends to the modality's tokens (cross-attention) and then to itself (self-attention); an auxiliary classifier after
each of these stages; modality dropout, by which stages are left out at random in training as they are for modalities
that a person lacks.

Differs: no code is published. Layers, heads, rates and weights that the sources at hand do not state are parameters
whose defaults were chosen here. ``absent: zeros`` gives a stage zero tokens instead of leaving it out; descriptions of
the method have both. At least one modality of a person is always kept in training. A table of many numbers makes
several tokens, where the paper's scores are single numbers and make one. The number of parameters is not published; a
test derives it in closed form.
"""

from __future__ import annotations

import copy
import functools
from typing import Annotated, Any, Literal

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
class CascadedMultimodal(TorchMethod):
    """A learned query collects what each modality tells, one transformer a modality, and is classified at the end.

    Parameters
    ----------
    columns : list of str
        Row columns that are modalities of their own (sex, age, a cognitive score), beside the arrays of the features.
    order : list of str or None
        Modalities in the order of the cascade; arrays by name and then columns, where ``None``.
    width, n_tokens, layers, heads : int
        Width of all tokens; tokens that a table of numbers makes, at most one a number; blocks a stage; heads of
        attention.
    modality_dropout : float
        Probability with which a modality that is there is left out of a training row.
    absent : {"skip", "zeros"}
        A missing modality's stage is left out, or gets zeros for tokens.
    auxiliary : float
        Weight of the mean cross-entropy of the auxiliary classifiers beside that of the last one.
    dropout : float
        In perceptrons and attention.
    epochs, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW, whose rate falls to zero by a cosine.
    validation : float
        Share of the training subjects on which the best epoch is found; none if 0.
    """

    tasks = frozenset({"classify"})
    tiny = {"width": 16, "n_tokens": 2, "layers": 1, "heads": 2, "epochs": 60, "batch_size": 32, "learning_rate": 3e-3}
    state = ("shapes_", "inputs_", "classes_", "history_")
    #: T1w on a grid of 2 mm, sex, age and the score of the mini-mental state; two classes.
    paper_shapes = {
        "kinds": {"image": "volume", "sex": "category", "age": "numbers", "mmse": "numbers"},
        "shapes": {"image": [91, 109, 91], "sex": [2], "age": [1], "mmse": [1]},
        "n_classes": 2,
    }

    columns: list[str] = []
    order: list[str] | None = None
    width: PositiveInt = 512
    n_tokens: PositiveInt = 8
    layers: PositiveInt = 2
    heads: PositiveInt = 8
    modality_dropout: Share = 0.3
    absent: Literal["skip", "zeros"] = "skip"
    auxiliary: Annotated[float, Field(ge=0)] = 0.5
    dropout: Share = 0.1
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    validation: Share = 0.0

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Train on the modalities of ``train_rows``.

        Raises
        ------
        InputError
            If a modality is not there.
        """
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
        loss = functools.partial(cascade_loss, rate=self.modality_dropout, auxiliary=self.auxiliary)
        groups = train_rows.rows["subject"]
        done = train(network, loss, batch, settings, seed=seed, context=self.context, groups=groups)
        self.network_ = done.network
        self.history_ = [{key: entry[key] for key in ("epoch", "loss", "val_loss")} for entry in done.history]

    def network(self, kinds: dict[str, str], shapes: dict[str, list[int]], n_classes: int) -> Any:
        """Return the network for modalities of these kinds and shapes."""
        return cascade(
            [(kinds[name], shapes[name]) for name in kinds], n_classes, self.width, self.n_tokens, self.layers,
            self.heads, self.dropout, self.absent,
        )  # fmt: skip

    def predict(self, test: Bundle) -> Bundle:
        """Return class scores of the rows as they are and for every pattern of modalities."""
        inputs = Inputs.of(self.inputs_)
        arrays, present = inputs.transform(test)
        # In double precision a row's scores do not depend on how many rows there are beside it.
        network = copy.deepcopy(self.network_).double()

        def score(seen: np.ndarray) -> np.ndarray:
            return predict(network, as_batch(arrays, seen), function=class_scores)

        return with_patterns(test, inputs.names_, present, score, self.classes_)

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the loss of a batch, for prices."""
        terms = cascade_loss(network, batch, rate=self.modality_dropout, auxiliary=self.auxiliary)
        return sum(terms.values())

    def paper_batch(self) -> dict[str, tuple[list[int], str]]:
        """Return shape and type of each array of a batch of the published configuration."""
        shapes = list(self.paper_shapes["shapes"].values())
        modalities = {f"modality_{i:02d}": ([self.batch_size, *shape], "float32") for i, shape in enumerate(shapes)}
        flags = {"present": ([self.batch_size, len(shapes)], "bool"), "target": ([self.batch_size], "int64")}
        return {**modalities, **flags}

    def chosen(self) -> dict[str, Any]:
        """Return the loss of the first and the last epoch."""
        return {"first_loss": self.history_[0]["loss"], "last_loss": self.history_[-1]["loss"]} if self.history_ else {}

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        left_out = "was left out" if self.absent == "skip" else "got zeros for tokens"
        chosen = (
            f"the epoch was that of the lowest loss on {percent(self.validation)} of the training participants"
            if self.validation
            else "the last state was kept"
        )
        return text(
            "Modalities were combined by a cascade of transformers [@liu2023], with PyTorch [@paszke2019]: a learned"
            f" query of width {self.width} passed through one transformer a modality"
            f" ({count(self.layers, 'block')} of cross-attention to the tokens of the modality, self-attention and a"
            f" perceptron; {count(self.heads, 'head')}, dropout {digits(self.dropout)}); a table of numbers made at"
            f" most {count(self.n_tokens, 'token')}.",
            f"Beside the features, {names(self.columns)} counted as modalities." if self.columns else "",
            f"The order of the cascade was {names(self.order)}." if self.order else "",
            f"The stage of a missing modality {left_out}, and in training so did that of a modality at hand with a"
            f" probability of {digits(self.modality_dropout)}. Auxiliary classifiers after each stage had a weight of"
            f" {digits(self.auxiliary)} in the loss.",
            f"AdamW [@loshchilov2019] ran for {digits(self.epochs)} epochs with {digits(self.batch_size)} rows a batch,"
            f" a learning rate from {digits(self.learning_rate)} to zero by a cosine and a weight decay of"
            f" {digits(self.weight_decay)}; {chosen}.",
        )


def cascade(
    modalities: list[tuple[str, list[int]]],
    n_classes: int,
    width: int,
    n_tokens: int,
    layers: int,
    heads: int,
    dropout: float,
    absent: str,
) -> Any:
    """Return the network: modalities and which are there, to scores (n, classes) and those after each stage."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """Cross-attention to tokens, self-attention, perceptron; each on normalised input, beside what it gets."""

        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
            self.cross = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
            self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
            self.perceptron = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width),
                nn.Dropout(dropout),
            )  # fmt: skip

        def forward(self, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            keys = self.norms[1](tokens)
            query = query + self.cross(self.norms[0](query), keys, keys, need_weights=False)[0]
            own = self.norms[2](query)
            query = query + self.own(own, own, own, need_weights=False)[0]
            return query + self.perceptron(self.norms[3](query))

    class Cascade(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.randn(1, width) / width**0.5)
            self.embeddings = nn.ModuleList(embedding(kind, shape, width, n_tokens) for kind, shape in modalities)
            self.stages = nn.ModuleList(nn.ModuleList(Block() for _ in range(layers)) for _ in modalities)
            self.auxiliary = nn.ModuleList(nn.Linear(width, n_classes) for _ in modalities)
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, n_classes)

        def forward(self, values: list[torch.Tensor], present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            query = self.query.expand(len(present), 1, -1)
            told = []
            for number, (embed, stage) in enumerate(zip(self.embeddings, self.stages, strict=True)):
                here = present[:, number, None, None]
                tokens = embed(values[number])
                if absent == "zeros":
                    tokens = tokens * here
                changed = query
                for block in stage:
                    changed = block(changed, tokens)
                query = changed if absent == "zeros" else torch.where(here, changed, query)
                told.append(self.auxiliary[number](query[:, 0]))
            return self.head(self.norm(query[:, 0])), torch.stack(told, dim=1)

    return Cascade()


def cascade_loss(network: Any, batch: dict[str, Any], rate: float, auxiliary: float) -> dict[str, Any]:
    """Return the cross-entropy at the end, and its weighted mean over the stages that a row passed through."""
    import torch

    present = dropped(batch["present"], rate) if network.training else batch["present"]
    scores, told = network(values_of(batch), present)
    terms = {"class": torch.nn.functional.cross_entropy(scores, batch["target"])}
    if auxiliary:
        target = batch["target"][:, None].expand(-1, told.shape[1])
        each = torch.nn.functional.cross_entropy(told.transpose(1, 2), target, reduction="none")
        passed = present.to(each.dtype)
        terms["auxiliary"] = auxiliary * ((each * passed).sum(dim=1) / passed.sum(dim=1).clamp(min=1)).mean()
    return terms


def class_scores(network: Any, batch: dict[str, Any]) -> Any:
    """Return the log probabilities of the classes at the end of the cascade."""
    values = [value.double() for value in values_of(batch)]
    return network(values, batch["present"])[0].log_softmax(dim=1)
