"""ComBat and residualisation, against the formulas written out, planted effects, and the leak that flatters them."""

from __future__ import annotations

import csv
import time
import warnings

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold

from replicortex import guard
from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared.harmonise import ComBat, Harmonise, Harmoniser
from replicortex.shared.linear_search import LinearModel


def planted(n=200, p=30, n_sites=4, seed=0, confounded=0.0):
    """Features with an effect of age, and an offset and a gain of each site.

    Returns features, features without the sites, and rows.
    """
    generator = np.random.default_rng(seed)
    code = generator.integers(n_sites, size=n)
    age = generator.normal(40, 10, n) + confounded * 10 * code
    biology = 0.05 * np.outer(age - 40, generator.normal(size=p)) + generator.normal(size=(n, p))
    offset, gain = generator.normal(0, 1.5, (n_sites, p)), generator.uniform(0.6, 1.6, (n_sites, p))
    rows = {
        "row_id": np.array([f"r{i}" for i in range(n)]),
        "subject": np.array([f"s{i}" for i in range(n)]),
        "site": np.array(["Leuven", "NYU", "Oulu", "Pitt", "UCLA", "Yale"])[code],
        "age": age,
        "sex": generator.choice(["f", "m"], n),
    }
    return 5 + biology * gain[code] + offset[code], 5 + biology, rows


def reference_combat(x, site, covariates):
    """Return ComBat feature by feature and batch by batch, as Johnson et al. (2007) write it."""
    names = np.unique(site)
    design = np.column_stack([*(site == name for name in names), covariates]).astype(float)
    effects = np.linalg.solve(design.T @ design, design.T @ x)
    mean = sum(np.mean(site == name) * effects[i] for i, name in enumerate(names)) + covariates @ effects[len(names) :]
    sigma = np.sqrt(((x - design @ effects) ** 2).mean(axis=0))
    z, out = (x - mean) / sigma, np.empty_like(x)
    for name in names:
        here = z[site == name]
        gamma, delta = here.mean(axis=0), here.var(axis=0, ddof=1)
        gamma_bar, tau, v, s2 = gamma.mean(), gamma.var(ddof=1), delta.mean(), delta.var(ddof=1)
        shape, rate = v**2 / s2 + 2, v**3 / s2 + v
        for j in range(x.shape[1]):
            g, d = gamma[j], delta[j]
            for _ in range(500):
                g = (len(here) * tau * gamma[j] + d * gamma_bar) / (len(here) * tau + d)
                d = (rate + 0.5 * np.sum((here[:, j] - g) ** 2)) / (len(here) / 2 + shape - 1)
            out[site == name, j] = sigma[j] * (here[:, j] - g) / np.sqrt(d) + mean[site == name, j]
    return out


def test_combat_is_the_formulas_written_out():
    x, _, rows = planted(n=80, p=9)
    covariates = np.column_stack([rows["age"], rows["sex"] == "m"])
    settings = {"kind": "combat", "preserve": ["age", "sex"]}
    found = Harmoniser(settings).fit_transform(x, rows)
    np.testing.assert_allclose(found, reference_combat(x, rows["site"], covariates), rtol=1e-8)
    plain = ComBat().fit(x, rows["site"]).transform(x, rows["site"])
    np.testing.assert_allclose(plain, reference_combat(x, rows["site"], np.empty((80, 0))), rtol=1e-8)


def test_combat_takes_away_planted_sites_and_keeps_age_of_rows_it_has_not_seen():
    x, truth, rows = planted(n=600, confounded=1.0)
    train = np.arange(600) < 400
    sides = [{name: column[side] for name, column in rows.items()} for side in (train, ~train)]

    def error(settings):
        found = Harmoniser(settings).fit(x[train], sides[0]).transform(x[~train], sides[1])
        # The scale of the pool is a convention: compare up to a line per feature.
        return np.mean([1 - np.corrcoef(found[:, j], truth[~train][:, j])[0, 1] ** 2 for j in range(x.shape[1])])

    raw, aware = error({}), error({"kind": "combat", "preserve": ["age"]})
    blind = error({"kind": "combat"})
    assert aware < 0.1 * raw
    # Site and age are entangled, so that ComBat without age takes part of it away.
    assert blind > 1.5 * aware


def test_held_out_rows_do_not_change_what_is_fitted_nor_each_other():
    x, _, rows = planted()
    for settings in ({"kind": "combat", "preserve": ["age", "sex"]}, {"kind": "residualise", "regress_out": ["age"]}):
        harmoniser = Harmoniser(settings).fit(x[:150], {k: v[:150] for k, v in rows.items()})
        together = harmoniser.transform(x[150:], {k: v[150:] for k, v in rows.items()})
        alone = harmoniser.transform(x[160:161], {k: v[160:161] for k, v in rows.items()})
        np.testing.assert_allclose(alone, together[10:11], rtol=1e-12)


def test_a_site_that_was_not_fitted_is_left_as_it_is_and_said_so():
    x, _, rows = planted()
    known = rows["site"] != "Oulu"
    harmoniser = Harmoniser({"kind": "combat"}).fit(x[known], {k: v[known] for k, v in rows.items()})
    with pytest.warns(UserWarning, match="unfitted batches as they are: Oulu"):
        found = harmoniser.transform(x, rows)
    np.testing.assert_array_equal(found[~known], x[~known])
    assert not np.allclose(found[known], x[known])


def test_sites_of_one_row_constant_features_and_holes_do_no_harm():
    x, _, rows = planted(n=60)
    x[:, 2] = 3.0
    x[5, 4] = np.nan
    rows["site"] = rows["site"].astype("U8")
    rows["site"][0] = "alone"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Harmoniser({"kind": "combat", "preserve": ["age"]}).fit_transform(x, rows)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, 2], x[:, 2])
    one = ComBat().fit(x[:, :1], rows["site"]).transform(x[:, :1], rows["site"])
    assert np.ptp([one[rows["site"] == s].mean() for s in ("NYU", "Oulu", "Pitt")]) < 1e-9


def test_residualised_features_are_orthogonal_to_confounds_and_keep_what_is_preserved():
    x, _, rows = planted(confounded=1.0)
    found = Harmoniser({"kind": "residualise", "regress_out": ["site", "age"]}).fit_transform(x, rows)
    design = np.column_stack([rows["age"], *(rows["site"] == s for s in np.unique(rows["site"]))])
    expected = x - design @ np.linalg.lstsq(design, x, rcond=None)[0] + x.mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Taking site away beside age keeps age's own slope, which a regression on both has.
    kept = Harmoniser({"kind": "residualise", "regress_out": ["site"], "preserve": ["age"]}).fit_transform(x, rows)
    full = np.linalg.lstsq(design, x, rcond=None)[0][0]
    again = np.linalg.lstsq(np.column_stack([rows["age"], np.ones(len(x))]), kept, rcond=None)[0][0]
    np.testing.assert_allclose(again, full, atol=1e-8)
    nowhere = {**{k: v[:1] for k, v in rows.items()}, "site": np.array(["new"]), "age": np.array([np.nan])}
    harmoniser = Harmoniser({"kind": "residualise", "regress_out": ["site", "age"]}).fit(x, rows)
    np.testing.assert_allclose(harmoniser.transform(x[:1], nowhere), x[:1])


def bundle_of(x, rows, **columns):
    return Bundle({"x": x}, {**rows, **columns}, {"variable": [f"v{j}" for j in range(x.shape[1])]})


def test_the_target_is_never_a_covariate():
    x, _, rows = planted(n=60)
    for target, name in ((rows["age"], "age"), (np.where(rows["sex"] == "m", "1", "2"), "sex")):
        for settings in (
            {"kind": "combat", "preserve": [name]},
            {"kind": "residualise", "regress_out": [name]},
        ):
            model = make("methods", "linear", {"harmonise": settings})
            with pytest.raises(InputError, match=f"covariate '{name}': is what is to be predicted"):
                model.fit(bundle_of(x, rows, target=target), 0)
    for wrong, message in (
        ({"kind": "combat", "preserve": ["target"]}, "target is unknown"),
        ({"kind": "combat", "regress_out": ["age"]}, "only for it"),
        ({"kind": "combat", "preserve": ["site"]}, "preserved and removed"),
        ({"kind": "combt"}, "harmonise.kind"),
    ):
        with pytest.raises(InputError, match=message):
            make("methods", "linear", {"harmonise": wrong})
    with pytest.raises(InputError, match="confounded with the batch"):
        Harmoniser({"kind": "combat", "preserve": ["scanner"]}).fit(
            x, {**rows, "scanner": np.where(rows["site"] == "NYU", "GE", "Siemens")}
        )
    with pytest.raises(InputError, match="no column 'scanner'"):
        Harmoniser({"kind": "combat", "batch": "scanner"}).fit(x, rows)


def test_a_bundle_harmonised_on_all_rows_is_refused_by_the_guard():
    """The mark of a fit outside the fold travels with the rows into the ledger of whatever is fitted on them."""
    x, _, rows = planted(n=60)
    raw = bundle_of(x, rows, target=rows["age"])
    outside = bundle_of(Harmoniser({"kind": "combat"}).fit_transform(x, rows), rows, target=rows["age"])
    leaky = guard.fitted_transform("ComBat", raw, outside)
    train, test = np.arange(40), np.arange(40, 60)
    held = {name: column[test] for name, column in rows.items()}
    for bundle, leaks, params in ((leaky, True, {}), (raw, False, {"harmonise": {"kind": "combat"}})):
        with guard.ledger() as entries:
            make("methods", "linear", {"penalties": [10.0], **params}).fit(bundle.take(train), 0)
        if leaks:
            with pytest.raises(guard.LeakError, match=r"ComBat was fitted on 20 held-out row\(s\)"):
                guard.check_fit("fold", "subject", entries, held)
        else:
            guard.check_fit("fold", "subject", entries, held)


def test_a_saved_model_harmonises_the_same():
    x, _, rows = planted(n=90)
    train = bundle_of(x, rows, target=rows["age"])
    for settings in ({"kind": "combat", "preserve": ["sex"]}, {"kind": "residualise", "regress_out": ["site", "sex"]}):
        model, again = (make("methods", "linear", {"harmonise": settings}) for _ in range(2))
        model.fit(train, 0)
        again.restore(model.dump())
        np.testing.assert_array_equal(model.predict(train)["y_pred"], again.predict(train)["y_pred"])


def decodability(x, rows, settings, *, inside):
    """Return how well the site is told from features harmonised inside the folds, or before the split."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(x, rows["site"])
    if not inside:
        x, settings = Harmoniser(settings).fit_transform(x, rows), {}
    named = np.empty(len(x), dtype=rows["site"].dtype)
    for train, test in folds:
        sides = [{name: column[side] for name, column in rows.items()} for side in (train, test)]
        harmoniser = Harmoniser(settings).fit(x[train], sides[0])
        model = LinearModel(20.0).fit(harmoniser.transform(x[train], sides[0]), rows["site"][train])
        named[test] = model.classes_[model.predict(harmoniser.transform(x[test], sides[1])).argmax(axis=1)]
    return balanced_accuracy_score(rows["site"], named)


def test_combat_before_the_split_makes_sites_less_decodable_than_chance():
    outside, inside = [], []
    for seed in range(4):
        x, _, rows = planted(n=240, p=60, n_sites=6, seed=seed)
        assert decodability(x, rows, {}, inside=True) > 0.9
        settings = {"kind": "combat", "preserve": ["age", "sex"]}
        outside.append(decodability(x, rows, settings, inside=False))
        inside.append(decodability(x, rows, settings, inside=True))
    chance = 1 / 6
    # The standard error of a share of 1/6 in 4 x 240 rows is 0.012.
    assert np.mean(outside) < chance - 0.05
    assert np.mean(inside) > chance - 0.03


def impac(folder):
    """Return FreeSurfer measures and the row columns of the IMPAC participants."""
    folder = folder / "tabular-impac-autism"
    with (folder / "anatomy.csv").open() as stream:
        header, *lines = list(csv.reader(stream))
    keep = [i for i, name in enumerate(header) if name not in ("subject_id", "anatomy_select")]
    anatomy = {line[header.index("subject_id")]: [float(line[i]) for i in keep] for line in lines}
    with (folder / "participants.csv").open() as stream:
        people = [row for row in csv.DictReader(stream) if row["subject_id"] in anatomy]
    x = np.array([anatomy[row["subject_id"]] for row in people])
    rows = {
        "row_id": np.array([row["subject_id"] for row in people]),
        "subject": np.array([row["subject_id"] for row in people]),
        "site": np.array([f"site{int(float(row['site'])):02d}" for row in people]),
        "age": np.array([float(row["age"]) for row in people]),
        "sex": np.array([row["sex"] for row in people]),
        "asd": np.array(["autism" if float(row["asd"]) else "control" for row in people]),
    }
    return x[:, x.std(axis=0) > 0], rows


def test_real_sites_are_removed_inside_the_fold_and_over_removed_outside(real_data):
    """Reference, 34 sites: 0.60 raw, 0.055 in the fold, 0.005 on all rows; chance 0.03. Age R2 0.70 and 0.65."""
    x, rows = impac(real_data)
    began = time.process_time()
    settings = Harmonise(kind="combat", preserve=("age", "sex"))
    Harmoniser(settings).fit_transform(x, rows)
    assert time.process_time() - began < 0.3
    assert 0.03 < decodability(x, rows, settings, inside=True) < 0.09
    assert decodability(x, rows, settings, inside=False) < 0.02
    predicted = {"none": np.empty(len(x)), "combat": np.empty(len(x))}
    for train, test in KFold(5, shuffle=True, random_state=0).split(x):
        sides = [{name: column[side] for name, column in rows.items()} for side in (train, test)]
        for kind, found in predicted.items():
            harmoniser = Harmoniser(settings if kind == "combat" else {}).fit(x[train], sides[0])
            model = LinearModel(100.0).fit(harmoniser.transform(x[train], sides[0]), rows["age"][train])
            found[test] = model.predict(harmoniser.transform(x[test], sides[1]))
    assert r2_score(rows["age"], predicted["none"]) == pytest.approx(0.70, abs=0.02)
    assert r2_score(rows["age"], predicted["combat"]) == pytest.approx(0.645, abs=0.03)
