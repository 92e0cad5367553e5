"""What every method with a torch network must do, at the published size without its memory, and at a tiny one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_methods import Case

from made_data import stimuli
from replicortex.bundle import Bundle
from replicortex.components import Context, load, make, names
from replicortex.files import sha256_of
from replicortex.shared import training
from replicortex.shared import weights as published
from replicortex.shared.pricing import price_of
from replicortex.shared.torch_method import TorchMethod

NETWORKS = [name for name in names("methods") if issubclass(load("methods", name), TorchMethod)]
#: Draws of a loss (dropout, masks, parts that are left out at random) in which every parameter must matter once.
DRAWS = 8


def built(method) -> dict[str, torch.nn.Module]:
    return {name: getattr(method, name.removesuffix("_"))(**method.paper_shapes) for name in method.modules}


def highest() -> int:
    """The most memory that this process had since it was last reset (bytes)."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def reset_highest() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return highest()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_configuration_has_the_published_size_and_is_built_without_memory(name):
    method = make("methods", name)
    assert method.paper_shapes, f"{name}: say with which shapes the published configuration is built"
    reset_highest()
    before = reset_highest()
    with torch.device("meta"):
        networks = built(method)
    assert highest() - before < 100e6
    entries = [entry for network in networks.values() for entry in [*network.parameters(), *network.buffers()]]
    assert all(entry.is_meta for entry in entries), f"{name}: build tensors where torch builds them by default"
    found = sum(entry.numel() for network in networks.values() for entry in network.parameters())
    if method.published is None:
        words = " ".join(inspect.getmodule(type(method)).__doc__.split())
        said = re.search(r"number of parameters [^.]*not (published|stated)", words)
        assert said, f"{name}: give the published number of parameters, or say that it is not published"
    else:
        wanted = method.published
        assert abs(found - wanted.n_parameters) <= wanted.tolerance * wanted.n_parameters, f"{found:,} parameters"
        assert len(wanted.source) > 10


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_the_published_configuration_has_a_price(name):
    method = make("methods", name)
    reset_highest()
    before = reset_highest()
    found = price_of(method)
    # Kernels and tables that are loaded on the way are counted too.
    assert highest() - before < 300e6
    with torch.device("meta"):
        counts = [entry.numel() for network in built(method).values() for entry in network.parameters()]
    assert found.parameters == sum(counts)
    assert hasattr(method, "step") == hasattr(method, "paper_batch"), f"{name}: give both or none"
    if hasattr(method, "step"):
        assert found.step > 2 * found.forward * 0.9 > 0
        assert found.memory["activations"] > 0


# ---- one training step


class Seen:
    """A training as a method asked for it, after it was done: network, loss, one batch."""

    def __init__(self, network, loss, arrays, settings, *, augment=None, **_):
        self.network, self.loss, self.settings = network, loss, settings
        self.before = {name: value.clone() for name, value in network.state_dict().items()}
        rows = np.arange(min(settings.batch_size, len(next(iter(arrays.values())))))
        self.batch = {key: tensor(values, rows) for key, values in arrays.items()}
        self.augment = augment

    def terms(self, draw: int) -> dict[str, torch.Tensor]:
        """The terms of the loss of a batch."""
        torch.manual_seed(draw)
        batch = dict(self.batch)
        if self.augment is not None:
            batch = self.augment(batch, torch.Generator().manual_seed(draw))
        found = self.loss(self.network, batch)
        return dict(found) if hasattr(found, "items") else {"loss": found}


def tensor(values, rows) -> torch.Tensor:
    array = values.take(rows) if hasattr(values, "take") and not isinstance(values, np.ndarray) else values[rows]
    array = np.asarray(array)
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64}
    return torch.from_numpy(array.astype(kinds.get(array.dtype.kind, array.dtype)))


def trainings(name: str, params: dict | None = None, **context) -> tuple[TorchMethod, list[Seen]]:
    """Fit a method at its tiny size, and return it with what it trained."""
    seen = []

    def train(network, loss, arrays, settings, **given):
        entry = Seen(network, loss, arrays, settings, **given)
        done = training.train(network, loss, arrays, settings, **given)
        entry.network, entry.n_steps = done.network, done.n_steps
        seen.append(entry)
        return done

    case = Case(name, sorted(load("methods", name).tasks)[0])
    data = partly_missing(case.halves()[1]) if "inputs_" in case.cls.state else case.halves()[1]
    model = make("methods", name, {**case.cls.tiny, **(params or {})})
    if case.cls.starts_from:
        # Only what it trains itself, not what its parents do.
        context["parent"] = case.fitted(data).context.parent
    shown = stimuli() if case.task in ("encode", "retrieve") else None
    model.context = Context(name, "made", stimuli=shown, **context)
    with pytest.MonkeyPatch.context() as patch:
        for module in [module for key, module in sys.modules.items() if key.startswith("replicortex.")]:
            if getattr(module, "train", None) is training.train and module is not training:
                patch.setattr(module, "train", train)
        model.fit(data, seed=0)
    return model, seen


trained = functools.cache(trainings)


def partly_missing(bundle: Bundle) -> Bundle:
    """The same people with two modalities, each of which some lack."""
    half, n = bundle["x"].shape[1] // 2, len(bundle)
    arrays = {"first": bundle["x"][:, :half], "second": bundle["x"][:, half:]}
    arrays |= {"present_first": np.arange(n) % 3 > 0, "present_second": np.arange(n) % 3 < 2}
    return dataclasses.replace(bundle, arrays=arrays)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_and_every_term_of_the_loss_takes_part_in_training(name):
    """A term without a gradient, or a part that no loss reaches, is a model other than the one that is described."""
    _, seen = trained(name)
    assert seen, f"{name}: train by replicortex.shared.training.train"
    for entry in seen:
        entry.network.train()
        learning = {key: value for key, value in entry.network.named_parameters() if value.requires_grad}
        reached, weighing = set(), set()
        for draw in range(DRAWS):
            terms = entry.terms(draw)
            for term, value in terms.items():
                if term.startswith("_"):
                    continue
                entry.network.zero_grad(set_to_none=True)
                assert value.ndim == 0, f"{name}: {term} is no single number"
                assert torch.isfinite(value), f"{name}: {term} is {value}"
                if value.requires_grad:
                    value.backward(retain_graph=True)
                    new = {key for key, one in learning.items() if one.grad is not None and one.grad.any()}
                    weighing |= {term} if new else set()
                    reached |= new
        named = {term for term in terms if not term.startswith("_")}
        assert named - weighing == set(), f"{name}: terms of the loss without a gradient"
        assert set(learning) - reached == set(), f"{name}: parameters that no gradient reaches"


@pytest.mark.parametrize("name", [name for name in NETWORKS if hasattr(load("methods", name), "step")])
def test_the_step_that_is_priced_is_the_one_that_is_trained(name):
    model, seen = trained(name)
    (entry, *_) = [one for one in seen if one.network is model.network_] or seen
    entry.network.eval()
    entry.augment = None
    asked = sum(value for key, value in entry.terms(0).items() if not key.startswith("_"))
    torch.manual_seed(0)
    priced = model.step(entry.network, dict(entry.batch))
    priced = sum(v for k, v in priced.items() if not k.startswith("_")) if hasattr(priced, "items") else priced
    torch.testing.assert_close(priced, asked)
    if hasattr(model, "training"):
        assert (model.training().optimiser, model.training().precision, model.training().ema) == (
            entry.settings.optimiser,
            entry.settings.precision,
            entry.settings.ema,
        )
    if hasattr(model, "paper_batch"):
        assert set(model.paper_batch()) >= {key for key in entry.batch if not re.search(r"\d", key)}


@pytest.mark.parametrize("name", [name for name in NETWORKS if load("methods", name).twin])
def test_an_untrained_twin_is_as_it_was_built(name):
    _, seen = trainings(name, untrained=True)
    for entry in seen:
        assert entry.n_steps == 0
        for key, value in entry.network.state_dict().items():
            assert torch.equal(value, entry.before[key]), f"{name}: {key} of its untrained twin changed"


TAKING = [name for name in NETWORKS if "weights" in {field.name for field in dataclasses.fields(load("methods", name))}]


@pytest.mark.parametrize("name", TAKING)
def test_published_weights_are_what_it_starts_from(name, tmp_path):
    """Its own serve as published ones: they are in what is fitted, and not in its untrained twin."""
    model, _ = trained(name)
    path = tmp_path / "published.safetensors"
    state = {key: value * 1.5 if value.is_floating_point() else value for key, value in tensors(model).items()}
    save_file(state, path)
    weights = {"source": str(path), "sha256": sha256_of(path), "licence": "MIT"}
    with published.ledger() as read:
        started, seen = trainings(name, {"weights": weights})
    assert [report.licence for report in read] == ["MIT"]
    assert read[0].n_loaded == len(state)
    begun = seen[0].before if seen else tensors(started)
    assert all(torch.equal(begun[key], value) for key, value in state.items())
    with published.ledger() as read:
        trainings(name, {"weights": weights}, untrained=True)
    assert read == []


def tensors(model: TorchMethod) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone().contiguous() for key, value in model.network_.state_dict().items()}
