"""The bank of connectivity operators beside SciPy, scikit-learn and nilearn, pair by pair where they know pairs only.

Same windows, one thread; the greatest difference and the seconds of both are printed. Peers that compute something
else by default are told to compute the same (bins, segments, estimators).
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from nilearn.connectome import ConnectivityMeasure
from scipy import signal, stats
from scipy.spatial.distance import pdist, squareform
from sklearn.covariance import LedoitWolf
from sklearn.metrics import mutual_info_score

from replicortex.shared.fc_operators import BAND, BANK, Window, bank

TR = 2.0


def pairwise(function):
    """Return a peer that calls ``function`` for every pair of regions."""

    def peer(x):
        made = np.zeros((x.shape[1], x.shape[1]))
        for i in range(x.shape[1]):
            for j in range(i):
                made[i, j] = made[j, i] = function(x[:, i], x[:, j])
        return made

    return peer


def nilearn(kind):
    """Return nilearn's measure with its Ledoit-Wolf covariance, of standardised series."""

    def peer(x):
        measure = ConnectivityMeasure(LedoitWolf(), kind=kind, standardize=False)
        return measure.fit_transform([stats.zscore(x)])[0]

    return peer


def coherence(a, b):
    """SciPy's coherence with the bank's segments, mean over the band."""
    length = max(8, int(2 * len(a) / 9))
    f, value = signal.coherence(a, b, 1 / TR, "hann", length, length // 2, detrend="constant")
    return value[(f >= BAND[0]) & (f <= BAND[1]) & (f > 0)].mean()


def binned(a, b):
    """scikit-learn's mutual information of four equally filled bins."""
    return mutual_info_score(*((stats.rankdata(c) - 1).astype(int) * 4 // len(c) for c in (a, b)))


def warped(a, b, width=5):
    """Dynamic time warping in plain Python."""
    a, b = stats.zscore(a), stats.zscore(b)
    before = [np.inf] * (len(b) + 1)
    before[0] = 0.0
    for i in range(1, len(a) + 1):
        now = [np.inf] * (len(b) + 1)
        for j in range(max(1, i - width), min(len(b), i + width) + 1):
            now[j] = (a[i - 1] - b[j - 1]) ** 2 + min(before[j], before[j - 1], now[j - 1])
        before = now
    return np.sqrt(before[-1])


PEERS = {
    "covariance": lambda x: np.cov(x.T),
    "pearson": lambda x: np.corrcoef(x.T),
    "spearman": lambda x: stats.spearmanr(x).statistic,
    "kendall": pairwise(lambda a, b: stats.kendalltau(a, b).statistic),
    "ledoit_wolf": nilearn("correlation"),
    "precision": nilearn("precision"),
    "partial": nilearn("partial correlation"),
    "euclidean": lambda x: squareform(pdist(stats.zscore(x).T)),
    "mi_binned": pairwise(binned),
    "coherence": pairwise(coherence),
    "dynamic_time_warping": pairwise(warped),
}


def main() -> None:
    """Compute every operator that has a peer on random windows and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=70)
    parser.add_argument("--regions", type=int, default=33)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    mixing = np.eye(given.regions) + 0.2 * generator.standard_normal((given.regions, given.regions))
    shape = (given.windows, given.volumes, given.regions)
    windows = signal.lfilter([1], [1, -0.6], generator.standard_normal(shape) @ mixing, axis=1)
    off = ~np.eye(given.regions, dtype=bool)

    print(f"{given.windows} windows of {given.volumes} volumes and {given.regions} regions")
    for name in BANK:
        start = time.perf_counter()
        ours = [bank(Window(x, TR), [name])[0] for x in windows]
        seconds = time.perf_counter() - start
        if name not in PEERS:
            print(f"{name:26s} {seconds:8.4f} s")
            continue
        PEERS[name](windows[0])  # the first call pays for imports
        start = time.perf_counter()
        theirs = [PEERS[name](x) for x in windows]
        peer = time.perf_counter() - start
        difference = max(np.abs(a - b)[off].max() for a, b in zip(ours, theirs, strict=True))
        print(f"{name:26s} {seconds:8.4f} s  peer {peer:8.4f} s ({peer / seconds:6.1f} x)  difference {difference:.1e}")
    start = time.perf_counter()
    for x in windows:
        bank(Window(x, TR), list(BANK))
    print(f"{'all together':26s} {time.perf_counter() - start:8.4f} s")


if __name__ == "__main__":
    main()
