"""SPoSE: a sparse, not negative embedding of objects that explains choices of the odd one out.

Du C. et al. (2025), Human-like object concept representations emerge naturally in multimodal large language models.
Nature Machine Intelligence. doi:10.1038/s42256-025-01049-z; the method of Hebart et al. (2020), Revealing the
multidimensional mental representations of natural objects underlying human similarity judgements.
doi:10.1038/s41562-020-00951-3

Reproduced: a vector of 100 dimensions for each object; the choice by a softmax over the three dot products;
cross-entropy with an L1 penalty over the number of objects, and one on what is below zero; Adam (0.001) on batches of
100 choices; the penalty chosen on a tenth of the training choices from 0.004 to 0.008; 20 random beginnings, whose
dimensions are put together, without those that correlate above 0.4 with an earlier one, the largest first.

Differs: all beginnings are trained side by side on the same batches, which gives each what it would have alone. Choices
are predicted by the mean over beginnings of the dot products, since the dimensions put together of several fits are
more than those of any one. Training ends after ``epochs`` or earlier, when the choices kept back are predicted no
better.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..shared.predictions import classified
from ..shared.torch_device import reproducible
from ..shared.torch_method import Published, TorchMethod
from ..shared.training import Training, train
from ..shared.triplets import (
    MOST_TOLD,
    POSITIONS,
    choice_similarity,
    dot_scores,
    likelihood,
    merged,
    objects_of,
    odd_one,
    reproducibility,
    upper,
)
from ..shared.words import among, count, digits, numbers, percent, searched, text

#: All dot products are made at once where there are at most so many for each choice of a batch.
_GRAM = 32

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@component
class Spose(TorchMethod):
    """Sparse positive similarity embedding.

    Parameters
    ----------
    n_dims : list of int
        Dimensions to begin with; several are part of the search.
    penalties : list of float
        Weights of the mean over objects of the sum of magnitudes, chosen on choices kept back where there are several.
    positivity : float
        Weight of the sum of what is below zero.
    n_seeds : int
        Random beginnings.
    epochs, batch_size : int
        Passes over the training choices, and choices a batch.
    learning_rate : float
        Of Adam.
    validation : float
        Share of the training choices on which penalty and dimensions are chosen; not used if there is but one choice.
    alike : float
        Correlation with an earlier dimension above which one is left out.
    least : float
        Dimensions that reach this for no object are left out.
    """

    tasks = frozenset({"classify"})
    needs = ("object",)
    tiny = {"n_dims": [6], "penalties": [0.005], "n_seeds": 2, "epochs": 60, "batch_size": 200, "learning_rate": 0.02}
    state = ("shapes_", "embeddings_", "chosen_", "history_")
    # THINGS has 1,854 objects.
    paper_shapes = {"n_objects": 1854, "n_dims": 100}
    published = Published(
        3_708_000, 0.0, "Not stated; in closed form 20 beginnings of 1,854 objects by 100 dimensions (Hebart et al.)."
    )

    n_dims: Annotated[list[PositiveInt], Field(min_length=1)] = [100]
    penalties: Annotated[list[NotNegative], Field(min_length=1)] = [0.004, 0.005, 0.006, 0.007, 0.008]
    positivity: NotNegative = 0.01
    n_seeds: PositiveInt = 20
    epochs: PositiveInt = 500
    batch_size: PositiveInt = 100
    learning_rate: Positive = 1e-3
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    alike: Annotated[float, Field(gt=0, lt=1)] = 0.4
    least: NotNegative = 0.1

    def network(self, n_objects: int, n_dims: int) -> Any:
        """Return untrained embeddings, a table (n_objects, n_seeds n_dims); choices (n, 3) to scores (n, seeds, 3)."""
        return _embeddings(n_objects, self.n_seeds, n_dims)

    def fit(self, rows: Bundle, seed: int) -> None:
        """Choose the penalty on choices kept back, and embed the objects."""
        triplets, odd = objects_of(rows), odd_one(rows)
        held = np.zeros(len(odd), dtype=bool)
        grid = [(n_dims, penalty) for n_dims in self.n_dims for penalty in self.penalties]
        if len(grid) > 1:
            held[np.random.default_rng(seed).permutation(len(odd))[: round(self.validation * len(odd))]] = True
        best = -np.inf
        for n_dims, penalty in grid:
            shapes = {"n_objects": len(rows.axes["object"]), "n_dims": n_dims}
            network, history = self._trained(triplets[~held], odd[~held], shapes, penalty, seed)
            embeddings = _of_network(network, self.n_seeds)
            score = likelihood(_scores(embeddings, triplets[held]), odd[held]) if held.any() else 0.0
            if score > best:
                best = score
                self.shapes_, self.network_, self.embeddings_, self.history_ = shapes, network, embeddings, history
                self.chosen_ = {"penalty": penalty, "n_dims": n_dims}
                if held.any():
                    self.chosen_["inner_score"] = score
        kept = merged(self.embeddings_, self.alike, self.least)
        self.chosen_["n_kept"] = int(kept.shape[1])

    def _trained(
        self, triplets: np.ndarray, odd: np.ndarray, shapes: dict[str, int], penalty: float, seed: int
    ) -> tuple[Any, list[dict[str, Any]]]:
        with reproducible(seed):
            network = self.network(**shapes)
        arrays = {"triplet": triplets, "odd": odd, "penalty": np.full(len(odd), penalty, dtype=np.float32)}
        trained = train(network, self._terms, arrays, self.training(), seed=seed, context=self.context)
        return trained.network, trained.history

    def training(self) -> Training:
        """Return how it is trained."""
        settings = {"epochs": self.epochs, "batch_size": self.batch_size}
        return Training(**settings, learning_rate=self.learning_rate, optimiser="adam")

    def _terms(self, network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the terms of the loss of a batch, each the sum over beginnings: they have no weights in common."""
        import torch

        scores = network(batch["triplet"])
        table, n_objects = network.table.weight, network.table.weight.shape[0]
        odd = batch["odd"].unsqueeze(1).expand(scores.shape[:2])
        choice = torch.nn.functional.cross_entropy(scores.flatten(0, 1), odd.flatten()) * self.n_seeds
        above = float(batch["penalty"][0]) / n_objects
        below = above + self.positivity
        # What a number costs above and below zero, in one pass over a table that is larger than all else of a step.
        magnitude = torch.nn.functional.leaky_relu(table if above else -table, -below / above if above else 0.0)
        return {"choice": choice, "magnitude": (above or below) * magnitude.sum()}

    def predict(self, test: Bundle) -> Bundle:
        """Return the score of each position to be the odd one, and the objects ``x`` for metrics of the truth."""
        told = classified(test, _scores(self.embeddings_, objects_of(test)), np.array(POSITIONS))
        axes = {**told.axes, "object": test.axes["object"]}
        return Bundle({**told.arrays, "x": np.asarray(test["x"])}, told.rows, axes, told.meta)

    def chosen(self) -> dict[str, Any]:
        """Return penalty and dimensions to begin with, and how many are left of all beginnings together."""
        return dict(self.chosen_)

    def found(self) -> dict[str, np.ndarray]:
        """Return how reproducible dimensions are and how many each beginning has, and of few objects what they are.

        ``embedding`` (n_objects, n_kept) has the dimensions of all beginnings put together, ``similarity`` (n_pairs,)
        how probable it is that two objects stay together.
        """
        told = {
            "reproducibility": reproducibility(self.embeddings_, self.least),
            "n_dims": np.array([np.count_nonzero(values.max(axis=0) >= self.least) for values in self.embeddings_]),
        }
        if self.embeddings_.shape[1] > MOST_TOLD:
            return told
        similar = np.mean([choice_similarity(values) for values in self.embeddings_], axis=0)
        embedding = merged(self.embeddings_, self.alike, self.least)
        return {**told, "embedding": embedding, "similarity": upper(similar)}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.n_dims) * len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        tuned = (
            searched(1, among("the number of dimensions", self.n_dims), among("the penalty", self.penalties)).replace(
                "nested search over one inner fold", f"{percent(self.validation)} of the training choices, kept back"
            )
            if self.n_configurations() > 1
            else f"It began with {numbers(self.n_dims)} dimensions and had a penalty of {numbers(self.penalties)}."
        )
        return text(
            "SPoSE gave each object a vector whose dot products with others, by a softmax over the three pairs, explain"
            " which object is the odd one [@hebart2020]; the loss is the cross-entropy with an L1 penalty over the"
            f" number of objects and {digits(self.positivity)} times what lies below zero.",
            tuned,
            f"{count(self.n_seeds, 'random beginning').capitalize()} were trained for {count(self.epochs, 'epoch')} by"
            f" Adam (learning rate {digits(self.learning_rate)}, {digits(self.batch_size)} choices a batch)."
            " Dimensions"
            f" below {digits(self.least)} for all objects were left out, and of those of all beginnings together the"
            f" ones that correlate above {digits(self.alike)} with a larger one; choices were predicted by the mean dot"
            " product over beginnings.",
        )


def _scores(embeddings: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    return np.mean([dot_scores(values, triplets) for values in embeddings], axis=0)


def _of_network(network: Any, n_seeds: int) -> np.ndarray:
    """Return the embeddings (n_seeds, n_objects, n_dims), what is below zero at zero."""
    table = network.table.weight.detach().cpu().numpy().astype(np.float64)
    return np.maximum(table.reshape(len(table), n_seeds, -1).transpose(1, 0, 2), 0.0)


def _embeddings(n_objects: int, n_seeds: int, n_dims: int) -> Any:
    import torch

    class Embeddings(torch.nn.Module):
        """Embeddings of the objects, several side by side."""

        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(n_objects, n_seeds * n_dims)
            torch.nn.init.normal_(self.table.weight, 0.1, 0.05)

        def forward(self, triplets: Any) -> Any:
            if n_objects**2 <= _GRAM * len(triplets):
                # Of few objects all dot products are fewer than those that the batch asks for.
                table = self.table.weight.unflatten(1, (n_seeds, n_dims)).transpose(0, 1)
                products, (one, two, three) = table @ table.transpose(1, 2), triplets.unbind(dim=1)
                asked = [products[:, two, three], products[:, one, three], products[:, one, two]]
                return torch.stack(asked, dim=2).transpose(0, 1)
            parts = self.table(triplets).unflatten(2, (n_seeds, n_dims))
            one, two, three = parts.unbind(dim=1)
            return torch.stack([(two * three).sum(-1), (one * three).sum(-1), (one * two).sum(-1)], dim=2)

    return Embeddings()
