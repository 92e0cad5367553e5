"""SCLCS: structure-aware contrastive learning for core-set selection.

Zhan, Li, Huang & Jia (2026), Accelerating benchmarking of functional connectivity modeling via structure-aware
core-set selection. doi:10.48550/arXiv.2602.05667

Reproduced: one block of attention between regions whose heads are fused to one map by learnt softmax weights, a
GELU perceptron and mean pooling; contrastive learning of the identity of subjects from pairs of windows
(temperature 0.1), an l1 penalty on the map (1e-4), Adam (1e-3), 64 subjects a batch, 1,000 epochs; the structural
perturbation score, the mean change of a window's map between consecutive epochs; the core-set of lowest scores
(``stable``) or, by default, drawn inversely to the density of scores after the top 5 % were dropped (``density``).

Differs: the encoder is trained on the training subjects and scores windows of others, while the paper trains on the
pool that it selects from; nothing of the judged pool, its subjects least of all, is seen here. The score of a window
is therefore computed afterwards, from the encoder's state after pairs of consecutive epochs (``snapshots`` of them,
evenly spaced over training) instead of at each of its visits. A window's similarity with itself does not stand
among its negatives, where the released code leaves it. Paper and released code disagree: ``form: paper`` applies a
softmax to each head's map and squares the norm of changes, ``form: released`` uses scaled products and the plain
norm. With a softmax the l1 penalty is constant, since every row adds up to one. The number of parameters that the
paper's model has is not stated; 33 regions of 70 volumes make 84,604.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.coreset import by_order, density_order, draw_seed, judged_by, row_numbers
from ..shared.predictions import selected
from ..shared.torch_device import reproducible
from ..shared.words import count, digits, percent, text

#: Rows whose maps are held at once when scoring: 256 windows of 33 regions and 16 heads take 18 MB.
_CHUNK = 256
#: Parameters that a window's map depends on; only these are kept.
_OF_MAP = ("norm.weight", "norm.bias", "query.weight", "query.bias", "key.weight", "key.bias", "fusion")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class Sclcs(Method):
    """Core-set of windows whose learnt map of attention between regions is stable during training.

    Parameters
    ----------
    n_heads, dim : int
        Heads of attention, and their dimension, which is that of the output.
    epochs : int
        Epochs; in each every subject gives one random pair of windows.
    batch_subjects : int
        Subjects a batch.
    learning_rate, temperature : float
        Of Adam, and of the similarities.
    penalty : float
        Weight of the mean magnitude of the map.
    dropout : float
        In the perceptron.
    form : {"paper", "released"}
        Softmaxed heads and squared norms, or scaled products and plain norms.
    selection : {"density", "stable"}
        Draw inversely to the density of scores, or take the lowest scores.
    dropped : float
        Share of highest scores that ``density`` takes last.
    snapshots : int
        Pairs of consecutive epochs over which changes are averaged. The model holds at most ``2 snapshots`` states
        of ``2 n_heads dim (n_volumes + 1)`` float32 numbers: 0.3 MB each for the paper's 70 volumes.
    """

    tasks = frozenset({"select"})
    needs = ("operator", "edge", "region")
    tiny = {"n_heads": 4, "dim": 8, "epochs": 60, "snapshots": 10}
    state = ("weights_", "pairs_", "seed_", "loss_")

    n_heads: PositiveInt = 16
    dim: PositiveInt = 32
    epochs: Annotated[int, Field(ge=2)] = 1000
    batch_subjects: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    temperature: Positive = 0.1
    penalty: Annotated[float, Field(ge=0)] = 1e-4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    form: Literal["paper", "released"] = "paper"
    selection: Literal["density", "stable"] = "density"
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.05
    snapshots: PositiveInt = 25

    def fit(self, train: Bundle, seed: int) -> None:
        """Train the encoder on the windows ``series`` (n, R, T) of subjects ``target``; keep states along the way.

        Time is linear in windows and epochs, and in ``R^2 n_heads``.
        """
        if "series" not in train.arrays:
            raise InputError("features", "have no array 'series'", "choose a feature card with windows")
        groups = _groups(train.rows["target"])
        with reproducible(seed) as device:
            self._train(np.array(train["series"], dtype=np.float32), groups, seed, device)
        self.seed_ = draw_seed(train, seed)

    def _train(self, windows: np.ndarray, groups: list[np.ndarray], seed: int, device: Any) -> None:
        import torch

        series = torch.from_numpy(windows).to(device)
        # Initialised on the processor: the same start on every device.
        model = encoder(series.shape[2], self.n_heads, self.dim, self.dropout, self.form).to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        rng = np.random.default_rng(seed)
        after = np.unique(np.linspace(1, self.epochs - 1, self.snapshots).round().astype(int))
        wanted = sorted({*after, *(after + 1)})
        kept, self.loss_ = [], []
        for epoch in range(1, self.epochs + 1):
            losses = []
            for rows, owner in _batches(groups, self.batch_subjects, rng):
                embedding, maps = model(series[torch.from_numpy(rows).to(device)])
                loss = contrastive(embedding, torch.from_numpy(owner).to(device), self.temperature)
                loss = loss + self.penalty * maps.abs().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            self.loss_.append(float(np.mean(losses)))
            if epoch in wanted:
                values = model.state_dict()
                kept.append({name: values[name].cpu().numpy().copy() for name in _OF_MAP})
        if not np.isfinite(self.loss_).all():
            raise InputError("method sclcs", "the loss is not finite", "lower learning_rate or scale the series")
        self.weights_ = {name: np.stack([values[name] for values in kept]) for name in _OF_MAP}
        self.pairs_ = [[wanted.index(epoch), wanted.index(epoch + 1)] for epoch in after.tolist()]

    def perturbation(self, series: np.ndarray) -> np.ndarray:
        """Return the structural perturbation score of windows ``series`` (n, R, T): low is stable.

        Each window's score depends on itself and the trained encoder alone.
        """
        scores = np.empty(len(series))
        for start in range(0, len(series), _CHUNK):
            part = np.asarray(series[start : start + _CHUNK], dtype=np.float32)
            total, held = np.zeros(len(part)), {}
            for first, second in self.pairs_:
                # The second of one pair may be the first of the next; older maps are not needed again.
                held = {number: held.get(number) for number in (first, second)}
                for number, known in held.items():
                    held[number] = self._maps(part, number) if known is None else known
                change = ((held[second] - held[first]).astype(np.float64) ** 2).sum(axis=(1, 2))
                total += change if self.form == "paper" else np.sqrt(change)
            scores[start : start + _CHUNK] = total / len(self.pairs_)
        return scores

    def _maps(self, series: np.ndarray, number: int) -> np.ndarray:
        """Return the fused maps (n, R, R) of windows by the state ``number``."""
        weights = {name: values[number] for name, values in self.weights_.items()}
        mean, variance = series.mean(axis=2, keepdims=True), series.var(axis=2, keepdims=True)
        x = (series - mean) / np.sqrt(variance + 1e-5) * weights["norm.weight"] + weights["norm.bias"]
        heads = []
        for name in ("query", "key"):
            made = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
            heads.append(made.reshape(*x.shape[:2], self.n_heads, self.dim).transpose(0, 2, 1, 3))
        products = heads[0] @ heads[1].transpose(0, 1, 3, 2) / np.float32(np.sqrt(self.scale(series.shape[2])))
        if self.form == "paper":
            products = np.exp(products - products.max(axis=3, keepdims=True))
            products /= products.sum(axis=3, keepdims=True)
        fusion = np.exp(weights["fusion"] - weights["fusion"].max())
        return np.einsum("nhij,h->nij", products, fusion / fusion.sum(), optimize=True)

    def scale(self, n_volumes: int) -> int:
        """Return what products are divided by the root of: the heads' dimension, or (released) that of the input."""
        return self.dim if self.form == "paper" else n_volumes

    def predict(self, test: Bundle) -> Bundle:
        """Return preferences, and the scores as array ``perturbation``.

        Scores are those of each window alone; the draw by density depends on the scores of the pool, by definition.
        """
        scores = self.perturbation(test["series"])
        preference = -scores
        if self.selection == "density":
            preference = by_order(density_order(scores, row_numbers(test.rows, self.seed_), self.dropped))
        return selected(test, preference, perturbation=scores, **judged_by(test))

    def chosen(self) -> dict[str, Any]:
        """Return the loss of the first and the last epoch."""
        return {"first_loss": self.loss_[0], "last_loss": self.loss_[-1]}

    def n_parameters(self, n_volumes: int = 70) -> int:
        """Return the number of trained parameters for windows of ``n_volumes``; allocates none of them."""
        import torch

        with torch.device("meta"):
            model = encoder(n_volumes, self.n_heads, self.dim, self.dropout, self.form)
        return sum(parameter.numel() for parameter in model.parameters())

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        heads = (
            "each head's map passed a softmax and changes were measured by squared norms, as in the paper"
            if self.form == "paper"
            else "heads were scaled products without a softmax and changes were measured by plain norms, as in the"
            " released code"
        )
        taken = (
            f"The highest {percent(self.dropped)} of the scores were set aside, and the core-set was drawn from the"
            " others with probabilities inverse to the density of their scores [@efraimidis2006]."
            if self.selection == "density"
            else "The core-set was that of the windows with the lowest scores."
        )
        return text(
            f"An encoder with one block of attention between regions ({count(self.n_heads, 'head')} of dimension"
            f" {self.dim}, fused into one map by learned weights, dropout {digits(self.dropout)}) was trained with"
            " PyTorch [@paszke2019] by contrastive learning on pairs of windows of the same participant [@zhan2026]:"
            f" temperature {digits(self.temperature)}, l1 penalty on the map {digits(self.penalty)}, Adam [@kingma2015]"
            f" with a learning rate of {digits(self.learning_rate)}, {digits(self.batch_subjects)} participants a"
            f" batch, {digits(self.epochs)} epochs; {heads}.",
            "It was trained on the training participants only and then scored windows of others, by the mean change of"
            f" a window's map between consecutive epochs, taken at {count(self.snapshots, 'pair')} of epochs evenly"
            " spaced over training.",
            taken,
        )


def encoder(n_volumes: int, n_heads: int, dim: int, dropout: float, form: str) -> Any:
    """Return the network: windows (n, R, T) to embeddings (n, dim) and maps (n, R, R)."""
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(n_volumes)
            # All heads in one product; each initialised as a layer of its own.
            self.query = nn.Linear(n_volumes, n_heads * dim)
            self.key = nn.Linear(n_volumes, n_heads * dim)
            self.value = nn.Linear(n_volumes, dim)
            self.fusion = nn.Parameter(torch.ones(n_heads))
            self.project = nn.Linear(dim, dim)
            self.perceptron = nn.Sequential(
                nn.LayerNorm(dim),
                nn.Linear(dim, 4 * dim),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(4 * dim, dim),
                nn.Dropout(dropout),
            )

        def forward(self, series: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.norm(series)
            query, key = (layer(x).view(*x.shape[:2], n_heads, dim).transpose(1, 2) for layer in (self.query, self.key))
            products = query @ key.transpose(2, 3) / (dim if form == "paper" else n_volumes) ** 0.5
            if form == "paper":
                products = products.softmax(dim=3)
            maps = torch.einsum("nhij,h->nij", products, self.fusion.softmax(dim=0))
            attended = self.project(maps @ self.value(x))
            return (attended + self.perceptron(attended)).mean(dim=1), maps

    return Encoder()


def contrastive(embedding: Any, owner: Any, temperature: float) -> Any:
    """Return the mean over windows of log-sum-exp of the negatives' less that of the positives' similarities.

    Similarity is the cosine over ``temperature``; a positive is another window of the same subject, a negative one
    of another subject, and a window itself is neither.
    """
    import torch

    unit = torch.nn.functional.normalize(embedding, dim=1)
    similar = unit @ unit.T / temperature
    same = owner[:, None] == owner[None, :]
    positive = same & ~torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    never = torch.finfo(similar.dtype).min
    attraction = similar.masked_fill(~positive, never).logsumexp(dim=1)
    repulsion = similar.masked_fill(same, never).logsumexp(dim=1)
    return (repulsion - attraction).mean()


def _groups(target: np.ndarray) -> list[np.ndarray]:
    """Return the rows of every subject that has two windows or more."""
    index = np.unique(target.astype(str), return_inverse=True)[1]
    groups = [np.flatnonzero(index == number) for number in range(index.max() + 1)]
    groups = [rows for rows in groups if len(rows) > 1]
    if len(groups) < 2:
        raise InputError(
            "method sclcs", "fewer than two subjects have two windows", "take shorter windows or more runs"
        )
    return groups


def _batches(
    groups: list[np.ndarray], batch_subjects: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and the numbers of their subjects: a random pair of windows of each, subjects in random order."""
    order = rng.permutation(len(groups))
    # A last batch of one subject would have no negatives: it joins the one before.
    edges = list(range(0, len(order), batch_subjects))
    if len(edges) > 1 and len(order) - edges[-1] < 2:
        edges.pop()
    for start, stop in zip(edges, [*edges[1:], len(order)], strict=True):
        members = order[start:stop]
        pairs = [rng.choice(groups[member], 2, replace=False) for member in members]
        yield np.concatenate(pairs), np.repeat(members, 2)
