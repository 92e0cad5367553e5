"""Masked maps of voxel networks: the mask finds the planted voxels, inside the fold only, and pays."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import f_classif
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from replicortex.bundle import Bundle
from replicortex.components import load, make
from replicortex.errors import InputError

N_VOXELS, PLANTED = 1500, np.arange(100, 145)


def maps(n=90, seed=0, effect=0.5, n_voxels=N_VOXELS):
    """Maps of degree, which knows nothing, and of triangles, which differ in 45 voxels.

    All other voxels share smooth fields of no interest; without a mask they make the first components.
    """
    generator = np.random.default_rng(seed)
    sick = np.arange(n) % 2 == 0
    field = np.cumsum(np.random.default_rng(5).normal(size=(4, n_voxels)), axis=1) / 30
    field[:, PLANTED] = 0
    x = generator.normal(size=(n, 2, n_voxels)) + np.einsum("nmk,kv->nmv", generator.normal(size=(n, 2, 4)), field)
    if effect:
        x[:, 1, PLANTED] += effect * sick[:, None]
    rows = {
        "row_id": np.array([f"r{i}" for i in range(n)]),
        "subject": np.array([f"s{i}" for i in range(n)]),
        "target": np.where(sick, "adhd", "control"),
    }
    axes = {"map": ["degree", "triangles"], "voxel": list(range(n_voxels))}
    return Bundle({"x": x.astype(np.float32)}, rows, axes)


def area(model, test):
    found = model.predict(test.with_rows(target=None))
    assert found.axes["class"] == ["adhd", "control"]
    return roc_auc_score(test.rows["target"] == "control", found["y_score"][:, 1])


def test_the_mask_finds_the_planted_voxels_and_pays():
    masked, whole, blind = [], [], []
    for seed in range(3):
        train, test = (maps(seed=start + seed, n_voxels=4000) for start in (0, 100))
        model = make("methods", "network_mask_pca_lda", {"shares": [0.03, 0.1]})
        model.fit(train, 0)
        masked.append(area(model, test))
        chosen = np.flatnonzero(model.model_.mask_)
        # By chance a share of 3 % to 10 % of them.
        assert np.isin(PLANTED, chosen).mean() > 0.35
        assert model.chosen()["n_voxels"] == len(chosen)
        for values, params in ((whole, {"mask": False}), (blind, {"maps": ["degree"]})):
            other = make("methods", "network_mask_pca_lda", params)
            other.fit(train, 0)
            values.append(area(other, test))
    assert np.mean(masked) > 0.85
    assert np.mean(masked) > np.mean(whole) + 0.02
    assert abs(np.mean(blind) - 0.5) < 0.15


def test_it_is_standardised_masked_rotated_and_discriminated():
    """The same steps with scikit-learn's parts, on two maps that share a mask."""
    train, test = maps(n=50, n_voxels=300), maps(n=20, seed=1, n_voxels=300)
    model = make("methods", "network_mask_pca_lda", {"maps": [], "shares": [0.1], "n_components": [6]})
    model.fit(train, 0)
    scaler = StandardScaler().fit(train["x"].reshape(50, -1).astype(float))
    z, new = (scaler.transform(b["x"].reshape(len(b), -1).astype(float)).reshape(-1, 2, 300) for b in (train, test))
    statistic = sum(f_classif(z[:, i], train.rows["target"])[0] for i in range(2))
    keep = np.sort(np.argsort(-statistic)[:30])
    np.testing.assert_array_equal(np.flatnonzero(model.model_.mask_), keep)
    pca = PCA(6, svd_solver="full").fit(z[:, :, keep].reshape(50, -1))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    lda.fit(pca.transform(z[:, :, keep].reshape(50, -1)), train.rows["target"])
    expected = lda.decision_function(pca.transform(new[:, :, keep].reshape(20, -1)))
    np.testing.assert_allclose(model.predict(test.with_rows(target=None))["y_score"][:, 1], expected, atol=1e-8)


def test_a_mask_learned_on_all_subjects_would_predict_noise():
    """Why the mask has to be learned inside the fold: without any effect, a mask that saw the test rows predicts."""
    method, leaky, clean = load("methods", "network_mask_pca_lda"), [], []
    for seed in range(6):
        both = maps(n=80, seed=seed, effect=0)
        labels = np.random.default_rng(seed).permutation(both.rows["target"])
        both = both.with_rows(target=labels)
        train, test = both.take(np.arange(40)), both.take(np.arange(40, 80))
        model = method(shares=[0.02], n_components=[10])
        model.fit(train, 0)
        clean.append(area(model, test))
        model.fit(both, 0)
        seen = model.model_.mask_
        kept = [Bundle({"x": b["x"][:, :, seen]}, b.rows, {**b.axes, "voxel": np.flatnonzero(seen).tolist()})
                for b in (train, test)]  # fmt: skip
        model = method(mask=False, n_components=[10])
        model.fit(kept[0], 0)
        leaky.append(area(model, kept[1]))
    assert abs(np.mean(clean) - 0.5) < 0.12
    assert np.mean(leaky) > np.mean(clean) + 0.2


def test_the_search_is_nested_and_says_what_it_tried():
    train = maps(n=40, n_voxels=300)
    model = make("methods", "network_mask_pca_lda", {"shares": [0.05, 0.5], "n_components": [2, 5, 500]})
    model.fit(train, 0)
    assert model.n_configurations() == 6
    assert make("methods", "network_mask_pca_lda", {"mask": False}).n_configurations() == 4
    assert 0.5 < model.chosen()["inner_score"] <= 1
    again = make("methods", "network_mask_pca_lda")
    again.restore(model.dump())
    test = maps(n=10, seed=3, n_voxels=300)
    np.testing.assert_array_equal(again.predict(test)["y_score"], model.predict(test)["y_score"])
    with pytest.raises(InputError, match="no entry 'triangle'; did you mean 'triangles'"):
        make("methods", "network_mask_pca_lda", {"maps": ["triangle"]}).fit(train, 0)
