"""Models of torch methods as files: equal bytes for equal models, cards, and refusals in one line."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from replicortex.bundle import Bundle
from replicortex.components import Context, component
from replicortex.errors import InputError
from replicortex.shared.torch_device import reproducible
from replicortex.shared.torch_method import TorchMethod
from replicortex.shared.training import Training, predict, train


class Tied(nn.Module):
    """Two layers that share their weights, statistics of batches, and a buffer that is not saved."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(n, width), nn.BatchNorm1d(width), nn.Linear(n, width)
        self.last.weight = self.first.weight
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)

    def forward(self, x):
        return ((self.norm(self.first(x)) + self.last(x)) * self.scale).sum(1)


@component
class Small(TorchMethod):
    """A small network.

    Parameters
    ----------
    width : int
        Of its layers.
    """

    tasks = frozenset({"regress"})
    state = ("shapes_", "mean_")
    modules = ("network_", "other_")
    width: int = 4

    def fit(self, train_rows: Bundle, seed: int) -> None:
        """Fit."""
        self.shapes_ = {"n": train_rows["x"].shape[1]}
        self.mean_ = train_rows["x"].mean(axis=0)
        with reproducible(seed):
            network, self.other_ = self.network(**self.shapes_), self.other(**self.shapes_)
        arrays = {"x": train_rows["x"] - self.mean_, "y": train_rows.rows["target"]}
        settings = Training(epochs=2, batch_size=8)
        self.network_ = train(network, error, arrays, settings, seed=seed, context=self.context).network

    def network(self, n: int) -> nn.Module:
        """Return the network."""
        return Tied(self.width, n)

    def other(self, n: int) -> nn.Module:
        """Return another one."""
        return nn.Conv1d(n, 2, 3).to(torch.bfloat16)

    def predict(self, test: Bundle) -> Bundle:
        """Predict."""
        return Bundle({"y_pred": predict(self.network_, {"x": test["x"] - self.mean_})}, test.rows)


def error(network, batch):
    return ((network(batch["x"]) - batch["y"]) ** 2).mean()


def rows(n: int = 20) -> Bundle:
    rng = np.random.default_rng(0)
    names = np.array([f"{number:02d}" for number in range(n)])
    columns = {"row_id": names, "subject": np.repeat(names[::2], 2), "target": rng.normal(size=n)}
    return Bundle({"x": rng.normal(size=(n, 3))}, columns)


def fitted(seed: int = 0, **given) -> Small:
    model = Small(**given)
    model.fit(rows(), seed)
    return model


def member(content: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name)


def exchanged(content: bytes, name: str, data: bytes) -> bytes:
    """Return the model with another content of a member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, data if entry.filename == name else old.read(entry))
    return buffer.getvalue()


def test_equal_models_are_equal_bytes_and_come_back_whole():
    content = fitted().dump()
    assert fitted().dump() == content
    assert fitted(seed=1).dump() != content
    restored = Small()
    restored.restore(content)
    np.testing.assert_array_equal(restored.predict(rows())["y_pred"], fitted().predict(rows())["y_pred"])
    assert restored.dump() == content
    assert restored.other_.weight.dtype == torch.bfloat16
    assert restored.network_.first.weight is restored.network_.last.weight
    assert restored.network_.norm.num_batches_tracked == 2 * 3
    assert not restored.network_.training


def test_reading_a_model_draws_no_random_number():
    content = fitted().dump()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Small().restore(content)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_card_tells_what_is_to_be_known():
    model = Small(width=5)
    model.context = Context(name="small", data="ds000001")
    model.fit(rows(), 7)
    text = member(model.dump(), "card.json").decode()
    card = json.loads(text)
    assert card["method"] == "test_torch_method"
    assert card["params"] == {"width": 5}
    assert card["n_parameters"] == {"network_": 5 * 3 + 5 + 5 + 5 + 5, "other_": 2 * 3 * 3 + 2}
    assert card["licence"]
    assert card["intended_use"]
    seen = card["trained_on"]
    assert (seen["n_rows"], seen["n_subjects"], seen["seed"], seen["data"]) == (20, 10, 7, "ds000001")
    assert hashlib.sha256(b"04").hexdigest() in seen["subjects_sha256"]
    assert hashlib.sha256(b"05").hexdigest() not in seen["subjects_sha256"]
    assert not seen["untrained"]
    assert torch.__version__ not in text
    assert str(Path.cwd()) not in text


def test_a_twin_is_the_network_as_it_was_built():
    model = Small()
    model.context = Context(untrained=True)
    model.fit(rows(), 3)
    with reproducible(3):
        expected = model.network(n=3)
    assert torch.equal(model.network_.first.weight, expected.first.weight)
    assert json.loads(member(model.dump(), "card.json"))["trained_on"]["untrained"] is True


def weights(**changes) -> bytes:
    tensors = safetensors.torch.load(member(fitted().dump(), "network_.safetensors"))
    tensors = {name: value for name, value in {**tensors, **changes}.items() if value is not None}
    return safetensors.torch.save(tensors)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first.bias": None}, r"model network_: lacks first\.bias \(1 tensor"),
        ({"extra": torch.zeros(1)}, "has extra, which the network has not"),
        ({"first.bias": torch.zeros(5)}, r"first\.bias has shape \(5,\), the network \(4,\)"),
        ({"first.bias": torch.zeros(4, dtype=torch.float16)}, r"first\.bias is torch\.float16, in the network torch"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(changes, told):
    with pytest.raises(InputError, match=told) as raised:
        Small().restore(exchanged(fitted().dump(), "network_.safetensors", weights(**changes)))
    assert "\n" not in str(raised.value)


def test_weights_of_other_parameters_are_refused():
    with pytest.raises(InputError, match=r"first\.bias has shape \(4,\), the network \(6,\)"):
        Small(width=6).restore(fitted().dump())


@pytest.mark.parametrize("name", ["network_.safetensors", "card.json"])
def test_a_damaged_model_is_refused_in_one_line(name):
    content = fitted().dump()
    data = member(content, name)
    for damaged in (b"", data[: len(data) // 2], b"\xff" * 40):
        with pytest.raises(InputError, match="not readable"):
            Small().restore(exchanged(content, name, damaged))
