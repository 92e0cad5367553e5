"""Rigid motion and coregistration against planted truth; confounds against nipype and closed forms."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import linalg, ndimage

from bold_data import TO_BOLD, relative_error, simulate_bold
from pet_data import TO_T1W, grid_of, moved
from replicortex.shared import confounds, motion
from replicortex.shared.coregistration import coregister, normalised_information, to_itk
from replicortex.shared.nifti import template


def rms(errors: np.ndarray) -> tuple[float, float]:
    """Return the root mean square error in mm and in degrees."""
    return float(np.sqrt((errors[:, :3] ** 2).mean())), float(np.degrees(np.sqrt((errors[:, 3:] ** 2).mean())))


def test_a_matrix_gives_its_parameters_back_and_turns_about_its_centre():
    rng = np.random.default_rng(0)
    for parameters in rng.normal(0, 0.3, (20, 6)):
        centre = rng.normal(0, 50, 3)
        matrix = motion.rigid_matrix(parameters, centre)
        np.testing.assert_allclose(motion.rigid_parameters(matrix, centre), parameters, atol=1e-10)
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    quarter = motion.rigid_matrix([0, 0, 0, np.pi / 2, 0, 0], (1, 2, 3))
    # A quarter turn about x leads from +y to +z, and leaves the centre where it is.
    np.testing.assert_allclose(quarter @ [1, 3, 3, 1], [1, 2, 4, 1], atol=1e-12)


def test_planted_motion_is_found_within_a_tenth_of_a_millimetre_and_degree():
    series, affine, parameters = simulate_bold(n_volumes=12, mm=4.0, active=0.03)
    found = motion.realign(series, affine).matrices()
    mm, degrees = rms(relative_error(found, [motion.rigid_matrix(row) for row in parameters], 6))
    assert mm < 0.1
    assert degrees < 0.1
    # The bound means something: the head moved by much more.
    assert np.ptp(parameters[:, :3], axis=0).max() > 1


def test_a_sudden_large_move_is_followed():
    parameters = np.zeros((9, 6))
    parameters[3] = [14, -12, 9, *np.radians([12, -9, 10])]
    parameters[7] = [-20, 8, -12, *np.radians([-8, 14, 5])]
    series, affine, _ = simulate_bold(n_volumes=9, parameters=parameters, active=0)
    found = motion.realign(series, affine).matrices()
    mm, degrees = rms(relative_error(found, [motion.rigid_matrix(row) for row in parameters], 4))
    assert mm < 0.1
    assert degrees < 0.1


def test_a_brighter_volume_is_no_motion():
    series, affine, _ = simulate_bold(n_volumes=8, parameters=np.zeros((8, 6)), active=0)
    series[..., 2] *= 1.3
    found = motion.realign(series, affine).parameters
    assert np.abs(found[2] - found[3])[:3].max() < 0.05


def test_a_real_head_moved_on_purpose_is_found(real_data):
    path = real_data / "bold-studyforrest" / "sub-02" / "func" / "sub-02_task-oneback_run-1_bold.nii.gz"
    image = nib.load(path)
    volumes = np.asarray(image.dataobj[..., :6], dtype=np.float32)
    rng = np.random.default_rng(3)
    true = [motion.rigid_matrix(row) for row in rng.normal(0, [1.5, 1.5, 1.5, 0.02, 0.02, 0.02], (6, 6))]
    # One volume moved six times, with fresh noise of the size of that between volumes.
    spread = np.median(volumes.std(axis=-1)[volumes.mean(axis=-1) > 300])
    series = np.empty_like(volumes)
    for number, matrix in enumerate(true):
        back = np.linalg.inv(image.affine) @ np.linalg.inv(matrix) @ image.affine
        series[..., number] = ndimage.affine_transform(volumes[..., 0], back, order=5, mode="nearest")
    series += rng.normal(0, spread, series.shape)
    mm, degrees = rms(relative_error(motion.realign(series, image.affine).matrices(), true, 3))
    assert mm < 0.1
    assert degrees < 0.1


@pytest.mark.parametrize("tissue", [False, True])
def test_coregistration_finds_the_planted_place(tissue):
    series, affine, _ = simulate_bold(n_volumes=1, mm=4.0, parameters=np.zeros((1, 6)))
    own, shape = grid_of((64, 77, 64), 3.0), (64, 77, 64)
    maps = {kind: template(kind, 2.0) for kind in ("brain", "mask", "WM", "GM")}
    maps = {kind: moved(image.get_fdata(), image.affine, TO_T1W, shape, own) for kind, image in maps.items()}
    tissues = [maps["WM"], maps["GM"]] if tissue else []
    brain = series[..., 0] > 300
    found = coregister(series[..., 0], affine, brain, maps["brain"], own, maps["mask"] > 0.5, *tissues)
    error = motion.rigid_parameters(found.matrix @ TO_BOLD, (0, -18, 8))
    # Mutual information is exact for a head without distortion; the boundary is as good as its surface.
    assert np.abs(error[:3]).max() < (1.0 if tissue else 0.3)
    assert np.degrees(np.abs(error[3:]).max()) < (0.6 if tissue else 0.3)
    assert found.information > 1.1


def test_mutual_information_is_one_without_relation_and_more_with():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=200_000)
    bins = (values * 32).astype(int)
    assert normalised_information(bins, rng.permutation(values)) == pytest.approx(1, abs=0.002)
    # Below 2, since the histogram is smoothed.
    assert normalised_information(bins, values) > 1.3
    # Any relation counts, not a linear one.
    assert normalised_information(bins, 1 - values) == pytest.approx(normalised_information(bins, values), rel=0.01)


def test_the_written_transform_means_the_same_to_ants(tmp_path):
    ants = pytest.importorskip("ants")
    matrix = motion.rigid_matrix([5, -3, 2, 0.1, -0.2, 0.3], (1, 2, 3))
    (tmp_path / "a.txt").write_text(to_itk(matrix))
    point = np.array([10.0, -20.0, 30.0])
    flip = np.array([-1, -1, 1])
    found = np.array(ants.read_transform(str(tmp_path / "a.txt")).apply_to_point((point * flip).tolist())) * flip
    np.testing.assert_allclose(found, (matrix @ [*point, 1])[:3], atol=1e-5)


def test_framewise_displacement_is_that_of_nipype(tmp_path):
    from nipype.algorithms.confounds import FramewiseDisplacement

    parameters = np.random.default_rng(0).normal(0, [0.3] * 3 + [0.005] * 3, (30, 6))
    np.savetxt(tmp_path / "motion.par", parameters)
    FramewiseDisplacement(
        in_file=str(tmp_path / "motion.par"), parameter_source="SPM", out_file=str(tmp_path / "fd.txt")
    ).run(cwd=str(tmp_path))
    found = confounds.framewise_displacement(parameters)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], np.loadtxt(tmp_path / "fd.txt", skiprows=1), rtol=1e-6)
    # Half a millimetre and a hundredth of a radian on a sphere of 50 mm.
    assert confounds.framewise_displacement(np.array([[0] * 6, [0.5, 0, 0, 0, 0.01, 0]]))[1] == pytest.approx(1.0)


def test_dvars_is_that_of_nipype(tmp_path, monkeypatch):
    from nipype.algorithms import confounds as nipype

    def yule_walker(values: np.ndarray, order: int) -> np.ndarray:
        lags = [values[: len(values) - lag] @ values[lag:] / len(values) for lag in range(order + 1)]
        return linalg.solve_toeplitz(lags[:-1], lags[1:])

    # nipype asks nitime for this, which is not among this project's packages.
    monkeypatch.setattr(nipype, "_AR_est_YW", lambda values, order: yule_walker(values - values.mean(), order))
    rng = np.random.default_rng(0)
    series = 800 + np.cumsum(rng.normal(0, 3, (6, 7, 8, 40)), axis=-1) + rng.normal(0, 8, (6, 7, 8, 40))
    series[0, 0, :3] = 500.0
    for name, values in (("bold", series), ("mask", np.ones((6, 7, 8)))):
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii")
    standardised, plain, _ = nipype.compute_dvars(
        str(tmp_path / "bold.nii"), str(tmp_path / "mask.nii"), remove_zerovariance=True
    )
    found = confounds.dvars(series.reshape(-1, 40))
    np.testing.assert_allclose(found[0][1:], plain, rtol=1e-4)
    np.testing.assert_allclose(found[1][1:], standardised, rtol=1e-4)


def test_compcor_finds_the_noise_that_was_planted_in_its_mask():
    rng = np.random.default_rng(0)
    n_volumes, time = 120, 2.0
    noise = np.sin(2 * np.pi * 0.06 * time * np.arange(n_volumes) + 1)
    drift = np.cos(np.pi * (np.arange(n_volumes) + 0.5) / n_volumes)
    series = 1000 + rng.normal(0, 1, (400, n_volumes))
    csf, white = np.arange(400) < 60, np.arange(400) >= 340
    series[csf] += 3 * noise + 20 * drift
    masks = {"CSF": csf, "WM": white, "combined": csf | white}
    columns, facts, cosines = confounds.compcor(series, masks, time, 2)
    first = columns["c_comp_cor_00"]
    assert np.all(first[:2] == 0)
    assert abs(np.corrcoef(first[2:], noise[2:])[0, 1]) > 0.98
    # What the cosines take is not in it: 240 s hold periods down to 128 s.
    assert abs(np.corrcoef(first[2:], drift[2:])[0, 1]) < 0.05
    assert len(cosines) == 2
    assert facts["c_comp_cor_00"]["Mask"] == "CSF"
    assert {name.rpartition("_")[0] for name in columns} == {"t_comp_cor", "c_comp_cor", "w_comp_cor", "a_comp_cor"}
    # An independent decomposition of the same mask explains as much by its first component.
    design = np.vander(np.linspace(-1, 1, n_volumes - 2), 1)
    basis = np.column_stack([design, *(row[2:] for row in cosines.values())])
    data = series[csf, 2:].T
    data = data - basis @ np.linalg.lstsq(basis, data)[0]
    singular = np.linalg.svd(data / data.std(axis=0), compute_uv=False)
    assert facts["c_comp_cor_00"]["VarianceExplained"] == pytest.approx(
        (singular**2 / (singular**2).sum())[0], rel=1e-3
    )


def test_volumes_before_steady_state_are_counted():
    means = np.r_[1500.0, 1200.0, 1000 + np.random.default_rng(0).normal(0, 1, 60)]
    assert confounds.n_non_steady(means) == 2
    assert confounds.n_non_steady(means[2:]) == 0
    assert confounds.n_non_steady(np.full(20, 7.0)) == 0
