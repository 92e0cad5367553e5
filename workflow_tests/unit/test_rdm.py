"""Dissimilarity matrices: transforms against closed forms and slow loops, ceilings, and the 92 images."""

from __future__ import annotations

import heapq
import itertools
import json

import numpy as np
import pytest
import scipy.io
from scipy.stats import kendalltau, spearmanr

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.shared import rdm as rdm_module
from replicortex.shared.mat_files import MOST, read_mat
from replicortex.shared.rdm import (
    dissimilarities,
    geo_topological,
    geodesic,
    n_items,
    noise_ceiling,
    pairs,
    pooled,
    ranked,
    similarity,
    square,
)


def drawn(n_rdms=3, n=12, seed=0, scale=1.0):
    """Dissimilarities of points in the plane, scaled."""
    points = np.random.default_rng(seed).standard_normal((n_rdms, n, 2))
    distances = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    return scale * pairs(distances)


def dijkstra(lengths):
    """Shortest paths from every item by a heap, an edge of length 0 like any other: (n, n)."""
    n, found = len(lengths), []
    for start in range(n):
        best, queue = {}, [(0.0, start)]
        while queue:
            reached, item = heapq.heappop(queue)
            if item in best:
                continue
            best[item] = reached
            for other in range(n):
                if other not in best:
                    heapq.heappush(queue, (reached + lengths[item, other], other))
        found.append([best[item] for item in range(n)])
    return np.array(found)


def test_pairs_and_squares_are_each_others_inverse():
    rdms = drawn()
    np.testing.assert_array_equal(pairs(square(rdms)), rdms)
    assert n_items(66) == 12
    with pytest.raises(InputError, match="40 features are not the pairs"):
        n_items(40)


def test_dissimilarities_are_numpys_correlations():
    patterns = np.random.default_rng(0).standard_normal((7, 20))
    patterns[3] = 2.0
    with np.errstate(invalid="ignore"):
        expected = 1 - np.corrcoef(patterns)
    expected[3, :] = expected[:, 3] = 1
    np.testing.assert_allclose(dissimilarities(patterns), expected[np.triu_indices(7, 1)], atol=1e-12)
    expected = [np.mean((a - b) ** 2) for a, b in itertools.combinations(patterns, 2)]
    np.testing.assert_allclose(dissimilarities(patterns, "euclidean"), expected, atol=1e-12)


def test_the_geo_topological_transform_clips_each_matrix_by_itself():
    """Setting in sequence what is below, above and between sets the ones again; pooling shares the zeros unevenly."""
    rdm = np.array([[0.1, 0.2, 0.3, 0.35, 0.4, 0.5]])
    by_hand = np.array([[0.0, 0.0, 0.5, 0.75, 1.0, 1.0]])
    np.testing.assert_allclose(geo_topological(rdm, 0.2, 0.4), by_hand, atol=1e-12)
    # In sequence on one array: what lies between is brought to 0 to 1, and then taken for a dissimilarity above 0.4.
    wrong = rdm.copy()
    wrong[wrong < 0.2] = 0
    between = (wrong >= 0.2) & (wrong <= 0.4)
    wrong[between] = (wrong[between] - 0.2) / 0.2
    wrong[wrong > 0.4] = 1
    assert np.mean(np.abs(wrong - by_hand) > 1e-9) == pytest.approx(2 / 6)
    # Two matrices that differ in scale alone are the same to it.
    one, other = drawn(1), drawn(1, scale=9.0)
    both = geo_topological(ranked(np.concatenate([one, other])), 0.25, 0.75)
    np.testing.assert_array_equal(both[0], both[1])
    assert np.mean(both == 0, axis=1) == pytest.approx(np.mean(both == 1, axis=1), abs=0.02)


def test_any_monotone_scaling_leaves_ranks():
    rdms = drawn()
    np.testing.assert_allclose(ranked(np.exp(3 * rdms)), ranked(rdms), atol=1e-12)
    assert ranked(rdms).min() == 0
    assert ranked(rdms).max() == 1
    np.testing.assert_array_equal(ranked(np.full((1, 6), 0.4)), 0)


def test_the_whole_range_is_the_geometry_and_none_a_graph():
    rdms = ranked(drawn())
    np.testing.assert_array_equal(geo_topological(rdms, 0.0, 1.0), rdms)
    graph = geo_topological(rdms, 0.3, 0.3)
    assert set(np.unique(graph)) == {0.0, 1.0}
    assert graph.mean() == pytest.approx(0.7, abs=0.02)


def test_shortest_paths_are_those_of_a_heap():
    rdms = drawn(n=9) ** 2
    rdms[0, [0, 5, 20]] = 0
    for rdm, path in zip(rdms, square(geodesic(rdms)), strict=True):
        np.testing.assert_allclose(path, dijkstra(square(rdm[None])[0]), atol=1e-12)


def test_items_at_the_same_place_stay_there():
    """A graph that reads 0 as "no edge" would send the nearest of all pairs around by others."""
    points = np.random.default_rng(0).standard_normal((8, 2))
    points[1] = points[0]
    rdm = pairs(np.linalg.norm(points[:, None] - points[None], axis=-1)[None])
    np.testing.assert_allclose(geodesic(rdm), rdm, atol=1e-12)
    assert square(geodesic(rdm))[0, 0, 1] == 0
    lost = square(rdm)[0]
    lost[lost == 0] = np.inf
    assert dijkstra(lost)[0, 1] > 0.3
    # After the transform the shortest fifth of the pairs is at 0; dropping them changes the order of the others.
    made = geo_topological(ranked(rdm), 0.4, 0.8)
    dropped = square(made)[0]
    dropped[dropped == 0] = np.inf
    assert spearmanr(pairs(dijkstra(dropped)[None])[0], geodesic(made)[0]).statistic < 0.9


def test_comparisons_are_scipys():
    rdms, others = drawn(3), drawn(2, seed=1).round(1)
    for by, expected in (
        ("spearman", lambda a, b: spearmanr(a, b).statistic),
        ("correlation", lambda a, b: np.corrcoef(a, b)[0, 1]),
        ("cosine", lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
        ("kendall_a", lambda a, b: concordance(a, b)),
    ):
        found = similarity(rdms, others, by)
        np.testing.assert_allclose(found, [[expected(a, b) for b in others] for a in rdms], atol=1e-12)
    np.testing.assert_array_equal(similarity(rdms, np.ones((1, rdms.shape[1]))), 0)


@pytest.mark.parametrize("n_pairs", [3, 31, 32, 33, 1000])
@pytest.mark.parametrize("values", [2, 7, None], ids=["many ties", "ties", "no tie"])
def test_kendall_is_its_definition_with_and_without_ties(n_pairs, values, monkeypatch):
    # In several steps, the last of them smaller.
    monkeypatch.setattr(rdm_module, "_ENTRIES", 4 * n_pairs)
    generator = np.random.default_rng([n_pairs, values or 0])
    drawn_from = generator.random if values is None else lambda shape: generator.integers(0, values, shape)
    one, other = drawn_from((5, n_pairs)), drawn_from((2, n_pairs))
    expected = [[concordance(a, b) for b in other] for a in one]
    np.testing.assert_allclose(similarity(one, other, "kendall_a"), expected, atol=1e-14)
    untied = generator.permuted(np.tile(np.arange(n_pairs), (2, 1)), axis=1)
    scipys = kendalltau(*untied).statistic
    assert similarity(untied[:1], untied[1:], "kendall_a")[0, 0] == pytest.approx(scipys, abs=1e-14)
    assert similarity(untied[:1], untied[:1, ::-1], "kendall_a")[0, 0] == concordance(untied[0], untied[0, ::-1])
    assert not similarity(untied, np.ones((1, n_pairs)), "kendall_a").any()


def concordance(a, b):
    """Kendall's tau-a by its definition."""
    row, column = np.triu_indices(len(a), 1)
    return np.mean(np.sign(a[row] - a[column]) * np.sign(b[row] - b[column]))


def test_nothing_is_more_alike_to_all_than_the_upper_ceiling():
    rdms = drawn(5) + 0.5 * drawn(1, seed=9)
    for by in ("spearman", "correlation", "cosine"):
        low, high = noise_ceiling(rdms, by)
        assert low < high
        tried = np.concatenate([rdms, pooled(rdms, by)[None], rdms.mean(axis=0)[None], drawn(20, seed=3)])
        assert similarity(tried, rdms, by).mean(axis=1).max() <= high + 1e-12
        by_hand = [similarity(rdms[[i]], pooled(np.delete(rdms, i, 0), by)[None], by)[0, 0] for i in range(5)]
        assert low == pytest.approx(np.mean(by_hand))
    with pytest.raises(InputError, match="needs two people"):
        noise_ceiling(rdms[:1])


def layers(noise, seed=0, n_people=6, n_layers=3):
    """Rows of matrices of layers that people share, with noise of their own."""
    generator = np.random.default_rng(seed)
    shared = drawn(n_layers, seed=seed)
    x = np.concatenate([shared + noise * generator.random(shared.shape) for _ in range(n_people)])
    people = np.repeat([f"{i:02d}" for i in range(n_people)], n_layers)
    target = np.tile([f"layer{i}" for i in range(n_layers)], n_people)
    rows = {"row_id": np.array([f"{i:03d}" for i in range(len(x))]), "subject": people, "target": target}
    rows |= {name: np.full(len(x), "n/a") for name in ("session", "run")}
    return Bundle({"x": x.astype(np.float32)}, rows, {"pair": list(range(x.shape[1]))}, {"fitted": []})


def test_geometry_is_a_special_case_of_the_topological_analysis():
    train, test = layers(2.0), layers(2.0, seed=0).with_rows(target=None)
    topological = make("methods", "topological_rsa", {"quantiles": [(0.0, 1.0)]})
    geometry = make("methods", "rsa_centroid")
    for method in (topological, geometry):
        method.fit(train, seed=0)
    np.testing.assert_array_equal(topological.predict(test)["y_score"], geometry.predict(test)["y_score"])
    # By hand: Spearman's correlation with the mean of ranks.
    classes = np.unique(train.rows["target"])
    means = [ranked(train["x"])[train.rows["target"] == name].mean(axis=0) for name in classes]
    expected = [[np.corrcoef(ranked(row[None])[0], mean)[0, 1] for mean in means] for row in test["x"]]
    np.testing.assert_allclose(geometry.predict(test)["y_score"], expected, atol=1e-12)


def test_the_search_takes_the_quantiles_that_tell_layers():
    """Only whether dissimilarities are among the greatest tells; the rest is shuffled in every matrix."""
    generator = np.random.default_rng(1)
    train = layers(0.0)
    x = ranked(train["x"])
    for row in x:
        low = np.flatnonzero(row < 0.8)
        row[low] = row[generator.permutation(low)]
    train = Bundle({"x": x}, train.rows, train.axes, {"fitted": []})
    method = make("methods", "topological_rsa", {"quantiles": [(0.1, 0.1), (0.8, 0.8)], "n_inner": 3})
    method.fit(train, seed=0)
    assert method.chosen()["lower"] == 0.8
    paths = make("methods", "topological_rsa", {"quantiles": [(0.0, 0.4)], "paths": True})
    paths.fit(train, seed=0)
    expected = ranked(x)[train.rows["target"] == "layer0"]
    expected = geodesic(geo_topological(expected, 0.0, 0.4)).mean(axis=0)
    np.testing.assert_allclose(paths.centroids_[0], expected, atol=1e-12)


def test_layers_of_networks_are_what_was_simulated(tmp_path):
    simulator = make("simulators", "layer_rdms", {"n_networks": 1, "n_epochs": 3, "noise": 0.0, "share": 1.0})
    facts = simulator.simulate(tmp_path, "planted", 3)
    assert facts["contrast"] == "clean"
    written = tmp_path / "sub-01" / "func" / "sub-01_task-view_run-1_desc-layer2_relmat.tsv"
    values = np.array([[float(cell) for cell in list(row.values())[1:]] for row in read_tsv(written)])
    activations = simulator.activations(1, 3)
    assert [layer.shape for layer in activations] == [(40, 128)] * 5
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(values, 1 - np.corrcoef(activations[1]), atol=1e-5)
    # The pictures are of the ten digits in turn, and the network learned to tell them: the like lie nearer together.
    digit = np.arange(40) % 10
    last = 1 - np.corrcoef(activations[-1])
    same = digit[:, None] == digit
    assert last[same & ~np.eye(40, dtype=bool)].mean() < 0.6 * last[~same].mean()


def test_without_anything_planted_layers_change_their_names(tmp_path):
    params = {"n_networks": 1, "n_epochs": 1, "n_units": 16, "n_runs": 3, "noise": 0.1}
    simulator = make("simulators", "layer_rdms", params)
    for truth in ("planted", "absent"):
        simulator.simulate(tmp_path / truth, truth, 0)
    tables = {
        truth: [sorted(path.read_text() for path in (tmp_path / truth).rglob(f"*run-{run}*.tsv")) for run in (1, 2, 3)]
        for truth in ("planted", "absent")
    }
    assert tables["planted"] == tables["absent"]
    named = [
        (tmp_path / truth / "sub-01" / "func" / f"sub-01_task-view_run-{run}_desc-layer1_relmat.tsv").read_text()
        for truth in ("planted", "absent")
        for run in (1, 2, 3)
    ]
    assert named[:3] != named[3:]


# ---- the published files


def test_published_matrices_come_out_as_they_are(real_data, tmp_path):
    source = real_data / "rsa-92images"
    rows = make("readers", "rsa_92images").read(source, tmp_path)
    assert [row["participant_id"] for row in rows][:4] == ["sub-BE", "sub-KO", "sub-SN", "sub-TI"]
    assert len(rows) == 20
    brain = scipy.io.loadmat(source / "92_brainRDMs.mat")["RDMs"]
    table = read_tsv(tmp_path / "sub-SN" / "ses-2" / "func" / "sub-SN_ses-2_task-images_desc-humanIT_relmat.tsv")
    values = np.array([[float(cell) for cell in list(row.values())[1:]] for row in table])
    np.testing.assert_allclose(values, brain[0, 2, 1]["RDM"], rtol=1e-5, atol=1e-6)

    measured = np.array([[pairs(brain[0, i, j]["RDM"][None])[0] for j in range(2)] for i in range(4)])
    people = measured.mean(axis=1)
    low, high = noise_ceiling(people, "spearman")
    assert (low, high) == pytest.approx((0.372, 0.666), abs=0.002)
    assert noise_ceiling(people, "kendall_a") == pytest.approx((0.254, 0.477), abs=0.002)
    models = json.loads((tmp_path / "task-images_relmat.json").read_text())["Models"]
    expected = {"animacy": 0.386, "FaceBodyManmadeNatobj": 0.277, "monkeyIT": 0.296, "HMAX": 0.160, "V1": 0.027}
    for name, value in expected.items():
        assert similarity(np.array([models[name]]), people, "spearman").mean() == pytest.approx(value, abs=0.002), name


def test_damaged_and_hostile_files_are_refused_in_one_line(tmp_path):
    def refused(match):
        with pytest.raises(InputError, match=match) as error:
            make("readers", "rsa_92images").read(tmp_path, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert str(tmp_path) not in str(error.value)

    refused("92_brainRDMs.mat: no such file")
    path = tmp_path / "92_brainRDMs.mat"
    path.write_bytes(b"MATLAB 5.0" + bytes(200))
    refused("not a readable MATLAB file|no structure")
    scipy.io.savemat(path, {"other": np.eye(3)})
    refused("has no structure RDMs")
    scipy.io.savemat(path, {"RDMs": {"RDM": np.arange(9.0).reshape(3, 3), "name": "hIT | BE | Session: 1"}})
    refused("is not symmetric")
    scipy.io.savemat(path, {"RDMs": {"RDM": np.ones((2, 2)), "name": "../../x"}})
    refused("names a matrix")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "bomb.mat"
    scipy.io.savemat(path, {"x": np.zeros((MOST // 8) + 1000)}, do_compression=True)
    assert path.stat().st_size < 1e7
    with pytest.raises(InputError, match="unpacks to more than"):
        read_mat(path, "bomb.mat")


# ---- candidate models


def test_other_people_are_the_lower_noise_ceiling_and_models_what_they_say(real_data, tmp_path):
    source = real_data / "rsa-92images"
    make("readers", "rsa_92images").read(source, tmp_path)
    brain = scipy.io.loadmat(source / "92_brainRDMs.mat")["RDMs"]
    people = np.array([[pairs(brain[0, i, j]["RDM"][None])[0] for j in range(2)] for i in range(4)]).mean(axis=1)
    models = json.loads((tmp_path / "task-images_relmat.json").read_text())["Models"]
    rows = {"row_id": np.array(list("abcd")), "subject": np.array(list("abcd"))}
    arrays = {"x": people, "models": np.tile(np.array(list(models.values())), (4, 1, 1))}
    bundle = Bundle(arrays, rows, {"pair": list(range(people.shape[1])), "model": list(models)}, {"fitted": []})
    metric = make("metrics", "rdm_likeness")

    def likeness(**params):
        found = []
        for person in range(4):
            method = make("methods", "rdm_model", params)
            method.fit(bundle.take(np.arange(4) != person), seed=0)
            found.append(metric.score(None, method.predict(bundle.take([person]))))
        return np.mean(found)

    assert likeness() == pytest.approx(noise_ceiling(people, "spearman")[0], abs=1e-9)
    assert likeness(model="animacy") == pytest.approx(0.386, abs=0.002)
    assert likeness(model="V1") == pytest.approx(0.027, abs=0.002)
    with pytest.raises(InputError, match="did you mean 'animacy'"):
        likeness(model="animacie")


def test_the_likelihood_of_a_model_is_that_of_normal_ranks():
    train = layers(1.0)
    method = make("methods", "rdm_model")
    method.fit(train, seed=0)
    density = method.predict(train)["log_likelihood"]
    ranks = np.array([np.argsort(np.argsort(row)) for row in train["x"]], dtype=float)
    z = (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.std(axis=1, keepdims=True)
    mean = ranks.mean(axis=0)
    model = (np.argsort(np.argsort(mean)) - (len(mean) - 1) / 2) / np.std(np.arange(len(mean)))
    r = np.mean(z @ model / len(model))
    expected = -0.5 * np.sum((z - r * model) ** 2 / (1 - r**2) + np.log(2 * np.pi * (1 - r**2)), axis=1)
    np.testing.assert_allclose(density, expected, rtol=1e-3)


def test_simulated_people_are_alike_as_far_as_planted():
    simulator = make("simulators", "category_rdms")
    models = simulator.models(5)
    region = dissimilarities(simulator.region(5))
    near = {name: similarity(values[None], region[None], "spearman")[0, 0] for name, values in models.items()}
    assert near["monkeyIT"] > near["HMAX"] > near["V1"]
    assert near["animacy"] > 0.3
    assert abs(near["V1"]) < 0.1
