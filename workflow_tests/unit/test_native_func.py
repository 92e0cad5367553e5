"""BOLD preprocessing: planted motion and activity come back in the standard space; confounds as nilearn reads them."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from bold_data import TO_BOLD, boxcar, in_region, relative_error, simulate_bold, write_bold
from pet_data import TO_T1W, write_anatomy
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import digest_file, read_json, read_tsv
from replicortex.preprocessing.native_func import _resample, seen_share, shift_slices, warp_points
from replicortex.shared.confounds import MOTION
from replicortex.shared.motion import rigid_matrix, rigid_parameters
from replicortex.shared.nifti import SPACE

MM = 5.0


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    return write_anatomy(tmp_path_factory.mktemp("anat"))


@pytest.fixture(scope="module")
def scan():
    """Series, affine and true motion of a head that moves."""
    return simulate_bold(n_volumes=20, mm=MM, seed=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory, scan, parents):
    """Return the output folder, the sidecar and the stem of one run."""
    root, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    row = write_bold(root, series=scan[0], affine=scan[1])
    sidecar = make("preprocessing", "native_func", {"output_mm": MM}).preprocess(row, root, out, parents)
    return out, sidecar, row["recording"]


def refused(row, root, out, parents, **params) -> str:
    out.mkdir(exist_ok=True)
    with pytest.raises(InputError) as caught:
        make("preprocessing", "native_func", params).preprocess(row, root, out, parents)
    message = str(caught.value)
    assert message.startswith(row["path"])
    assert "\n" not in message
    assert str(root) not in message
    return message


def test_planted_motion_is_in_the_table(done, scan):
    out, sidecar, stem = done
    table = read_tsv(out / f"{stem}_desc-confounds_timeseries.tsv")
    parameters = np.array([[float(row[name]) for name in MOTION] for row in table])
    found = [rigid_matrix(row, sidecar["MotionCentre"]) for row in parameters]
    error = relative_error(found, [rigid_matrix(row) for row in scan[2]], 10)
    assert np.sqrt((error[:, :3] ** 2).mean()) < 0.1
    assert np.degrees(np.sqrt((error[:, 3:] ** 2).mean())) < 0.1
    # Framewise displacement by its definition, of the parameters written.
    steps = np.abs(np.diff(parameters, axis=0))
    expected = steps[:, :3].sum(axis=1) + 50 * steps[:, 3:].sum(axis=1)
    np.testing.assert_allclose([float(row["framewise_displacement"]) for row in table[1:]], expected, rtol=1e-6)
    assert table[0]["framewise_displacement"] == "n/a"
    assert sidecar["Quality"]["fd_mean"] == pytest.approx(expected.mean())


def test_activity_planted_in_the_standard_space_is_found_there(done):
    out, _, stem = done
    image = nib.load(out / f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz")
    mask = nib.load(out / f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz").get_fdata() > 0
    data = image.get_fdata()
    assert image.header.get_zooms()[3] == 2.0
    design = boxcar(data.shape[3]) - boxcar(data.shape[3]).mean()
    mean = data.mean(axis=3)
    effect = np.divide(data @ design / (design @ design), mean, out=np.zeros(mask.shape), where=mean > 0)
    # The motion itself, the coregistration and the transform of the T1w image all have to be right for this.
    inside, outside = mask & in_region(image, -MM), mask & ~in_region(image, 1.5 * MM)
    assert np.median(effect[inside]) == pytest.approx(0.05, abs=0.01)
    assert np.abs(np.median(effect[outside])) < 0.005
    sharp = (effect > 0.025) & mask
    truth = in_region(image) & mask
    assert 2 * (sharp & truth).sum() / (sharp.sum() + truth.sum()) > 0.75


def test_the_written_transform_is_the_planted_one(done):
    out, sidecar, stem = done
    points = np.random.default_rng(0).uniform(-50, 50, (3, 20))
    found = warp_points(points, out / f"{stem}_from-boldref_to-T1w_mode-image_xfm.txt")
    matrix = np.column_stack([*np.linalg.lstsq(np.vstack([points, np.ones(20)]).T, found.T)[0]])
    # The reference is that of the realigned series: the head stands in it as in the middle volume, about.
    error = rigid_parameters(np.linalg.inv(TO_BOLD) @ np.vstack([matrix, [0, 0, 0, 1]]), (0, -18, 8))
    assert np.abs(error[:3]).max() < 3.5
    assert sidecar["Quality"]["dice_epi_t1w"] > 0.85


def test_nilearn_reads_the_confounds(done):
    out, _, stem = done
    path = str(out / f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz")
    for compcor in ("anat_combined", "anat_separated", "temporal", "temporal_anat_combined"):
        found, _ = load_confounds(path, strategy=("high_pass", "compcor"), compcor=compcor, n_compcor=3)
        prefixes = {name.rpartition("_")[0] for name in found if "comp_cor" in name}
        expected = {"anat_combined": {"a_comp_cor"}, "anat_separated": {"w_comp_cor", "c_comp_cor"}}
        expected |= {"temporal": {"t_comp_cor"}, "temporal_anat_combined": {"t_comp_cor", "a_comp_cor"}}
        assert prefixes == expected[compcor]
    found, sample_mask = load_confounds(
        path,
        strategy=("motion", "wm_csf", "global_signal", "scrub"),
        motion="full",
        wm_csf="full",
        global_signal="full",
        scrub=0,
        fd_threshold=0.9,
        std_dvars_threshold=99,
    )
    assert found.shape == (20, 24 + 8 + 4)
    assert np.isfinite(found.to_numpy()).all()
    table = read_tsv(out / f"{stem}_desc-confounds_timeseries.tsv")
    moved = [k for k, row in enumerate(table) if k and float(row["framewise_displacement"]) > 0.9]
    assert set(range(20)) - set(sample_mask if sample_mask is not None else range(20)) == set(moved)
    assert moved


def test_files_and_names(done):
    out, sidecar, stem = done
    prefix = f"{stem}_space-{SPACE}"
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == sorted([
        f"{prefix}_desc-preproc_bold.nii.gz", f"{prefix}_desc-brain_mask.nii.gz", f"{prefix}_boldref.nii.gz",
        f"{prefix}_stat-tsnr_boldmap.nii.gz", f"{stem}_desc-confounds_timeseries.tsv",
        f"{stem}_desc-confounds_timeseries.json", f"{stem}_from-boldref_to-T1w_mode-image_xfm.txt",
    ])  # fmt: skip
    pictures = list((out / "figures").iterdir())
    assert {path.name for path in pictures} == {f"{stem}_desc-{what}_bold.png" for what in ("carpet", "coregistration")}
    assert all(path.stat().st_size < 300_000 for path in pictures)
    quality = sidecar["Quality"]
    assert quality["n_volumes"] == 20
    assert quality["n_dummy"] == 0
    assert quality["tsnr_median"] > 20
    json.dumps(sidecar, allow_nan=False)
    columns = read_tsv(out / f"{stem}_desc-confounds_timeseries.tsv")[0]
    facts = read_json(out / f"{stem}_desc-confounds_timeseries.json")
    assert {name for name in columns if "comp_cor" in name} == {name for name in facts if "comp_cor" in name}


def test_same_input_gives_same_bytes(done, scan, parents, tmp_path):
    row = write_bold(tmp_path / "raw", series=scan[0], affine=scan[1])
    (tmp_path / "out").mkdir()
    engine = make("preprocessing", "native_func", {"output_mm": MM})
    sidecar = engine.preprocess(row, tmp_path / "raw", tmp_path / "out", parents)
    assert sidecar == done[1]
    for path in (tmp_path / "out").rglob("*.*"):
        assert digest_file(path) == digest_file(done[0] / path.relative_to(tmp_path / "out")), path.name


def test_slices_taken_at_other_times_are_brought_to_the_middle():
    # A wave sampled at the time of each slice becomes the wave at the middle of each volume.
    time, n_volumes = 2.0, 60
    times = np.array([0.0, 1.5, 0.5, 1.0])
    starts = time * np.arange(n_volumes)
    series = np.empty((3, 4, 2, n_volumes), dtype=np.float32)
    for number, moment in enumerate(times):
        series[:, number] = 100 + np.sin(2 * np.pi * 0.05 * (starts + moment))
    shifted = shift_slices(series, 1, times, 0.75, time)
    expected = 100 + np.sin(2 * np.pi * 0.05 * (starts + 0.75))
    np.testing.assert_allclose(shifted[..., 4:-4], np.broadcast_to(expected, series.shape)[..., 4:-4], atol=2e-3)
    assert np.abs(series[..., 4:-4] - expected[4:-4]).max() > 0.2
    # Volumes before steady state stay as they are.
    np.testing.assert_array_equal(shift_slices(series, 1, times, 0.75, time, 3)[..., :3], series[..., :3])


def test_motion_across_the_edge_of_the_view_makes_no_steps():
    affine, series = np.diag([5.0, 5, 5, 1]), np.full((8, 8, 6, 10), 100.0, dtype=np.float32)
    matrices = np.array([rigid_matrix([0, 0, 2.4 * (-1) ** k, 0, 0, 0]) for k in range(10)])
    points = 5.0 * np.array([[4, 4, 5], [4, 4, 5.2], [4, 4, 9], [3, 3, 3]]).T
    (values,) = _resample(series, affine, matrices, [points])
    np.testing.assert_allclose(values, 100, rtol=1e-4)
    # At the last slice, all volumes; a fifth of a voxel on, only those that moved there; beyond, none.
    np.testing.assert_array_equal(seen_share(series.shape, affine, matrices, points), [1, 0.5, 0, 1])


def test_slice_timing_and_steady_state_are_used(scan, parents, tmp_path):
    series = scan[0].copy()
    series[..., 0] *= 1.6
    n_slices = series.shape[2]
    timing = [round(2.0 * k / n_slices, 4) for k in range(n_slices)]
    row = write_bold(tmp_path / "raw", series=series, affine=scan[1],
                     sidecar={"RepetitionTime": 2.0, "SliceTiming": timing}, header_time=1.0)  # fmt: skip
    (tmp_path / "out").mkdir()
    engine = make("preprocessing", "native_func", {"output_mm": 8.0})
    sidecar = engine.preprocess(row, tmp_path / "raw", tmp_path / "out", parents)
    assert sidecar["SliceTimingCorrected"] is True
    assert sidecar["StartTime"] == pytest.approx(max(timing) / 2)
    assert "SliceTiming" not in sidecar
    assert sidecar["NonSteadyStateVolumes"] == 1
    # The sidecar is believed where the header says otherwise.
    assert sidecar["RepetitionTime"] == 2.0
    assert "1 s" in sidecar["RepetitionTimeNote"]
    table = read_tsv(tmp_path / "out" / f"{row['recording']}_desc-confounds_timeseries.tsv")
    assert [row["non_steady_state_outlier00"] for row in table] == ["1.0"] + ["0.0"] * 19
    assert table[0]["a_comp_cor_00"] == "0.0"
    image = tmp_path / "out" / f"{row['recording']}_space-{SPACE}_desc-preproc_bold.nii.gz"
    assert load_confounds(str(image), strategy=("motion",))[1].tolist() == list(range(1, 20))


def test_the_parent_of_the_same_session_is_taken(scan, parents, tmp_path):
    from replicortex.preprocessing.native_func import _parent

    names = [tmp_path / f"sub-01_{ses}space-{SPACE}_desc-preproc_T1w.nii.gz" for ses in ("ses-a_", "ses-b_", "")]
    row = {"path": "x", "session": "b"}
    assert _parent(row, names) == names[1]
    assert _parent({"path": "x", "session": "c"}, names[:2]) == names[0]


def test_bad_recordings_are_refused_in_one_line(scan, parents, tmp_path):
    series, affine, _ = scan
    root, out = tmp_path / "raw", tmp_path / "out"
    row = write_bold(root, series=series, affine=affine)
    assert "no preprocessed T1w image" in refused(row, root, out, [])
    path = root / row["path"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(row, root, out, parents)
    path.write_bytes(b"")
    assert "empty" in refused(row, root, out, parents)

    row = write_bold(root, series=series[..., 0], affine=affine)
    assert "3 dimensions" in refused(row, root, out, parents)
    row = write_bold(root, series=series[..., :5], affine=affine)
    assert "5 volumes" in refused(row, root, out, parents)
    row = write_bold(root, series=series, affine=affine, sidecar={}, header_time=0.0)
    assert "RepetitionTime missing" in refused(row, root, out, parents)
    row = write_bold(root, series=series, affine=affine, sidecar={"RepetitionTime": 2000})
    assert "2000" in refused(row, root, out, parents)
    row = write_bold(root, series=series, affine=affine, sidecar={"RepetitionTime": 2, "SliceTiming": [0, 1]})
    assert "2 entries" in refused(row, root, out, parents)
    # Noise without a head.
    rng = np.random.default_rng(0)
    row = write_bold(root, series=rng.uniform(0, 5, series.shape), affine=affine)
    assert "no brain" in refused(row, root, out, parents) or "do not meet" in refused(row, root, out, parents)

    row = write_bold(root, series=series, affine=affine)
    image = nib.load(root / row["path"])
    data = np.array(image.get_fdata(), dtype=np.float32)
    data[3, 3, 3, 7] = np.nan
    nib.save(nib.Nifti1Image(data, affine), root / row["path"])
    assert "volume 8 of 20" in refused(row, root, out, parents)
    assert "leads out of the dataset" in refused({**row, "path": "../x_bold.nii.gz"}, root, out, parents)
    assert not list(out.iterdir())


def test_a_t1w_derivative_without_its_transform_is_refused(scan, parents, tmp_path):
    folder = tmp_path / "anat"
    shutil.copytree(parents[0].parent, folder)
    next(folder.glob("*_from-T1w_to-*")).unlink()
    row = write_bold(tmp_path / "raw", series=scan[0], affine=scan[1])
    message = refused(row, tmp_path / "raw", tmp_path / "out", [folder / parents[0].name])
    assert "lacks sub-01_from-T1w_to" in message


def test_an_empty_tissue_is_refused(scan, parents, tmp_path):
    folder = tmp_path / "anat"
    shutil.copytree(parents[0].parent, folder)
    path = folder / "sub-01_label-CSF_probseg.nii.gz"
    image = nib.load(path)
    data = np.zeros(image.shape, dtype=np.float32)
    data[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(data, image.affine), path)
    row = write_bold(tmp_path / "raw", series=scan[0], affine=scan[1])
    assert "mask of CSF has 0 voxels" in refused(row, tmp_path / "raw", tmp_path / "out", [folder / parents[0].name])


def test_points_go_where_images_come_from(parents):
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (3, 5))
    found = warp_points(points, next(parents[0].parent.glob(f"*_from-T1w_to-{SPACE}_*")))
    np.testing.assert_allclose(found, TO_T1W[:3, :3] @ points + TO_T1W[:3, 3:], atol=1e-4)


def test_real_resting_state_in_twenty_volumes(real_data, parents, tmp_path):
    # Another head's T1w image: geometry is not the point here, the path of real sidecars and values is.
    folder = real_data / "bold-rest-pumi"
    path = "sub-001/func/sub-001_task-rest_bold.nii.gz"
    row = {"recording": "sub-001_task-rest", "path": path, "session": "n/a", "repetition_time": "2.52",
           "sidecars": json.dumps(["task-rest_bold.json", path.replace(".nii.gz", ".json")])}  # fmt: skip
    engine = make("preprocessing", "native_func", {"output_mm": 6.0, "coregistration": "mutual_information"})
    sidecar = engine.preprocess(row, folder, tmp_path, parents)
    assert sidecar["RepetitionTime"] == 2.52
    assert sidecar["SliceTimingCorrected"] is True
    assert sidecar["TaskName"] == "resting-state"
    json.dumps(sidecar, allow_nan=False)
    assert 0 < sidecar["Quality"]["fd_mean"] < 1
    # Signals at the edge of its field of view do not flicker with motion.
    assert sidecar["Quality"]["std_dvars_mean"] < 1.4
    assert sidecar["Quality"]["tsnr_median"] > 20
