"""Solution paths of the lasso, SCAD and MCP beside the package skglm: objectives, support, iterations and seconds.

Rows of a first-order autoregression (correlation 0.5 of neighbours), of which ten variables count. Every path has the
same amounts of penalty and starts from no variable; the package solves each amount from the solution before, with its
own working sets and compiled coordinate descent (one path before the clock starts, to compile). The table gives by how
much the greatest objective here is above that of the package, over its own, the violation of the conditions of a
stationary point, the least error of coefficients along the path and the variables there, iterations of the accelerated
and of the plain proximal gradient method to the same gap, and seconds. The package needs an environment of its own:
it is made in ``--folder`` unless ``--peer-python`` names the Python of one.
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
from peers import environment, timed
from scipy.signal import lfilter

from replicortex.shared.accelerated import Loss, Solver, greatest_amount, solution_path
from replicortex.shared.accelerated import Path as SolutionPath
from replicortex.shared.penalties import SHAPES, Penalty

PACKAGES = ("skglm==0.5",)
#: Runs in the environment of the package: reads rows and amounts, writes coefficients and seconds.
PEER = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from skglm import GeneralizedLinearEstimator
from skglm.datafits import Quadratic
from skglm.penalties import L1, MCPenalty, SCAD
from skglm.solvers import AndersonCD

folder, repeats, tolerance = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
given = np.load(folder + "/given.npz")
x, y = np.asfortranarray(given["x"]), given["y"]

def path(kind, shape):
    solver = AndersonCD(tol=tolerance, fit_intercept=False, warm_start=True, max_iter=500, max_epochs=100000)
    found, model = [], None
    for amount in given["amounts"]:
        penalty = L1(amount) if kind == "l1" else {"scad": SCAD, "mcp": MCPenalty}[kind](amount, shape)
        if model is None:
            model = GeneralizedLinearEstimator(Quadratic(), penalty, solver)
        model.penalty = penalty
        model.fit(x, y)
        found.append(model.coef_.copy())
    return found

told = {}
for kind, shape in json.loads(sys.argv[4]).items():
    path(kind, shape)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = path(kind, shape)
        seconds.append(time.perf_counter() - start)
    told[kind] = min(seconds), np.array(found).tolist()
json.dump(told, open(folder + "/found.json", "w"))
"""


def rows(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return standardised variables, a centred outcome, and the coefficients that it was made of."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, p))
    x[:, 1:] *= np.sqrt(0.75)
    x = lfilter([1.0], [1.0, -0.5], x, axis=1)
    b = np.zeros(p)
    b[np.arange(10) * (p // 10) + generator.integers(0, p // 10 - 5, 10)] = generator.choice([-1.0, 1.0], 10)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = x @ b + 1.5 * generator.standard_normal(n)
    return x, y - y.mean(), b


def solved(
    x: np.ndarray, y: np.ndarray, penalty: Penalty, amounts: np.ndarray, solver: Solver, tolerance: float
) -> SolutionPath:
    """Return the path, all that is made for it included."""
    return solution_path(Loss(x, y), penalty, amounts, solver=solver, tolerance=tolerance)


def main() -> None:
    """Solve the same paths here and there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--variables", type=int, default=1000)
    parser.add_argument("--amounts", type=int, default=30)
    parser.add_argument("--least", type=float, default=0.15, help="least amount, as a share of the greatest")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-7)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "replicortex-skglm"),
        help="environment of the package",
    )
    parser.add_argument("--peer-python", help="Python of an environment with skglm")
    given = parser.parse_args()

    python = given.peer_python or environment(given.folder, PACKAGES)
    print(f"{given.rows} rows, {given.variables} variables, {given.amounts} amounts of penalty, one thread")
    print(
        f"{'':10s}{'objective':>11s}{'KKT':>9s}{'error':>8s}{'(skglm)':>9s}{'selected':>10s}{'(skglm)':>9s}"
        f"{'accel.':>8s}{'plain':>8s}{'s':>8s}{'plain s':>9s}{'skglm s':>9s}"
    )
    for seed in range(given.seeds):
        x, y, b = rows(given.rows, given.variables, seed)
        loss = Loss(x, y)
        amounts = greatest_amount(loss) * np.geomspace(1, given.least, given.amounts + 1)[1:]
        with tempfile.TemporaryDirectory() as made:
            np.savez(Path(made, "given.npz"), x=x, y=y, amounts=amounts)
            shapes = {kind: shape if np.isfinite(shape) else 0.0 for kind, shape in SHAPES.items()}
            command = [python, "-c", PEER, made, str(given.repeats), str(given.tolerance), json.dumps(shapes)]
            subprocess.run(command, check=True)
            theirs = json.loads(Path(made, "found.json").read_text())
        for kind, shape in SHAPES.items():
            penalty, seconds, paths = Penalty(kind, shape), {}, {}
            for solver in ("accelerated", "proximal_gradient"):
                call = functools.partial(solved, x, y, penalty, amounts, solver, given.tolerance)
                seconds[solver], paths[solver] = timed(call, given.repeats)
            peer = np.array(theirs[kind][1])
            ours = paths["accelerated"].coefficients
            values = [
                np.array([loss.value(c) + penalty.value(c, a) for c, a in zip(found, amounts, strict=True)])
                for found in (ours, peer)
            ]
            gap = float(np.max((values[0] - values[1]) / values[1]))
            errors = [np.linalg.norm(found - b, axis=1) for found in (ours, peer)]
            best = [int(error.argmin()) for error in errors]
            print(
                f"{kind} {seed:<5d}{gap:11.1e}{paths['accelerated'].residuals.max():9.1e}"
                f"{errors[0][best[0]]:8.3f}{errors[1][best[1]]:9.3f}"
                f"{np.count_nonzero(ours[best[0]]):10d}{np.count_nonzero(peer[best[1]]):9d}"
                f"{paths['accelerated'].iterations.sum():8d}{paths['proximal_gradient'].iterations.sum():8d}"
                f"{seconds['accelerated']:8.3f}{seconds['proximal_gradient']:9.3f}{theirs[kind][0]:9.3f}"
            )


if __name__ == "__main__":
    main()
