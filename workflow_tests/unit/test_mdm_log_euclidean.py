"""The log-Euclidean mean against its closed form."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm, logm

from made_data import halves, trials
from replicortex.components import make
from replicortex.shared.riemann import scm_covariances, shrink


def test_class_means_are_exponentials_of_mean_logarithms():
    train, _ = halves(trials("spatial"))
    model = make("methods", "mdm_log_euclidean", {"n_shrinkages": 1})
    model.fit(train, seed=0)
    covariances = shrink(scm_covariances(train["x"]), model.chosen()["shrinkage"])
    for name, mean in zip(model.estimator_.classes_, model.estimator_.means_, strict=True):
        here = train.rows["target"] == name
        expected = expm(np.mean([logm(matrix) for matrix in covariances[here]], axis=0))
        np.testing.assert_allclose(mean, expected, rtol=1e-8)
