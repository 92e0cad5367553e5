"""Exact Shapley values of trees and of any model beside the package shap: whether they are equal, and seconds.

Boosted trees and a forest are trained here, explained by ``tree_shapley`` and by shap's TreeExplainer (interventional,
the same background rows); a support vector machine is explained by enumeration of all coalitions and by shap's
ExactExplainer. The table gives the largest difference of any value, seconds of each, and their ratio. The package
needs an environment of its own: it is made in ``--folder`` unless ``--peer-python`` names the Python of one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import xgboost
from peers import environment, timed
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from replicortex.shared.shapley import exact_shapley
from replicortex.shared.tree_ensemble import of_sklearn, of_xgboost, tree_shapley

PACKAGES = ("shap==0.51.0", "xgboost-cpu==3.2.0", "scikit-learn==1.9.1", "skops==0.16.0")
#: Runs in the environment of the package: reads the models, writes values and seconds.
PEER = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, shap, skops.io, xgboost

folder, repeats = sys.argv[1], int(sys.argv[2])
found = {}
for case in json.loads(sys.argv[3]):
    rows = np.load(folder + "/" + case["name"] + ".npz")
    x, background = rows["x"], rows["background"]
    path = folder + "/" + case["name"] + ".model"
    if case["kind"] == "xgboost":
        model = xgboost.Booster()
        model.load_model(path)
    else:
        model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    best = None
    for _ in range(repeats):
        start = time.perf_counter()
        masker = shap.maskers.Independent(background, max_samples=len(background))
        if case["kind"] == "svm":
            values = shap.ExactExplainer(model.decision_function, masker)(x, max_evals=1 << 20).values
        else:
            explainer = shap.TreeExplainer(model, masker, feature_perturbation="interventional", model_output="raw")
            values = explainer.shap_values(x, check_additivity=False)
        seconds = time.perf_counter() - start
        best = seconds if best is None else min(best, seconds)
    values = np.asarray(values)
    found[case["name"]] = best, (values[..., 1] if values.ndim == 3 else values).tolist()
json.dump(found, open(folder + "/found.json", "w"))
"""


def table(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes that are not linear in them."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, p)).astype(np.float32).astype(np.float64)
    return x, x[:, 0] * x[:, 1] + x[:, 2] - np.abs(x[:, 3]) + 0.5 * generator.standard_normal(n) > 0


def cases(folder: Path, n_rows: int, n_background: int) -> dict[str, tuple[str, Callable]]:
    """Train the models, write them for the package; return kind and what explains each here."""
    import skops.io

    found: dict[str, tuple[str, Callable]] = {}
    for name, kind, p, size in (
        ("boosted, depth 3", "xgboost", 14, {"max_depth": 3, "rounds": 200}),
        ("boosted, depth 6", "xgboost", 14, {"max_depth": 6, "rounds": 200}),
        ("boosted, 200 variables", "xgboost", 200, {"max_depth": 4, "rounds": 200}),
        ("forest, depth 6", "forest", 14, {"max_depth": 6}),
        ("forest, depth 12", "forest", 14, {"max_depth": 12}),
        ("support vector machine", "svm", 8, {}),
    ):
        x, y = table(800, p, 0)
        asked, background = x[:n_rows], x[-n_background:]
        if kind == "svm":
            asked, background = x[: n_rows // 10], x[-n_background // 2 :]
        path = folder / f"{name}.model"
        if kind == "xgboost":
            settings = {"objective": "binary:logistic", "eta": 0.1, "nthread": 1, "max_depth": size["max_depth"]}
            model = xgboost.train(settings, xgboost.DMatrix(x, y.astype(float)), size["rounds"])
            model.save_model(folder / f"{name}.json")
            (folder / f"{name}.json").rename(path)
            ensemble = of_xgboost(model)
        elif kind == "forest":
            model = RandomForestClassifier(100, max_depth=size["max_depth"], random_state=0).fit(x, y)
            path.write_bytes(skops.io.dumps(model))
            ensemble = of_sklearn(model.estimators_)
        else:
            model = SVC(C=1.0, gamma=0.1).fit(x, y)
            path.write_bytes(skops.io.dumps(model))
        np.savez(folder / f"{name}.npz", x=asked, background=background)
        if kind == "svm":
            call = lambda m=model, a=asked, b=background: exact_shapley(m.decision_function, a, b)[0]  # noqa: E731
        else:
            call = lambda e=ensemble, a=asked, b=background: tree_shapley(e, a, b)[0]  # noqa: E731
        found[name] = kind, call
    return found


def main() -> None:
    """Explain the same models here and there, and print how far apart and how fast they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "replicortex-shap"),
        help="environment of the package",
    )
    parser.add_argument("--peer-python", help="Python of an environment with shap, xgboost, scikit-learn and skops")
    given = parser.parse_args()

    python = given.peer_python or environment(given.folder, PACKAGES)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ours = cases(folder, given.rows, given.background)
        told = json.dumps([{"name": name, "kind": kind} for name, (kind, _) in ours.items()])
        subprocess.run([python, "-c", PEER, made, str(given.repeats), told], check=True)
        theirs = json.loads((folder / "found.json").read_text())
    print(f"{given.rows} rows explained against {given.background} background rows (a tenth and half of them by all")
    print("coalitions), one thread, seconds of the fastest of the repeats")
    print(f"{'':26s}{'ours':>10s}{'shap':>10s}{'ratio':>8s}{'largest difference':>22s}")
    slower = []
    for name, (_, call) in ours.items():
        seconds, values = timed(call, given.repeats)
        theirs_seconds, expected = theirs[name]
        difference = np.abs(values - np.array(expected)).max() / np.abs(values).max()
        print(f"{name:26s}{seconds:10.3f}{theirs_seconds:10.3f}{theirs_seconds / seconds:8.1f}{difference:22.1e}")
        slower += [name] if seconds > theirs_seconds else []
    if slower:
        print(f"slower than the package: {', '.join(slower)}")


if __name__ == "__main__":
    main()
