"""Simulated heads, fMRI and PET: what is written down as true is what the images show."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import interpolate, ndimage

from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv
from replicortex.shared import sim_anatomy, sim_bold
from replicortex.shared.nifti import template

STILL = {"noise": 0, "physiology": 0, "drift": 0, "local": 0, "dummies": 0}


def at(image, points):
    """Values of an image at positions in mm, between voxels linearly."""
    inverse = np.linalg.inv(image.affine)
    indices = np.asarray(points) @ inverse[:3, :3].T + inverse[:3, 3]
    return ndimage.map_coordinates(image.get_fdata(), indices.T, order=1)


def turn(x, y, z):
    """Rotation about x, then y, then z, written out."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


# ---- anatomies


def test_the_way_back_from_the_template_is_the_inverse_of_the_way_there():
    points = sim_anatomy.model_positions()[10:-10:12, 10:-10:12, 10:-10:12].reshape(-1, 3).astype(float)
    for seed in range(3):
        warp = sim_anatomy.Warp.drawn(np.random.default_rng(seed), 4.0)
        there = warp.to_scanner(points)
        assert np.abs(warp.to_template(there) - points).max() < 1e-4
        # It is no affine map, and it is as strong as asked.
        linear = np.linalg.lstsq(np.c_[points, np.ones(len(points))], there, rcond=None)[0]
        assert np.abs(np.c_[points, np.ones(len(points))] @ linear - there).std() > 0.5
        assert 1.5 < np.sqrt((warp.displacement(points) ** 2).mean()) < 6


def test_a_place_that_the_template_shows_bright_is_bright_at_its_place_in_the_written_image(tmp_path):
    quiet = {"noise": 0, "sites": 0, "effect": 0, "variation": 0, "mm": 3.0, "n_subjects": 5, "n_sites": 3}
    facts = make("simulators", "t1w_anatomies", quiet).simulate(tmp_path, "planted", 1)
    places = np.array(facts["landmarks_mni_mm"])
    model, affine = sim_anatomy.head()
    blurred = ndimage.gaussian_filter(sim_anatomy.mixture(model, sim_anatomy.T1_SIGNAL), 0.5)
    expected = at(nib.Nifti1Image(blurred, affine), places)
    seen, elsewhere, axes = [], [], set()
    for subject, true in facts["subjects"].items():
        image = nib.load(tmp_path / subject / "anat" / f"{subject}_T1w.nii.gz")
        axes.add(nib.aff2axcodes(image.affine))
        seen.append(at(image, true["landmarks_scanner_mm"]))
        elsewhere.append(at(image, places))
    # The order in which axes are stored differs between sites; positions in mm do not know it.
    assert len(axes) == 3
    for values, unmoved in zip(seen, elsewhere, strict=True):
        assert np.corrcoef(values, expected)[0, 1] > 0.97
        assert np.corrcoef(unmoved, expected)[0, 1] < 0.9


def test_grey_matter_of_the_region_is_lost_by_the_effect_and_nowhere_else():
    simulator = make("simulators", "t1w_anatomies", {"effect": 0.4, "variation": 0.05})
    weight = simulator.weight()
    (_, well), (_, ill) = (simulator.subject(0, severity, weight, 0) for severity in (0.0, 1.0))
    model, affine = sim_anatomy.head()
    inside = (weight == 1) & (model[..., 1] > 0.1)
    lost = (well - ill)[inside][:, 1] / model[inside][:, 1]
    assert np.allclose(lost, 0.4, atol=1e-5)
    assert np.array_equal(well[weight == 0], ill[weight == 0])
    # What grey matter loses, fluid gains.
    assert np.allclose(well.sum(axis=-1), ill.sum(axis=-1), atol=1e-6)
    centre = np.rint(np.linalg.inv(affine) @ [28, -20, -16, 1]).astype(int)[:3]
    assert weight[tuple(centre)] == 1


@pytest.mark.parametrize("outcome", ["group", "age"])
def test_an_absent_effect_is_dealt_out_to_anybody(outcome):
    planted, absent = (sim_anatomy.People.drawn(400, 4, ("a", "b"), dealt, 3, outcome) for dealt in (False, True))
    assert (planted.group, planted.site, planted.sex) == (absent.group, absent.site, absent.sex)
    assert np.array_equal(planted.age, absent.age)
    assert np.array_equal(np.sort(planted.severity), np.sort(absent.severity))
    follows = planted.age if outcome == "age" else np.array(planted.group) == "b"
    assert np.corrcoef(planted.severity, follows)[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(absent.severity, follows)[0, 1]) < 0.15
    # Neither site nor age tells the group.
    member = np.array(planted.group) == "b"
    for site in set(planted.site):
        assert member[np.array(planted.site) == site].mean() == 0.5
    assert abs(np.corrcoef(planted.age, member)[0, 1]) < 0.15


# ---- fMRI


def test_moving_a_volume_back_by_the_written_movement_gives_the_first_volume(tmp_path):
    params = STILL | {"n_subjects": 1, "n_volumes": 6, "mm": 5.0, "t1_mm": 8.0, "amplitude": 0, "motion": 20}
    facts = make("simulators", "resting_bold", params).simulate(tmp_path, "planted", 0)
    image = nib.load(tmp_path / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz")
    data, affine = image.get_fdata(), image.affine
    assert nib.aff2axcodes(affine) == ("L", "A", "S")
    shape = np.array(data.shape[:3])
    indices = np.argwhere(np.ones(shape, bool))
    points = indices @ affine[:3, :3].T + affine[:3, 3]
    centre = affine[:3, :3] @ (shape - 1) / 2 + affine[:3, 3]
    core = np.all((indices >= 4) & (indices < shape - 4), axis=1)
    for n, motion in enumerate(facts["subjects"]["sub-01"]["motion"]):
        now = (points - centre) @ turn(*motion[3:]).T + centre + motion[:3]
        back = np.linalg.inv(affine)
        found = ndimage.map_coordinates(data[..., n], (now @ back[:3, :3].T + back[:3, 3]).T, order=3)
        first, raw = data[..., 0].ravel(), data[..., n].ravel()
        residual, moved = (np.sqrt(np.mean((values - first)[core] ** 2)) for values in (found, raw))
        # Interpolated twice and rounded, a volume is not the first again to the last digit.
        assert residual < 0.2 * moved if n else moved == 0


def test_regions_are_correlated_as_written_once_slices_are_put_at_their_times(tmp_path):
    params = STILL | {"n_subjects": 2, "n_volumes": 120, "mm": 6.0, "t1_mm": 8.0, "motion": 0, "shape": 0, "n_sites": 1}
    facts = make("simulators", "resting_bold", params).simulate(tmp_path, "planted", 2)
    assert np.allclose(
        (np.array(facts["correlation"]["patient"]) - facts["correlation"]["control"])[0, 9], params.get("effect", 0.35)
    )
    for subject, true in facts["subjects"].items():
        folder = tmp_path / subject / "func"
        image = nib.load(folder / f"{subject}_task-rest_bold.nii.gz")
        sidecar = read_json(folder / f"{subject}_task-rest_bold.json")
        assert image.header.get_zooms()[3] == sidecar["RepetitionTime"] == 2.0
        data = image.get_fdata()
        # Without deformation, an affine takes template space to the T1-weighted image.
        landmarks, known = np.array(true["landmarks_t1w_mm"]), np.array(facts["landmarks_mni_mm"])
        affine = np.linalg.lstsq(np.c_[known, np.ones(len(known))], landmarks, rcond=None)[0]
        in_t1 = np.c_[facts["coordinates_mni_mm"], np.ones(12)] @ affine
        lead = np.linalg.inv(np.array(true["bold_to_t1w"])).T
        in_run = (np.c_[in_t1, np.ones(12)] @ lead)[:, :3]
        back = np.linalg.inv(image.affine)
        voxels = np.rint(in_run @ back[:3, :3].T + back[:3, 3]).astype(int)
        uncorrected = np.array([data[tuple(voxel)] for voxel in voxels])
        volumes = 2.0 * np.arange(data.shape[3])
        corrected = np.array([
            interpolate.CubicSpline(volumes + sidecar["SliceTiming"][voxel[2]], series)(volumes[1:])
            for voxel, series in zip(voxels, uncorrected, strict=True)
        ])  # fmt: skip
        truth = np.array(true["realised_correlation"])
        assert np.abs(np.corrcoef(corrected) - truth).max() < 0.06
        assert np.abs(np.corrcoef(uncorrected) - truth).max() > 0.1


def test_long_signals_have_the_correlations_that_were_asked_for():
    wanted = sim_bold.network_matrix(0.6, 0.1, {("default", "salience"): 0.3})
    drawn = sim_bold.Oscillations.drawn(np.random.default_rng(0), wanted, (0.01, 0.1), 50_000.0)
    assert np.abs(drawn.correlation() - wanted).max() < 0.05
    series = drawn.at(np.arange(0, 5_000, 2.0))
    assert series.std(axis=0) == pytest.approx(np.ones(12), abs=0.1)
    spectrum = np.abs(np.fft.rfft(series, axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(series), 2.0)
    assert spectrum[(frequency > 0.009) & (frequency < 0.101)].sum() > 0.99 * spectrum.sum()
    with pytest.raises(InputError, match="no signals can have these correlations; bring within"):
        make("simulators", "resting_bold", {"within": 0.9, "between": -0.8})


def test_the_response_to_a_block_is_that_of_nilearn():
    from nilearn.glm.first_level import compute_regressor

    times, onsets = np.arange(0, 120, 2.0), [10.0, 50.0, 75.5]
    peer = compute_regressor(np.array([onsets, [10.0] * 3, [1.0] * 3]), "spm", times, oversampling=50)[0][:, 0]
    own = sim_bold.responses(times, onsets, 10.0)
    assert np.corrcoef(own, peer)[0, 1] > 0.999
    assert np.abs(own / own.max() - peer / peer.max()).max() < 0.03


def test_the_events_move_the_motor_network_and_the_first_volumes_are_brighter(tmp_path):
    params = STILL | {"n_subjects": 1, "n_volumes": 60, "mm": 8.0, "t1_mm": 8.0, "motion": 0, "amplitude": 0}
    params |= {"task": True, "dummies": 2}
    facts = make("simulators", "resting_bold", params).simulate(tmp_path, "planted", 0)
    folder = tmp_path / "sub-01" / "func"
    data = nib.load(folder / "sub-01_task-tapping_bold.nii.gz").get_fdata()
    events = read_tsv(folder / "sub-01_task-tapping_events.tsv")
    onsets = [float(row["onset"]) for row in events]
    assert onsets == facts["subjects"]["sub-01"]["onsets"]
    whole = data.mean(axis=(0, 1, 2))
    assert whole[0] > 1.2 * whole[2]
    assert whole[1] > 1.03 * whole[2]
    steady = data[..., 2:]
    best = np.unravel_index(steady.std(axis=-1).argmax(), steady.shape[:3])
    times = 2.0 * np.arange(2, 60) + facts["slice_times"][best[2]]
    assert np.corrcoef(steady[best], sim_bold.responses(times, onsets, 10.0))[0, 1] > 0.98


def test_framewise_displacement_is_the_sum_of_all_movements():
    parameters = np.array([[0, 0, 0, 0, 0, 0], [1, -2, 0, 0.01, 0, 0], [1, 0, 0, 0, 0, -0.02]], float)
    assert sim_bold.framewise_displacement(parameters)[1:] == pytest.approx([3.5, 3.5])


# ---- PET


def test_the_region_takes_up_what_was_written_over_the_reference():
    params = {"frames": [600.0, 600.0], "mm": 2.0, "variation": 0, "effect": 0.5}
    simulator = make("simulators", "pet_uptake", params)
    still = sim_anatomy.Warp(np.zeros((3, 9, 10, 10)), np.eye(4))
    maps = simulator.uptake(0.0)
    frames, affine = simulator.scan(maps, 1.7, still.to_template, 0.0, 0.0, np.random.default_rng(0))
    places = sim_anatomy.positions(affine, frames.shape[:3])
    model, model_affine = sim_anatomy.head()
    fractions = np.stack([sim_anatomy.sample(model[..., kind], model_affine, places) for kind in range(6)], axis=1)
    whole, values = fractions.sum(axis=1) > 0.999, frames.reshape(-1, 2)

    def grey(centre, radius):
        """Activity of pure grey matter: voxels unmixed by what they are made of."""
        near = whole & (np.linalg.norm(places - centre, axis=1) < radius)
        return np.linalg.lstsq(fractions[near, :3], values[near], rcond=None)[0][1]

    reference = grey([-26, -66, -40], 19)
    assert reference == pytest.approx(simulator.reference(), rel=0.002)
    for centre in ([0, -62, 36], [0, 52, 8]):
        assert grey(centre, 17) / reference == pytest.approx(1 + 0.7 * simulator.settled(), abs=0.002)
    assert grey([-40, -20, 50], 12) / reference == pytest.approx(1 + 0.15 * simulator.settled(), abs=0.002)
    # The closed form of the mean over a frame, against the mean of many instants.
    instants = np.linspace(3000, 3600, 10_001)
    assert simulator.settled()[0] == pytest.approx(np.mean(1 - np.exp(-instants / 1200)), abs=1e-5)


def test_counts_scatter_about_the_activity_and_the_scanner_spreads_it():
    simulator = make("simulators", "pet_uptake", {"mm": 5.0, "frames": [300.0]})
    still = sim_anatomy.Warp(np.zeros((3, 9, 10, 10)), np.eye(4))
    maps = simulator.uptake(6.0)
    clean = simulator.scan(maps, 1.7, still.to_template, 6.0, 0.0, np.random.default_rng(0))[0][..., 0]
    noisy = simulator.scan(maps, 1.7, still.to_template, 0.0, 200.0, np.random.default_rng(0))[0][..., 0]
    brain = clean > 0.7 * clean.max()
    error = (noisy - clean)[brain]
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(brain.sum())
    # A Poisson variable's variance is its mean: at half the activity, half the variance.
    some = (clean > 0.3 * clean.max()) & (clean < 0.4 * clean.max())
    shares = np.var((noisy - clean)[some]) / np.var(error), clean[some].mean() / clean[brain].mean()
    assert shares[0] == pytest.approx(shares[1], rel=0.25)
    sharp = simulator.scan(simulator.uptake(0.0), 1.7, still.to_template, 0.0, 0.0, np.random.default_rng(0))[0]
    assert clean.std() < sharp.std()


# ---- voxel graphs


def graphs(simulator, space, affected, seed, n, threshold):
    """Degree and triangles of each voxel of the region, ``(n, n_voxels)`` each, of simulated series."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        correlation = np.corrcoef(simulator.signals(space, affected, 0.1, rng).T)
        graph = (correlation > threshold).astype(np.float32)
        np.fill_diagonal(graph, 0)
        found.append([graph.sum(axis=1)[space.region], ((graph @ graph) * graph).sum(axis=1)[space.region] / 2])
    return np.array(found).transpose(1, 0, 2)


def cohens_d(a, b):
    return (b.mean() - a.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)


@pytest.mark.parametrize(("contrast", "degrees", "triangles"), [("cycles", (3, 3), (0, 3)), ("degree", (1, 3), (0, 0))])
def test_wirings_have_the_degrees_and_triangles_that_they_should(contrast, degrees, triangles):
    simulator = make("simulators", "network_bold", {"contrast": contrast})
    for affected in (False, True):
        graph = simulator.wiring(affected, np.random.default_rng(0))
        other = simulator.wiring(affected, np.random.default_rng(1))
        assert np.array_equal(graph, graph.T)
        assert not graph.diagonal().any()
        assert np.all(graph.sum(axis=1) == degrees[affected])
        assert np.all(np.diag(np.linalg.matrix_power(graph, 3)) / 2 == triangles[affected])
        # Partners are drawn anew: no pair tells the groups apart.
        assert (graph * other).sum() < 0.3 * graph.sum()
        assert np.linalg.eigvalsh(np.eye(60) + 0.48 * graph)[0] > 0.03


def test_only_cycles_tell_the_groups_apart_and_in_the_other_contrast_only_degrees():
    n, threshold = 60, 0.34
    differences = {}
    for contrast in ("cycles", "degree"):
        simulator = make("simulators", "network_bold", {"contrast": contrast, "mm": 16.0, "n_voxels": 40})
        space = simulator.space()
        groups = [graphs(simulator, space, affected, 7 + affected, n, threshold) for affected in (False, True)]
        # The mean over the region, a person a value.
        differences[contrast] = [cohens_d(*(group[k].mean(axis=1) for group in groups)) for k in (0, 1)]
    assert abs(differences["cycles"][0]) < 0.4
    assert differences["cycles"][1] > 5
    assert differences["degree"][0] > 5
    assert abs(differences["degree"][1]) < 1


def test_the_derivative_has_the_region_where_it_is_written_and_confounds_as_fmriprep_names_them(tmp_path):
    params = {"n_subjects": 4, "n_volumes": 120, "mm": 16.0, "n_voxels": 40, "confounds": 0, "noise": 0, "motion": 0}
    facts = make("simulators", "network_bold", params).simulate(tmp_path, "planted", 0)
    folder = tmp_path / "sub-01" / "func"
    stem = "sub-01_task-rest"
    image = nib.load(folder / f"{stem}_space-MNI152NLin2009aSym_desc-preproc_bold.nii.gz")
    mask = nib.load(folder / f"{stem}_space-MNI152NLin2009aSym_desc-brain_mask.nii.gz").get_fdata() > 0
    voxels = np.array(facts["region"]["voxels_ijk"])
    places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    assert np.allclose(places, facts["region"]["voxels_mni_mm"])
    assert template("GM", 16.0).get_fdata()[tuple(voxels.T)].min() > 0.3
    assert np.linalg.norm(places - facts["region"]["centre_mni_mm"], axis=1).max() == pytest.approx(
        facts["region"]["radius_mm"]
    )
    data = image.get_fdata()
    assert np.array_equal(data.std(axis=-1) > 0, mask)
    graph = np.corrcoef(data[tuple(voxels.T)]) > facts["threshold"]
    degree = graph.sum(axis=1) - 1
    assert degree.mean() == pytest.approx(3, abs=0.5)
    table = read_tsv(folder / f"{stem}_desc-confounds_timeseries.tsv")
    assert len(table) == 120
    assert table[0]["framewise_displacement"] == table[0]["dvars"] == "n/a"
    needed = {"trans_x", "rot_z_derivative1_power2", "csf", "white_matter", "global_signal_power2", "std_dvars",
              "a_comp_cor_00", "cosine00"}  # fmt: skip
    assert needed <= table[0].keys() == read_json(folder / f"{stem}_desc-confounds_timeseries.json").keys()
    whole = [float(row["global_signal"]) for row in table]
    assert np.corrcoef(whole, data[mask].mean(axis=0))[0, 1] > 0.999
    standard = np.array([float(row["std_dvars"]) for row in table[1:]])
    assert standard.mean() == pytest.approx(1, abs=0.1)


def test_movement_is_in_the_confounds_of_the_derivative(tmp_path):
    params = {"n_subjects": 2, "n_volumes": 60, "mm": 16.0, "n_voxels": 20, "motion": 3.0}
    facts = make("simulators", "network_bold", params).simulate(tmp_path, "planted", 0)
    for subject, true in facts["subjects"].items():
        table = read_tsv(tmp_path / subject / "func" / f"{subject}_task-rest_desc-confounds_timeseries.tsv")
        parameters = np.array(
            [[float(row[f"{kind}_{axis}"]) for kind in ("trans", "rot") for axis in "xyz"] for row in table]
        )
        written = [float(row["framewise_displacement"]) for row in table[1:]]
        assert written == pytest.approx(sim_bold.framewise_displacement(parameters)[1:], abs=1e-5)
        assert np.mean(written) == pytest.approx(true["mean_fd_mm"], abs=1e-5)
