"""What the training engine costs beside a plain PyTorch loop, and what memory it needs for data of any size.

    python benchmarks/training.py

Both loops take the same batches in the same order and end with the same weights, which is checked. Processor seconds
of the whole process, the smallest of several turns, one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
import torch
from torch import nn

from replicortex.shared.rows import Rows
from replicortex.shared.torch_device import reproducible
from replicortex.shared.training import Training, train


def perceptron(width: int) -> nn.Module:
    """Return three layers for 64 numbers."""
    return nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))


def volumes() -> nn.Module:
    """Return a small network for volumes of 16 voxels a side."""
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1),
        nn.BatchNorm3d(8),
        nn.ReLU(),
        nn.Conv3d(8, 16, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 343, 1),
    )


CASES = {
    "64-32-32-1, 32 rows a batch": (lambda: perceptron(32), (2048, 64), 32),
    "64-256-256-1, 64 rows a batch": (lambda: perceptron(256), (4096, 64), 64),
    "64-1024-1024-1, 128 rows a batch": (lambda: perceptron(1024), (4096, 64), 128),
    "3D convolutions, 8 rows a batch": (volumes, (128, 1, 16, 16, 16), 8),
}


def loss(network: nn.Module, batch: dict) -> torch.Tensor:
    """Return the mean squared error."""
    return ((network(batch["x"])[:, 0] - batch["y"]) ** 2).mean()


def plain(network: nn.Module, x: np.ndarray, y: np.ndarray, size: int, epochs: int) -> nn.Module:
    """Train with what one would write for this network alone."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    with reproducible(0):
        for epoch in range(1, epochs + 1):
            order = torch.from_numpy(np.random.default_rng([0, 2, epoch]).permutation(len(x)))
            total = 0.0
            for rows in order.split(size):
                value = loss(network, {"x": inputs[rows], "y": targets[rows]})
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                total += value.item() * len(rows)
    return network


def engine(network: nn.Module, x: np.ndarray, y: np.ndarray, size: int, epochs: int) -> nn.Module:
    """Train with the engine."""
    with contextlib.redirect_stderr(io.StringIO()):
        return train(network, loss, {"x": x, "y": y}, Training(epochs=epochs, batch_size=size), seed=0).network


def overhead(turns: int) -> None:
    """Print milliseconds a step of both loops."""
    rng = np.random.default_rng(0)
    for name, (build, shape, size) in CASES.items():
        x = rng.normal(size=shape).astype(np.float32)
        y = x.reshape(len(x), -1)[:, :8].sum(1)
        epochs = 3
        best = {plain: np.inf, engine: np.inf}
        for _ in range(turns):
            made = []
            for function in best:
                with reproducible(0):
                    network = build()
                started = time.process_time()
                made.append(function(network, x, y, size, epochs))
                best[function] = min(best[function], time.process_time() - started)
            pairs = zip(made[0].parameters(), made[1].parameters(), strict=True)
            if not all(torch.equal(a, b) for a, b in pairs):
                raise SystemExit(f"{name}: the loops end with different weights")
        steps = epochs * -(-len(x) // size)
        a, b = (1e3 * best[function] / steps for function in (plain, engine))
        print(f"{name}: plain {a:.3f} ms a step, engine {b:.3f} ms, {100 * (b / a - 1):+.1f} %", flush=True)


def _megabytes(key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) / 1024


def one(paths: list[str]) -> None:
    """Train on files and print what memory it took."""
    data = Rows([np.load(path, mmap_mode="r", allow_pickle=False) for path in paths])
    settings = Training(epochs=1, batch_size=16)
    with contextlib.redirect_stderr(io.StringIO()):
        train(nn.Linear(8, 1), loss, {"x": np.zeros((4, 8)), "y": np.zeros(4)}, settings, seed=0)
        before = _megabytes("VmHWM")
        started = time.monotonic()
        target = np.zeros(len(data), np.float32)
        train(nn.Linear(data.shape[1], 1), loss, {"x": data, "y": target}, settings, seed=0)
    seconds = time.monotonic() - started
    told = {"MB": data.nbytes / 2**20, "grown": _megabytes("VmHWM") - before, "seconds": seconds}
    print(json.dumps(told))


def memory(megabytes: int) -> None:
    """Print how far peak memory grows over 1, 4 and 8 files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.npy" for number in range(8)]
        for path in paths:
            np.lib.format.open_memmap(path, "w+", np.float32, (megabytes * 4, 65536))[:] = 1
        for n in (1, 4, 8):
            done = subprocess.run(
                [sys.executable, __file__, "--one", *paths[:n]], capture_output=True, text=True, check=True
            )
            told = json.loads(done.stdout)
            print(
                f"{told['MB']:.0f} MiB of data: peak resident memory grows by {told['grown']:.0f} MiB"
                f" ({told['MB'] / told['seconds']:.0f} MiB/s)",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=128, help="of one file")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one)
    else:
        overhead(given.turns)
        memory(given.megabytes)
