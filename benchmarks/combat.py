"""ComBat side by side with neuroHarmonize and neuroCombat: the same numbers, and the time of each.

    python benchmarks/combat.py --impac /folder/of/tabular-impac-autism

Needs an environment with ``neuroHarmonize`` (2.5.2 was used) and ``neuroCombat`` (0.2.12). Without ``--impac`` the
data are drawn: as many people, sites and measures. Everything is fitted on all rows here, since that is what the
peers are compared in; in a study it would be a leak.

Both peers stop their iteration when the *signed* relative change falls below 1e-4, so that a location that moves
while negative does not count. "as shipped" therefore differs from this project by some 1e-5 of a standard deviation;
"converged" is the same code with their tolerance at 1e-12. Differences are in standard deviations of a measure.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

try:
    import neuroCombat
    import neuroHarmonize
except ModuleNotFoundError as error:
    print(f"combat: skipped, {error.name} is not installed (pip install neuroHarmonize neuroCombat)")
    raise SystemExit(0) from None

from replicortex.shared.harmonise import Harmoniser

REPEATS = 3


def measured(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the measures that vary, and site, age and sex."""
    with (folder / "anatomy.csv").open() as stream:
        _, *lines = list(csv.reader(stream))
    anatomy = {line[0]: [float(value) for value in line[1:]] for line in lines}
    with (folder / "participants.csv").open() as stream:
        people = [row for row in csv.DictReader(stream) if row["subject_id"] in anatomy]
    x = np.array([anatomy[row["subject_id"]] for row in people])
    site = np.array([f"site{row['site']}" for row in people])
    return x[:, x.std(axis=0) > 0], {
        "site": site,
        "age": np.array([float(row["age"]) for row in people]),
        "sex": np.array([row["sex"] for row in people]),
    }


def drawn(n: int = 1150, p: int = 203, n_sites: int = 34) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return measures with offset and gain of each site and an effect of age."""
    generator = np.random.default_rng(0)
    site, age = generator.integers(n_sites, size=n), generator.normal(20, 6, n)
    x = generator.normal(size=(n, p)) * generator.uniform(0.6, 1.6, (n_sites, p))[site]
    x += generator.normal(size=(n_sites, p))[site] + 0.05 * np.outer(age, generator.normal(size=p))
    sex = generator.choice(["F", "M"], n)
    return x, {"site": np.array([f"site{code}" for code in site]), "age": age, "sex": sex}


def own(x: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Harmonise with this project."""
    return Harmoniser({"kind": "combat", "preserve": ["age", "sex"]}).fit_transform(x, rows)


def combat(x: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Harmonise with neuroCombat."""
    table = pd.DataFrame({name: rows[name] for name in ("site", "age", "sex")})
    made = neuroCombat.neuroCombat(
        dat=x.T, covars=table, batch_col="site", categorical_cols=["sex"], continuous_cols=["age"]
    )
    return made["data"].T


def harmonize(x: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Harmonise with neuroHarmonize, which takes numbers only."""
    table = pd.DataFrame({"SITE": rows["site"], "age": rows["age"], "sex": (rows["sex"] == "M") * 1.0})
    return neuroHarmonize.harmonizationLearn(x.copy(), table)[1]


def converge() -> None:
    """Set the tolerance of both peers, which is a default argument of their innermost function."""
    for package in (neuroCombat, neuroHarmonize):
        prefix = package.__name__ + "."
        for name, module in list(sys.modules.items()):
            solver = getattr(module, "it_sol", None)
            if name.startswith(prefix) and solver is not None and solver.__defaults__:
                solver.__defaults__ = (*solver.__defaults__[:-1], 1e-12)


def timed(function: Callable, *arguments: object) -> tuple[np.ndarray, float]:
    """Return the result and the smallest CPU time of a few calls, s."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        result = function(*arguments)
        seconds.append(time.process_time() - began)
    return result, min(seconds)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impac", type=Path, help="folder with anatomy.csv and participants.csv")
    folder = parser.parse_args().impac
    x, rows = measured(folder) if folder else drawn()
    rows["row_id"] = np.arange(len(x)).astype(str)
    spread = x.std(axis=0)
    ours, seconds = timed(own, x, rows)
    print(f"{len(x)} rows, {x.shape[1]} measures, {len(np.unique(rows['site']))} sites")
    print(f"{'':34s}{'CPU s':>8s}{'greatest difference':>22s}")
    print(f"{'replicortex':34s}{seconds:8.3f}")
    for kind in ("as shipped", "converged"):
        if kind == "converged":
            converge()
        for name, peer in (("neuroCombat", combat), ("neuroHarmonize", harmonize)):
            theirs, seconds = timed(peer, x, rows)
            difference = np.abs((theirs - ours) / spread).max()
            print(f"{name + ', ' + kind:34s}{seconds:8.3f}{difference:22.2e}")


if __name__ == "__main__":
    main()
