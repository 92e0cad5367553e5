"""BrainOmni, fine-tuned or probed: a perceptron reads the sources of a pretrained transformer.

Xiao, Cui, Zhang, Chen, Wu, Thwaites, Woolgar, Zhou & Zhang (2025), BrainOmni: a brain foundation model for unified EEG
and MEG signals. doi:10.48550/arXiv.2505.18185

Reproduced: tokens of unit length after all blocks but the last, averaged over time, the sources side by side; dropout
0.1, a layer of the transformer's width with SELU, a layer of classes; label smoothing 0.1, 30 epochs, AdamW; learning
rates 3e-6, 1e-5 and 3e-5 are compared. The tokenizer stays frozen, blocks are fine-tuned (``tune: all``) or not.

Differs: rates are compared by nested search on the training subjects, while the paper takes the best for a dataset. The
rate of the perceptron, batch size and weight decay are not told by the sources at hand, and are chosen here. The
number of parameters with the perceptron is not published. Beside the
scores it hands on, for held-out rows, how well the tokenizer rebuilds them, their codes, and how many hidden codes the
transformer fills in, which the paper reports in tables of their own.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.brain_judged import filled_in, rebuilt
from ..shared.brain_tokens import prepared, tokens_of, transformer_network
from ..shared.predictions import classified
from ..shared.search import inner_folds, select, selection_score
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import among, count, digits, searched, text

Share = Annotated[float, Field(ge=0, lt=1)]


@component
class BrainOmniClassifier(TorchMethod):
    """A classifier on a pretrained transformer over codes.

    Parameters
    ----------
    tune : {"all", "head"}
        Whether the blocks of the transformer are trained too, or only the perceptron.
    learning_rates : list of float
        Of the blocks; compared by nested search where there are several.
    head_learning_rate, weight_decay : float
        Of the perceptron; of all of AdamW.
    dropout, label_smoothing : float
    epochs, batch_size, n_inner : int
        Epochs, rows a batch, and inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time", "sfreq", "sensor")
    starts_from = ("brain_omni",)
    tiny = {"learning_rates": [2e-3], "epochs": 20, "batch_size": 8, "head_learning_rate": 1e-2}
    # Of the variants with untrained networks it reads what they make of the signals; it is trained itself.
    twin = False
    #: As it was before fine-tuning: what it fills in is judged by this one.
    modules = ("network_", "pretrained_")
    state = ("shapes_", "sfreq_", "unigram_", "classes_", "search_")
    paper_shapes = {
        "tokenizer": {
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
        },
        "transformer": {
            "width": 512,
            "n_heads": 16,
            "depth": 12,
            "dropout": 0.1,
            "overlap": 0.25,
            "spread": 0.02,
            "token_scale": 1.0,
        },
        "n_classes": 2,
    }

    tune: Literal["all", "head"] = "all"
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=1)] = [3e-6, 1e-5, 3e-5]
    head_learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05
    dropout: Share = 0.1
    label_smoothing: Share = 0.1
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 32
    n_inner: PositiveInt = 3

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Search the learning rate on the training rows, then train on all of them.

        Raises
        ------
        InputError
            If there is no transformer to start from.
        """
        parent = self.context.parent
        if parent is None:
            fault = "starts from no transformer"
            raise InputError("method brain_omni_classifier", fault, "give it init_from in the study card")
        self.classes_ = np.unique(train_rows.rows["target"])
        names = ("width", "n_heads", "depth", "dropout", "overlap", "spread", "token_scale")
        self.shapes_ = {
            "tokenizer": parent.shapes_["tokenizer"],
            "transformer": {name: getattr(parent, name) for name in names},
            "n_classes": len(self.classes_),
        }
        self.sfreq_, self.unigram_ = parent.sfreq_, np.asarray(parent.unigram_)
        with reproducible(seed):
            self.pretrained_ = self.pretrained(**self.shapes_)
        self.pretrained_.load_state_dict(parent.network_.state_dict())
        self.pretrained_.eval()
        codes = tokens_of(parent.network_, prepared(train_rows, self.sfreq_))
        target = np.searchsorted(self.classes_, train_rows.rows["target"])
        rates, score = sorted(self.learning_rates), None
        if len(rates) > 1:
            folds = inner_folds(train_rows, self.n_inner, seed)

            def scores(entry: dict[str, float]) -> list[float]:
                found = []
                for inner, held in folds:
                    network = self._trained(codes[inner], target[inner], entry["learning_rate"], seed, None)
                    y_score = predict(network.double(), {"codes": codes[held]}, function=_logits)
                    found.append(selection_score(self.classes_[target[held]], y_score, self.classes_))
                return found

            best, score = select([{"learning_rate": rate} for rate in rates], scores)
            rates = [best["learning_rate"]]
        self.search_ = {"learning_rate": rates[0], "inner_score": score}
        self.network_ = self._trained(codes, target, rates[0], seed, self.context.scratch)

    def _trained(self, codes: np.ndarray, target: np.ndarray, rate: float, seed: int, scratch: Any) -> Any:
        with reproducible(seed):
            network = self.network(**self.shapes_)
        network.backbone.load_state_dict(self.context.parent.network_.state_dict())
        settings = dataclasses.replace(self.training(), parameter_groups=lambda built: self._groups(built, rate))
        arrays, step = {"codes": codes, "target": target}, self.step
        if self.tune == "head":
            # What does not change is computed once.
            arrays = {"features": predict(network, {"codes": codes}, function=_features), "target": target}
        context = dataclasses.replace(self.context, untrained=False, scratch=scratch)
        return train(network, step, arrays, settings, seed=seed, context=context).network

    def _groups(self, network: Any, rate: float) -> list[dict[str, Any]]:
        head = {"params": list(network.head.parameters()), "lr": self.head_learning_rate}
        blocks = [entry for entry in network.backbone.parameters() if entry.requires_grad]
        return [head] if self.tune == "head" else [head, {"params": blocks, "lr": rate}]

    def network(self, tokenizer: dict[str, Any], transformer: dict[str, Any], n_classes: int) -> Any:
        """Return the transformer with a perceptron on it; ``forward(codes)`` returns logits (n, n_classes)."""
        import torch
        from torch import nn

        width, dropout, frozen = transformer["width"], self.dropout, self.tune == "head"

        class Classifier(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.backbone = transformer_network(tokenizer, **transformer)
                n_features = tokenizer["n_sources"] * width
                self.head = nn.Sequential(
                    nn.Dropout(dropout), nn.Linear(n_features, width), nn.SELU(), nn.Linear(width, n_classes)
                )
                # Neither the last block nor the prediction of codes has a part in this.
                for part in (self.backbone.blocks[-1], self.backbone.predict_head):
                    part.requires_grad_(False)
                self.backbone.mask_token.requires_grad_(False)
                if frozen:
                    self.backbone.requires_grad_(False)

            def train(self, mode: bool = True) -> Any:
                super().train(mode)
                self.backbone.train(mode and not frozen)
                return self

            def features(self, codes: torch.Tensor) -> torch.Tensor:
                return self.backbone.embed(codes).mean(dim=2).flatten(1)

            def forward(self, codes: torch.Tensor | None = None, features: torch.Tensor | None = None) -> torch.Tensor:
                return self.head(self.features(codes) if features is None else features)

        return Classifier()

    def pretrained(self, tokenizer: dict[str, Any], transformer: dict[str, Any], n_classes: int) -> Any:
        """Return the transformer alone."""
        return transformer_network(tokenizer, **transformer)

    def training(self) -> Training:
        """Return how it is trained."""
        return Training(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.head_learning_rate, schedule="cosine",
            weight_decay=self.weight_decay, clip=1.0,
        )  # fmt: skip

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the cross-entropy of a batch of codes, or of features where only the perceptron is trained."""
        from torch.nn import functional

        inputs = {name: batch[name] for name in ("codes", "features") if name in batch}
        return functional.cross_entropy(network(**inputs), batch["target"], label_smoothing=self.label_smoothing)

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch: the codes of 10 s."""
        return {"codes": ((self.batch_size, 16, 56, 4), "int64"), "target": ((self.batch_size,), "int64")}

    def predict(self, test: Bundle) -> Bundle:
        """Return class scores, and what the tokenizer and the transformer make of the rows.

        ``codes`` (n, sources, frames, codebooks); correlations of rebuilt with measured windows, each the mean of a
        row: ``pcc_all`` where all channels were given, ``pcc_withheld`` of a quarter that was not, ``pcc_permuted`` of
        these where sensors of the same type had swapped places; ``masked_right`` and ``unigram_right``, the share of
        hidden codes that the transformer fills in, and that the most frequent code of the training rows is.
        """
        # In double precision a row's scores do not depend on how many rows there are beside it.
        network = copy.deepcopy(self.network_).double()
        arrays = prepared(test, self.sfreq_)
        codes = tokens_of(network.backbone, arrays)
        found = classified(test, predict(network, {"codes": codes}, function=_logits), self.classes_)
        judged = {"codes": codes.astype(np.int16), **rebuilt(self.network_.backbone.tokenizer, arrays)}
        judged |= filled_in(copy.deepcopy(self.pretrained_).double(), codes, self.unigram_)
        axes = {**found.axes, "code": list(range(self.shapes_["tokenizer"]["codebook_size"]))}
        return Bundle({**found.arrays, **judged}, found.rows, axes)

    def chosen(self) -> dict[str, Any]:
        """Return the learning rate of the blocks, and the inner score where there was a search."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of learning rates."""
        return len(self.learning_rates)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        several = len(self.learning_rates) > 1
        which = (
            f"The blocks were trained too, with {'a' if several else 'the'} learning rate"
            f"{'' if several else f' {digits(self.learning_rates[0])}'}."
            if self.tune == "all"
            else f"The blocks stayed as they were (learning rate {digits(self.learning_rates[0])} not used)."
        )
        return text(
            "Tokens after all blocks but the last were scaled to unit length and averaged over time, and a perceptron"
            f" with one hidden layer and a dropout of {digits(self.dropout)} classified them [@xiao2025]. {which}",
            f"AdamW [@loshchilov2019] ran for {digits(self.epochs)} epochs with {digits(self.batch_size)} rows a batch,"
            f" a learning rate of the perceptron of {digits(self.head_learning_rate)} that fell by a cosine, a weight"
            f" decay of {digits(self.weight_decay)} and a label smoothing of {digits(self.label_smoothing)}.",
            searched(self.n_inner, among("the learning rate of the blocks", sorted(self.learning_rates)))
            if several
            else f"There was no search ({count(self.n_inner, 'inner fold')} had there been one).",
        )


def _logits(network: Any, batch: dict[str, Any]) -> Any:
    return network(batch["codes"])


def _features(network: Any, batch: dict[str, Any]) -> Any:
    return network.features(batch["codes"])
