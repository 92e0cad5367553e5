"""Core-set selection: orders against brute force, the encoder against plain formulas, rankings against scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

from replicortex import guard
from replicortex.bundle import Bundle
from replicortex.components import load, make
from replicortex.errors import InputError
from replicortex.shared import coreset
from replicortex.shared.fc_operators import Window, bank

OPERATORS = ["pearson", "kendall", "partial", "coherence", "lagged_correlation", "weighted_phase_lag_index"]
SELECTIONS = ["sclcs", "coreset_random", "coreset_k_center", "coreset_herding", "coreset_stratified"]


def windows(truth="planted", n_subjects=16, n_regions=8, seed=0):
    """Windows of simulated subjects as the extractor gives them."""
    simulator = make("simulators", "roi_series", {"n_subjects": n_subjects, "n_regions": n_regions, "n_volumes": 140})
    rows = {name: [] for name in ("row_id", "subject", "session", "run")}
    x, series, span = [], [], []
    for subject, session in itertools.product(range(1, n_subjects + 1), (1, 2)):
        data, _ = simulator.series(subject, session, 1, truth, seed)
        for start in (0, 35, 70):
            part = data[start : start + 70]
            x.append(bank(Window(part, 2.0), OPERATORS)[:, *np.triu_indices(n_regions, 1)])
            series.append(part.T)
            span.append((start, start + 70))
            for name, value in zip(
                rows, (f"{subject}_{session}_{start}", f"{subject:02d}", f"{session}", "n/a"), strict=True
            ):
                rows[name].append(value)
    arrays = {"x": np.array(x, np.float32), "series": np.array(series, np.float32), "span": np.array(span)}
    axes = {"operator": OPERATORS, "edge": list(range(x[0].shape[1])), "region": list(range(n_regions))}
    return Bundle(arrays, {name: np.array(values) for name, values in rows.items()}, axes, {"fitted": []})


def halves(bundle):
    first = bundle.rows["subject"] <= np.median(bundle.rows["subject"].astype(int)).astype(int).astype(str).zfill(2)
    train = bundle.take(first)
    return train.with_rows(target=train.rows["subject"]), bundle.take(~first)


@pytest.fixture(scope="module")
def planted():
    return windows()


@pytest.fixture(scope="module")
def fitted(planted):
    """All selections, fitted on half of the subjects."""
    train, _ = halves(planted)
    made = {name: make("methods", name, load("methods", name).tiny) for name in SELECTIONS}
    for model in made.values():
        model.fit(train, 3)
    return made


# ---- what every selection does


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_orders_the_pool_whatever_the_order_of_its_rows(name, fitted, planted):
    _, test = halves(planted)
    made = fitted[name].predict(test)
    assert len(np.unique(made["y_selected"])) == len(test)
    np.testing.assert_array_equal(made["x"], test["x"])
    shuffled = np.random.default_rng(0).permutation(len(test))
    again = fitted[name].predict(test.take(shuffled))["y_selected"]
    np.testing.assert_array_equal(
        np.argsort(-again, kind="stable"), np.argsort(shuffled)[np.argsort(-made["y_selected"])]
    )


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_saved_selection_is_the_same_and_the_guard_saw_the_training_rows(name, fitted, planted):
    train, test = halves(planted)
    model = fitted[name]
    content = model.dump()
    assert content == model.dump()
    restored = make("methods", name, load("methods", name).tiny)
    restored.restore(content)
    np.testing.assert_array_equal(restored.predict(test)["y_selected"], model.predict(test)["y_selected"])
    with guard.ledger() as entries:
        again = make("methods", name, load("methods", name).tiny)
        again.fit(train, 3)
    assert {row for entry in entries for row in entry["rows"]} == set(train.rows["row_id"])
    assert again.dump() == content


@pytest.mark.parametrize("name", ["coreset_random", "coreset_stratified", "sclcs"])
def test_draws_differ_between_seeds_and_folds(name, fitted, planted):
    train, test = halves(planted)
    order = np.argsort(fitted[name].predict(test)["y_selected"])
    for rows, seed in ((train, 4), (train.take(np.arange(6, len(train))), 3)):
        other = make("methods", name, load("methods", name).tiny)
        other.fit(rows, seed)
        assert (np.argsort(other.predict(test)["y_selected"]) != order).any()


# ---- orders


def test_k_center_covers_within_twice_the_best():
    x = np.random.default_rng(1).standard_normal((12, 3))
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    order = coreset.k_center_order(x)
    assert sorted(order) == list(range(12))
    for k in (2, 3, 4):
        best = min(distance[:, list(chosen)].min(1).max() for chosen in itertools.combinations(range(12), k))
        assert distance[:, order[:k]].min(1).max() <= 2 * best + 1e-12


def test_herding_follows_the_mean():
    x = np.random.default_rng(1).standard_normal((200, 5)) + 3
    order = coreset.herding_order(x)
    assert sorted(order) == list(range(200))
    error = [np.linalg.norm(x[order[:k]].mean(0) - x.mean(0)) for k in (5, 20)]
    drawn = np.random.default_rng(0)
    random = [
        np.mean([np.linalg.norm(x[drawn.choice(200, k, replace=False)].mean(0) - x.mean(0)) for _ in range(50)])
        for k in (5, 20)
    ]
    assert error[0] < 0.6 * random[0]
    assert error[1] < 0.4 * random[1]


def test_strata_take_turns():
    strata = np.repeat(["a", "b", "c"], [6, 4, 5])
    order = coreset.stratified_order(strata, np.random.default_rng(2).random(15), together=2)
    assert sorted(order) == list(range(15))
    named = strata[order].tolist()
    assert sorted(named[:6:2]) == sorted(named[6:12:2]) == ["a", "b", "c"]
    assert named[:12:2] == named[1:12:2]
    assert sorted(named[12:]) == ["a", "a", "c"]


def test_density_draws_rare_scores_and_drops_the_highest():
    """The first draws are those of NumPy's weighted choice without replacement; the top share comes last."""
    from scipy.stats import gaussian_kde

    scores = np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.5, 1.0, 9.0])
    weights = 1 / gaussian_kde(scores[:7])(scores[:7])
    drawn = np.random.default_rng(0)
    first = np.zeros((2, 8))
    for _ in range(1500):
        order = coreset.density_order(scores, drawn.random(8), 0.1)
        assert order[-1] == 7
        first[0, order[:2]] += 1
        first[1, drawn.choice(7, 2, replace=False, p=weights / weights.sum())] += 1
    np.testing.assert_allclose(first[0] / 1500, first[1] / 1500, atol=0.06)
    assert first[0, 6] > 2 * first[0, 2]


def test_random_numbers_are_of_the_row_alone():
    rows = {"row_id": np.array([f"row{i}" for i in range(400)])}
    numbers = coreset.row_numbers(rows, [1, 2])
    np.testing.assert_array_equal(coreset.row_numbers({"row_id": rows["row_id"][7:9]}, [1, 2]), numbers[7:9])
    assert abs(numbers.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(numbers, coreset.row_numbers(rows, [1, 3]))[0, 1]) < 0.15


# ---- the encoder


def test_the_loss_is_the_plain_formula_without_a_window_as_its_own_negative():
    torch = pytest.importorskip("torch")
    from replicortex.methods.sclcs import contrastive

    x = np.random.default_rng(0).standard_normal((6, 4))
    owner = np.array([0, 0, 1, 1, 2, 2])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    losses = []
    for i in range(6):
        near = [np.exp(unit[i] @ unit[j] / 0.1) for j in range(6) if owner[j] == owner[i] and j != i]
        far = [np.exp(unit[i] @ unit[j] / 0.1) for j in range(6) if owner[j] != owner[i]]
        losses.append(-np.log(sum(near) / sum(far)))
    ours = contrastive(torch.tensor(x), torch.tensor(owner), 0.1)
    assert float(ours) == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("form", ["paper", "released"])
def test_scores_are_the_changes_of_the_maps_of_the_network(form, planted):
    """The scores, computed from saved arrays, against the network itself with those weights."""
    torch = pytest.importorskip("torch")
    from replicortex.methods.sclcs import encoder

    train, test = halves(planted)
    model = make("methods", "sclcs", {"n_heads": 3, "dim": 5, "epochs": 12, "snapshots": 4, "form": form})
    model.fit(train, 0)
    network = encoder(70, 3, 5, 0.1, form).eval()
    maps = []
    for number in range(len(model.weights_["fusion"])):
        state = {name: torch.from_numpy(values[number]) for name, values in model.weights_.items()}
        assert set(network.load_state_dict(state, strict=False).unexpected_keys) == set()
        with torch.no_grad():
            maps.append(network(torch.from_numpy(test["series"]))[1].double().numpy())
    if form == "paper":
        np.testing.assert_allclose(maps[0].sum(axis=2), 1, atol=1e-5)
    changes = [np.linalg.norm((maps[b] - maps[a]).reshape(len(test), -1), axis=1) for a, b in model.pairs_]
    expected = np.mean([change**2 if form == "paper" else change for change in changes], axis=0)
    np.testing.assert_allclose(model.perturbation(test["series"]), expected, rtol=2e-3)
    alone = model.perturbation(test["series"][4:5])
    np.testing.assert_allclose(alone, model.perturbation(test["series"])[4:5], rtol=1e-3)


def test_the_number_of_parameters_at_the_size_of_the_paper():
    torch = pytest.importorskip("torch")
    t, h, d = 70, 16, 32
    attention = 2 * t + 2 * h * d * (t + 1) + h + d * (t + 1) + d * (d + 1)
    perceptron = 2 * d + 4 * d * (d + 1) + d * (4 * d + 1)
    assert make("methods", "sclcs").n_parameters() == attention + perceptron == 84_604
    assert torch.get_default_device().type == "cpu"


def test_learning_pulls_windows_of_a_subject_together(planted):
    train, _ = halves(planted)
    model = make("methods", "sclcs", load("methods", "sclcs").tiny)
    model.fit(train, 0)
    assert model.chosen()["last_loss"] < model.chosen()["first_loss"] - 0.5


def test_fitting_leaves_the_settings_of_torch_alone(planted):
    torch = pytest.importorskip("torch")
    train, _ = halves(planted)
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    make("methods", "sclcs", {"epochs": 2, "n_heads": 2, "dim": 2}).fit(train, 0)
    assert (torch.get_rng_state() == before[0]).all()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


def test_subjects_with_one_window_are_refused(planted):
    train, _ = halves(planted)
    lone = train.with_rows(target=np.arange(len(train)).astype(str))
    with pytest.raises(InputError, match="fewer than two subjects"):
        make("methods", "sclcs", load("methods", "sclcs").tiny).fit(lone, 0)


def test_a_batch_has_a_pair_of_each_subject_and_never_one_subject_alone():
    from replicortex.methods.sclcs import _batches

    groups = [np.arange(4 * i, 4 * i + 4) for i in range(9)]
    batches = list(_batches(groups, 4, np.random.default_rng(0)))
    assert [len(owner) for _, owner in batches] == [8, 10]
    rows = np.concatenate([rows for rows, _ in batches])
    assert len(set(rows)) == 18
    assert (np.concatenate([owner for _, owner in batches]) == rows // 4).all()


# ---- judging


def pool(x, subject, session, span, y=None):
    n = len(x)
    rows = {"row_id": np.array([f"r{i:03d}" for i in range(n)]), "subject": subject, "session": session}
    arrays = {"x": x.astype(np.float32), "span": np.asarray(span), "y_selected": np.zeros(n) if y is None else y}
    return Bundle(arrays, rows)


def test_identification_is_the_plain_search(planted):
    made = Bundle({**planted.arrays, "y_selected": np.zeros(len(planted))}, planted.rows)
    subject, session, span = planted.rows["subject"], planted.rows["session"], planted["span"]
    expected = []
    for operator in range(len(OPERATORS)):
        hits = []
        edges = planted["x"][:, operator].astype(float)
        # A hair of noise: edges that are all alike have no correlation.
        similar = np.corrcoef(edges + 1e-12 * np.random.default_rng(0).standard_normal(edges.shape))
        for i in range(len(planted)):
            best, whose = -2, None
            for j in range(len(planted)):
                run = subject[i] == subject[j] and session[i] == session[j]
                if run and span[i][0] < span[j][1] and span[j][0] < span[i][1]:
                    continue
                if similar[i, j] > best and np.ptp(edges[i]) > 0 and np.ptp(edges[j]) > 0:
                    best, whose = similar[i, j], subject[j]
            hits.append(whose == subject[i])
        expected.append(np.mean(hits))
    found = coreset.identification(made, subject)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.max() > 0.4
    assert found[OPERATORS.index("weighted_phase_lag_index")] < 0.5 * found.max()


def test_windows_that_share_volumes_do_not_identify_each_other():
    x = np.random.default_rng(0).standard_normal((4, 1, 30))
    x[1] = x[0] + 0.01
    subject, session = np.array(["a", "a", "b", "b"]), np.array(["1"] * 4)
    apart = pool(x, subject, session, [[0, 70], [70, 140], [0, 70], [70, 140]])
    assert coreset.identification(apart, subject)[0] >= 0.5
    assert coreset.identification(pool(x, subject, session, [[0, 70], [69, 139]] * 2), subject) is None
    sessions = np.array(["1", "2", "1", "2"])
    assert coreset.identification(pool(x, subject, sessions, [[0, 70]] * 4), subject)[0] >= 0.5
    assert coreset.identification(apart, subject, np.array([0, 2])) is None


def test_an_operator_that_is_flat_identifies_nobody():
    x = np.random.default_rng(0).standard_normal((4, 2, 30))
    x[1::2] = x[::2]
    x[:, 1] = 0.25
    subject = np.array(["a", "a", "b", "b"])
    found = coreset.identification(pool(x, subject, np.array(["1", "2"] * 2), [[0, 70]] * 4), subject)
    np.testing.assert_array_equal(found, [1, 0])


def test_gain_is_scikit_learns_where_it_can_be_and_chance_is_the_mean_over_orders():
    drawn = np.random.default_rng(4)
    for _ in range(20):
        whole, part = drawn.permutation(12) / 12.0, drawn.integers(0, 5, 12) / 4.0
        gains = coreset.top_gains(whole, 5)
        assert sorted(gains)[-6:] == [0, 1, 2, 3, 4, 5]
        # Ties of the ranking are averaged there too.
        assert coreset.ndcg(gains, part, 5) == pytest.approx(ndcg_score([gains], [part], k=5))
    tied = coreset.top_gains(np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1]), 3)
    np.testing.assert_allclose(tied, [2.5, 2.5, 1 / 3, 1 / 3, 1 / 3, 0])
    every = [coreset.ndcg(tied, np.array(order, float), 3) for order in itertools.permutations(range(6))]
    assert np.mean(every) == pytest.approx(coreset.ndcg_chance(6, 3))
    assert coreset.ndcg(tied, np.zeros(6), 3) == pytest.approx(coreset.ndcg_chance(6, 3))


def ndcg_of(**params):
    return make("metrics", "ranking_ndcg", {"n_operators": len(OPERATORS), "k": 3, **params})


def test_taking_everything_keeps_the_ranking_and_labels_alone_decide(planted):
    subject = planted.rows["subject"]
    made = Bundle({**planted.arrays, "y_selected": np.arange(len(planted), dtype=float)}, planted.rows)
    assert make("metrics", "ranking_kendall", {"fraction": 1.0}).score(subject, made) == pytest.approx(1)
    whole = coreset.identification(made, subject)
    if len(np.unique(whole)) == len(whole):
        assert ndcg_of(fraction=1.0).score(subject, made) == pytest.approx(1)
    assert np.isnan(ndcg_of().score(np.arange(len(planted)), made))  # nobody has two windows
    order = np.random.default_rng(0).permutation(len(planted))
    for metric in (ndcg_of(fraction=0.3), make("metrics", "ranking_kendall", {"fraction": 0.3})):
        assert metric.score(subject[order], made.take(order)) == pytest.approx(metric.score(subject, made))


def test_the_preferred_windows_are_ranked_and_no_others(planted):
    """Windows of low preference are spoilt: the value stays that of the chosen."""
    subject = planted.rows["subject"]
    n = len(planted)
    y = np.random.default_rng(1).random(n)
    made = Bundle({**planted.arrays, "y_selected": y}, planted.rows)
    chosen = coreset.taken(made, 0.25)
    assert set(chosen) == set(np.argsort(-y)[: round(0.25 * n)])
    part, whole = (coreset.identification(made, subject, rows) for rows in (chosen, None))
    expected = kendalltau(whole, part).statistic
    assert make("metrics", "ranking_kendall", {"fraction": 0.25}).score(subject, made) == pytest.approx(expected)


def test_a_core_set_without_partners_is_at_chance(planted):
    first = np.unique(planted.rows["subject"], return_index=True)[1]
    y = np.zeros(len(planted))
    y[first] = 1
    made = Bundle({**planted.arrays, "y_selected": y}, planted.rows)
    metric = ndcg_of(fraction=len(first) / len(planted))
    assert metric.score(planted.rows["subject"], made) == pytest.approx(metric.chance(None))
    kendall = make("metrics", "ranking_kendall", {"fraction": len(first) / len(planted)})
    assert kendall.score(planted.rows["subject"], made) == 0


def test_where_subjects_are_alike_rankings_are_near_chance():
    alike = windows("absent", n_subjects=12)
    metric = ndcg_of(fraction=0.3)
    drawn = np.random.default_rng(0)
    values = []
    for _ in range(40):
        labels = drawn.permutation(alike.rows["subject"])
        values.append(
            metric.score(labels, Bundle({**alike.arrays, "y_selected": drawn.random(len(alike))}, alike.rows))
        )
    assert abs(np.mean(values) - metric.chance(None)) < 0.15


def test_a_wrong_number_of_operators_is_refused(planted):
    made = Bundle({**planted.arrays, "y_selected": np.zeros(len(planted))}, planted.rows)
    with pytest.raises(InputError, match="n_operators is 20, the features have 6"):
        make("metrics", "ranking_ndcg").score(planted.rows["subject"], made)


def test_features_that_are_no_bank_are_refused(planted):
    _, test = halves(planted)
    bare = Bundle({"x": test["x"]}, test.rows, test.axes)
    model = make("methods", "coreset_random")
    model.fit(test, 0)
    with pytest.raises(InputError, match="no array 'span'"):
        model.predict(bare)
