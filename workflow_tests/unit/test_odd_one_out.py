"""Choices of the odd one out: the model against enumeration, what is recovered, and the published trials."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from replicortex.bundle import Bundle
from replicortex.components import Context, load, make
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv, to_json, write_text
from replicortex.index import refresh_index
from replicortex.methods.object_similarity import _products
from replicortex.shared.triplets import (
    POSITIONS,
    choice_similarity,
    correlations,
    dot_scores,
    merged,
    pair_scores,
    reproducibility,
    softmax,
    upper,
)
from replicortex.stages.preprocess import preprocess_block


def sparse(n=20, d=5, seed=0):
    generator = np.random.default_rng(seed)
    return generator.exponential(1.0, (n, d)) * (generator.random((n, d)) < 0.4)


def test_the_similar_pair_stays_and_the_third_is_odd():
    embedding = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    triplets = np.array([[0, 1, 2], [2, 0, 1], [0, 2, 1]])
    scores = dot_scores(embedding, triplets)
    np.testing.assert_array_equal(scores.argmax(axis=1), [2, 0, 1])
    np.testing.assert_allclose(scores, pair_scores(embedding @ embedding.T, triplets))
    # Of the first triplet: pairs (1, 2), (0, 2), (0, 1).
    expected = np.exp([0.0, 0.0, 2.0])
    np.testing.assert_allclose(softmax(scores)[0], expected / expected.sum())


def test_similarities_of_choices_are_those_of_all_triplets():
    embedding = sparse(n=9)
    similar, n = choice_similarity(embedding), len(embedding)
    assert similar.diagonal().tolist() == [1.0] * n
    for i, j in itertools.combinations(range(n), 2):
        others = [k for k in range(n) if k not in (i, j)]
        chances = softmax(dot_scores(embedding, np.array([[i, j, k] for k in others])))
        assert similar[i, j] == pytest.approx(chances[:, 2].mean(), abs=1e-12)
        assert similar[j, i] == pytest.approx(similar[i, j])


def test_dimensions_of_several_fits_are_put_together_once():
    one = sparse(seed=1)
    other = np.column_stack([one[:, [3, 1]] * 0.9, sparse(seed=2)[:, :1], np.full(20, 0.05)])
    kept = merged([one, other], alike=0.4, least=0.1)
    assert kept.shape[1] <= 6
    near = correlations(kept, kept)
    assert near[~np.eye(len(near), dtype=bool)].max() <= 0.4
    assert (np.diff(kept.sum(axis=0)) <= 0).all()
    # Whatever was left out is told by a larger one that is kept.
    for column in np.column_stack([one, other[:, :3]]).T:
        assert correlations(column[:, None], kept).max() > 0.4


def test_reproducibility_is_one_for_the_same_and_nothing_for_chance():
    one = sparse(n=100)
    shuffled = one[:, np.random.default_rng(0).permutation(5)]
    np.testing.assert_allclose(reproducibility([one, shuffled], 0.1), 1.0, atol=1e-12)
    # The best of many matches would be well above zero on the objects that it was chosen on.
    noise = [np.random.default_rng(seed).random((100, 40)) for seed in (1, 2, 3)]
    assert abs(reproducibility(noise, 0.1).mean()) < 0.05
    assert correlations(noise[0], noise[1]).max(axis=1).mean() > 0.2


def bundle_of(simulator, people, seed, *, target=True, truth="planted"):
    parts = [simulator.choices(person, truth, seed) for person in people]
    triplets = np.concatenate([part[0] for part in parts])
    odd = np.concatenate([part[1] for part in parts])
    subject = np.repeat([f"{person:02d}" for person in people], simulator.n_trials)
    rows = {"row_id": np.array([f"{i:06d}" for i in range(len(odd))]), "subject": subject}
    embedding = simulator.embedding(seed)
    axes = {"object": [f"o{i}" for i in range(len(embedding))]}
    axes["object_features"] = simulator.features(embedding, seed).tolist()
    if target:
        rows["target"] = np.array(POSITIONS)[odd]
    return Bundle({"x": triplets.astype(np.float32)}, rows, axes, {"fitted": []}), odd


DEMO = {"n_dims": [60], "n_seeds": 3, "epochs": 20, "batch_size": 1000, "learning_rate": 0.02}


def judged(method, simulator, n_train, seed=3, truth="planted"):
    """Fit on the first people; return the accuracy and its share of what can be reached on others, and the record."""
    train, _ = bundle_of(simulator, range(1, n_train + 1), seed, truth=truth)
    test, odd = bundle_of(simulator, range(18, 21), seed, target=False, truth=truth)
    method.context = Context("method", "made")
    method.fit(train, seed=0)
    predicted = method.predict(test)
    target = np.array(POSITIONS)[odd]
    facts = {"embedding": simulator.embedding(seed).tolist()}
    share = make("metrics", "attainable_accuracy").score_truth(target, predicted, facts)
    found = {key: np.asarray(value).tolist() for key, value in method.found().items()}
    metrics = ("similarity_r", "dimension_recovery", "dimension_reproducibility")
    scores = {name: make("metrics", name).score_fit({"found": found}, facts) for name in metrics}
    return {"accuracy": np.mean(predicted["y_score"].argmax(axis=1) == odd), "share": share, **scores}


def test_what_was_planted_is_found_and_the_penalty_helps():
    simulator = make("simulators", "odd_one_out")
    embedding = simulator.embedding(3)
    test, odd = bundle_of(simulator, range(18, 21), 3)
    scores = dot_scores(embedding, np.rint(test["x"]).astype(int))
    oracle, ceiling = np.mean(scores.argmax(axis=1) == odd), softmax(scores).max(axis=1).mean()
    assert ceiling == pytest.approx(0.64, abs=0.01)
    assert oracle == pytest.approx(ceiling, abs=0.02)
    sparse_fit = judged(make("methods", "spose", {**DEMO, "penalties": [0.016]}), simulator, 17)
    assert oracle - 0.035 < sparse_fit["accuracy"] < oracle + 0.01
    assert sparse_fit["share"] == pytest.approx((sparse_fit["accuracy"] - 1 / 3) / (ceiling - 1 / 3))
    assert sparse_fit["similarity_r"] > 0.92
    assert sparse_fit["dimension_recovery"] > 0.6
    plain = judged(make("methods", "spose", {**DEMO, "penalties": [0.0]}), simulator, 17)
    assert plain["similarity_r"] < sparse_fit["similarity_r"] - 0.02
    assert plain["dimension_reproducibility"] < sparse_fit["dimension_reproducibility"] - 0.1
    few = judged(make("methods", "spose", {**DEMO, "penalties": [0.016]}), simulator, 2)
    assert 0.36 < few["accuracy"] < sparse_fit["accuracy"] - 0.03


def test_choices_at_random_are_predicted_by_chance():
    simulator = make("simulators", "odd_one_out")
    method = make("methods", "spose", {**DEMO, "penalties": [0.016]})
    found = judged(method, simulator, 6, truth="absent")
    assert found["accuracy"] == pytest.approx(1 / 3, abs=0.02)
    assert abs(found["share"]) < 0.07
    assert abs(found["similarity_r"]) < 0.1


def test_counts_are_those_of_the_trials():
    rows = {
        "row_id": np.array(["a", "b", "c"]),
        "subject": np.array(["01"] * 3),
        "target": np.array(["third", "third", "first"]),
    }
    x = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 2]], dtype=np.float32)
    train = Bundle({"x": x}, rows, {"object": ["a", "b", "c", "d"]}, {"fitted": []})
    method = make("methods", "pair_similarities", {"pseudo_counts": [2.0], "ranks": [4]})
    method.fit(train, seed=0)
    # a and b were shown three times and stayed twice; b and c stayed once of two times.
    assert method.similarity_[0, 1] == pytest.approx((2 + 2 / 3) / 5 - 1 / 3)
    assert method.similarity_[1, 2] == pytest.approx((1 + 2 / 3) / 4 - 1 / 3)
    assert method.similarity_[0, 3] == pytest.approx(2 / 3 / 3 - 1 / 3)


def test_weights_of_features_are_those_of_logistic_regression():
    """With two objects of one group in each trial the choice has two outcomes, and scikit-learn's model is the same."""
    simulator = make("simulators", "odd_one_out", {"n_objects": 30, "n_dims": 6, "n_features": 4, "n_trials": 400})
    train, odd = bundle_of(simulator, [1, 2], 5)
    method = make("methods", "object_similarity", {"penalties": [1e-3]})
    method.fit(train, seed=0)
    products = _products(train)
    # A conditional logit of three alternatives, as pairs of the choice against each other one, at its own optimum.
    chances = softmax(products @ method.weights_)
    chosen = products[np.arange(len(odd)), odd].sum(axis=0)
    expected = np.einsum("np,npf->f", chances, products)
    mean = np.full((4, 4), 1 / 4)
    shrinkage = 1e-3 * (np.eye(4) - mean) + 1e-3 * mean
    np.testing.assert_allclose(chosen - expected, shrinkage @ method.weights_, atol=1e-5)
    two = odd != 2
    gap = products[two, 0] - products[two, 1]
    binary = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-10, max_iter=1000).fit(gap, odd[two] == 0)
    assert np.corrcoef(binary.coef_[0], method.weights_)[0, 1] > 0.9


def test_a_great_penalty_leaves_the_plain_dot_product():
    simulator = make("simulators", "odd_one_out", {"n_objects": 30, "n_trials": 300})
    train, _ = bundle_of(simulator, [1, 2], 5)
    method = make("methods", "object_similarity", {"penalties": [1e9]})
    method.fit(train, seed=0)
    np.testing.assert_allclose(method.weights_, method.weights_.mean(), rtol=1e-4)
    features = np.array(train.axes["object_features"])
    plain = dot_scores(features, np.rint(train["x"]).astype(int)).argmax(axis=1)
    np.testing.assert_array_equal(method.predict(train)["y_score"].argmax(axis=1), plain)


def rows_of_study(root, folder):
    """Bring a dataset of choices through preprocessing and features; return bundles by subject."""
    refresh_index(root, folder / "index")
    preprocess_block(folder / "index" / "recordings.tsv", root, folder / "deriv", folder / "manifest.tsv",
                     "tables", {"datatype": "beh"}, "code", "0of1")  # fmt: skip
    extractor = make("features", "triplets")
    classes = {name: [name] for name in POSITIONS}
    found = {}
    for row in read_tsv(folder / "manifest.tsv"):
        assert row["status"] == "ok", row["reason"]
        found[row["subject"]] = extractor.extract(row, folder / "deriv" / row["path"], classes)
    return found


def test_trials_come_through_as_they_were_simulated(tmp_path):
    simulator = make("simulators", "odd_one_out", load("simulators", "odd_one_out").tiny)
    write_text(tmp_path / "raw" / "README", "")
    facts = simulator.simulate(tmp_path / "raw", "planted", 4)
    bundle = rows_of_study(tmp_path / "raw", tmp_path)["02"]
    triplets, odd = simulator.choices(2, "planted", 4)
    np.testing.assert_array_equal(bundle["x"], triplets)
    np.testing.assert_array_equal(bundle.rows["label"], np.array(POSITIONS)[odd])
    assert bundle.axes["object"] == facts["objects"]
    features = simulator.features(simulator.embedding(4), 4)
    np.testing.assert_allclose(bundle.axes["object_features"], features, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda table: table.replace("object_2", "thing_2"), "lacks the column object_2"),
        (lambda table: table.replace("object03", "object99"), "not three different ones"),
        (lambda table: table.replace("object02", "object03"), "not three different ones"),
        (lambda table: "\n".join([table.split("\n")[0], "a\tb\tc\tn/a", ""]), "no trial with a response"),
    ],
)
def test_faulty_tables_are_refused_in_one_line(tmp_path, change, fault):
    simulator = make("simulators", "odd_one_out", load("simulators", "odd_one_out").tiny)
    simulator.simulate(tmp_path, "planted", 4)
    sidecar = read_json(tmp_path / "task-oddoneout_beh.json")
    path = tmp_path / "sub-01" / "beh" / "sub-01_task-oddoneout_beh.tsv"
    write_text(path, change(path.read_text()))
    write_text(path.with_suffix(".json"), to_json(sidecar))
    recording = {"path": "sub-01/beh/x.tsv", "recording": "sub-01_task-oddoneout", "suffix": "beh", "subject": "01"}
    recording |= {"session": "n/a", "run": "n/a"}
    with pytest.raises(InputError, match=fault):
        make("features", "triplets").extract(recording, path, {})


# ---- the published trials


def test_published_embedding_predicts_people_and_models_as_measured(real_data, tmp_path):
    root = tmp_path / "bids"
    rows = make("readers", "things_triplets").read(real_data / "things-spose", root)
    assert [(row["participant_id"], row["n_trials"]) for row in rows] == [
        ("sub-humans", 2171), ("sub-gpt4", 2171), ("sub-gpt35", 2171)]  # fmt: skip
    about = {"Name": "THINGS", "BIDSVersion": "1.10.1", "License": "MIT"}
    write_text(root / "dataset_description.json", to_json(about))
    bundles = rows_of_study(root, tmp_path)
    expected = {"humans": 0.655, "gpt4": 0.571, "gpt35": 0.459}
    for subject, value in expected.items():
        others = [bundles[name] for name in expected if name != subject]
        train = others[0].with_rows(target=others[0].rows["label"], label=None)
        method = make("methods", "object_similarity", {"penalties": [1e6]})
        method.fit(train, seed=0)
        predicted = method.predict(bundles[subject].with_rows(label=None))
        accuracy = make("metrics", "accuracy").score(bundles[subject].rows["label"], predicted)
        assert accuracy == pytest.approx(value, abs=0.001), subject
        # Where the odd one stands tells nothing.
        counts = np.unique(bundles[subject].rows["label"], return_counts=True)[1]
        assert counts.min() > 650


def test_damaged_published_files_are_refused_in_one_line(tmp_path):
    reader, source = make("readers", "things_triplets"), tmp_path / "source"

    def refused(match):
        with pytest.raises(InputError, match=match) as error:
            reader.read(source, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert str(tmp_path) not in str(error.value)

    source.mkdir()
    refused("unique_id.txt: no such file")
    (source / "unique_id.txt").write_text("a\nb\nc\nd\n")
    (source / "spose_embedding_66d_sorted.txt").write_text("0.1 0.2\n0.3 x\n")
    refused("is no table of numbers")
    (source / "spose_embedding_66d_sorted.txt").write_text("0.1 0.2\n0.3 0.1\n")
    refused("has 2 lines for 4 different objects")
    (source / "spose_embedding_66d_sorted.txt").write_text("0 1\n" * 4)
    for text, fault in (("0 1 4\n", "three numbers of 4 objects"), ("0 1\n", "three numbers"), ("0 1 1\n", "twice"),
                        ("0 1 -1\n", "three numbers"), ("0 1 nan\n", "no table")):  # fmt: skip
        (source / "2171trials_humans.txt").write_text(text)
        refused(fault)


def test_pairs_stand_in_their_order():
    np.testing.assert_array_equal(upper(np.arange(9).reshape(3, 3)), [1, 2, 5])
