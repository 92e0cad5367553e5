"""Paired tests, effects and their combination over datasets, side by side with MOABB.

    python benchmarks/paired_statistics.py

Needs an environment with ``moabb`` (1.7 was used). Prints, for each number of subjects, the greatest
difference between the two and the CPU time of both for the same comparisons. Expected: none up to 13
subjects, where both try all sign flips; that of random flips up to 19. From 20 on both take Wilcoxon's
test, but MOABB halves the two-sided p-value and takes the side from the mean difference, while here the
one-sided test itself is used: they part where mean and ranks point in different directions, where p is
about 0.5.

(Not called ``statistics.py``: a script's folder comes first on the search path, and the standard library has
a module of that name.)
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

try:
    from moabb.analysis import meta_analysis as moabb
except ModuleNotFoundError:
    print("paired_statistics: skipped, MOABB is not installed (pip install moabb)")
    raise SystemExit(0) from None

from replicortex.shared import statistics as own

METHODS = ["a", "b", "c"]
PAIRS = [(one, other) for one in METHODS for other in METHODS if one != other]


def scores(n_subjects: int, seed: int, dataset: str) -> pd.DataFrame:
    """Return random scores of three methods, one better than the others, in MOABB's long form."""
    generator = np.random.default_rng(seed)
    ability = generator.normal(0.7, 0.1, n_subjects)
    table = [
        {"dataset": dataset, "subject": subject, "session": "0", "pipeline": method}
        | {"score": ability[subject] + 0.02 * (method == "a") + generator.normal(0, 0.04)}
        for method in METHODS
        for subject in range(n_subjects)
    ]
    return pd.DataFrame(table)


def compare(datasets: list[pd.DataFrame]) -> dict[str, float]:
    """Return the greatest differences over all pairs of methods, and CPU seconds."""
    began = time.process_time()
    theirs = moabb.compute_dataset_statistics(pd.concat(datasets))
    combined_p, combined_effect = moabb.find_significant_differences(theirs)
    took_theirs = time.process_time() - began

    began = time.process_time()
    n = [table["subject"].nunique() for table in datasets]
    wide = [table.pivot_table(index="subject", columns="pipeline", values="score") for table in datasets]
    ours = {}
    for one, other in PAIRS:
        differences = [(table[one] - table[other]).to_numpy() for table in wide]
        p = [own.paired_p(values) for values in differences]
        effects = [own.standardised_mean_difference(values) for values in differences]
        ours[one, other] = (p, effects, own.stouffer(p, n), own.combined_effect(effects, n))
    took_ours = time.process_time() - began

    worst = {"p": 0.0, "effect": 0.0, "combined p": 0.0, "combined effect": 0.0}
    for (one, other), (p, effects, total_p, total_effect) in ours.items():
        here = theirs[(theirs["pipe1"] == one) & (theirs["pipe2"] == other)]
        pairs = {
            "p": (p, here["p"]),
            "effect": (effects, here["smd"]),
            "combined p": (total_p, combined_p.loc[one, other]),
            "combined effect": (total_effect, combined_effect.loc[one, other]),
        }
        for name, (mine, peer) in pairs.items():
            worst[name] = max(worst[name], float(np.max(np.abs(np.asarray(mine) - np.asarray(peer)))))
    return {**worst, "CPU s, ours": took_ours, "CPU s, MOABB": took_theirs}


def main() -> None:
    """Compare at numbers of subjects that call each of the three tests."""
    warnings.simplefilter("ignore")
    rows = []
    for n_subjects in (5, 9, 13, 16, 19, 25, 40):
        tables = [scores(n_subjects, seed, f"dataset-{seed}") for seed in range(3)]
        rows.append({"subjects": n_subjects, **compare(tables)})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
