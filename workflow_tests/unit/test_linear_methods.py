"""Linear models, the baselines made of them, their metrics and splitters: closed forms and scikit-learn decide."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from replicortex import guard
from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared.linear_search import LinearModel, quick_score, task_folds
from replicortex.shared.predictions import regressed
from replicortex.shared.search import selection_score
from replicortex.shared.vectors import as_matrix


def table(x, axes=None, **columns):
    n = len(x)
    rows = {"row_id": np.array([f"r{i}" for i in range(n)]), "subject": np.array([f"s{i:03d}" for i in range(n)])}
    return Bundle({"x": x}, {**rows, **columns}, axes or {"variable": [f"v{j}" for j in range(x.shape[1])]})


def drawn(n=60, p=200, seed=0, strength=1.0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, p)) * generator.uniform(0.1, 10, p) + generator.normal(size=p) * 5
    y = strength * ((x - x.mean(0)) / x.std(0))[:, :5].sum(axis=1) + generator.normal(size=n)
    return x, y


@pytest.mark.parametrize("p", [12, 200], ids=["tall", "wide"])
@pytest.mark.parametrize("penalty", [1.0, 300.0])
def test_models_are_scikit_learns(p, penalty):
    x, y = drawn(p=p)
    z, new = StandardScaler().fit(x), drawn(p=p, seed=1)[0]
    ridge = Ridge(alpha=penalty).fit(z.transform(x), y)
    np.testing.assert_allclose(LinearModel(penalty).fit(x, y).predict(new), ridge.predict(z.transform(new)), atol=1e-8)
    for levels in (2, 3):
        named = np.array(["a", "b", "c"])[np.searchsorted(np.quantile(y, np.arange(1, levels) / levels), y)]
        options = {"C": 1 / penalty, "tol": 1e-10, "max_iter": 20000}
        expected = LogisticRegression(**options).fit(z.transform(x), named).decision_function(z.transform(new))
        found = LinearModel(penalty).fit(x, named).predict(new)
        np.testing.assert_allclose(found[:, 1] if levels == 2 else found, expected, rtol=1e-4, atol=1e-4)


def test_missing_values_and_constants_count_as_the_training_mean():
    x, y = drawn(p=6)
    x[:, 3] = 7.0
    holes = x.copy()
    holes[::7, 1] = np.nan
    filled = holes.copy()
    filled[::7, 1] = np.nanmean(holes[:, 1])
    model = LinearModel(10.0).fit(holes, y)
    assert abs(model.coef_[0, 3]) < 1e-12
    # The scale is that of the values that are there: filling in the mean only makes it smaller.
    other = LinearModel(10.0).fit(filled, y)
    np.testing.assert_allclose(model.mean_, other.mean_)
    strange = holes[:2].copy()
    strange[:, 3] = 1e9
    assert np.isfinite(model.predict(holes)).all()
    np.testing.assert_array_equal(model.predict(strange), model.predict(holes[:2]))


@pytest.mark.parametrize("regress", [False, True])
def test_the_search_takes_the_penalty_that_a_plain_loop_takes(regress):
    x, y = drawn(n=50, p=120, strength=0.6)
    target = y if regress else np.where(y > 0, "up", "down")
    train = table(x, target=target)
    model = make("methods", "linear", {"penalties": [0.1, 30.0, 1e3, 1e5]})
    model.fit(train, seed=4)
    means = []
    for penalty in model.penalties:
        scores = []
        for inner, held in task_folds(train, model.n_inner, 4):
            z = StandardScaler().fit(x[inner])
            if regress:
                fitted = Ridge(alpha=penalty).fit(z.transform(x[inner]), target[inner])
                scores.append(r2_score(target[held], fitted.predict(z.transform(x[held]))))
            else:
                fitted = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=20000)
                fitted.fit(z.transform(x[inner]), target[inner])
                scores.append(roc_auc_score(target[held] == "up", fitted.decision_function(z.transform(x[held]))))
        means.append(np.mean(scores))
    assert model.chosen()["inner_score"] == pytest.approx(max(means), abs=1e-6)
    assert means[model.penalties.index(model.chosen()["penalty"])] == pytest.approx(max(means), abs=1e-6)


def test_the_quick_score_is_the_slow_one():
    generator = np.random.default_rng(0)
    for names in (["a", "b"], ["a", "b", "c"]):
        target, classes = generator.choice(names, 40), np.array(names)
        y_score = generator.normal(size=(40, len(names))).round(1)
        assert quick_score(target, y_score, classes) == pytest.approx(selection_score(target, y_score, classes))
    assert quick_score(np.array(["a", "a"]), y_score[:2, :2], classes[:2]) == 0.5


def test_inner_folds_of_numbers_hold_out_whole_subjects_and_are_balanced():
    generator = np.random.default_rng(0)
    subject = np.repeat([f"s{i}" for i in range(30)], 3)
    train = table(generator.normal(size=(90, 2)), target=np.repeat(generator.normal(size=30), 3))
    train = train.with_rows(subject=subject)
    for inner, held in task_folds(train, 3, 0):
        assert not set(subject[inner]) & set(subject[held])
        assert abs(train.rows["target"][held].mean() - train.rows["target"].mean()) < 0.5


def test_matrices_banks_and_lists_become_the_right_columns():
    generator = np.random.default_rng(0)
    matrices = generator.normal(size=(4, 5, 5))
    matrices += matrices.swapaxes(1, 2)
    regions = table(matrices, {"region": list("abcde")})
    upper = np.triu_indices(5, 1)
    np.testing.assert_array_equal(as_matrix(regions), matrices[:, *upper])
    matrices[:, 0, 1] += 1
    assert as_matrix(table(matrices, {"region": list("abcde")})).shape == (4, 20)
    # A bundle file keeps no order of axes, and a bank may have as many operators as edges.
    bank = generator.normal(size=(4, 3, 3))
    axes = {"edge": ["a--b", "a--c", "b--c"], "operator": ["pearson", "partial", "lag"]}
    np.testing.assert_array_equal(as_matrix(table(bank, axes), select={"operator": "partial"}), bank[:, 1])
    wide = generator.normal(size=(4, 3, 6))
    axes = {"edge": [str(i) for i in range(6)], "operator": ["pearson", "partial", "lag"]}
    picked = as_matrix(table(wide, axes), select={"edge": ["4", "1"], "operator": "lag"})
    np.testing.assert_array_equal(picked, wide[:, 2][:, [4, 1]])
    with pytest.raises(InputError, match="no entry 'person'; did you mean 'pearson'"):
        as_matrix(table(wide, axes), select={"operator": "person"})
    with pytest.raises(InputError, match="have no array 'fc'"):
        as_matrix(table(wide, axes), "fc")


def sites(n=240, seed=0):
    """Diagnosis that the site foretells, age that nothing foretells, motion that is sometimes missing."""
    generator = np.random.default_rng(seed)
    site = generator.choice(["A", "B", "C"], n)
    sick = generator.random(n) < np.select([site == "A", site == "B"], [0.8, 0.5], 0.2)
    motion = generator.normal(0.2, 0.05, n)
    motion[::9] = np.nan
    return table(
        np.full((n, 3), np.nan),
        site=site,
        mean_fd=motion,
        age=generator.normal(30, 5, n),
        target=np.where(sick, "adhd", "control"),
    )


def test_covariates_alone_tell_what_was_planted_in_them_and_nothing_else():
    train, test = sites(), sites(seed=1)
    control = test.rows["target"] == "control"
    aucs = {}
    for columns in (["site"], ["mean_fd", "age"]):
        model = make("methods", "covariates_linear", {"columns": columns})
        model.fit(train, 0)
        found = model.predict(test.with_rows(target=None))
        aucs[columns[0]] = roc_auc_score(control, found["y_score"][:, 1])
        assert found.axes["class"] == ["adhd", "control"]
    # The best that a site can tell: rates of 0.8, 0.5 and 0.2 at a third each give an area of 0.767.
    assert 0.68 < aucs["site"] < 0.85
    assert abs(aucs["mean_fd"] - 0.5) < 0.12
    # A new site is the average site.
    model = make("methods", "covariates_linear", {"penalties": [1.0]})
    model.fit(train, 0)
    new = test.with_rows(target=None, site=np.full(len(test), "Z"))
    assert abs(np.ptp(model.predict(new)["y_score"])) == pytest.approx(2 * abs(model.model_.intercept_[0]), abs=1e-12)


def test_a_covariate_that_is_the_target_is_refused():
    train = sites()
    disguised = train.with_rows(group=np.where(train.rows["target"] == "adhd", "1", "2"))
    with pytest.raises(InputError, match="is what is to be predicted"):
        make("methods", "covariates_linear", {"columns": ["group"]}).fit(disguised, 0)
    months = train.with_rows(target=train.rows["age"], months=train.rows["age"] * 12)
    with pytest.raises(InputError, match="is what is to be predicted"):
        make("methods", "covariates_linear", {"columns": ["site", "months"]}).fit(months, 0)
    with pytest.raises(InputError, match="no column 'sites'; did you mean 'site'"):
        make("methods", "covariates_linear", {"columns": ["sites"]}).fit(train, 0)


def connectomes(n=60, n_regions=8, seed=0, effect=0.4):
    """Covariances of series; one pair of regions is more coupled in half of the subjects."""
    generator = np.random.default_rng(seed)
    base = np.random.default_rng(99).normal(size=(n_regions, n_regions))
    base = base @ base.T / n_regions + np.eye(n_regions)
    sick, matrices = np.arange(n) % 2 == 0, []
    for is_sick in sick:
        truth = base.copy()
        truth[0, 1] = truth[1, 0] = truth[0, 1] + effect * is_sick
        series = generator.multivariate_normal(np.zeros(n_regions), truth, size=80)
        matrices.append(np.cov(series.T))
    age = 20 + 10 * np.array([m[2, 2] for m in matrices])
    return table(
        np.array(matrices, dtype=np.float32),
        {"region": [str(i) for i in range(n_regions)]},
        target=np.where(sick, "adhd", "control"),
        age=age,
    )


def test_tangent_vectors_are_whitened_logarithms_and_find_the_planted_edge():
    from scipy.linalg import fractional_matrix_power, logm

    train, test = connectomes(), connectomes(seed=1)
    model = make("methods", "tangent_linear", {"array": "x", "shrinkages": [0.0, 0.1], "penalties": [1.0, 10.0]})
    model.fit(train, 0)
    assert roc_auc_score(test.rows["target"] == "control", model.predict(test)["y_score"][:, 1]) > 0.75
    # Independently: log(G^-1/2 C G^-1/2), off-diagonals times the root of two.
    amount = model.chosen()["shrinkage"]
    c = np.asarray(test["x"][0], dtype=float)
    c = (1 - amount) * c + amount * np.trace(c) / len(c) * np.eye(len(c))
    root = fractional_matrix_power(model.reference_, -0.5)
    log = logm(root @ c @ root).real
    row, column = np.triu_indices(len(c))
    vector = log[row, column] * np.where(row == column, 1, np.sqrt(2))
    expected = model.model_.predict(vector[None])
    np.testing.assert_allclose(model.predict(test.take([0]))["y_score"], expected, atol=1e-6)
    # The mean's own condition: the logarithms seen from it cancel.
    inner = [root @ ((1 - amount) * m + amount * np.trace(m) / 8 * np.eye(8)) @ root for m in train["x"].astype(float)]
    assert np.abs(np.mean([logm(m).real for m in inner], axis=0)).max() < 1e-3


def test_singular_matrices_are_no_obstacle_and_numbers_are_regressed():
    train, test = (connectomes(seed=seed) for seed in (0, 1))
    doubled = [
        Bundle(
            {"x": np.concatenate([np.concatenate([b["x"], b["x"]], 1)] * 2, 2)},
            {**b.rows, "target": b.rows["age"]},
            {"region": [str(i) for i in range(16)]},
        )
        for b in (train, test)
    ]
    model = make("methods", "tangent_linear", {"array": "x", "shrinkages": [0.0], "mean": "logeuclid"})
    model.fit(doubled[0], 0)
    found = model.predict(doubled[1].with_rows(target=None))["y_pred"]
    assert np.corrcoef(found, test.rows["age"])[0, 1] > 0.8


def test_metrics_of_numbers_are_scikit_learns():
    generator = np.random.default_rng(0)
    target = generator.normal(size=40)
    y_pred = target + generator.normal(size=40)
    bundle = regressed(table(np.zeros((40, 1))), y_pred)
    metrics = {name: make("metrics", name) for name in ("r2", "mae", "pearson_r")}
    assert metrics["r2"].score(target, bundle) == pytest.approx(r2_score(target, y_pred))
    assert metrics["mae"].score(target, bundle) == pytest.approx(mean_absolute_error(target, y_pred))
    assert metrics["pearson_r"].score(target, bundle) == pytest.approx(np.corrcoef(target, y_pred)[0, 1])
    same = regressed(table(np.zeros((40, 1))), np.full(40, np.median(target)))
    assert metrics["mae"].score(target, same) == pytest.approx(metrics["mae"].chance(target))
    assert metrics["pearson_r"].score(target, same) == 0
    mean = regressed(table(np.zeros((40, 1))), np.full(40, target.mean()))
    assert metrics["r2"].score(target, mean) == pytest.approx(0, abs=1e-12)
    for name in ("r2", "pearson_r"):
        assert np.isnan(metrics[name].score(np.ones(40), bundle))


def population(n=103, seed=0):
    generator = np.random.default_rng(seed)
    site = generator.choice(["NYU", "PITT", "small"], n, p=[0.5, 0.4, 0.1])
    rows = {"subject": [], "site": [], "row_id": [], "session": [], "run": []}
    sick, age, target, ages = generator.random(n) < 0.3, generator.normal(30, 8, n), [], []
    for i in range(n):
        for scan in range(1 + i % 3):
            rows["subject"].append(f"{i:03d}")
            rows["site"].append(site[i])
            rows["row_id"].append(f"{i:03d}_{scan}")
            rows["session"].append(str(scan))
            rows["run"].append("n/a")
            target.append("adhd" if sick[i] else "control")
            ages.append(age[i])
    return {name: np.array(values) for name, values in rows.items()}, np.array(target), np.array(ages)


def test_folds_of_subjects_are_balanced_by_class_within_site():
    rows, target, age = population()
    first = np.unique(rows["subject"], return_index=True)[1]
    folds = list(make("splitters", "k_fold", {"folds": 5, "repeats": 2}).split(rows, target, 0))
    assert len(folds) == len({name for name, _, _ in folds}) == 10
    counts = {}
    for name, train, test in folds:
        guard.check_splits("k_fold", name, "subject", rows, train, test)
        assert len(train) + len(test) == len(target)
        here = np.intersect1d(first, test)
        counts[name] = [
            np.sum((target[here] == t) & (rows["site"][here] == s))
            for t in ("adhd", "control")
            for s in np.unique(rows["site"])
        ] + [np.sum(target[here] == "adhd"), len(here)]
    assert (np.ptp(np.array(list(counts.values())), axis=0) <= 1).all()
    held = [tuple(test) for _, _, test in folds]
    assert len(set(held)) == 10, "a repeat deals the same folds again"
    means = [age[test].mean() for _, _, test in make("splitters", "k_fold", {"folds": 5}).split(rows, age, 0)]
    plain = np.random.default_rng(0)
    spread = [np.std([age[p].mean() for p in np.array_split(plain.permutation(len(age)), 5)]) for _ in range(30)]
    assert np.std(means) < np.mean(spread)


def test_a_site_is_held_out_with_all_who_were_ever_there():
    rows, target, _ = population()
    rows["site"] = rows["site"].copy()
    rows["site"][0] = "n/a"
    rows["site"][rows["row_id"] == "001_1"] = "other"
    scheme = make("splitters", "leave_site_out")
    folds = {name: (train, test) for name, train, test in scheme.split(rows, target, 0)}
    assert set(folds) == {"site-NYU", "site-PITT", "site-small", "site-other"}
    home = rows["site"][rows["row_id"] == "001_0"][0]
    for name, (train, test) in folds.items():
        guard.check_splits("leave_site_out", name, "subject", rows, train, test)
        assert set(rows["site"][test]) == {name.removeprefix("site-")}
        assert 0 not in train
        assert 0 not in test
    assert not np.isin(np.flatnonzero(rows["subject"] == "001"), folds[f"site-{home}"][0]).any()
    assert "name it under `covariates`" in scheme.unfit({"subject": rows["subject"]})
    assert scheme.unfit({"site": np.array(["A", "n/a"])}) == "there is only one site"


def abide(folder):
    """Fisher-z correlations of the CC200 regions with diagnosis, site and motion."""
    series = np.load(folder / "fmri-abide-cc200" / "timeseries_cc200_filt_global.npz")
    x, columns = [], {"site": [], "mean_fd": [], "dx": []}
    with (folder / "fmri-abide-cc200" / "phenotypes.csv").open() as stream:
        for row in csv.DictReader(stream):
            with np.errstate(all="ignore"):
                r = np.nan_to_num(np.corrcoef(series[row["FILE_ID"]].T))[np.triu_indices(200, 1)]
            x.append(np.arctanh(np.clip(r, -0.999999, 0.999999)))
            columns["site"].append(row["SITE_ID"])
            columns["mean_fd"].append(float(row["func_mean_fd"]))
            columns["dx"].append({"1": "autism", "2": "control"}[row["DX_GROUP"]])
    return table(np.array(x), **{name: np.array(values) for name, values in columns.items()})


def test_real_autism_is_told_from_connectomes_as_published_elsewhere(real_data):
    """Reference: ten-fold area 0.68 with C = 0.001; permuted labels are at chance."""
    bundle = abide(real_data)
    generator = np.random.default_rng(0)
    areas = {"observed": [], "permuted": []}
    for seed in range(3):
        for kind, named in (("observed", bundle.rows["dx"]), ("permuted", generator.permutation(bundle.rows["dx"]))):
            scores = np.zeros(len(bundle))
            for train, test in StratifiedKFold(10, shuffle=True, random_state=seed).split(named, named):
                model = make("methods", "linear", {"penalties": [1000.0]})
                model.fit(bundle.take(train).with_rows(target=named[train]), 0)
                scores[test] = model.predict(bundle.take(test))["y_score"][:, 1]
            areas[kind].append(roc_auc_score(named == "control", scores))
    assert np.mean(areas["observed"]) == pytest.approx(0.68, abs=0.03)
    # The standard error of an area of 0.5 with 52 a side is 0.057; three permutations.
    assert abs(np.mean(areas["permuted"]) - 0.5) < 0.12
