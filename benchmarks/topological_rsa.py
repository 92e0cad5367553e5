"""Dissimilarity matrices and their transforms beside rsatoolbox: are they equal, and how long do they take.

Correlation distances, comparisons of matrices and noise ceilings must be equal. The geo-topological transform of the
package is right where its sequence of assignments does no harm and there is one matrix; the table tells how many of its
entries differ from the definition, clip((d - l) / (u - l)), computed apart from both. Geodesic transforms are beside
shortest paths by Dijkstra's algorithm on a graph of networkx that keeps edges of length 0; the package brings matrices
to the range from 0 to 1 first, which makes such an edge of the nearest pair, and cuts edges of length 1. The package is
installed into an environment that is made in ``--environment`` (``pip install rsatoolbox``), or name its Python by
``--peer-python``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import environment
from peers import timed as fastest

from replicortex.shared.rdm import (
    dissimilarities,
    geo_topological,
    geodesic,
    noise_ceiling,
    pairs,
    ranked,
    similarity,
    square,
)

RELEASE = "0.3.2"
PACKAGES = (f"rsatoolbox=={RELEASE}", "networkx")
QUANTILES = (0.2, 0.8)
#: Calls of which the fastest counts, here and there.
REPEATS = 20
timed = functools.partial(fastest, repeats=REPEATS)
#: Runs in the environment of the package: reads patterns and matrices, writes results and seconds of CPU.
PEER = """
import sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
import networkx
import rsatoolbox
from rsatoolbox.rdm import RDMs, calc_rdm, compare, geodesic_transform, geotopological_transform
folder, lower, upper, repeats = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
given = np.load(folder + "/given.npz", allow_pickle=False)
found = {}
def timed(name, function):
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        value = function()
        taken.append(time.process_time() - start)
    found[name], found[name + "|seconds"] = np.asarray(value, float), np.array(min(taken))
patterns = given["patterns"]
data = [rsatoolbox.data.Dataset(one) for one in patterns]
timed("distances of patterns", lambda: calc_rdm(data, method="correlation").get_vectors())
people = RDMs(given["people"])
for by, name in (("spearman", "spearman"), ("corr", "correlation"), ("cosine", "cosine"), ("tau-a", "kendall_a")):
    timed(name, lambda: compare(RDMs(given["people"][:4]), RDMs(given["people"][4:8]), method=by))
timed("ceiling", lambda: rsatoolbox.inference.boot_noise_ceiling(people, method="corr"))
# Its transforms write into what they are given.
for scale in ("1.0", "0.5"):
    one = given["scaled " + scale]
    timed("gt " + scale, lambda: geotopological_transform(RDMs(one.copy()), lower, upper).get_vectors())
timed("gt two", lambda: geotopological_transform(RDMs(given["two"].copy()), lower, upper).get_vectors())
for name in ("distances", "coincident", "transformed"):
    timed("geodesic " + name, lambda: geodesic_transform(RDMs(given[name].copy())).get_vectors())
    for cut in (True, False):
        paths = []
        for matrix in RDMs(given[name].copy()).get_matrices():
            graph, n = networkx.Graph(), len(matrix)
            graph.add_nodes_from(range(n))
            edges = [(i, j, float(matrix[i, j])) for i in range(n) for j in range(i)]
            graph.add_weighted_edges_from(edge for edge in edges if edge[2] < 1 or not cut)
            lengths = dict(networkx.all_pairs_dijkstra_path_length(graph))
            paths.append([lengths[i].get(j, np.inf) for i in range(n) for j in range(i + 1, n)])
        found[("cut " if cut else "whole ") + name] = np.array(paths)
np.savez(folder + "/found.npz", **found)
"""


def of_points(n_rdms: int, n: int, seed: int) -> np.ndarray:
    """Return distances of points in the plane, from 0 to 1 in each matrix: (n_rdms, n_pairs)."""
    points = np.random.default_rng(seed).standard_normal((n_rdms, n, 2))
    return spread(pairs(np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)))


def spread(rdms: np.ndarray) -> np.ndarray:
    """Return matrices in the range from 0 to 1."""
    low, high = rdms.min(axis=1, keepdims=True), rdms.max(axis=1, keepdims=True)
    return (rdms - low) / (high - low)


def definition(rdm: np.ndarray) -> np.ndarray:
    """Return the geo-topological transform of one matrix with quantiles of its own dissimilarities."""
    low, high = np.quantile(rdm, QUANTILES)
    return np.array([[min(max((d - low) / (high - low), 0.0), 1.0) for d in rdm[0]]])


def main() -> None:
    """Compute all by both and print the differences and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--rdms", type=int, default=20)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "rsatoolbox-environment")
    parser.add_argument("--peer-python", help="Python of an environment with rsatoolbox")
    given = parser.parse_args()
    python = given.peer_python or environment(given.environment, PACKAGES)

    n, m = given.items, given.rdms
    distances = of_points(m, n, 0)
    coincident = square(of_points(1, n, 1))
    # The second item where the first is.
    coincident[0, 1], coincident[0, :, 1] = coincident[0, 0], coincident[0, :, 0]
    coincident[0, 1, 0] = coincident[0, 0, 1] = coincident[0, 1, 1] = 0
    inputs = {
        "patterns": np.random.default_rng(2).standard_normal((m, n, 100)),
        "people": of_points(8, n, 3) + of_points(1, n, 4),
        "scaled 1.0": distances[:1],
        "scaled 0.5": 0.5 * distances[:1],
        "two": np.concatenate([distances[:1], 0.3 * distances[1:2]]),
        "distances": distances[:5],
        "coincident": pairs(coincident),
        "transformed": geo_topological(ranked(distances[:1]), *QUANTILES),
    }
    ours = {
        "distances of patterns": timed(lambda: np.stack([dissimilarities(one) for one in inputs["patterns"]])),
        **{
            name: timed(lambda name=name: similarity(inputs["people"][:4], inputs["people"][4:8], name))
            for name in ("spearman", "correlation", "cosine", "kendall_a")
        },
        "ceiling": timed(lambda: noise_ceiling(inputs["people"], "correlation")),
        **{f"gt {s}": timed(lambda s=s: geo(inputs[f"scaled {s}"])) for s in ("1.0", "0.5")},
        "gt two": timed(lambda: np.concatenate([geo(one[None]) for one in inputs["two"]])),
        **{
            f"geodesic {name}": timed(lambda name=name: geodesic(inputs[name]))
            for name in ("distances", "coincident", "transformed")
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "given.npz"), **inputs)
        subprocess.run([python, "-c", PEER, folder, *map(str, (*QUANTILES, REPEATS))], check=True)
        with np.load(Path(folder, "found.npz"), allow_pickle=False) as archive:
            peer = dict(archive)
    exact = {f"gt {s}": definition(inputs[f"scaled {s}"]) for s in ("1.0", "0.5")}
    exact["gt two"] = np.concatenate([definition(one[None]) for one in inputs["two"]])
    # By the package's definition edges of the greatest length are cut; by ours they stay.
    whole, cut = (
        {f"geodesic {name}": peer[f"{kind} {name}"] for name in ("distances", "coincident", "transformed")}
        for kind in ("whole", "cut")
    )
    report(ours, peer, (exact | whole, exact | cut), n, m)


def geo(rdm: np.ndarray) -> np.ndarray:
    """Return our transform of one matrix with quantiles of its dissimilarities, as the package takes them."""
    low, high = np.quantile(rdm, QUANTILES)
    # Ours works on values between 0 and 1, which the greatest is; dividing leaves the transform as it is.
    top = float(rdm.max())
    return geo_topological(rdm / top, low / top, high / top)


def report(ours: dict, peer: dict, exact: tuple[dict, dict], n: int, m: int) -> None:
    """Print the table, and the worst of what must be equal as JSON."""
    print(
        f"{n} items; {m} matrices of patterns, 8 people; rsatoolbox {RELEASE}; CPU s of the fastest of {REPEATS} calls"
    )
    print(f"{'':24s}{'ours - theirs':>16s}{'ours wrong':>12s}{'theirs wrong':>14s}{'ours s':>10s}{'theirs s':>10s}")
    worst = 0.0
    for name, (seconds, found) in ours.items():
        value = np.asarray(found, dtype=np.float64)
        other = peer[name].reshape(value.shape)
        gap = float(np.abs(value - other).max())
        told = ["", ""]
        if name in exact[0]:
            pairs_of = zip((value, other), exact, strict=True)
            told = [f"{1 - np.mean(np.isclose(found, right[name], atol=1e-9)):.0%}" for found, right in pairs_of]
        else:
            worst = max(worst, gap)
        cells = f"{gap:16.2g}{told[0]:>12s}{told[1]:>14s}{seconds:10.4f}{float(peer[f'{name}|seconds']):10.4f}"
        print(f"{name:24s}{cells}")
    zeros = [float(np.mean(one == 0)) for one in peer["gt two"]]
    print(
        f"zeros of two matrices of different scale by the package: {zeros[0]:.0%} and {zeros[1]:.0%}; by us 20 % each"
    )
    first = float(peer["geodesic coincident"][0, 0])
    own = float(ours["geodesic coincident"][1][0, 0])
    print(f"two items at the same place: distance {first:.3f} by the package's paths, {own:.3f} by ours")
    print(json.dumps({"greatest difference of what must be equal": worst}))


if __name__ == "__main__":
    main()
