"""EEGNet from scratch: a compact convolutional network, one a montage.

Lawhern, Solon, Waytowich, Gordon, Hung & Lance (2018), EEGNet: a compact convolutional neural network for EEG-based
brain-computer interfaces. doi:10.1088/1741-2552/aace8c

Reproduced: EEGNet-8,2: 8 temporal filters of half a second, 2 spatial filters of each (norm at most 1), batch
normalisation, ELU, mean over 4 samples, dropout, 16 separable filters, mean over 8 samples, dropout, a dense layer
(norm at most 0.25); Adam. Dropout is that of the paper across subjects, 0.25.

Differs: features of several montages get a network each, trained on the rows of that montage alone, since its spatial
filters are tied to the channels; rows of a montage that was never seen get the class frequencies of the training rows.
The learning rate is chosen by nested search. The number of parameters of
EEGNet-8,2 for these shapes is not published; a test derives it in closed form.
"""

from __future__ import annotations

import copy
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.signal import resample

from ..bundle import Bundle
from ..components import component
from ..shared.montages import ANY, montage_of, present_channels
from ..shared.predictions import classified
from ..shared.search import inner_folds, select, selection_score
from ..shared.torch_device import reproducible
from ..shared.torch_method import TorchMethod
from ..shared.training import Training, predict, train
from ..shared.words import among, count, digits, searched, text

Share = Annotated[float, Field(ge=0, lt=1)]


@component
class EegConv(TorchMethod):
    """EEGNet, trained from scratch on the labelled rows alone.

    Parameters
    ----------
    sfreq : float
        Sampling rate of the network (Hz); features of another rate are resampled, each row by itself.
    n_temporal, n_spatial, n_separable : int
        Temporal filters, spatial filters of each, separable filters.
    kernel_s : float
        Length of the temporal filters (s).
    pools : (int, int)
        Samples that are averaged after the spatial and after the separable filters.
    dropout : float
    learning_rates : list of float
        Of Adam; compared by nested search where there are several.
    epochs, batch_size, n_inner : int
        Epochs, rows a batch, and inner folds of the search.
    """

    tasks = frozenset({"classify"})
    needs = ("channel", "time", "sfreq")
    tiny = {"learning_rates": [1e-2], "epochs": 40, "batch_size": 8, "n_temporal": 4, "n_separable": 8, "sfreq": 40.0}
    # Nothing asks what it knows before it is trained.
    twin = False
    state = ("shapes_", "scale_", "frequency_", "classes_", "search_")
    #: The paper's P300 data: 64 channels, 1 s at 128 Hz, two classes.
    paper_shapes = {"montages": {ANY: 64}, "n_times": 128, "sfreq": 128.0, "n_classes": 2}

    sfreq: PositiveFloat = 128.0
    n_temporal: PositiveInt = 8
    n_spatial: PositiveInt = 2
    n_separable: PositiveInt = 16
    kernel_s: PositiveFloat = 0.5
    pools: tuple[PositiveInt, PositiveInt] = (4, 8)
    dropout: Share = 0.25
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=1)] = [3e-4, 1e-3, 3e-3]
    epochs: PositiveInt = 500
    batch_size: PositiveInt = 64
    n_inner: PositiveInt = 3

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Search the learning rate on the training rows, then train on all of them."""
        names, number = np.unique(montage_of(train_rows), return_inverse=True)
        n_channels = present_channels(train_rows).sum(axis=1)
        self.classes_ = np.unique(train_rows.rows["target"])
        target = np.searchsorted(self.classes_, train_rows.rows["target"])
        self.frequency_ = np.bincount(target) / len(target)
        x = self._resampled(train_rows)
        # Each channel of a montage by its standard deviation in the training rows.
        spread = [x[number == i].std(axis=(0, 2)) for i in range(len(names))]
        self.scale_ = np.where(np.array(spread) > 0, spread, 1.0)
        self.shapes_ = {
            "montages": {str(name): int(n_channels[number == i].max()) for i, name in enumerate(names)},
            "n_times": x.shape[2],
            "sfreq": self.sfreq,
            "n_classes": len(self.classes_),
        }
        arrays = {**self._inputs(train_rows), "target": target}
        rates, score = sorted(self.learning_rates), None
        if len(rates) > 1:
            folds = inner_folds(train_rows, self.n_inner, seed)

            def scores(entry: dict[str, float]) -> list[float]:
                found = []
                for inner, held in folds:
                    part = {name: values[inner] for name, values in arrays.items()}
                    network = self._trained(part, entry["learning_rate"], seed)
                    rest = {name: values[held] for name, values in arrays.items()}
                    found.append(
                        selection_score(self.classes_[target[held]], self._score(network, rest), self.classes_)
                    )
                return found

            best, score = select([{"learning_rate": rate} for rate in rates], scores)
            rates = [best["learning_rate"]]
        self.search_ = {"learning_rate": rates[0], "inner_score": score}
        self.network_ = self._trained(arrays, rates[0], seed, self.context)

    def _trained(self, arrays: dict[str, np.ndarray], rate: float, seed: int, context: Any = None) -> Any:
        with reproducible(seed):
            network = self.network(**self.shapes_)
        settings = Training(epochs=self.epochs, batch_size=self.batch_size, learning_rate=rate, optimiser="adam")
        return train(network, self.step, arrays, settings, seed=seed, context=context).network

    def _resampled(self, rows: Bundle) -> np.ndarray:
        """Return the signals (n, n_channels, n_times) at the rate of the network."""
        x, found = np.asarray(rows["x"], dtype=np.float64), float(rows.axes["sfreq"][0])
        return x if found == self.sfreq else resample(x, round(x.shape[2] * self.sfreq / found), axis=2)

    def _inputs(self, rows: Bundle) -> dict[str, np.ndarray]:
        """Return scaled signals and the number of the montage of each row, -1 where it was never seen."""
        names = list(self.shapes_["montages"])
        number = np.array([names.index(name) if name in names else -1 for name in montage_of(rows)])
        x = self._resampled(rows) / self.scale_[number][:, :, None]
        return {"x": x.astype(np.float32), "montage": number}

    def network(self, montages: dict[str, int], n_times: int, sfreq: float, n_classes: int) -> Any:
        """Return the networks of all montages; ``forward(x, montage)`` returns logits (n, n_classes)."""
        import torch
        from torch import nn

        n_temporal, n_wide = self.n_temporal, self.n_temporal * self.n_spatial
        kernel = max(1, round(self.kernel_s * sfreq))
        first, second = self.pools
        n_left = n_times // first // second

        class EegNet(nn.Module):
            def __init__(self, n_channels: int) -> None:
                super().__init__()
                self.n_channels = n_channels
                self.temporal = nn.Sequential(
                    nn.Conv2d(1, n_temporal, (1, kernel), padding="same", bias=False), nn.BatchNorm2d(n_temporal)
                )
                self.spatial = nn.Conv2d(n_temporal, n_wide, (n_channels, 1), groups=n_temporal, bias=False)
                self.after = nn.Sequential(
                    nn.BatchNorm2d(n_wide), nn.ELU(), nn.AvgPool2d((1, first)), nn.Dropout(self_dropout)
                )
                self.separable = nn.Sequential(
                    nn.Conv2d(n_wide, n_wide, (1, 16), padding="same", groups=n_wide, bias=False),
                    nn.Conv2d(n_wide, n_separable, 1, bias=False),
                    *(nn.BatchNorm2d(n_separable), nn.ELU(), nn.AvgPool2d((1, second)), nn.Dropout(self_dropout)),
                )
                self.dense = nn.Linear(n_separable * n_left, n_classes)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                y = self.temporal(x[:, None, : self.n_channels])
                # Norms are held down where the weights are used, so that an optimiser step can not pass them.
                weight = self.spatial.weight.renorm(2, 0, 1.0)
                y = self.after(nn.functional.conv2d(y, weight, groups=n_temporal))
                dense = self.dense.weight.renorm(2, 0, 0.25)
                return nn.functional.linear(self.separable(y).flatten(1), dense, self.dense.bias)

        class OneEach(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.networks = nn.ModuleList(EegNet(n) for n in montages.values())

            def forward(self, x: torch.Tensor, montage: torch.Tensor) -> torch.Tensor:
                if len(self.networks) == 1:
                    return self.networks[0](x)
                found = x.new_zeros(len(x), n_classes)
                for number, network in enumerate(self.networks):
                    here = (montage == number).nonzero()[:, 0]
                    if len(here):
                        found = found.index_put((here,), network(x[here]))
                return found

        self_dropout, n_separable = self.dropout, self.n_separable
        return OneEach()

    def step(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the cross-entropy of a batch."""
        from torch.nn import functional

        return functional.cross_entropy(network(batch["x"], batch["montage"]), batch["target"])

    def paper_batch(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of each array of a batch of the published configuration."""
        n = self.batch_size
        return {"x": ((n, 64, 128), "float32"), "montage": ((n,), "int64"), "target": ((n,), "int64")}

    def _score(self, network: Any, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Return log probabilities; those of the class frequencies where the montage was never seen."""
        # In double precision a row's scores do not depend on how many rows there are beside it.
        double = copy.deepcopy(network).double()
        inputs = {name: arrays[name] for name in ("x", "montage")}
        score = predict(double, inputs, function=lambda net, batch: net(batch["x"].double(), batch["montage"]))
        unseen = np.log(np.maximum(self.frequency_, 1e-12))
        return np.where((arrays["montage"] < 0)[:, None], unseen, score)

    def predict(self, test: Bundle) -> Bundle:
        """Return class scores."""
        return classified(test, self._score(self.network_, self._inputs(test)), self.classes_)

    def chosen(self) -> dict[str, Any]:
        """Return the learning rate, and the inner score where there was a search."""
        return dict(self.search_)

    def n_configurations(self) -> int:
        """Return the number of learning rates."""
        return len(self.learning_rates)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        several = len(self.learning_rates) > 1
        return text(
            f"EEGNet [@lawhern2018] was trained from scratch with PyTorch [@paszke2019] on signals of"
            f" {digits(self.sfreq)} Hz, a network a montage:"
            f" {count(self.n_temporal, 'temporal filter')} of {digits(self.kernel_s)} s,"
            f" {count(self.n_spatial, 'spatial filter')} of each, {count(self.n_separable, 'separable filter')}, means"
            f" over {self.pools[0]} and {self.pools[1]} samples, dropout {digits(self.dropout)}. Rows of a montage that"
            " it had not been trained on got the class frequencies of the training rows.",
            f"Adam [@kingma2015] ran for {digits(self.epochs)} epochs with {digits(self.batch_size)} rows a batch"
            f"{'' if several else f' and a learning rate of {digits(self.learning_rates[0])}'}.",
            searched(self.n_inner, among("the learning rate", sorted(self.learning_rates)))
            if several
            else f"There was no search ({count(self.n_inner, 'inner fold')} had there been one).",
        )
