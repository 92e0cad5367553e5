"""Prices of training steps: against closed forms, against what a real step keeps, and without its memory."""

from __future__ import annotations

import contextlib
import copy
import os
import resource
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from project import SOURCE
from replicortex.shared import pricing
from replicortex.shared.pricing import in_words, price, scaled


def squared(network, batch):
    return network(batch["x"]).pow(2).mean()


def valued(step):
    """The step, with an operation on values wherever a tensor does not say that it has none."""

    def asking(network, batch):
        if not batch["x"].is_meta:
            batch["x"].sum().item()
        return step(network, batch)

    return asking


def priced(build, *shape: int, **given):
    return price(build, squared, {"x": (shape, "float32")}, **given)


# ---- operations, in closed form; the input has no gradient, so that the first layer's backward pass is one product


def test_a_linear_layer_costs_two_operations_a_weight_and_row():
    n, a, b, c = 7, 11, 13, 17
    found = priced(lambda: nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c)), n, a)
    first, second = 2 * n * a * b, 2 * n * b * c
    assert found.forward == first + second
    assert found.step == 2 * first + 3 * second
    assert found.parameters == found.trainable == a * b + b + b * c + c
    assert found.by_module == {"0": a * b + b, "1": 0, "2": b * c + c}


def test_a_convolution_of_volumes_costs_two_operations_a_weight_and_place():
    n, kernel, sizes = 2, 3, (10, 12, 8)
    found = priced(
        lambda: nn.Sequential(nn.Conv3d(1, 4, kernel, padding=1), nn.Conv3d(4, 6, kernel, stride=2)), n, 1, *sizes
    )
    first = 2 * n * 4 * kernel**3 * 10 * 12 * 8
    second = 2 * n * 6 * 4 * kernel**3 * 4 * 5 * 3
    assert found.forward == first + second
    assert found.step == 2 * first + 3 * second


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_attention_costs_two_products_forward_and_five_backward(precision):
    n, heads, length, dim = 3, 2, 40, 16

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            x = x * self.scale
            return functional.scaled_dot_product_attention(x, x, x)

    found = priced(Attention, n, heads, length, dim, precision=precision)
    product = 2 * n * heads * length**2 * dim
    assert found.forward == 2 * product
    # The backward pass computes the weights again instead of keeping them: five products, not four.
    assert found.step == 7 * product
    assert found.memory["activations"] < 4 * n * heads * length**2, "the map of weights is not kept"
    if precision == "32-true":
        assert price(Attention, valued(squared), {"x": ((n, heads, length, dim), "float32")}) == found


# ---- memory, against a real step


class Mixed(nn.Module):
    """Convolutions with normalisation, then attention with dropout, as the deep studies have them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(inplace=True), nn.MaxPool3d(2)
        )
        self.project = nn.Linear(8, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.shorter = nn.Conv1d(32, 16, 5, stride=2)
        self.head = nn.Sequential(nn.Flatten(), nn.LayerNorm(16 * 254), nn.GELU(), nn.Linear(16 * 254, 1))

    def forward(self, x):
        x = self.project(self.stem(x).flatten(2).transpose(1, 2))
        return self.head(self.shorter(self.block(x).transpose(1, 2)))


class Gated(nn.Module):
    """Views, products, a kept mask, and weights that are used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.gate = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
        self.gate.weight = self.first.weight

    def forward(self, x):
        for _ in range(3):
            left, right = self.first(x), torch.sigmoid(self.gate(x))
            x = functional.dropout(left * right, 0.3) + x[:, torch.arange(63, -1, -1)]
        return x.softmax(1)


def kept_by_a_real_step(build, shape, precision):
    """Bytes of the memory that the graph holds, and of the optimiser's state: real tensors, real addresses."""
    torch.manual_seed(0)
    network, x = build(), torch.randn(shape)
    network.train()
    own = {entry.untyped_storage().data_ptr() for entry in [*network.parameters(), *network.buffers(), x]}
    held, sizes = [], {}

    def pack(tensor):
        held.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    mixed = torch.autocast("cpu", torch.bfloat16) if precision == "bf16-mixed" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), mixed:
        loss = squared(network, {"x": x})
    loss.backward()
    optimiser = torch.optim.AdamW(network.parameters())
    optimiser.step()
    state = [value for entry in optimiser.state.values() for value in entry.values() if value.ndim]
    return sum(size for place, size in sizes.items() if place not in own), sum(v.nbytes for v in state)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("build", "shape"), [(Mixed, (2, 1, 16, 16, 16)), (Gated, (50, 64))])
def test_memory_is_what_a_real_step_keeps(build, shape, precision):
    found = priced(build, *shape, precision=precision)
    activations, state = kept_by_a_real_step(build, shape, precision)
    assert found.memory["activations"] == pytest.approx(activations, rel=0.02)
    assert found.memory["optimiser"] == state
    assert found.memory["weights"] == found.memory["gradients"] == 4 * found.parameters
    assert found.memory["batch"] == 4 * torch.zeros(shape).numel()
    assert found.total == sum(found.memory.values())


@pytest.mark.parametrize(("build", "shape"), [(Mixed, (2, 1, 16, 16, 16)), (Gated, (50, 64))])
def test_code_that_knows_the_meta_device_costs_the_same_there(build, shape):
    step, batch = valued(squared), {"x": (shape, "float32")}
    assert price(build, step, batch) == price(build, squared, batch)
    with torch.device("meta"):
        network = build()
    for precision, is_mixed in (("32-true", False), ("bf16-mixed", True)):
        there = pricing._on_the_processor(copy.deepcopy(network), squared, batch, precision)
        assert (there.activations < pricing._on_no_device(network, squared, batch).activations) == is_mixed
    assert price(build, step, batch, precision="bf16-mixed").precision == "32-true"


MEASURED = """
import torch
from torch import nn

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096

torch.set_num_threads(1)
network = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Conv2d(4, 4, 1), nn.Tanh())])
x = torch.randn(16, 4, 256, 256)
network(x).pow(2).mean().backward()
before = resident()
loss = network(x).pow(2).mean()
print(resident() - before)
"""


def test_memory_is_what_the_process_grows_by():
    # What is freed goes back to the system at once, so that what is left is what is kept.
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
    layers = lambda: nn.Sequential(*[layer for _ in range(6) for layer in (nn.Conv2d(4, 4, 1), nn.Tanh())])  # noqa: E731
    found = priced(layers, 16, 4, 256, 256)
    assert found.memory["activations"] > 100e6
    assert found.memory["activations"] == pytest.approx(int(done.stdout), rel=0.05)


def test_what_is_computed_again_is_not_kept():
    class Again(Mixed):
        def forward(self, x):
            x = self.project(self.stem(x).flatten(2).transpose(1, 2))
            return self.head(self.shorter(checkpoint(self.block, x, use_reentrant=False).transpose(1, 2)))

    plain, again = (priced(build, 2, 1, 16, 16, 16) for build in (Mixed, Again))
    assert again.memory["activations"] < 0.6 * plain.memory["activations"]
    assert again.forward == plain.forward
    assert again.step > plain.step


def test_what_is_frozen_has_no_gradient_and_what_is_shared_counts_once():
    def build():
        network = Mixed()
        network.stem.requires_grad_(False)
        return network

    found, whole = priced(build, 2, 1, 16, 16, 16), priced(Mixed, 2, 1, 16, 16, 16)
    stem = 8 * 27 + 8 + 16
    assert (found.parameters, found.parameters - found.trainable) == (whole.parameters, stem)
    assert found.memory["gradients"] == whole.memory["gradients"] - 4 * stem
    assert found.memory["optimiser"] == 2 * found.memory["gradients"]
    assert found.memory["activations"] < whole.memory["activations"]
    shared = priced(Gated, 50, 64)
    assert shared.parameters == 64 * 64 + 64
    assert shared.by_module == {"first": 64 * 64 + 64, "gate": 0}


@pytest.mark.parametrize(
    ("given", "times"),
    [({"optimiser": "adamw"}, 2), ({"optimiser": "sgd"}, 0), ({"optimiser": "sgd", "momentum": 0.9}, 1),
     ({"optimiser": "rmsprop"}, 1), ({"optimiser": "rmsprop", "momentum": 0.9}, 2)],
)  # fmt: skip
def test_an_optimiser_keeps_what_it_keeps(given, times):
    found = priced(lambda: nn.Linear(8, 9), 4, 8, **given)
    assert found.memory["optimiser"] == times * 4 * found.parameters
    network = nn.Linear(8, 9)
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}[given["optimiser"]]
    optimiser = kind(network.parameters(), **{key: value for key, value in given.items() if key != "optimiser"})
    network(torch.ones(4, 8)).sum().backward()
    optimiser.step()
    kept = [v for entry in optimiser.state.values() for v in entry.values() if isinstance(v, torch.Tensor) and v.ndim]
    assert found.memory["optimiser"] == sum(value.nbytes for value in kept)
    assert priced(lambda: nn.Linear(8, 9), 4, 8, average=True).memory["average"] == 4 * found.parameters


# ---- without doing it


def test_billions_of_parameters_are_priced_without_their_memory():
    def build():
        layer = nn.TransformerEncoderLayer(4096, 32, 16384, batch_first=True)
        return nn.Sequential(
            *[layer, *(nn.TransformerEncoderLayer(4096, 32, 16384, batch_first=True) for _ in range(7))]
        )

    priced(lambda: nn.Linear(2, 2), 1, 2)
    state, before = torch.random.get_rng_state(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = priced(build, 4, 2048, 4096)
    assert found.parameters == 8 * (4 * 4096**2 + 4 * 4096 + 2 * 4096 * 16384 + 16384 + 4096 + 4 * 4096)
    assert found.total > 60e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"
    assert torch.equal(torch.random.get_rng_state(), state)
    words = in_words(found.told())
    assert words[0].startswith("1,611,038,720 parameters: 0 201,379,840")
    assert words[1].startswith("a step of x 4x2048x4096: ")
    assert words[2].startswith("memory in 32-true: at least ")


def test_what_is_not_counted_is_said():
    class Spectral(nn.Linear):
        def forward(self, x):
            return torch.fft.rfft(super().forward(x)).abs()

    found = priced(lambda: Spectral(8, 8), 4, 8)
    assert found.not_counted == ("Fourier transforms",)
    assert in_words(found.told())[-1] == "not counted among the FLOP: Fourier transforms"


def test_a_cost_that_depends_on_values_is_refused():
    for loss in (lambda network, batch: network(batch["x"]).mean() * batch["x"].sum().item(),
                 lambda network, batch: network(batch["x"][batch["x"][:, 0] > 0]).mean()):  # fmt: skip
        with pytest.raises(ValueError, match="its cost depends on values"):
            price(lambda: nn.Linear(8, 8), loss, {"x": ((4, 8), "float32")})


def test_a_network_alone_is_counted_without_a_batch():
    found = price(Mixed)
    assert found.parameters == sum(entry.numel() for entry in Mixed().parameters())
    assert (found.step, found.total) == (0, 0)
    assert len(in_words(found.told())) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 "), (999, "999 "), (999.6, "1 k"), (1234, "1.23 k"), (2e12, "2 T"), (5e21, "5e+03 E")]
)
def test_numbers_are_scaled(value, text):
    assert scaled(value) == text


def test_describing_needs_torch_only_where_there_is_something_to_price():
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE / 'scripts')!r}); "
        "import replicortex.stages.catalogue; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
