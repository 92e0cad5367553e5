"""PET: planted uptake comes back as a ratio; motion, timing, windows and reference regions."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from pet_data import BALL, MOTION, TO_PET, TO_T1W, ball, uptake, write_anatomy, write_pet
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import digest_file
from replicortex.shared.motion import rigid_parameters
from replicortex.shared.nifti import SPACE, save_image, template

MM = 4.0


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    return write_anatomy(tmp_path_factory.mktemp("anat"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    return root, write_pet(root)


def run(scan, parents, out, **params):
    root, row = scan
    out.mkdir()
    engine = make("preprocessing", "native_pet", {"output_mm": MM, **params})
    sidecar = engine.preprocess(row, root, out, parents)
    return sidecar, nib.load(out / f"{row['recording']}_space-{SPACE}_desc-suvr_pet.nii.gz")


@pytest.fixture(scope="module")
def dynamic(scan, parents, tmp_path_factory):
    """What was made of the moving scan, and where."""
    out = tmp_path_factory.mktemp("out") / "a"
    return *run(scan, parents, out), out


def expected(reference):
    """The ratio in the ball, from the uptake that was planted."""
    values, _ = uptake(2.0)
    return BALL[2] / values[reference].mean()


def changed(scan, **facts):
    """The same scan with other facts in a second sidecar; ``None`` takes one away."""
    root, row = scan
    whole = json.loads((root / json.loads(row["sidecars"])[0]).read_text()) | facts
    name = "sub-01/pet/other.json"
    (root / name).write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
    return root, {**row, "sidecars": json.dumps([name])}


def in_brain(*images):
    """Correlation of two images of the standard space within the brain."""
    brain = template("mask", MM).get_fdata() > 0
    return np.corrcoef(*(image[brain] for image in images))[0, 1]


def test_planted_uptake_comes_back_as_its_ratio_to_the_whole_brain(dynamic):
    sidecar, image, _ = dynamic
    found = image.get_fdata()[ball(MM, shrink=6)].mean()
    assert found == pytest.approx(expected(template("mask", 2.0).get_fdata() > 0), rel=0.04)
    assert sidecar["Quality"]["coverage"] > 0.98
    assert np.allclose(image.affine, template("brain", MM).affine)


def test_the_map_is_what_known_transforms_would_give(dynamic, scan):
    """As good as if the planted motion and position had been told instead of estimated."""
    root, row = scan
    raw = nib.load(root / row["path"])
    grid, oracle = template("brain", MM), 0.0
    for number, matrix in enumerate(MOTION):
        to_voxel = np.linalg.inv(raw.affine) @ matrix @ TO_PET @ TO_T1W @ grid.affine
        frame = raw.get_fdata()[..., number]
        oracle = oracle + ndimage.affine_transform(frame, to_voxel, output_shape=grid.shape, order=1)
    assert in_brain(dynamic[1].get_fdata(), oracle) > 0.98


def test_motion_between_frames_is_found_and_undone(dynamic, scan, parents, tmp_path):
    sidecar, image, _ = dynamic
    centre = (TO_PET @ TO_T1W @ [0, -18, 8, 1])[:3]
    weights = [1, 1, 1, 50, 50, 50]
    planted = max(np.abs(rigid_parameters(matrix, centre)) @ weights for matrix in MOTION)
    assert sidecar["Quality"]["motion_max_mm"] == pytest.approx(planted, abs=1.0)
    left, blurred = run(scan, parents, tmp_path / "b", motion_correction=False)
    assert left["Quality"]["motion_max_mm"] == 0
    truth, _ = uptake(MM)
    assert in_brain(image.get_fdata(), truth) > in_brain(blurred.get_fdata(), truth) + 0.01


def test_the_transform_written_is_the_one_planted(dynamic):
    import ants

    made = ants.read_transform(str(dynamic[2] / "sub-01_from-petref_to-T1w_mode-image_xfm.txt"))
    flip = np.array([-1.0, -1.0, 1.0])
    for point in ([0.0, -20.0, 10.0], [40.0, -60.0, 30.0], [-40.0, 20.0, -10.0]):
        there = np.array(made.apply_to_point((np.array(point) * flip).tolist())) * flip
        # Frames are aligned with the one in the middle.
        assert np.linalg.norm(there - (MOTION[2] @ TO_PET @ [*point, 1])[:3]) < 2


def test_white_matter_and_a_label_image_are_references(scan, parents, tmp_path):
    sidecar, image = run(scan, parents, tmp_path / "a", reference="white_matter", frames=[3000, 3300])
    truth, _ = uptake(MM)
    inner = ndimage.distance_transform_edt(template("WM", MM).get_fdata() > 0.9, sampling=MM) > 4
    assert sidecar["Quality"]["reference_ml"] == pytest.approx(inner.sum() * MM**3 / 1000)
    found = image.get_fdata()[ball(MM, shrink=6)].mean()
    assert found == pytest.approx(BALL[2] / truth[inner].mean(), rel=0.05)
    labels = np.where(ball(2.0, shrink=6), 7, 0)
    save_image(labels, template("brain", 2.0).affine, tmp_path / "labels.nii.gz", dtype=np.uint8)
    params = {"reference": "file", "reference_file": str(tmp_path / "labels.nii.gz")}
    _, image = run(scan, parents, tmp_path / "b", **params, reference_labels=[7], frames=[3000, 3300])
    assert image.get_fdata()[ball(MM, shrink=8)].mean() == pytest.approx(1, rel=0.02)
    engine = make("preprocessing", "native_pet", {**params, "reference_labels": [3]})
    with pytest.raises(InputError, match=r"labels.nii.gz: holds none of the labels \[3\]"):
        engine._reference({}, template("brain", MM), inner, "x")
    with pytest.raises(InputError, match="reference_file go together"):
        make("preprocessing", "native_pet", {"reference": "file"})


def test_a_window_takes_the_frames_that_lie_in_it(scan, parents, tmp_path):
    sidecar, _ = run(scan, parents, tmp_path / "a", frames=[3000, 3600])
    assert sidecar["FramesAveraged"] == [0, 1]
    assert (sidecar["FrameTimesStart"], sidecar["FrameDuration"]) == ([3000.0], [600.0])
    # The head did not move in these two.
    assert sidecar["Quality"]["motion_max_mm"] < 0.5
    with pytest.raises(InputError, match=r"no frame lies in the window.*between 3000 and 4200 s"):
        run(scan, parents, tmp_path / "b", frames=[0, 200])


def test_frames_count_by_their_duration(tmp_path, parents):
    from replicortex.preprocessing.native_pet import _weighted_mean

    series = np.stack([np.full((4, 4, 4), 1.0), np.full((4, 4, 4), 5.0)], axis=-1)
    found = _weighted_mean(series, np.eye(4), np.tile(np.eye(4), (2, 1, 1)), np.array([3.0, 1.0]) / 4)
    assert np.allclose(found, 2.0)


def test_a_static_scan_needs_no_timing_and_gives_the_same_bytes_twice(tmp_path, parents):
    scan = tmp_path / "raw", write_pet(tmp_path / "raw", n_frames=1)
    scan = changed(scan, FrameTimesStart=None, FrameDuration=None)
    first, _ = run(scan, parents, tmp_path / "a", smoothing_mm=6)
    second, _ = run(scan, parents, tmp_path / "b", smoothing_mm=6)
    assert first == second
    made = [sorted((digest_file(path), path.name) for path in (tmp_path / name).rglob("*.*")) for name in "ab"]
    assert made[0] == made[1]
    assert (tmp_path / "a" / "figures" / "sub-01_desc-suvr_pet.png").stat().st_size < 300_000
    assert "FrameTimesStart" not in first
    assert first["MotionCorrected"] is False


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"FrameTimesStart": None}, "has no FrameTimesStart"),
        ({"FrameDuration": None}, "has no FrameDuration"),
        ({"FrameDuration": [300.0]}, "FrameDuration has 1 entries for 4 frames"),
        ({"FrameTimesStart": [0, 300, 200, 900]}, "do not follow each other"),
        ({"FrameTimesStart": ["a", "b", "c", "d"]}, "holds what is no number"),
    ],
)
def test_timing_that_can_not_be_trusted_is_refused(scan, parents, tmp_path, facts, fault):
    with pytest.raises(InputError, match=f"sub-01/pet/sub-01_pet.nii.gz: .*{fault}"):
        run(changed(scan, **facts), parents, tmp_path / "a")


def test_a_scan_without_anatomy_and_one_beside_the_brain_are_refused(scan, parents, tmp_path):
    with pytest.raises(InputError, match="no preprocessed T1w image"):
        run(scan, [], tmp_path / "a")
    root = tmp_path / "raw"
    row = write_pet(root, n_frames=1)
    with pytest.raises(InputError, match="leads out of the dataset"):
        run((root, {**row, "path": "../x_pet.nii.gz"}), parents, tmp_path / "b")
    image = nib.load(root / row["path"])
    # What is left of the field of view is the top of the head.
    far = image.affine.copy()
    far[2, 3] += 400
    save_image(image.get_fdata()[:, :, 40:], far, root / row["path"])
    with pytest.raises(InputError, match="reference region"):
        run((root, row), parents, tmp_path / "c", reference="white_matter")


def test_all_that_is_planted_is_within_the_field_of_view():
    """What the other tests rest on: the head stays inside the grid of the scan."""
    points = np.array([[-70, -100, -40], [70, 70, 75]])
    for matrix in MOTION:
        there = (matrix @ TO_PET @ TO_T1W @ np.c_[points, np.ones(2)].T)[:3].T
        assert (np.abs(there - [0, -18, 8]) < 4 * np.array([48, 58, 48]) / 2).all()
