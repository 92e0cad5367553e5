"""Features of MRI, fMRI and PET derivatives, against nilearn, networkx, closed forms and planted truth."""

import itertools
import math
import shutil

import numpy as np
import pytest
from scipy.stats import rankdata

from mri_derivatives import (
    REGIONS,
    confounds,
    derivative_folder,
    planted_series,
    recording,
    write_bold_derivative,
    write_confounds,
    write_morph,
    write_pet_derivative,
    write_relmat,
    write_t1w_derivative,
    write_timeseries,
)
from replicortex.bundle import Bundle, concatenate
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv, to_tsv, write_text
from replicortex.shared import graph_maps
from replicortex.shared.atlas import coordinates, parcels, read_labels
from replicortex.shared.denoise import PRESETS, Denoise
from replicortex.shared.fc import correlation, covariance, edge_names, partial, upper
from replicortex.shared.nifti import read_image, save_image, template
from replicortex.shared.resting import amplitude, reho

CLEAN = {"denoise": {"strategy": "none", "detrend": False}}
N = 60


@pytest.fixture(scope="module")
def bold(tmp_path_factory):
    """The main file of a BOLD derivative with three volumes of motion and two before the steady state."""
    root = tmp_path_factory.mktemp("bold")
    return write_bold_derivative(root, "01", outliers=(20, 21, 40), n_dummies=2)


@pytest.fixture(scope="module")
def t1w(tmp_path_factory):
    return write_t1w_derivative(tmp_path_factory.mktemp("t1w"), "01")


def extract(name, path, **params) -> Bundle:
    root = path.parents[2]
    parts = [part for part in path.name.split("_")[:-1] if part.split("-")[0] in ("sub", "ses", "task", "run")]
    row = recording("_".join(parts), path, root, path.parent.name)
    return make("features", name, params).extract(row, path, {})


def copied(path, folder):
    """Copy the dataset of a derivative; return the main file in the copy."""
    shutil.copytree(path.parents[2], folder / "deriv")
    return folder / "deriv" / path.relative_to(path.parents[2])


def label_image(path, mm=3.0, n=6):
    """Write slabs of the template's brain along the x axis, numbered from 10; return their values."""
    mask = template("mask", mm)
    inside = np.asarray(mask.dataobj) > 0.5
    first, last = np.flatnonzero(inside.any(axis=(1, 2)))[[0, -1]]
    slab = (np.arange(inside.shape[0]) - first) * n // (last - first + 1)
    values = np.where(inside, 10 + slab[:, None, None], 0)
    save_image(values, mask.affine, path, dtype=np.int16)
    return values


# ---------------------------------------------------------------- graphs


def random_series(n, t=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((t, n)) + 0.7 * rng.standard_normal((t, 5)) @ rng.standard_normal((5, n))


@pytest.mark.parametrize("density", [0.05, 0.3])
def test_maps_of_a_graph_are_those_of_numpy_networkx_and_bct(density, monkeypatch):
    bct, networkx = pytest.importorskip("bct"), pytest.importorskip("networkx")
    monkeypatch.setattr(graph_maps, "_BLOCK", 64)
    series = random_series(200)
    graph = graph_maps.correlation_graph(series, density=density)
    r = np.corrcoef(series.T)
    r[np.diag_indices(200)] = -2
    wanted = round(density * 200 * 199 / 2)
    dense = r >= np.sort(upper(r))[-wanted]
    assert upper(dense).sum() == wanted
    np.testing.assert_array_equal(graph.words, graph_maps.Graph.of(dense).words)
    a = dense.astype(np.int64)
    np.testing.assert_array_equal(graph.degree(), a.sum(axis=0))
    np.testing.assert_array_equal(graph.triangles(), np.diag(np.linalg.matrix_power(a, 3)) // 2)
    peer = networkx.from_numpy_array(a)
    np.testing.assert_array_equal(graph.triangles(), list(networkx.triangles(peer).values()))
    np.testing.assert_allclose(graph.clustering(), list(networkx.clustering(peer).values()))
    np.testing.assert_allclose(graph.clustering(), bct.clustering_coef_bu(a.astype(float)))
    np.testing.assert_array_equal(graph.degree(), bct.degrees_und(a))


def test_squares_are_the_cycles_of_length_four():
    a = np.random.default_rng(1).random((11, 11)) < 0.5
    a = np.triu(a, 1) | np.triu(a, 1).T
    counts = np.zeros(11, dtype=int)
    for nodes in itertools.combinations(range(11), 4):
        for i, j, k, m in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)):
            w, x, y, z = (nodes[q] for q in (i, j, k, m))
            if a[w, x] and a[x, y] and a[y, z] and a[z, w]:
                counts[list(nodes)] += 1
    np.testing.assert_array_equal(graph_maps.Graph.of(a).squares(), counts)


def test_a_threshold_links_what_correlates_more_across_blocks(monkeypatch):
    monkeypatch.setattr(graph_maps, "_BLOCK", 32)
    series = random_series(70, seed=3)
    series[:, 11] = 4.0
    graph = graph_maps.correlation_graph(series, threshold=0.2)
    with np.errstate(invalid="ignore"):
        dense = np.nan_to_num(np.corrcoef(series.T)) > 0.2
    np.testing.assert_array_equal(graph.words, graph_maps.Graph.of(dense).words)
    assert graph.degree()[11] == 0


# ---------------------------------------------------------------- spontaneous activity


def test_alff_of_a_sinusoid_is_its_height_over_the_frequencies_of_the_band():
    n, tr = 200, 2.0
    time = np.arange(n) * tr
    frequencies = np.fft.rfftfreq(n, tr)
    inside, outside = frequencies[10], frequencies[60]
    series = np.column_stack([3 * np.sin(2 * np.pi * inside * time), 3 * np.sin(2 * np.pi * inside * time)])
    series[:, 1] += 1 * np.cos(2 * np.pi * outside * time)
    alff, falff = amplitude(series + 100, tr, (0.01, 0.08))
    count = ((frequencies >= 0.01 - 1e-12) & (frequencies <= 0.08 + 1e-12)).sum()
    np.testing.assert_allclose(alff, [3 / count, 3 / count], rtol=1e-9)
    np.testing.assert_allclose(falff, [1, 3 / 4], rtol=1e-9)
    # The highest frequency of an even number of volumes: a series of +2, -2.
    nyquist = amplitude(np.tile([[2.0], [-2.0]], (100, 1)), tr, (0.25, 0.25))
    np.testing.assert_allclose(nyquist, [[2.0], [1.0]])


@pytest.mark.parametrize("neighbours", [7, 19, 27])
def test_reho_is_kendalls_w_of_the_voxels_around(neighbours):
    rng = np.random.default_rng(0)
    mask = rng.random((5, 6, 4)) < 0.8
    where = np.argwhere(mask)
    series = np.round(rng.standard_normal((30, mask.sum())), 1)  # with ties
    found = reho(series, mask, neighbours)
    reach = {7: 1, 19: 2, 27: 3}[neighbours]
    for voxel in range(0, len(where), 7):
        step = np.abs(where - where[voxel])
        near = np.flatnonzero((step.max(axis=1) <= 1) & (step.sum(axis=1) <= reach))
        ranks = np.array([rankdata(series[:, i]) for i in near])
        k, n = ranks.shape
        ties = sum(sum(c**3 - c for c in np.unique(row, return_counts=True)[1]) for row in ranks)
        s = ((ranks.sum(axis=0) - ranks.sum(axis=0).mean()) ** 2).sum()
        np.testing.assert_allclose(found[voxel], 12 * s / (k**2 * (n**3 - n) - k * ties), rtol=1e-5)


def test_reho_is_one_for_equal_series_and_zero_for_a_voxel_alone():
    mask = np.zeros((6, 3, 3), dtype=bool)
    mask[:3] = mask[5, 0, 0] = True
    series = np.tile(np.random.default_rng(0).standard_normal((25, 1)), (1, mask.sum()))
    np.testing.assert_allclose(reho(series, mask, 27), [1.0] * 27 + [0.0], atol=1e-6)


def test_maps_of_rest_find_the_region_that_fluctuates(bold):
    made = extract("resting_maps", bold, mm=6.0, denoise={"strategy": "none"}, zscore=False)
    inside = template("mask", 6.0)
    assert made.axes["voxel"] == np.flatnonzero(np.asarray(inside.dataobj) > 0.5).tolist()
    members = _default_voxels(bold)[made.axes["voxel"]]
    alff, falff, concordance = made["x"][0].astype(float)
    assert alff[members].mean() > 1.2 * alff[~members].mean()
    data = read_image(bold, 4).get_fdata()[np.asarray(inside.dataobj) > 0.5][:, 2:].T
    trend = np.arange(N - 2) - (N - 3) / 2
    data = data - data.mean(axis=0) - np.outer(trend, trend @ data) / (trend @ trend)
    np.testing.assert_allclose(concordance, reho(data, np.asarray(inside.dataobj) > 0.5, 27), atol=1e-5)
    # Both are white: their share of the amplitude is that of the frequencies.
    frequencies = np.fft.rfftfreq(N - 2, 2.0)[1:]
    assert abs(falff.mean() - ((frequencies >= 0.01) & (frequencies <= 0.08)).mean()) < 0.02
    scaled = extract("resting_maps", bold, mm=6.0, denoise={"strategy": "none"})["x"][0].astype(float)
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=1), 1, atol=1e-5)


def test_a_run_with_volumes_cut_out_has_no_spectrum_but_concordance(bold):
    censored = {"strategy": "none", "scrub": 0}
    with pytest.raises(InputError, match="volumes were censored within it"):
        extract("resting_maps", bold, mm=12.0, denoise=censored)
    made = extract("resting_maps", bold, mm=12.0, denoise=censored, maps=["reho"])
    assert made.rows["n_volumes"].tolist() == [N - 5]


# ---------------------------------------------------------------- regions, cleaning, connectivity


def _default_voxels(path):
    return parcels(read_image(path, 4), "dosenbach", ["default"]).members.sum(axis=0) > 0


@pytest.mark.parametrize(
    "denoise",
    [
        {"strategy": "simple"},
        {"strategy": "scrubbing", "low_pass": 0.1},
        {"strategy": "compcor", "smoothing_fwhm": 8.0},
        {"strategy": "6p", "low_pass": 0.1, "high_pass": 0.01, "standardize": "none"},
    ],
    ids=lambda card: "-".join(map(str, card.values())),
)
def test_series_of_spheres_are_those_of_nilearn(bold, denoise):
    from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy
    from nilearn.maskers import NiftiSpheresMasker

    # No voxel of this grid is at this distance from a centre, where rounding would decide.
    card = {"networks": ["default", "cerebellum"], "radius": 5.5, "min_coverage": 0}
    made = extract("roi_series", bold, window=40, denoise=denoise, **card)
    names, _, centres, _ = coordinates("dosenbach", ("default", "cerebellum"))
    strategy = denoise["strategy"]
    if strategy == "6p":
        table, kept = load_confounds(str(bold), ("motion",), motion="basic")
    else:
        table, kept = load_confounds_strategy(str(bold), strategy)
    masker = NiftiSpheresMasker(
        centres.tolist(), radius=5.5, mask_img=str(bold).replace("preproc_bold", "brain_mask"), allow_overlap=True,
        detrend=True, standardize="zscore_sample" if strategy != "6p" else None, t_r=2.0,
        low_pass=denoise.get("low_pass"), high_pass=denoise.get("high_pass"),
        smoothing_fwhm=denoise.get("smoothing_fwhm"),
    )  # fmt: skip
    expected = masker.fit_transform(str(bold), confounds=table, sample_mask=kept)
    assert made.axes["region"] == list(names)
    np.testing.assert_allclose(made["x"][0], expected[:40].T, atol=2e-3 * expected.std())


def test_series_of_labels_are_those_of_nilearn_and_take_names(bold, tmp_path):
    from nilearn.maskers import NiftiLabelsMasker

    label_image(tmp_path / "slabs.nii.gz")
    rows = [{"index": 10 + i, "name": f"slab {i}", "network": "x" if i % 2 else "y"} for i in range(6)]
    write_text(tmp_path / "names.tsv", to_tsv(rows, ["index", "name", "network"]))
    files = {"atlas_file": str(tmp_path / "slabs.nii.gz"), "atlas_labels": str(tmp_path / "names.tsv")}
    made = extract("connectivity_matrix", bold, kind="correlation", denoise={"strategy": "simple"}, **files)
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    table, kept = load_confounds_strategy(str(bold), "simple")
    masker = NiftiLabelsMasker(
        files["atlas_file"], mask_img=str(bold).replace("preproc_bold", "brain_mask"), detrend=True,
        standardize="zscore_sample", resampling_target="data",
    )  # fmt: skip
    expected = np.corrcoef(masker.fit_transform(str(bold), confounds=table, sample_mask=kept).T)
    np.testing.assert_allclose(made["x"][0], expected, atol=1e-3)
    assert made.axes["region"] == [f"slab {i}" for i in range(6)]
    assert made.meta["network"] == ["y", "x"] * 3
    assert made["coverage"].min() > 0.8
    unnamed = extract("connectivity", bold, atlas_file=files["atlas_file"], **CLEAN)
    assert unnamed.axes["edge"][0] == "region 010--region 011"


def test_the_planted_network_is_found(bold):
    made = extract("connectivity", bold, denoise={"strategy": "simple"}, fisher_z=False)
    names, networks, _, _ = coordinates("dosenbach")
    assert made.axes["edge"] == edge_names(names)
    default = np.array(networks) == "default"
    within = upper(np.outer(default, default))
    r = made["x"][0]
    assert np.median(r[within]) > 0.6
    # Spheres of other networks that touch those of the default mode share a little.
    assert abs(np.median(r[~within])) < 0.1


def test_measures_of_connectivity_are_those_of_nilearn():
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    series = planted_series(4)
    series = (series - series.mean(axis=0)) / series.std(axis=0)
    for kind, estimator, own in (
        ("correlation", EmpiricalCovariance(), correlation),
        ("partial correlation", LedoitWolf(), partial),
        ("covariance", LedoitWolf(), covariance),
    ):
        expected = ConnectivityMeasure(estimator, kind=kind, standardize=False).fit_transform([series])[0]
        np.testing.assert_allclose(own(series), expected, atol=1e-7)


def test_tables_of_series_and_of_connectivity_agree(tmp_path):
    values = planted_series(2)
    series, relmat = write_timeseries(tmp_path, "01", values), write_relmat(tmp_path, "01", np.corrcoef(values.T))
    one, other = extract("connectivity", series, **CLEAN), extract("connectivity", relmat)
    np.testing.assert_allclose(one["x"], other["x"], atol=1e-5)
    np.testing.assert_allclose(one["x"][0], np.arctanh(upper(np.corrcoef(values.T))), atol=1e-5)
    assert one.axes == other.axes
    chosen = extract("connectivity", relmat, regions=["R03", "R01", "R05"])
    assert chosen.axes["edge"] == ["R03--R01", "R03--R05", "R01--R05"]
    with pytest.raises(InputError, match="holds pearsoncorrelation, not partial"):
        extract("connectivity", relmat, kind="partial")
    bad = np.corrcoef(values.T)
    bad[2, 5] = 0.9
    with pytest.raises(InputError, match="is not symmetric"):
        extract("connectivity", write_relmat(tmp_path, "02", bad))


def test_a_missing_region_keeps_its_place_and_changes_no_other(tmp_path):
    values = planted_series(2)
    whole = extract("connectivity_matrix", write_timeseries(tmp_path, "01", values), kind="correlation", **CLEAN)
    values[7, 2] = np.nan
    path = write_timeseries(tmp_path, "02", values)
    with pytest.raises(InputError, match=r"1 of 8 regions are covered too little \(such as R02"):
        extract("connectivity_matrix", path, kind="correlation", max_missing=0.1, **CLEAN)
    made = extract("connectivity_matrix", path, kind="correlation", max_missing=0.2, **CLEAN)
    assert made["coverage"][0].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    others = [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(made["x"][0][2], np.eye(8)[2])
    np.testing.assert_allclose(made["x"][0][np.ix_(others, others)], whole["x"][0][np.ix_(others, others)], atol=1e-6)
    assert len(concatenate([whole, made])) == 2
    for kind in ("covariance", "partial"):
        matrix = extract("connectivity_matrix", path, kind=kind, max_missing=0.2, **CLEAN)["x"][0]
        assert np.linalg.eigvalsh(matrix.astype(float)).min() > 0 or kind == "partial"
        assert matrix[2, others].tolist() == [0] * 7


def test_a_cut_field_of_view_leaves_regions_without_coverage(bold, tmp_path):
    import nibabel as nib

    image = nib.load(bold)
    path = copied(bold, tmp_path)
    mask_path = path.with_name(path.name.replace("preproc_bold", "brain_mask"))
    data, mask = image.get_fdata(dtype=np.float32), nib.load(mask_path)
    # Voxels below z = -20 mm are lost: most of the cerebellum.
    lowest = int(np.ceil((-20 - image.affine[2, 3]) / image.affine[2, 2]))
    affine = image.affine.copy()
    affine[2, 3] += lowest * affine[2, 2]
    save_image(data[:, :, lowest:], affine, path, repetition_time=2.0)
    save_image(mask.get_fdata()[:, :, lowest:], affine, mask_path)
    with pytest.raises(InputError, match=r"of 160 regions are covered too little \(such as inf cerebellum"):
        extract("connectivity", path, max_missing=0.05, **CLEAN)
    made, full = (extract("connectivity_matrix", p, max_missing=0.3, kind="correlation", **CLEAN) for p in (path, bold))
    depth = coordinates("dosenbach")[2][:, 2]
    assert (made["coverage"][0][depth < -26] == 0).all()
    np.testing.assert_array_equal(made["coverage"][0][depth > -14], full["coverage"][0][depth > -14])
    above = np.flatnonzero(depth > -14)
    np.testing.assert_allclose(made["x"][0][np.ix_(above, above)], full["x"][0][np.ix_(above, above)], atol=1e-5)


def test_windows_are_slices_of_the_run(tmp_path):
    values = planted_series(1, n_volumes=50)
    path = write_timeseries(tmp_path, "01", values)
    card = {"denoise": {"strategy": "none", "detrend": False, "standardize": "none"}}
    made = extract("roi_series", path, window=20, stride=12, **card)
    assert made["x"].shape == (3, 8, 20)
    np.testing.assert_allclose(made["x"][1], values[12:32].T, rtol=1e-6)
    assert made.rows["onset"].tolist() == [0, 24, 48]
    assert len(set(made.rows["row_id"])) == 3
    one = extract("roi_series", path, window=20, stride=12, max_windows=1, **card)
    assert one.rows["row_id"].tolist() == made.rows["row_id"][:1].tolist()
    with pytest.raises(InputError, match="no window of 70 volumes in the 50"):
        extract("roi_series", path, **card)


def test_windows_may_leave_out_what_was_censored(bold):
    card = {"window": 15, "stride": 5, "networks": ["default"], "denoise": {"strategy": "none", "scrub": 0}}
    starts = extract("roi_series", bold, gaps=False, **card).rows["onset"] / 2
    # Of 60 volumes 2..19, 22..39 and 41..59 stay: windows start every 5 of these.
    kept = np.setdiff1d(np.arange(2, N), [20, 21, 40])
    expected = [kept[i] for i in range(0, len(kept) - 14, 5) if kept[i + 14] - kept[i] == 14]
    assert starts.tolist() == expected
    assert len(extract("roi_series", bold, **card)) > len(expected)


# ---------------------------------------------------------------- strategies


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A table of series whose run has confounds."""
    root = tmp_path_factory.mktemp("run")
    path = write_timeseries(root, "01", planted_series(0, n_volumes=150))
    rng = np.random.default_rng(5)
    write_confounds(path.parent, "sub-01_task-rest", confounds(150, rng, outliers=(50, 53), n_dummies=3))
    return path


@pytest.mark.parametrize(
    ("strategy", "n_confounds", "n_kept"),
    [
        ("none", 0, 147), ("6p", 6, 147), ("24p", 24, 147), ("9p", 11, 147), ("36p", 38, 147),
        ("36p_scrubbing", 38, 143), ("simple", 28, 147), ("simple_gsr", 29, 147), ("scrubbing", 34, 143),
        ("scrubbing_gsr", 35, 143), ("compcor", 34, 147), ("compcor6", 32, 147),
    ],
)  # fmt: skip
def test_a_strategy_takes_its_confounds(run, strategy, n_confounds, n_kept):
    """Two cosines with all but three; volumes 51 and 52 stand alone between two that moved."""
    plan = Denoise(strategy=strategy).plan(run, "run", 150, 2.0)
    assert (0 if plan.confounds is None else plan.confounds.shape[1]) == n_confounds
    dropped = [0, 1, 2, 50, 51, 52, 53] if n_kept == 143 else [0, 1, 2]
    assert plan.kept.tolist() == np.setdiff1d(np.arange(150), dropped).tolist()


def test_every_strategy_is_tested():
    mark = next(m for m in test_a_strategy_takes_its_confounds.pytestmark if m.name == "parametrize")
    assert {case[0] for case in mark.args[1]} == PRESETS.keys()


def test_what_a_strategy_takes_can_be_replaced(run):
    def width(**card):
        return Denoise(**card).plan(run, "run", 150, 2.0).confounds.shape[1]

    assert width(strategy="simple", global_signal="full") == 28 + 4
    assert width(strategy="simple", motion="none") == 28 - 24
    assert width(strategy="none", motion="basic") == 6
    # The filter removes what the two cosines stand for.
    assert width(strategy="simple", high_pass=0.01) == 26
    assert width(strategy="6p", compcor="anat_combined", n_compcor=3) == 6 + 2 + 3
    kept = Denoise(strategy="simple", scrub=0, fd_threshold=1.6).plan(run, "run", 150, 2.0).kept
    assert len(kept) == 147
    assert len(Denoise(strategy="none", dummy_volumes=10).plan(run, "run", 150, 2.0).kept) == 140


@pytest.mark.parametrize(
    ("card", "line"),
    [
        ({"strategy": "none", "min_seconds": 295}, "147 of 150 volumes .294 s. remain after censoring, needs 20 vol"),
        ({"strategy": "none", "min_volumes": 148}, "147 of 150 volumes"),
        ({"strategy": "none", "low_pass": 0.3}, "a filter edge of 0.3 Hz is not below 0.25 Hz"),
        ({"strategy": "36p", "dummy_volumes": 112}, "38 volumes remain for 38 confounds"),
        ({"strategy": "compcor", "compcor": "temporal"}, "can not serve the strategy compcor"),
    ],
)
def test_a_run_that_can_not_be_cleaned_is_refused_in_one_line(run, card, line):
    with pytest.raises(InputError, match=line) as caught:
        Denoise(**card).plan(run, "sub-01/func/run.tsv", 150, 2.0)
    assert "\n" not in str(caught.value)
    assert str(run.parent) not in str(caught.value)


def test_confounds_must_be_there_and_of_this_run(run, tmp_path):
    with pytest.raises(InputError, match="has 150 rows where run has 149 volumes"):
        Denoise().plan(run, "run", 149, 2.0)
    lonely = write_timeseries(tmp_path, "01")
    with pytest.raises(InputError, match="has no table of confounds for the strategy simple"):
        extract("connectivity", lonely)
    with pytest.raises(InputError, match="repetition time is not known"):
        Denoise(strategy="none", low_pass=0.1).plan(lonely, "run", 120, math.nan)


@pytest.mark.parametrize(
    "card",
    [
        {"strategy": "simple", "fd_threshold": 0.2},
        {"strategy": "6p", "n_compcor": 5},
        {"low_pass": 0.1, "high_pass": 0.2},
    ],
)
def test_settings_without_effect_are_refused(card):
    with pytest.raises(InputError, match="denoise: Value error"):
        make("features", "connectivity", {"denoise": card})


def test_a_confound_that_is_the_signal_leaves_nothing_of_it(tmp_path):
    values = planted_series(0, n_volumes=100)
    shared = np.random.default_rng(9).standard_normal(100)
    path = write_timeseries(tmp_path, "01", values + 5 * shared[:, None])
    columns = confounds(100, np.random.default_rng(1))
    columns["global_signal"] = shared
    write_confounds(path.parent, "sub-01_task-rest", columns)
    card = {"kind": "correlation", "fisher_z": False}
    raw = extract("connectivity", path, denoise={"strategy": "none"}, **card)["x"]
    clean = extract("connectivity", path, denoise={"strategy": "none", "global_signal": "basic"}, **card)["x"]
    # Exactly what regression leaves of the series before the shared signal was added.
    design = np.column_stack([np.ones(100), np.arange(100), shared])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    assert raw.min() > 0.9
    np.testing.assert_allclose(clean[0], upper(np.corrcoef(left.T)), atol=1e-5)


# ---------------------------------------------------------------- atlases


def test_atlases_come_without_network():
    assert [len(coordinates(name)[0]) for name in ("dosenbach", "power", "seitzman")] == [160, 264, 300]
    assert all(
        len(set(coordinates(name)[0])) == len(coordinates(name)[0]) for name in ("dosenbach", "power", "seitzman")
    )
    names, networks, centres, radii = coordinates("dosenbach", ("default",))
    assert (len(names), set(networks), set(radii)) == (34, {"default"}, {5.0})
    # The medial prefrontal region of the default mode.
    assert centres[names.index("vmPFC 1")].tolist() == [6, 64, 3]
    with pytest.raises(InputError, match="atlas dosenbach has no network 'defualt'; did you mean 'default'"):
        coordinates("dosenbach", ("defualt",))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda values: values + 0.5, "values that are no labels"),
        (lambda values: values - 20, "values that are no labels"),
        (lambda values: (values > 0) * 1, "has 1 labels, needs 2"),
        (lambda values: np.stack([values] * 2, axis=-1), "has 4 dimensions"),
    ],
)
def test_a_file_that_is_no_parcellation_is_refused(tmp_path, change, line):
    values = label_image(tmp_path / "a.nii.gz", mm=12.0)
    save_image(change(values), template("mask", 12.0).affine, tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=line) as caught:
        read_labels(str(tmp_path / "b.nii.gz"), None)
    assert str(tmp_path) not in str(caught.value)


def test_a_table_of_labels_must_name_each_once(tmp_path):
    label_image(tmp_path / "a.nii.gz", mm=12.0)
    for rows, line in (
        ([10, 11, 12], "does not name the label 13, 14, 15 of a.nii.gz"),
        ([10, 10, 11, 12, 13, 14, 15], "gives an index twice"),
    ):
        table = [{"index": number, "name": f"r{number}"} for number in rows]
        write_text(tmp_path / "names.tsv", to_tsv(table, ["index", "name"]))
        with pytest.raises(InputError, match=line):
            read_labels(str(tmp_path / "a.nii.gz"), str(tmp_path / "names.tsv"))


# ---------------------------------------------------------------- networks of voxels


def test_maps_of_voxels_see_the_planted_network(bold):
    card = {"maps": ["degree", "triangles", "clustering"], "density": 0.0004, "threshold": None}
    made = extract("voxel_networks", bold, **card, **CLEAN)
    assert made["x"].shape == (1, 3, len(made.axes["voxel"]))
    assert made["fc"].shape == (1, 160 * 159 // 2)
    members = _default_voxels(bold)[made.axes["voxel"]]
    degree, triangles, _ = made["x"][0]
    assert degree[members].mean() > 5 * degree[~members].mean()
    assert triangles[members].mean() > 5 * triangles[~members].mean()
    assert abs(made.rows["density"][0] - 0.0004) < 1e-6
    np.testing.assert_allclose(made["fc"], extract("connectivity", bold, **CLEAN)["x"], atol=1e-6)


def test_maps_of_regions_are_those_of_their_graph(tmp_path):
    values = planted_series(3)
    made = extract("voxel_networks", write_timeseries(tmp_path, "01", values), threshold=0.3, **CLEAN)
    a = (np.corrcoef(values.T) > 0.3).astype(int) - np.eye(8, dtype=int)
    np.testing.assert_array_equal(made["x"][0], [a.sum(axis=0), np.diag(a @ a @ a) // 2])
    assert made.axes["voxel"] == REGIONS
    with pytest.raises(InputError, match="threshold and density both"):
        extract("voxel_networks", write_timeseries(tmp_path, "01", values), density=0.1, **CLEAN)


# ---------------------------------------------------------------- anatomy, PET, motion, tables


def test_volumes_of_tissue_are_sums_of_the_maps(t1w, tmp_path):
    label_image(tmp_path / "slabs.nii.gz", mm=6.0)
    atlas = {"atlas_file": str(tmp_path / "slabs.nii.gz")}
    sums = {t: np.asarray(template(t, 6.0).dataobj, dtype=float).sum() * 0.216 for t in ("GM", "WM", "CSF")}
    made = extract("regional_volumes", t1w)
    assert made.axes["variable"] == ["total", "GM", "WM", "CSF"]
    # The maps in the space of the participant have voxels of 6.6 mm.
    expected = np.array([sum(sums.values()), *sums.values()]) * 1.1**3
    np.testing.assert_allclose(made["x"][0], expected, rtol=1e-5)
    regional = extract("regional_volumes", t1w, tissues=[], intensities=True, **atlas)
    values = regional["x"][0]
    assert regional.axes["variable"][1:7] == [f"GM region {10 + i:03d}" for i in range(6)]
    np.testing.assert_allclose(values[1:7].sum(), 1.2 * sums["GM"], rtol=0.02)
    # White matter is the brightest tissue of these images.
    assert (values[7:] < 1).all()
    assert (values[7:] > 0.3).all()
    plain = extract("regional_volumes", t1w, tissues=[], modulated=False, **atlas)["x"][0]
    np.testing.assert_allclose(values[1:7], 1.2 * plain[1:7], rtol=1e-5)
    shares = extract("regional_volumes", t1w, fraction=True)["x"][0]
    np.testing.assert_allclose(shares[1:].sum(), 1, rtol=1e-6)


def test_a_map_that_is_lacking_is_named(tmp_path):
    path = write_t1w_derivative(tmp_path, "01", modulated=False)
    label_image(tmp_path / "slabs.nii.gz", mm=6.0)
    with pytest.raises(InputError, match=r"has no sub-01_space-.*_label-GM_desc-modulated_probseg.nii.gz beside it"):
        extract("regional_volumes", path, atlas_file=str(tmp_path / "slabs.nii.gz"))
    with pytest.raises(InputError, match="modulated"):
        extract("volumes", path, which="modulated_GM")


def test_volumes_are_the_image_on_the_grid_of_the_template(t1w):
    inside = np.asarray(template("mask", 6.0).dataobj) > 0.5
    grey = np.asarray(template("GM", 6.0).dataobj)
    made = extract("volumes", t1w, which="modulated_GM", mm=6.0)
    np.testing.assert_allclose(made["x"][0], 1.2 * grey[inside], atol=1e-6)
    assert made.axes["voxel"] == np.flatnonzero(inside).tolist()
    grid = extract("volumes", t1w, which="GM", mm=6.0, masked=False)
    assert grid["x"].shape == (1, *inside.shape)
    assert grid.axes == {}
    np.testing.assert_allclose(grid["x"][0], np.where(inside, grey, 0), atol=1e-6)
    assert grid.meta["affine"] == template("mask", 6.0).affine.tolist()
    scaled = extract("volumes", t1w, mm=6.0, scale="zscore")["x"][0].astype(float)
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-5)


def test_a_coarser_volume_averages_what_its_grid_would_pass_over(t1w, tmp_path):
    path, mask = copied(t1w, tmp_path), template("mask", 6.0)
    board = np.indices(mask.shape).sum(axis=0) % 2
    save_image(board, mask.affine, path.with_name(path.name.replace("desc-preproc_T1w", "label-GM_probseg")))
    assert extract("volumes", path, which="GM", mm=6.0)["x"].std() > 0.45
    coarse = extract("volumes", path, which="GM", mm=12.0)["x"]
    assert abs(coarse.mean() - 0.5) < 0.02
    assert coarse.std() < 0.1


def test_uptake_is_read_as_an_image(tmp_path):
    path = write_pet_derivative(tmp_path, "01")
    inside = np.asarray(template("mask", 6.0).dataobj) > 0.5
    grey = np.asarray(template("GM", 6.0).dataobj)
    made = extract("volumes", path, mm=6.0)
    assert np.corrcoef(made["x"][0], grey[inside])[0, 1] > 0.99
    with pytest.raises(InputError, match="is no T1w image"):
        extract("volumes", path, which="GM")


def test_images_of_other_spaces_are_refused(tmp_path):
    path = write_bold_derivative(tmp_path, "01", n_volumes=30, mm=12.0, space="T1w")
    with pytest.raises(InputError, match="is in the space 'T1w', where the feature needs MNI space"):
        extract("connectivity", path, **CLEAN)
    with pytest.raises(InputError, match="needs MNI space"):
        extract("resting_maps", path)
    anat = write_t1w_derivative(tmp_path, "01", mm=12.0)
    with pytest.raises(InputError, match="is in the space of the scanner"):
        extract("volumes", anat.with_name("sub-01_desc-preproc_T1w.nii.gz"))


def test_motion_is_what_the_confounds_say_with_images_or_without(bold):
    table = bold.with_name("sub-01_task-rest_desc-confounds_timeseries.tsv")
    moved = np.array([float(row["framewise_displacement"]) for row in read_tsv(table)[1:]])
    for path in (bold, table):
        made = extract("motion", path)
        values = dict(zip(made.axes["variable"], made["x"][0], strict=True))
        assert values["mean_fd"] == pytest.approx(moved.mean())
        assert values["max_fd"] == pytest.approx(1.5)
        assert values["moved"] == pytest.approx(3 / 59)
        assert 0.9 < values["mean_std_dvars"] < 1.1
    assert extract("connectivity", bold, **CLEAN).rows["mean_fd"][0] == pytest.approx(moved.mean())
    for name in ("connectivity", "resting_maps", "voxel_networks", "roi_series"):
        with pytest.raises(InputError, match="a table of confounds without images"):
            extract(name, table)


def test_a_table_of_morphometry_is_read_as_it_is(tmp_path):
    path = write_morph(tmp_path, "01")
    values = [float(row["value"]) for row in read_tsv(path)]
    made = extract("morphometry", path)
    np.testing.assert_allclose(made["x"][0], values, rtol=1e-6)
    some = extract("morphometry", path, variables=["thickness_4", "thickness_1"])
    np.testing.assert_allclose(some["x"][0], [values[4], values[1]], rtol=1e-6)
    with pytest.raises(InputError, match="lacks thickness_9"):
        extract("morphometry", path, variables=["thickness_9"])
    for line, fault in (("a\tn/a", "has no value of a"), ("a\tx", "a is 'x', no number"), ("a\t1\na\t2", "'a' twice")):
        write_text(path, f"variable\tvalue\n{line}\n")
        with pytest.raises(InputError, match=fault):
            extract("morphometry", path)


@pytest.mark.parametrize("damage", ["truncated", "mask"])
def test_damaged_derivatives_are_refused_in_one_line(bold, tmp_path, damage):
    path = copied(bold, tmp_path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        mask = template("mask", 12.0)
        save_image(
            np.asarray(mask.dataobj), mask.affine, path.with_name(path.name.replace("preproc_bold", "brain_mask"))
        )
    with pytest.raises(InputError) as caught:
        extract("connectivity", path, **CLEAN)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["timeseries", "relmat", "morph"])
def test_recordings_of_a_folder_stack(tmp_path, kind):
    derivative_folder(kind, tmp_path)
    rows = read_tsv(tmp_path / "manifest.tsv")
    name = "morphometry" if kind == "morph" else "connectivity"
    extractor = make("features", name, {} if kind == "morph" else CLEAN)
    made = concatenate([extractor.extract(row, tmp_path / "deriv" / row["path"], {}) for row in rows])
    assert made.rows["subject"].tolist() == ["01", "02"]


# ---------------------------------------------------------------- measured data


def test_connectivity_of_measured_series(real_data, tmp_path):
    archive = np.load(real_data / "fmri-abide-cc200" / "timeseries_cc200_filt_global.npz")
    name = archive.files[0]
    values = archive[name].astype(float)
    names = [f"cc{number:03d}" for number in range(values.shape[1])]
    path = tmp_path / "sub-01" / "func" / "sub-01_task-rest_atlas-cc200_stat-mean_timeseries.tsv"
    write_text(path, to_tsv([dict(zip(names, map(float, row), strict=True)) for row in values], names))
    made = extract("connectivity", path, fisher_z=False, max_missing=0.2, **CLEAN)
    varies = np.ptp(values, axis=0) > 0
    assert made["coverage"][0].tolist() == varies.astype(float).tolist()
    expected = np.corrcoef(values[:, varies].T)
    matrix = np.zeros((len(names),) * 2)
    matrix[np.triu_indices(len(names), 1)] = made["x"][0]
    np.testing.assert_allclose(upper(matrix[np.ix_(varies, varies)]), upper(expected), atol=1e-5)


def test_the_regions_of_a_measured_atlas(real_data, bold):
    atlas = real_data / "atlases" / "CC200.nii.gz"
    made = extract("connectivity", bold, atlas_file=str(atlas), max_missing=0.3, **CLEAN)
    assert made.axes["region"][0] == "region 001"
    assert made["coverage"].mean() > 0.8
