"""Metrics of maps by hand counts; labelled volumes against what was simulated."""

from __future__ import annotations

import numpy as np
import pytest

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.features.labelled_volumes import LabelledVolumes
from replicortex.files import read_tsv
from replicortex.shared.map_scores import region_ranks
from replicortex.shared.statistics import pseudo_values
from replicortex.simulators.regional_phenotypes import REGIONS
from replicortex.stages.score import _shares

NAMES = ["a", "b", "c"]


def metric(name, **params):
    return make("metrics", name, {"region": ["a"], "fwhm": 0, "dilation": 0, "expected_by_chance": 0.5, **params})


def maps(*heats, labels=None):
    """Maps of 3 x 3 x 4 voxels; region 1 is the first plane, 2 the second, 3 the third, the last is no brain."""
    if labels is None:
        labels = np.broadcast_to(np.array([1, 2, 3, -1]), (3, 3, 4))
    n = len(heats)
    rows = {"row_id": np.arange(n), "subject": np.arange(n).astype(str)}
    arrays = {"attribution": np.array(heats, np.float32), "regions": np.repeat(labels[None], n, axis=0)}
    return np.zeros(n), Bundle({**arrays, "y_pred": np.zeros(n)}, rows, {"region": NAMES})


def planes(*values):
    return np.ones((3, 3, 4)) * np.array(values, dtype=float)


def test_relevance_mass_counts_within_the_brain_and_without_sign():
    assert metric("relevance_mass", kept=1).score(*maps(planes(-3, 1, 0, 100))) == pytest.approx(0.75)
    assert metric("relevance_mass", kept=1).score(*maps(planes(3, 1, 0, 0), planes(0, 1, 1, 0))) == pytest.approx(0.375)
    assert metric("relevance_mass").score(*maps(planes(0, 0, 0, 5))) == 0
    assert metric("relevance_mass", kept=1, region=["b", "c"]).score(*maps(planes(3, 1, 4, 0))) == pytest.approx(5 / 8)


def test_only_the_highest_voxels_count():
    heat = planes(1, 2, 0, 0)
    heat[1, 1, 0] = 10
    # A tenth of 36 voxels: the highest alone, and those as high as the quantile.
    assert metric("relevance_mass", kept=0.02).score(*maps(heat)) == 1
    assert metric("relevance_mass", kept=1).score(*maps(heat)) == pytest.approx(18 / 36)


def test_dilation_stays_within_the_brain_and_smoothing_spreads():
    heat = planes(0, 1, 1, 1)
    assert metric("relevance_mass", kept=1, dilation=1).score(*maps(heat)) == pytest.approx(0.5)
    assert metric("relevance_mass", kept=1, dilation=3).score(*maps(heat)) == pytest.approx(1)
    assert metric("relevance_mass", kept=1).score(*maps(heat)) == 0
    assert 0 < metric("relevance_mass", kept=1, fwhm=2.0).score(*maps(heat)) < 0.5


def test_a_hit_is_the_highest_region():
    right, wrong, flat = planes(2, 1, 0, 9), planes(1, 2, 0, 9), planes(1, 1, 1, 1)
    assert metric("localisation_hit", kept=1).score(*maps(right, wrong, flat)) == pytest.approx(1 / 3)
    assert metric("localisation_hit", kept=1, first=2).score(*maps(right, wrong, flat)) == pytest.approx(2 / 3)
    assert metric("localisation_hit", kept=1, region=["b"]).score(*maps(right, wrong)) == pytest.approx(1 / 2)
    assert metric("localisation_hit", kept=1, dilation=1).score(*maps(right, wrong)) == 1
    assert region_ranks(flat, np.ones((3, 3, 4), int), 2, 0.5).tolist() == [0, 1]


def test_a_false_positive_is_higher_outside():
    right, wrong = planes(2, 1, 0, 9), planes(1, 2, 0, 9)
    assert metric("false_positive", kept=1).score(*maps(right, wrong, right)) == pytest.approx(1 / 3)
    assert metric("false_positive", kept=1, dilation=5).score(*maps(wrong)) == 0


def test_an_unknown_region_is_named():
    with pytest.raises(InputError, match="no region 'hippo'"):
        metric("relevance_mass", region=["hippo"]).score(*maps(planes(1, 1, 1, 1)))


@pytest.mark.parametrize("name", ["relevance_mass", "localisation_hit", "false_positive"])
def test_the_share_of_a_subject_is_its_jackknife_pseudo_value(name):
    generator = np.random.default_rng(0)
    target, part = maps(*generator.standard_normal((6, 3, 3, 4)))
    judge = metric(name, kept=0.3)
    found = [entry["value"] for entry in _shares(judge, target, part, None)]
    expected = pseudo_values(lambda rows: judge.score(target[rows], part.take(rows)), part.rows["subject"])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_what_is_left_is_correlated():
    generator = np.random.default_rng(1)
    expected, left = generator.standard_normal((2, 50))
    rows = {"row_id": np.arange(50), "subject": np.arange(50)}
    guess = left + generator.standard_normal(50)
    bundle = Bundle({"y_pred": 5 * expected + guess, "y_expected": 5 * expected}, rows)
    assert make("metrics", "residual_r").score(5 * expected + left, bundle) == pytest.approx(
        np.corrcoef(left, guess)[0, 1]
    )
    nothing = Bundle({"y_pred": 5 * expected + 2, "y_expected": 5 * expected}, rows)
    assert make("metrics", "residual_r").score(5 * expected + left, nothing) == 0


# ---- the data


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("bids")
    simulator = make("simulators", "regional_phenotypes", {"n_subjects": 12, "mm": 12.0, "error": 0.0})
    return root, simulator.simulate(root, "planted", 0)


def extracted(root, name, **params):
    path = next((root / name / "anat").glob("*_desc-preproc_T1w.nii.gz"))
    about = {"subject": name[4:], "session": "n/a", "run": "n/a"}
    recording = {"path": path.name, "recording": name, "suffix": "T1w", **about}
    regions = {region: list(pair) for region, (_, pair) in REGIONS.items()}
    return LabelledVolumes(mm=12.0, regions=regions, **params).extract(recording, path, {})


def test_labels_and_phenotypes_are_those_of_the_simulation(simulated):
    root, facts = simulated
    bundles = [extracted(root, f"sub-{number:02d}") for number in range(1, 13)]
    phenotypes = np.concatenate([bundle["phenotypes"] for bundle in bundles])
    true = np.array(list(facts["volumes_ml"].values()))
    # A voxel of 12 mm holds more than one region: what is summed is not the true volume, and follows it.
    own = [np.corrcoef(phenotypes[:, number], true[:, number])[0, 1] for number in range(len(REGIONS))]
    assert min(own) > 0.5
    assert np.mean(own) > 0.85
    first = bundles[0]
    assert first.axes["region"] == list(REGIONS)
    assert first["x"].shape == first["regions"].shape == (1, *(len(first.axes[f"{axis}_mm"]) for axis in "xyz"))
    brain = first["regions"][0] >= 0
    assert (first["x"][0][~brain] == 0).all()
    assert first["x"][0][brain].mean() == pytest.approx(0, abs=1e-5)
    # The hippocampi lie where they are told to, on both sides.
    places = np.argwhere(first["regions"][0] == 1)
    x_mm = np.array(first.axes["x_mm"])[places[:, 0]]
    assert {-1, 1} == set(np.sign(x_mm[np.abs(x_mm) > 6]))
    assert not np.array_equal(first["regions"], bundles[1]["regions"]), "each has its own shape"


def test_the_table_tells_the_volume_of_the_region_and_the_absent_one_does_not(simulated, tmp_path):
    root, facts = simulated
    told = np.array([float(row["hippocampus_ml"]) for row in read_tsv(root / "participants.tsv")])
    true = np.array(list(facts["volumes_ml"].values()))[:, 0]
    np.testing.assert_allclose(told, true, atol=1e-3)
    again = make("simulators", "regional_phenotypes", {"n_subjects": 12, "mm": 12.0, "error": 0.0})
    absent = np.array(list(again.simulate(tmp_path, "absent", 0)["volumes_ml"].values()))[:, 0]
    # The same table, and the same brains of other people.
    assert (tmp_path / "participants.tsv").read_bytes() == (root / "participants.tsv").read_bytes()
    assert sorted(absent) == sorted(true)
    assert np.mean(absent == true) < 0.5


def test_losses_share_the_stated_part():
    simulator = make("simulators", "regional_phenotypes", {"common": 0.4, "spread": 0.05})
    losses = np.array([simulator.losses(number, 0) for number in range(800)])
    correlation = np.corrcoef(losses.T)[np.triu_indices(len(REGIONS), 1)]
    assert correlation.mean() == pytest.approx(0.4, abs=0.05)
    assert losses.std(axis=0).mean() == pytest.approx(0.05, rel=0.05)


def test_a_missing_parcellation_or_region_is_one_line(simulated):
    root, _ = simulated
    name = "sub-12"
    file = next((root / name / "anat").glob("*_desc-aparcaseg_dseg.nii.gz"))
    kept = file.read_bytes()
    file.unlink()
    with pytest.raises(InputError, match=r"has no .*aparcaseg_dseg\.nii\.gz beside it"):
        extracted(root, name)
    file.write_bytes(kept)
    path = next((root / name / "anat").glob("*_desc-preproc_T1w.nii.gz"))
    recording = {"path": "T1w", "recording": name, "suffix": "T1w", "subject": "12", "session": "n/a", "run": "n/a"}
    with pytest.raises(InputError, match="no voxel of claustrum"):
        LabelledVolumes(mm=12.0, regions={"claustrum": [138], "hippocampus": [17]}).extract(recording, path, {})
