"""The nested search over augmented covariances beside scikit-learn's grid search over pyRiemann's pipeline.

Both try the same orders, lags, kernels and penalties on the same folds; the best scores must agree, the times are
compared.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from replicortex.shared.riemann import delay_embed, delays, oas_covariances, search_tangent_svm


class Delays(TransformerMixin, BaseEstimator):
    """Delay embedding as a step of a scikit-learn pipeline."""

    def __init__(self, pair=(1, 1)):
        self.pair = pair

    def fit(self, x, y=None):
        """Learn nothing."""
        return self

    def transform(self, x):
        """Return the embedded trials."""
        return delay_embed(x, *self.pair)


def main() -> None:
    """Run both searches on random trials with a planted rhythm; print seconds and the greatest difference of scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--channels", type=int, default=9)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--lags", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()

    generator = np.random.default_rng(0)
    target = np.repeat(["a", "b"], given.trials // 2)
    x = generator.standard_normal((len(target), given.channels, 480))
    times = np.arange(480) / 160
    for i, label in enumerate(target):
        x[i] += np.sin(2 * np.pi * (10 if label == "a" else 12) * times + generator.uniform(0, 6.28)) * 0.3
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, target))
    pairs, penalties, kernels = delays(given.orders, given.lags), [0.5, 1.0, 1.5], ["linear", "rbf"]

    start = time.perf_counter()
    representations = {pair: oas_covariances(delay_embed(x, *pair)) for pair in pairs}
    *_, ours = search_tangent_svm(representations, target, folds, penalties, kernels)
    seconds = time.perf_counter() - start

    pipeline = Pipeline([("delay", Delays()), ("cov", Covariances("oas")), ("ts", TangentSpace()), ("svc", SVC())])
    grid = {"delay__pair": pairs, "svc__C": penalties, "svc__kernel": kernels}

    def auc(estimator, data, truth):
        return roc_auc_score(truth == estimator.classes_[1], estimator.decision_function(data))

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(pipeline, grid, scoring=auc, cv=folds).fit(x, target)
    peer = time.perf_counter() - start

    n = len(pairs) * len(penalties) * len(kernels)
    print(f"{n} configurations, {len(folds)} folds, {len(x)} trials of {given.channels} channels")
    print(f"ours  {seconds:7.2f} s  best inner AUC {ours:.4f}")
    print(f"peer  {peer:7.2f} s  best inner AUC {search.best_score_:.4f}  ({peer / seconds:.1f} times slower)")


if __name__ == "__main__":
    main()
