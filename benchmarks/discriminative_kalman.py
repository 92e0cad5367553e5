"""The Kalman filter of linear-Gaussian observations beside the packages dynamax and filterpy: equality and seconds.

The same observations are filtered by ``shared/filters.py``, by dynamax's ``lgssm_filter`` (compiled, all stretches of
time side by side) and by filterpy's ``KalmanFilter`` (a call a moment). The table gives the largest difference of means
and covariances and of the log-likelihood to those here, relative to their spread, and seconds of the fastest call;
those of dynamax without its compilation, which stands beside them. At last the discriminative filter with exact mean
and covariance, which has no peer, is compared with the Kalman filter. The packages need an environment of their own: it
is made in ``--folder`` unless ``--peer-python`` names the Python of one with both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import environment, timed

from replicortex.shared.filters import StateModel, discriminative_filter, kalman_and_likelihood, kalman_filter

PACKAGES = ("dynamax==1.0.3", "filterpy")
#: State dimensions, observed numbers, stretches, and moments in each.
CASES = {"cursor, trials": (2, 10, 40, 50), "cursor, one run": (2, 10, 1, 2000), "many neurons": (10, 100, 40, 50)}
#: Runs in the environment of the packages: reads the problems, writes what they find and take.
PEER = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
import json, sys, time
import numpy as np
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
from dynamax.linear_gaussian_ssm.inference import lgssm_filter
from dynamax.linear_gaussian_ssm import LinearGaussianSSM
from filterpy.kalman import KalmanFilter

folder, repeats = sys.argv[1], int(sys.argv[2])
found = {}
for name in json.loads(sys.argv[3]):
    p = np.load(f"{folder}/{name}.npz", allow_pickle=False)
    a, g, s, c, r, x = (p[key] for key in ("a", "g", "s", "c", "r", "x"))
    d, k = c.shape[1], len(c)
    model = LinearGaussianSSM(d, k)
    params, _ = model.initialize(
        jax.random.PRNGKey(0), initial_mean=jnp.zeros(d), initial_covariance=jnp.array(s),
        dynamics_weights=jnp.array(a), dynamics_covariance=jnp.array(g),
        emission_weights=jnp.array(c), emission_covariance=jnp.array(r),
    )
    run = jax.jit(jax.vmap(lambda y: lgssm_filter(params, y)))
    y = jnp.array(x)
    start = time.perf_counter()
    post = jax.block_until_ready(run(y))
    first = time.perf_counter() - start
    calls = []
    for _ in range(repeats):
        start = time.perf_counter()
        post = jax.block_until_ready(run(y))
        calls.append(time.perf_counter() - start)
    means = {"dynamax": np.asarray(post.filtered_means)}
    covs = {"dynamax": np.asarray(post.filtered_covariances)}
    logs = {"dynamax": float(np.sum(post.marginal_loglik))}
    start = time.perf_counter()
    mean, cov, log = np.zeros((*x.shape[:2], d)), np.zeros((*x.shape[:2], d, d)), 0.0
    for i, stretch in enumerate(x):
        f = KalmanFilter(dim_x=d, dim_z=k)
        f.F, f.Q, f.H, f.R, f.P, f.x = a, g, c, r, s.copy(), np.zeros((d, 1))
        for t, seen in enumerate(stretch):
            if t:
                f.predict()
            f.update(seen[:, None])
            mean[i, t], cov[i, t] = f.x[:, 0], f.P
            log += f.log_likelihood
    seconds = time.perf_counter() - start
    means["filterpy"], covs["filterpy"], logs["filterpy"] = mean, cov, log
    np.savez(f"{folder}/{name}.found.npz", **{f"{q}_mean": v for q, v in means.items()},
             **{f"{q}_cov": v for q, v in covs.items()})
    found[name] = {"dynamax": [min(calls), first, logs["dynamax"]], "filterpy": [seconds, 0.0, logs["filterpy"]]}
json.dump(found, open(folder + "/found.json", "w"))
"""


def problem(d: int, k: int, n_stretches: int, length: int) -> dict[str, np.ndarray]:
    """Return a stationary state, an observation matrix and noise, and observations (stretch, moment, k)."""
    rng = np.random.default_rng(d)
    a = 0.95 * np.eye(d) - 0.05
    s, g = np.eye(d), np.eye(d) - a @ a.T
    c, r = rng.standard_normal((k, d)), np.diag(rng.uniform(2, 8, k)) + 0.5
    z = rng.standard_normal((n_stretches, length, d))
    root = np.linalg.cholesky(g)
    for t in range(1, length):
        z[:, t] = z[:, t - 1] @ a.T + z[:, t] @ root.T
    x = z @ c.T + rng.standard_normal((n_stretches, length, k)) @ np.linalg.cholesky(r).T
    return {"a": a, "g": g, "s": s, "c": c, "r": r, "x": x}


def main() -> None:
    """Filter the same observations everywhere and print differences and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the environment of the packages is made and kept")
    parser.add_argument("--peer-python", help="Python of an environment with dynamax and filterpy")
    given = parser.parse_args()

    problems = {name: problem(*shape) for name, shape in CASES.items()}
    with tempfile.TemporaryDirectory() as scratch:
        python = given.peer_python or environment((given.folder or Path(scratch)) / "peers", PACKAGES)
        for name, arrays in problems.items():
            np.savez(Path(scratch, f"{name}.npz"), **arrays)
        command = [python, "-c", PEER, scratch, str(given.repeats), json.dumps(list(problems))]
        subprocess.run(command, check=True)
        peers = json.loads(Path(scratch, "found.json").read_text())
        head = ["mean", "cov", "log p", "s", "compile", "ours, s", "faster"]
        print(f"{'':18s}{'package':12s}" + "".join(f"{entry:>10s}" for entry in head))
        for name, arrays in problems.items():
            model = StateModel(arrays["a"], arrays["g"], arrays["s"])
            n, length, k = arrays["x"].shape
            flat, edges = arrays["x"].reshape(-1, k), [(i * length, (i + 1) * length) for i in range(n)]
            # All that the packages give: means, covariances and the likelihood.
            call = lambda f=flat, e=edges, m=model, q=arrays: kalman_and_likelihood(f, e, m, q["c"], q["r"])  # noqa: E731
            seconds, (mean, cov, log) = timed(call, given.repeats)
            theirs = np.load(Path(scratch, f"{name}.found.npz"), allow_pickle=False)
            for package, (took, compiled, value) in peers[name].items():
                differs = [
                    np.abs(theirs[f"{package}_{what}"].reshape(ours.shape) - ours).max() / ours.std()
                    for what, ours in (("mean", mean), ("cov", cov))
                ]
                print(
                    f"{name:18s}{package:12s}{differs[0]:10.1e}{differs[1]:10.1e}{abs(value / log - 1):10.1e}"
                    f"{took:10.4f}{compiled:10.2f}{seconds:10.4f}{took / seconds:9.1f}x"
                )
    for name, arrays in problems.items():
        s, c = arrays["s"], arrays["c"]
        gain = s @ c.T @ np.linalg.inv(c @ s @ c.T + arrays["r"])
        n, length, k = arrays["x"].shape
        flat, edges = arrays["x"].reshape(-1, k), [(i * length, (i + 1) * length) for i in range(n)]
        model = StateModel(arrays["a"], arrays["g"], s)
        q = np.broadcast_to(s - gain @ c @ s, (len(flat), *s.shape))
        call = lambda f=flat, e=edges, m=model, q=q, gain=gain: discriminative_filter(f @ gain.T, q, e, m)  # noqa: E731
        seconds, (mean, cov) = timed(call, given.repeats)
        expected = kalman_filter(flat, edges, model, c, arrays["r"])
        largest = max(np.abs(mean - expected[0]).max(), np.abs(cov - expected[1]).max())
        print(f"{name:18s}discriminative filter: {largest:.1e} from the Kalman filter, {seconds:.4f} s")


if __name__ == "__main__":
    main()
