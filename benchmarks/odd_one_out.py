"""Embeddings of the odd one out, trained side by side, beside a plain PyTorch loop that trains one after another.

    python benchmarks/odd_one_out.py

The loop is what the published method says and nothing else: three dot products, cross-entropy, the L1 penalty over the
number of objects, Adam. It takes the same batches and begins with the same numbers, so that both must end with the same
embeddings, which is checked. The packages of the method's authors are not on the Python index. Processor seconds of the
whole process, one thread, the smallest of several turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
import torch
from torch.nn import functional

from replicortex.methods.spose import Spose
from replicortex.shared.torch_device import reproducible

PENALTY, RATE = 0.005, 1e-3
#: Weights may differ by rounding: sums over beginnings are made in another order.
TOLERANCE = 1e-4


def choices(n_objects: int, n_triplets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return objects (n, 3) and which is the odd one, drawn from a true embedding of 20 dimensions."""
    generator = np.random.default_rng(0)
    true = np.maximum(generator.normal(0, 1, (n_objects, 20)), 0)
    triplets = np.array([generator.choice(n_objects, 3, replace=False) for _ in range(n_triplets)])
    a, b, c = (true[triplets[:, k]] for k in range(3))
    scores = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], axis=1)
    return triplets, (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)


def plain(
    begin: np.ndarray, triplets: np.ndarray, odd: np.ndarray, epochs: int, size: int, positivity: float
) -> np.ndarray:
    """Return the embeddings (n_seeds, n_objects, n_dims) of one training after another."""
    objects, target, found = torch.from_numpy(triplets), torch.from_numpy(odd), []
    for weights in begin:
        table = torch.nn.Parameter(torch.from_numpy(weights.copy()))
        optimiser = torch.optim.Adam([table], lr=RATE)
        for epoch in range(1, epochs + 1):
            order = torch.from_numpy(np.random.default_rng([0, 2, epoch]).permutation(len(odd)))
            for rows in order.split(size):
                one, two, three = table[objects[rows]].unbind(dim=1)
                scores = torch.stack([(two * three).sum(1), (one * three).sum(1), (one * two).sum(1)], dim=1)
                loss = functional.cross_entropy(scores, target[rows])
                loss = loss + PENALTY * table.abs().sum() / len(table) + positivity * torch.relu(-table).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        found.append(table.detach().numpy())
    return np.stack(found)


def engine(method: Spose, triplets: np.ndarray, odd: np.ndarray, shapes: dict[str, int]) -> np.ndarray:
    """Return the embeddings of all beginnings, trained side by side."""
    with contextlib.redirect_stderr(io.StringIO()):
        network = method._trained(triplets, odd, shapes, PENALTY, 0)[0]
    weights = network.table.weight.detach().numpy()
    return weights.reshape(shapes["n_objects"], method.n_seeds, shapes["n_dims"]).transpose(1, 0, 2)


def main(turns: int, epochs: int) -> None:
    """Print both times and how far the embeddings differ, for several sizes."""
    cases = ((150, 20, 4, 100), (150, 50, 20, 100), (150, 60, 3, 1000), (1854, 100, 4, 100))
    for n_objects, n_dims, n_seeds, size in cases:
        n_triplets = 100 * size
        method = Spose(n_seeds=n_seeds, epochs=epochs, batch_size=size, learning_rate=RATE)
        shapes = {"n_objects": n_objects, "n_dims": n_dims}
        triplets, odd = choices(n_objects, n_triplets)
        with reproducible(0):
            begin = method.network(**shapes).table.weight.detach().numpy()
        begin = np.ascontiguousarray(begin.reshape(n_objects, n_seeds, n_dims).transpose(1, 0, 2))
        best, made = {}, {}
        ways = {
            "plain": (plain, begin, triplets, odd, epochs, size, method.positivity),
            "side by side": (engine, method, triplets, odd, shapes),
        }
        for _ in range(turns):
            for name, (function, *arguments) in ways.items():
                started = time.process_time()
                made[name] = function(*arguments)
                best[name] = min(best.get(name, np.inf), time.process_time() - started)
        difference = np.abs(made["plain"] - made["side by side"]).max()
        print(
            f"{n_objects} objects, {n_dims} dimensions, {n_seeds} beginnings, {n_triplets * epochs} choices in {size}s:"
            f" plain {best['plain']:.2f} s, side by side {best['side by side']:.2f} s"
            f" ({best['plain'] / best['side by side']:.1f} times as fast), embeddings differ by {difference:.1e}",
            flush=True,
        )
        if difference > TOLERANCE:
            raise SystemExit("the embeddings differ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    main(given.turns, given.epochs)
