"""The training engine, held against a plain PyTorch loop, closed forms, and processes that are killed."""

from __future__ import annotations

import copy
import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException

from replicortex.digest import PACKAGE
from replicortex.errors import InputError
from replicortex.shared import torch_device, training, training_log
from replicortex.shared.rows import Rows, batches
from replicortex.shared.torch_device import reproducible
from replicortex.shared.training import Training, held_back, predict, train

N, WIDTH = 83, 6


def data(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, WIDTH))
    return {"x": x, "y": np.tanh(x @ rng.normal(size=WIDTH)) + 0.1 * rng.normal(size=N)}


def built(dropout: float = 0.0) -> nn.Module:
    with reproducible(0):
        return nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 1))


def loss(network, batch):
    return ((network(batch["x"])[:, 0] - batch["y"]) ** 2).mean()


def noise(batch, generator):
    return {**batch, "x": batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)}


def context(scratch=None, untrained=False):
    return SimpleNamespace(scratch=scratch, untrained=untrained, name="net")


def weights(network: nn.Module) -> np.ndarray:
    return np.concatenate([entry.detach().numpy().ravel() for entry in network.parameters()])


def run(settings: Training, *, seed: int = 3, dropout: float = 0.0, scratch=None, **more):
    return train(built(dropout), loss, data(), settings, seed=seed, context=context(scratch), **more)


@pytest.fixture
def two_devices(monkeypatch):
    """Two processes of the processor in place of two GPUs."""
    monkeypatch.setattr(training, "n_devices", lambda cuda=False: 0 if cuda else 2)


# ---- the numbers


PLAIN = {
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}, "constant", None),
    "adam": (torch.optim.Adam, {"weight_decay": 0.01}, "one_cycle", "OneCycleLR"),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}, "cosine", "CosineAnnealingLR"),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.5}, "constant", None),
}


@pytest.mark.parametrize("name", PLAIN)
def test_equals_a_plain_loop(name):
    optimiser, options, schedule, peer = PLAIN[name]
    epochs, size, rate = 7, 16, 0.01
    arrays, network = data(), built()
    total = epochs * 6
    made = optimiser(network.parameters(), lr=rate, **options)
    if peer == "OneCycleLR":
        scheduler = torch.optim.lr_scheduler.OneCycleLR(made, rate, total_steps=total)
    elif peer:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made, total)
    losses, rates = [], []
    for epoch in range(1, epochs + 1):
        order, summed = np.random.default_rng([3, 2, epoch]).permutation(N), 0.0
        for start in range(0, N, size):
            rows = order[start : start + size]
            batch = {key: torch.from_numpy(values[rows].astype(np.float32)) for key, values in arrays.items()}
            value = loss(network, batch)
            made.zero_grad()
            value.backward()
            rates.append(made.param_groups[0]["lr"])
            made.step()
            if peer:
                scheduler.step()
            summed += value.item() * len(rows)
        losses.append(summed / N)
    settings = Training(
        epochs=epochs, batch_size=size, learning_rate=rate, optimiser=name, schedule=schedule, **options
    )
    trained = run(settings)
    np.testing.assert_allclose(weights(trained.network), weights(network), rtol=0, atol=1e-6)
    np.testing.assert_allclose([entry["loss"] for entry in trained.history], losses, rtol=1e-6)
    np.testing.assert_allclose([entry["lr"] for entry in trained.history], rates[5::6], rtol=1e-6, atol=1e-12)
    assert trained.n_steps == total
    assert not trained.network.training
    assert np.abs(weights(trained.network) - weights(built())).max() > 1e-3


def test_warmup_rises_and_the_cosine_falls_to_zero():
    settings = Training(schedule="warmup_cosine", warmup=0.2)
    factors = np.array([training.rate_at(step, 50, settings)[0] for step in range(51)])
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(factors[10:], 0.5 * (1 + np.cos(np.pi * np.arange(41) / 40)), atol=1e-12)
    assert training.rate_at(4, 50, Training(warmup=10))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("size", [8, 32])
def test_accumulated_batches_equal_large_ones(size):
    """83 rows: the last step has 19 rows in batches of 8, 8 and 3, each row of which must weigh the same."""
    whole = run(Training(epochs=3, batch_size=32, optimiser="sgd", learning_rate=0.1))
    parts = run(Training(epochs=3, batch_size=size, accumulate=32 // size, optimiser="sgd", learning_rate=0.1))
    np.testing.assert_allclose(weights(parts.network), weights(whole.network), rtol=0, atol=1e-6)
    assert parts.n_steps == whole.n_steps == 9


def test_gradients_are_clipped_together():
    """One step of plain gradient descent moves by the norm of the gradient, at most ``clip``."""
    before = weights(built())
    free = run(Training(max_steps=1, optimiser="sgd", learning_rate=1.0))
    clipped = run(Training(max_steps=1, optimiser="sgd", learning_rate=1.0, clip=0.01))
    assert np.linalg.norm(weights(free.network) - before) > 0.1
    assert np.linalg.norm(weights(clipped.network) - before) == pytest.approx(0.01, rel=1e-4)


def test_the_moving_average_has_its_closed_form():
    decay, steps = 0.8, 5
    path = [weights(built())]
    path += [weights(run(Training(batch_size=16, max_steps=step, learning_rate=0.05)).network) for step in range(1, 6)]
    expected = decay**steps * path[0]
    expected += sum((1 - decay) * decay ** (steps - step) * path[step] for step in range(1, steps + 1))
    averaged = run(Training(batch_size=16, max_steps=steps, learning_rate=0.05, ema=decay))
    np.testing.assert_allclose(weights(averaged.network), expected, rtol=0, atol=1e-6)


def test_groups_of_parameters_have_their_own_rate():
    def groups(network):
        return [{"params": network[0].parameters(), "lr": 0.0}, {"params": network[3].parameters()}]

    trained = run(Training(epochs=2, parameter_groups=groups)).network
    assert torch.equal(trained[0].weight, built()[0].weight)
    assert not torch.equal(trained[3].weight, built()[3].weight)


def test_terms_are_added_and_told_apart():
    def terms(network, batch):
        return {"fit": loss(network, batch), "size": 0.1 * network[0].weight.square().sum(), "_seen": batch["x"].mean()}

    def together(network, batch):
        parts = terms(network, batch)
        return parts["fit"] + parts["size"]

    settings = Training(epochs=2)
    first = train(built(), terms, data(), settings, seed=0)
    second = train(built(), together, data(), settings, seed=0)
    np.testing.assert_array_equal(weights(first.network), weights(second.network))
    entry = first.history[-1]
    assert entry["loss"] == pytest.approx(entry["loss_fit"] + entry["loss_size"])
    assert entry["loss_seen"] == pytest.approx(data()["x"].mean(), abs=1e-6)


def test_half_precision_leaves_weights_and_targets_whole():
    kinds = set()

    def watched(network, batch):
        made = network(batch["x"])
        kinds.add((made.dtype, batch["x"].dtype, batch["y"].dtype, network[0].weight.dtype))
        return ((made[:, 0].float() - batch["y"]) ** 2).mean()

    trained = train(built(), watched, data(), Training(epochs=2, precision="bf16-mixed"), seed=0)
    assert kinds == {(torch.bfloat16, torch.float32, torch.float32, torch.float32)}
    whole = train(built(), loss, data(), Training(epochs=2), seed=0)
    difference = np.abs(weights(trained.network) - weights(whole.network)).max()
    assert 0 < difference < 0.01


def test_batches_are_float32_int64_and_bool():
    seen = {}
    arrays = {"x": data()["x"], "c": np.arange(N, dtype=np.uint8), "m": np.arange(N) % 2 == 0}

    def look(network, batch):
        seen.update({name: values.dtype for name, values in batch.items()})
        return network(batch["x"]).square().mean()

    train(built(), look, arrays, Training(epochs=1), seed=0)
    assert seen == {"x": torch.float32, "c": torch.int64, "m": torch.bool}


def test_a_single_last_row_joins_the_batch_before():
    sizes = []
    arrays = {"x": data()["x"][:65]}

    def normalised(network, batch):
        sizes.append(len(batch["x"]))
        return network(batch["x"]).var()

    train(built(), normalised, arrays, Training(epochs=1, batch_size=16), seed=0)
    assert sizes == [16, 16, 16, 17]


def test_same_seed_same_bytes_another_seed_others():
    settings = Training(epochs=2, validation=0.2, ema=0.9)
    one, two, three = (run(settings, seed=seed, dropout=0.3, augment=noise) for seed in (1, 1, 2))
    assert weights(one.network).tobytes() == weights(two.network).tobytes()
    assert one.history == two.history
    assert weights(one.network).tobytes() != weights(three.network).tobytes()


def test_an_untrained_twin_takes_no_step():
    twin = train(built(), loss, data(), Training(), seed=0, context=context(untrained=True))
    np.testing.assert_array_equal(weights(twin.network), weights(built()))
    assert twin.n_steps == 0
    assert twin.history == []


def test_torch_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run(Training(epochs=1, validation=0.2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


# ---- validation


def test_validation_shares_no_group_with_training():
    groups = np.repeat(np.arange(21), 4)[:N]
    arrays = {**data(), "row": np.arange(N)}
    seen = {True: set(), False: set()}

    def watched(network, batch):
        seen[network.training].update(batch["row"].tolist())
        return loss(network, batch)

    train(built(), watched, arrays, Training(epochs=2, validation=0.25), seed=0, groups=groups)
    assert seen[True] | seen[False] == set(range(N))
    assert set(groups[list(seen[True])]).isdisjoint(groups[list(seen[False])])
    assert len(set(groups[list(seen[False])])) == round(0.25 * 21)


def test_the_best_state_comes_back_and_training_ends_early():
    """With noise for targets, validation gets worse while training gets better."""
    arrays = {"x": data()["x"], "y": np.random.default_rng(1).normal(size=N)}
    settings = Training(epochs=60, batch_size=8, learning_rate=0.03, validation=0.4, patience=4)
    trained = train(built(), loss, arrays, settings, seed=0)
    values = [entry["val_loss"] for entry in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(values))
    assert len(values) == trained.best_epoch + 4 < 60
    _, held = held_back(np.arange(N), 0.4, 0)
    predicted = predict(trained.network, {"x": arrays["x"][held]})[:, 0]
    assert np.mean((predicted - arrays["y"][held]) ** 2) == pytest.approx(min(values), rel=1e-5)
    assert values[-1] > min(values)


def test_validation_changes_nothing_but_the_choice():
    """It neither draws from the generators that training draws from, nor leaves anything behind."""
    arrays, groups = data(), np.arange(N)
    kept, _ = held_back(groups, 0.2, 0)
    # The rows that are left, so that without validation the same are trained on.
    settings = Training(epochs=3, shuffle=False, ema=0.5, batch_size=16)
    alone = {name: values[kept] for name, values in arrays.items()}
    plain = train(built(0.5), loss, alone, settings, seed=0)
    judged = train(
        built(0.5), loss, arrays, Training(epochs=3, shuffle=False, ema=0.5, batch_size=16, validation=0.2), seed=0
    )
    assert judged.best_epoch == 3
    np.testing.assert_array_equal(weights(judged.network), weights(plain.network))


# ---- several devices


def test_two_processes_equal_one(two_devices):
    settings = {
        "epochs": 3,
        "batch_size": 6,
        "accumulate": 3,
        "clip": 0.5,
        "ema": 0.7,
        "validation": 0.2,
        "learning_rate": 0.01,
        "schedule": "cosine",
    }
    two = run(Training(**settings))
    assert torch_device.shared_out
    one = run(Training(**settings, devices=1))
    np.testing.assert_allclose(weights(two.network), weights(one.network), rtol=0, atol=1e-6)
    for a, b in zip(two.history, one.history, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_a_process_without_rows_takes_part_and_counts_nothing(two_devices):
    settings = {"epochs": 1, "batch_size": 1, "optimiser": "sgd", "max_steps": 5}
    two, one = run(Training(**settings)), run(Training(**settings, devices=1))
    np.testing.assert_allclose(weights(two.network), weights(one.network), rtol=0, atol=1e-6)


def test_a_fault_of_one_process_is_one_line(two_devices):
    def bad(network, batch):
        return loss(network, batch) + (float("nan") if (batch["y"] == 99).any() else 0.0)

    arrays = data()
    arrays["y"][7] = 99
    with pytest.raises(InputError, match=r"^training net: the loss is not finite \(epoch 1, step \d+\); lower"):
        train(built(), bad, arrays, Training(epochs=1, batch_size=8), seed=0, context=context())


def test_predictions_are_shared_out(two_devices):
    network, arrays = built(), {"x": data()["x"]}
    both = predict(network, arrays, 16, lambda network, batch: {"a": network(batch["x"]), "b": batch["x"]})
    np.testing.assert_array_equal(both["b"], arrays["x"].astype(np.float32))
    with torch.no_grad():
        whole = network(torch.from_numpy(arrays["x"].astype(np.float32))).numpy()
    np.testing.assert_allclose(both["a"], whole, atol=1e-6)


# ---- interruption

HARD = Training(
    epochs=4,
    batch_size=4,
    accumulate=3,
    ema=0.9,
    validation=0.2,
    clip=1.0,
    schedule="one_cycle",
    optimiser="adam",
    minutes=0,
)


def _train_slowly(scratch, counter):
    """Train in a process that is to be killed; it leaves its place after every batch."""

    def counted(batch, generator):
        with counter.open("a") as stream:
            stream.write(".")
        time.sleep(0.01)
        return noise(batch, generator)

    # What decides on the digest must be the same function as where nothing is killed.
    training.train(built(0.3), loss, data(), HARD, seed=3, context=context(scratch), augment=_Counting(counted))


class _Counting:
    """Augmentation that does something beside, and is called what the plain one is."""

    __qualname__ = "noise"

    def __init__(self, function=noise):
        self.function = function

    def __call__(self, batch, generator):
        return self.function(batch, generator)


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path):
    """Killed by SIGKILL three times, in the middle of epochs and between the batches of a step."""
    whole = run(HARD, dropout=0.3, augment=_Counting(), scratch=tmp_path / "whole")
    made = []
    for kill_after in (8, 20, 30):
        counter = tmp_path / f"counter-{kill_after}"
        process = multiprocessing.get_context("fork").Process(
            target=_train_slowly, args=(tmp_path / "killed", counter), daemon=True
        )
        process.start()
        started = time.monotonic()
        while time.monotonic() - started < 60 and not (counter.exists() and counter.stat().st_size >= kill_after):
            time.sleep(0.002)
        assert process.is_alive(), "it ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        made.append(counter.stat().st_size)
    left = tmp_path / "counter-last"
    _train_slowly(tmp_path / "killed", left)
    n_batches = 4 * 17
    assert sum(made) + left.stat().st_size < n_batches + 4 * 6, "each kill costs the batches of a step, not an epoch"
    assert left.stat().st_size < n_batches - 30
    resumed = run(HARD, dropout=0.3, augment=_Counting(), scratch=tmp_path / "killed")
    assert weights(resumed.network).tobytes() == weights(whole.network).tobytes()
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch


class _Dying(_Counting):
    """Ends one of two processes without a word, in step 60 of 84."""

    __qualname__ = "noise"

    def __call__(self, batch, generator):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 60 and torch.distributed.get_rank() == 1:
            os._exit(9)
        return noise(batch, generator)


def test_processes_go_on_where_they_were_when_one_of_them_died(two_devices, tmp_path):
    settings = Training(epochs=4, batch_size=4, ema=0.9, validation=0.1, minutes=0)
    whole = run(settings, dropout=0.3, augment=_Counting(), scratch=tmp_path / "whole")
    with pytest.raises(ProcessExitedException):
        run(settings, dropout=0.3, augment=_Dying(), scratch=tmp_path / "died")
    (path,) = (tmp_path / "died").glob("net-*/training.pt")
    assert torch.load(path, weights_only=True)["n_steps"] == 50
    resumed = run(settings, dropout=0.3, augment=_Counting(), scratch=tmp_path / "died")
    assert weights(resumed.network).tobytes() == weights(whole.network).tobytes()
    assert resumed.history == whole.history


def test_a_finished_training_is_not_repeated(tmp_path):
    class Counted(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.inner = built()

        def forward(self, x):
            Counted.calls += 1
            return self.inner(x)

    settings = Training(epochs=2)
    first = train(Counted(), loss, data(), settings, seed=0, context=context(tmp_path))
    assert (n_calls := Counted.calls) > 0
    second = train(Counted(), loss, data(), settings, seed=0, context=context(tmp_path))
    assert Counted.calls == n_calls
    np.testing.assert_array_equal(weights(first.network), weights(second.network))
    assert first.history == second.history


@pytest.mark.parametrize("change", ["seed", "settings", "rows", "start", "code"])
def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path, change):
    settings, other = Training(epochs=1), {}
    train(built(), loss, data(), settings, seed=0, context=context(tmp_path))
    arrays = data(1) if change == "rows" else data()
    network = built()
    if change == "start":
        with torch.no_grad():
            network[0].bias[0] += 1
    other = {
        "settings": Training(epochs=1, learning_rate=0.1) if change == "settings" else settings,
        "seed": 1 if change == "seed" else 0,
    }
    used = (lambda network, batch: 2 * loss(network, batch)) if change == "code" else loss
    again = train(copy.deepcopy(network), used, arrays, context=context(tmp_path), **other)
    fresh = train(copy.deepcopy(network), used, arrays, context=context(), **other)
    np.testing.assert_array_equal(weights(again.network), weights(fresh.network))
    assert len(list(tmp_path.glob("net-*"))) == 2


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", "half"])
def test_a_damaged_checkpoint_is_begun_anew(tmp_path, damage):
    settings = Training(epochs=1)
    first = run(settings, scratch=tmp_path)
    (path,) = tmp_path.glob("net-*/training.pt")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    np.testing.assert_array_equal(weights(run(settings, scratch=tmp_path).network), weights(first.network))


def test_a_checkpoint_can_not_run_code(tmp_path):
    settings = Training(epochs=1)
    run(settings, scratch=tmp_path)
    (path,) = tmp_path.glob("net-*/training.pt")

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/pwned",)

    torch.save({"format": 1, "digest": Evil()}, path)
    run(settings, scratch=tmp_path)
    assert not (tmp_path / "pwned").exists()


# ---- bad input


def test_a_loss_that_is_not_finite_is_one_line(tmp_path):
    with pytest.raises(
        InputError, match=r"^training net: the loss is not finite \(epoch \d, step \d+\); lower"
    ) as told:
        run(Training(optimiser="sgd", learning_rate=1e20, batch_size=16, epochs=3))
    assert "\n" not in str(told.value)
    # The last step of all is seen by no loss.

    def steep(network, batch):
        return (0 * network[0].weight).square().sum().sqrt()

    with pytest.raises(InputError, match=r"weights 0\.weight are not finite"):
        train(built(), steep, data(), Training(max_steps=1), seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"schedule": "cosin"}, "schedule 'cosin'; choose one of"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"patience": 3}, "patience without validation"),
    ],
)
def test_refuses_settings_without_sense(given, told):
    with pytest.raises(InputError, match=told):
        Training(**given)


def test_refuses_arrays_that_do_not_fit():
    with pytest.raises(InputError, match=r"arrays differ in length: .*83.*82"):
        train(built(), loss, {"x": data()["x"], "y": data()["y"][1:]}, Training(), seed=0)
    with pytest.raises(InputError, match="array y holds <U1"):
        train(built(), loss, {**data(), "y": np.full(N, "a")}, Training(), seed=0)
    with pytest.raises(InputError, match="validation needs two groups"):
        run(Training(validation=0.2), groups=np.zeros(N))
    with pytest.raises(InputError, match="has no rows"):
        train(built(), loss, {"x": np.empty((0, WIDTH))}, Training(), seed=0)


# ---- logs


def test_a_line_and_a_row_an_epoch(tmp_path, capsys):
    trained = run(Training(epochs=3, validation=0.2), scratch=tmp_path)
    (path,) = tmp_path.glob("net-*/log.csv")
    rows = list(csv.DictReader(path.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["val_loss"]) for row in rows] == [entry["val_loss"] for entry in trained.history]
    assert float(rows[-1]["rows_per_second"]) > 0
    assert int(rows[-1]["n_steps"]) == trained.n_steps
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("net: epoch 3/3: loss ") and "validation" in line for line in lines)


def test_what_tensorboard_is_told(tmp_path, monkeypatch):
    told = []
    writer = SimpleNamespace(add_scalar=lambda *values: told.append(values), close=lambda: told.append("closed"))
    monkeypatch.setattr(training_log, "_events", lambda folder: writer)
    trained = run(Training(epochs=2, validation=0.2, batch_size=N), scratch=tmp_path)
    assert [entry[1:] for entry in told if entry[0] == "val_loss"] == [
        (entry["val_loss"], number) for number, entry in enumerate(trained.history, start=1)
    ]
    assert {entry[0] for entry in told[:-1]} == {"loss", "val_loss", "lr", "rows_per_second"}
    assert told[-1] == "closed"


# ---- predictions


def test_a_prediction_in_64_bits_does_not_depend_on_its_neighbours():
    network, x = built(), data()["x"]
    whole = predict(network, {"x": x}, 50, double=True)
    alone = np.concatenate([predict(network, {"x": x[[row]]}, double=True) for row in range(0, N, 9)])
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole[::9], alone, rtol=1e-12)
    assert network[0].weight.dtype == torch.float32
    np.testing.assert_allclose(predict(network, {"x": x}), whole, atol=1e-6)


def test_predictions_may_ask_for_gradients_and_draw():
    def slope(network, batch):
        x = batch["x"].requires_grad_()
        return torch.autograd.grad(network(x).sum(), x)[0]

    network = nn.Linear(WIDTH, 1)
    made = predict(network, {"x": data()["x"]}, 20, slope, gradients=True)
    np.testing.assert_allclose(made, np.repeat(network.weight.detach().numpy(), N, 0))

    def drawn(network, batch):
        return torch.randn(len(batch["x"]))

    first, same, other = (predict(network, {"x": data()["x"]}, 20, drawn, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()
    assert predict(network, {"x": data()["x"][:0]}).shape == (0, 1)


# ---- rows


def parts(n_parts: int = 3, n: int = 10) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n + number, 4, 2)) for number in range(n_parts)]


def test_rows_are_those_of_the_whole(tmp_path):
    whole = np.concatenate(parts())
    mapped = []
    for number, part in enumerate(parts()):
        np.save(tmp_path / f"{number}.npy", part)
        mapped.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    lazy, rng = Rows(mapped), np.random.default_rng(1)
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    assert lazy.shape == whole.shape
    assert lazy.dtype == whole.dtype
    for _ in range(20):
        wanted = rng.integers(0, len(whole), 17)
        np.testing.assert_array_equal(lazy.take(wanted), whole[wanted])
        np.testing.assert_array_equal(lazy.subset(wanted).take([3, 3, 0]), whole[wanted][[3, 3, 0]])
    mask = rng.random(len(whole)) < 0.5
    np.testing.assert_array_equal(lazy[mask], whole[mask])
    np.testing.assert_array_equal(lazy[-3:, 1], whole[-3:, 1])
    np.testing.assert_array_equal(lazy[-1, 1], whole[-1, 1])
    with pytest.raises(IndexError):
        lazy[[len(whole)]]
    with pytest.raises(ValueError, match="do not fit together"):
        Rows([np.zeros((2, 3)), np.zeros((2, 4))])


def test_training_from_files_equals_training_from_memory(tmp_path):
    arrays = data()
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", values)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}
    rows = {name: Rows([values[:30], values[30:]]) for name, values in mapped.items()}
    settings = Training(epochs=2, batch_size=8)
    trained = [train(built(), loss, given, settings, seed=0) for given in (arrays, mapped, rows)]
    for other in trained[1:]:
        np.testing.assert_array_equal(weights(other.network), weights(trained[0].network))


def test_a_reader_that_is_not_wanted_any_more_ends():
    stream = batches({"x": Rows(parts())}, [np.arange(3)] * 5)
    next(stream)
    stream.close()
    with pytest.raises(ZeroDivisionError):
        list(batches({"x": Rows(parts())}, [np.arange(3)], lambda batch: 1 / 0))


MEASURE = """
import json, sys
sys.path.insert(0, {library!r})
import numpy as np, torch
from replicortex.shared.rows import Rows
from replicortex.shared.training import Training, train

def peak():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) / 1024

def loss(network, batch):
    return network(batch["x"]).square().mean()

paths = sys.argv[1:]
whole = Rows([np.load(path, mmap_mode="r") for path in paths])
train(torch.nn.Linear(4, 1), loss, {{"x": np.zeros((8, 4))}}, Training(epochs=1), seed=0)
before = peak()
train(torch.nn.Linear(whole.shape[1], 1), loss, {{"x": whole}}, Training(epochs=1, batch_size=16), seed=0)
print(json.dumps([whole.nbytes / 2**20, before, peak()]))
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    """Growth of the peak of resident memory, pages of mapped files included, over 64 MiB and 512 MiB."""
    paths = [str(tmp_path / f"{number}.npy") for number in range(8)]
    for path in paths:
        # Holes: they take no disk, and memory like anything else once they are read.
        np.lib.format.open_memmap(path, "w+", np.float32, (256, 65536))
    grown = []
    for chosen in (paths[:1], paths):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE.format(library=str(PACKAGE.parent)), *chosen],
            capture_output=True,
            text=True,
            check=True,
        )
        size, before, after = json.loads(done.stdout)
        grown.append(after - before)
        assert size == 64 * len(chosen)
    # Batches of 4 MiB, pieces that are digested, and the 2 MiB around each row that the kernel maps before they go.
    assert max(grown) < 128, f"{grown} MiB"
