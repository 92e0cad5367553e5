"""Screening of many variables beside the package fastHDMI and scikit-learn: seconds, accuracy and what is found.

The table gives, for each estimator, the seconds for the screening of 1,000 variables of 600 rows, the information
of normal pairs against the closed form, and the area under the curve by which 20 planted variables rank before the
others. The package needs an environment of its own (``pip install fastHDMI pyarrow``; its metadata name the AGPL):
name its Python by ``--peer-python``. ``--whole`` screens 150,000 variables of 1,000 rows as well and prints the
peak memory of the process, with the table itself and without.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import rankdata
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from replicortex.shared.screening import screen

#: Runs in the environment of the package: reads the tables, writes scores and seconds.
PEER = """
import json, sys, time, warnings
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
import fastHDMI

folder, cores = sys.argv[1], int(sys.argv[2])
tables = np.load(folder + "/tables.npz")
functions = {
    ("FFTKDE", False): fastHDMI.continuous_screening_dataframe_parallel,
    ("FFTKDE", True): fastHDMI.binary_screening_dataframe_parallel,
    ("binning", False): fastHDMI.binning_continuous_screening_dataframe_parallel,
    ("binning", True): fastHDMI.binning_binary_screening_dataframe_parallel,
    ("kNN", False): fastHDMI.continuous_skMI_screening_dataframe_parallel,
    ("kNN", True): fastHDMI.binary_skMI_screening_dataframe_parallel,
    ("Pearson", False): fastHDMI.Pearson_screening_dataframe_parallel,
    ("Pearson", True): fastHDMI.Pearson_screening_dataframe_parallel,
}
found = {}
for task in json.loads(sys.argv[3]):
    x, y = tables[task + "_x"], tables[task + "_y"]
    frame = pd.DataFrame(np.column_stack([y, x]), columns=["outcome", *(f"V{i}" for i in range(x.shape[1]))])
    for (name, binary), function in functions.items():
        if binary != task.startswith("binary"):
            continue
        start = time.perf_counter()
        scores = np.abs(function(frame, _usecols=list(frame.columns), core_num=cores, verbose=0))
        found[name + " " + task] = time.perf_counter() - start, np.asarray(scores, float).tolist()
json.dump(found, open(folder + "/found.json", "w"))
"""


def planted(task: str, n: int, p: int, k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return ``p`` variables of which the first ``k`` make up the outcome, a number or one of two classes."""
    generator = np.random.default_rng(len(task))
    x = generator.standard_normal((n, p))
    told = (x[:, :k] ** 2 - 1) / np.sqrt(2) if "quadratic" in task else x[:, :k]
    score = told.sum(axis=1) / np.sqrt(k)
    if task.startswith("binary"):
        return x, (generator.random(n) < 1 / (1 + np.exp(-3 * score))).astype(float)
    return x, score + 0.3 * generator.standard_normal(n)


def normal(rho: float, n: int, p: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return an outcome and variables that are normal with it, of correlation ``rho``."""
    generator = np.random.default_rng(0)
    y = generator.standard_normal(n)
    # Exactly this correlation in the sample: what is left to see is the error of the estimator.
    y = (y - y.mean()) / y.std()
    noise = generator.standard_normal((p, n))
    noise -= noise.mean(axis=1, keepdims=True) + np.outer(noise @ y / n, y)
    noise /= noise.std(axis=1, keepdims=True)
    return (rho * y + np.sqrt(1 - rho**2) * noise).T, y


def auc(scores: np.ndarray, k: int = 20) -> float:
    """Return the area under the curve of the first ``k`` scores against the others."""
    return float((rankdata(scores)[:k].sum() - k * (k + 1) / 2) / (k * (len(scores) - k)))


def timed(function: Callable, repeats: int = 3) -> tuple[float, np.ndarray]:
    """Return the seconds of the fastest of some calls, and the result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    """Run all estimators on the same tables and print what they take and find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--variables", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer-python", help="Python of an environment with fastHDMI")
    parser.add_argument("--whole", action="store_true", help="screen 150,000 variables of 1,000 rows as well")
    given = parser.parse_args()

    names = ["linear", "quadratic", "binary linear", "binary quadratic"]
    tables = {name: planted(name, given.rows, given.variables) for name in names}
    tables |= {f"rho {rho}": normal(rho, given.rows) for rho in (0.0, 0.5, 0.9)}

    found: dict[str, dict[str, tuple[float, np.ndarray]]] = {}
    for by in ("kde", "binning", "knn", "pearson"):
        for task, (x, y) in tables.items():
            options = {"threads": given.threads} if by != "pearson" else {}
            discrete = task.startswith("binary")
            call = lambda x=x, y=y, by=by, d=discrete, options=options: screen(x, y, by, discrete=d, **options)  # noqa: E731
            found.setdefault(f"ours {by}", {})[task] = timed(call)
    for task, (x, y) in tables.items():
        peer = mutual_info_classif if task.startswith("binary") else mutual_info_regression
        call = lambda x=x, y=y, peer=peer: peer(x, y, random_state=0)  # noqa: E731
        found.setdefault("scikit-learn kNN", {})[task] = timed(call, 1)
    if given.peer_python:
        for key, value in of_peer(tables, given.peer_python).items():
            name, task = key.split(" ", 1)
            found.setdefault(f"fastHDMI {name}", {})[task] = value[0], np.array(value[1])

    print(f"{given.variables} variables, {given.rows} rows, {given.threads} thread(s); the package uses 2 processes")
    print("information of normal pairs: closed form 0.000, 0.144, 0.830")
    head = ["seconds", *names, "seconds (classes)", "rho 0.0", "rho 0.5", "rho 0.9"]
    print(f"{'':18s}" + "".join(f"{entry:>18s}" for entry in head))
    for name, results in found.items():
        cells = [f"{results['linear'][0]:.3f}", *(f"{auc(results[task][1]):.3f}" for task in names)]
        cells.append(f"{results['binary linear'][0]:.3f}")
        for rho in (0.0, 0.5, 0.9):
            value = results[f"rho {rho}"][1].mean()
            truth = -np.log(1 - rho**2) / 2
            cells.append(
                "-" if "earson" in name else f"{value:.4f}" + (f" ({100 * (value / truth - 1):+.0f}%)" if rho else "")
            )
        print(f"{name:18s}" + "".join(f"{cell:>18s}" for cell in cells))
    if given.peer_python:
        for task in ("linear", "binary linear"):
            ratio = found["fastHDMI FFTKDE"][task][0] / found["ours kde"][task][0]
            print(f"kde, {task}: {ratio:.0f} times as fast as the package")
    if given.whole:
        whole(given.threads)


def of_peer(tables: dict[str, tuple[np.ndarray, np.ndarray]], python: str) -> dict[str, tuple[float, list[float]]]:
    """Return seconds and scores of the package for each of its estimators and each table."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = {
            f"{task}_{part}": value for task, pair in tables.items() for part, value in zip("xy", pair, strict=True)
        }
        np.savez(Path(folder, "tables.npz"), **arrays)
        command = [python, "-c", PEER, folder, "2", json.dumps(list(tables))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(Path(folder, "found.json").read_text())


def whole(threads: int, n: int = 1000, p: int = 150_000) -> None:
    """Screen a table of the size of a hemisphere of vertices; print seconds and peak memory."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, p), dtype=np.float32)
    y = x[:, :20].sum(axis=1) + generator.standard_normal(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{p} variables, {n} rows: the table has {x.nbytes / 2**20:.0f} MB, peak with it {before:.0f} MB")
    for by, options in (("pearson", {}), ("kde", {}), ("kde", {"rule": "isj"}), ("binning", {})):
        for discrete in (False, True):
            start = time.perf_counter()
            scores = screen(x, y > 0 if discrete else y, by, discrete=discrete, threads=threads, **options)
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            what = " ".join([by, *options.values(), "classes" if discrete else "numbers"])
            print(f"{what:22s} {seconds:7.1f} s  AUC {auc(scores):.3f}  peak {peak:.0f} MB (+{peak - before:.0f})")


if __name__ == "__main__":
    main()
