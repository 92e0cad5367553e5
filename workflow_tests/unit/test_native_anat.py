"""The engine for T1-weighted images: planted landmarks, volumes and tissues, and what it refuses."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mri_data import head, to_template, write_t1w
from replicortex.errors import InputError
from replicortex.preprocessing.native_anat import NativeAnat
from replicortex.shared import mri_quality as quality
from replicortex.shared.itk_hdf5 import forget_times, lookup3
from replicortex.shared.mri_anat import Pose, labels_of, like, regrid, segment
from replicortex.shared.nifti import SPACE, ants_module, read_image, template, to_ants

SMALL = {**NativeAnat.tiny, "registration_mm": 4.0, "iterations": [20, 3], "output_mm": 4.0}
LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of one processed head with a skull, its stem and its sidecar."""
    folder = tmp_path_factory.mktemp("anat")
    row = write_t1w(folder / "raw")
    (folder / "out").mkdir()
    sidecar = NativeAnat(**SMALL).preprocess(row, folder / "raw", folder / "out")
    return folder / "out", row["recording"], sidecar


def _image(made, ending):
    folder, stem, _ = made
    return nib.load(folder / f"{stem}_{ending}.nii.gz")


def _moved(made, points, source, target):
    """Return where points (RAS) of ``target`` come to lie in ``source``, by the transform that was written."""
    folder, stem, _ = made
    file = folder / f"{stem}_from-{source}_to-{target}_mode-image_xfm.h5"
    table = pd.DataFrame(points * LPS, columns=["x", "y", "z"])
    there = ants_module().apply_transforms_to_points(3, table, [str(file)])
    return there[["x", "y", "z"]].to_numpy() * LPS


def _brain_points(mm):
    """Return points of the head (RAS) deeper than one voxel in the brain, and where they lie in the template."""
    data, affine = head(mm)
    points = nib.affines.apply_affine(affine, np.argwhere(data > 0))
    there = to_template(points)
    mask = template("mask", 2)
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), there)).astype(int)
    within = ((index >= 0) & (index < mask.shape)).all(axis=1)
    index = np.where(within[:, None], index, 0)
    inside = within & (template("mask", 2).get_fdata()[tuple(index.T)] > 0)
    keep = np.flatnonzero(inside)[::37]
    return points[keep], there[keep], float(inside.sum()) * mm**3 / 1000


def test_landmarks_are_found_within_a_voxel(made):
    points, there, _ = _brain_points(4.0)
    error = np.linalg.norm(_moved(made, points, SPACE, "T1w") - there, axis=1)
    assert len(points) > 300
    assert np.percentile(error, 95) < 4.0  # a voxel of the image, and of the registration
    # The best that an affine transform could do, fitted to the truth itself.
    design = np.column_stack([points, np.ones(len(points))])
    straight = design @ np.linalg.lstsq(design, there, rcond=None)[0]
    assert np.mean(error) < 0.85 * np.mean(np.linalg.norm(straight - there, axis=1))


def test_the_two_transforms_undo_each_other(made):
    points, _, _ = _brain_points(4.0)
    back = _moved(made, _moved(made, points, SPACE, "T1w"), "T1w", SPACE)
    assert np.median(np.linalg.norm(back - points, axis=1)) < 0.1


def test_the_brain_has_its_true_volume(made):
    _, _, truth = _brain_points(4.0)
    quality_of = made[2]["Quality"]
    assert quality_of["icv_ml"] == pytest.approx(truth, rel=0.08)
    assert not made[2]["SkullStripped"]


def test_modulated_maps_keep_the_volume_of_the_tissue(made):
    for name in ("GM", "WM", "CSF"):
        image = _image(made, f"space-{SPACE}_label-{name}_desc-modulated_probseg")
        volume = float(image.get_fdata().sum()) * abs(np.linalg.det(image.affine[:3, :3])) / 1000
        assert volume == pytest.approx(made[2]["Quality"][f"{name.lower()}_ml"], rel=0.03)


def test_white_matter_is_found_where_it_was_planted(made):
    image = _image(made, "dseg")
    found = np.asarray(image.dataobj)
    points = nib.affines.apply_affine(image.affine, np.argwhere(found > 0))
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(template("WM", 2).affine), to_template(points))).astype(int)
    index = np.clip(index, 0, np.array(template("WM", 2).shape) - 1)
    white = template("WM", 2).get_fdata()[tuple(index.T)]
    labels = found[found > 0]
    assert white[labels == 2].mean() > white[labels == 1].mean() + 0.4


def test_files_are_named_and_lie_on_their_grids(made):
    folder, stem, _ = made
    native, space = _image(made, "desc-preproc_T1w"), _image(made, f"space-{SPACE}_desc-preproc_T1w")
    for ending in ("desc-brain_mask", "dseg", "label-GM_probseg", "label-WM_probseg", "label-CSF_probseg"):
        assert _image(made, ending).shape == native.shape
        there = _image(made, f"space-{SPACE}_{ending}")
        assert there.shape == template("mask", 4.0).shape == space.shape
        assert np.allclose(there.affine, template("mask", 4.0).affine)
    total = sum(_image(made, f"label-{name}_probseg").get_fdata() for name in ("GM", "WM", "CSF"))
    mask = _image(made, "desc-brain_mask").get_fdata() > 0
    assert np.allclose(total[mask], 1, atol=1e-4)
    pictures = sorted((folder / "figures").iterdir())
    assert [path.name for path in pictures] == [
        f"{stem}_desc-{what}_T1w.png" for what in ("registration", "segmentation")
    ]
    assert all(5_000 < path.stat().st_size < 300_000 for path in pictures)


def test_orientation_and_missing_skull_do_not_matter(tmp_path, made):
    row = write_t1w(tmp_path / "raw", skull=False)
    path = tmp_path / "raw" / row["path"]
    image = nib.load(path)
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "R")))
    nib.save(nib.Nifti1Image(turned.get_fdata(dtype=np.float32)[..., None], turned.affine), path)
    (tmp_path / "out").mkdir()
    sidecar = NativeAnat(**NativeAnat.tiny).preprocess(row, tmp_path / "raw", tmp_path / "out")
    assert sidecar["SkullStripped"]
    assert nib.aff2axcodes(nib.load(tmp_path / "out" / f"{row['recording']}_dseg.nii.gz").affine) == ("R", "A", "S")
    _, _, truth = _brain_points(4.0)
    assert sidecar["Quality"]["icv_ml"] == pytest.approx(truth, rel=0.08)
    assert sidecar["Quality"]["dice_brain"] > 0.93


def _write(root, row, data, affine):
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), root / row["path"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: np.where(data > 300, np.nan, data), "not finite"),
        (lambda data: np.full_like(data, 7), "is constant"),
        (lambda data: np.stack([data, data], axis=-1), r"has 4 dimensions \(2 volumes\), needs 3"),
        (lambda data: -data - 1, "no value above zero"),
    ],
)
def test_a_bad_image_is_refused(tmp_path, change, message):
    row = write_t1w(tmp_path / "raw", mm=8.0)
    data, affine = head(8.0)
    _write(tmp_path / "raw", row, change(data), affine)
    with pytest.raises(InputError, match=message):
        NativeAnat(**NativeAnat.tiny).preprocess(row, tmp_path / "raw", tmp_path)


def test_a_volume_that_no_brain_has_is_refused(tmp_path):
    row = write_t1w(tmp_path / "raw", mm=5.0)
    engine = NativeAnat(**{**NativeAnat.tiny, "volume_limits": (2400.0, 2500.0)})
    with pytest.raises(InputError, match=r"brain extraction gave 1\d{3} mL"):
        engine.preprocess(row, tmp_path / "raw", tmp_path)


def test_the_pose_of_a_head_is_found():
    data, affine = head(4.0, seed=3)
    pose = Pose(nib.Nifti1Image(data, affine)).best()
    centres = nib.affines.apply_affine(pose, np.array([[0, -20, 10.0], [30, 0, 20], [-30, -60, 20], [0, 30, 0]]))
    error = np.linalg.norm(to_template(centres, 3) - [[0, -20, 10], [30, 0, 20], [-30, -60, 20], [0, 30, 0]], axis=1)
    assert error.max() < 12  # the waves alone are up to 5 mm


def test_segmentation_agrees_with_atropos(made):
    """The peer is ANTs' own Atropos, with the same priors, which differs in how the field is fitted."""
    ants = ants_module()
    folder, stem, _ = made
    image, mask = read_image(folder / f"{stem}_desc-preproc_T1w.nii.gz", 3), _image(made, "desc-brain_mask")
    inside = mask.get_fdata() > 0
    xfm = folder / f"{stem}_from-{SPACE}_to-T1w_mode-image_xfm.h5"
    ours = labels_of(segment(image, inside, xfm, iterations=8, prior=1.0), inside)
    priors = [ants.apply_transforms(to_ants(image), to_ants(template(k, 2)), [str(xfm)]) for k in ("GM", "WM", "CSF")]
    peer = ants.atropos(
        to_ants(image), to_ants(like(inside, image)), i=[one * 0.97 + 0.01 for one in priors],
        m="[0.1,1x1x1]", c="[8,0]", priorweight=0.5,
    )["segmentation"].numpy()  # fmt: skip
    assert (ours[inside] == peer[inside]).mean() > 0.85


def test_times_are_left_out_of_transforms(made):
    folder, stem, _ = made
    content = (folder / f"{stem}_from-T1w_to-{SPACE}_mode-image_xfm.h5").read_bytes()
    assert forget_times(content) == content
    start = content.index(b"OHDR")
    assert content[start + 6 : start + 22] == bytes(16)
    # The known answer that comes with the checksum's source.
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_measures_against_closed_forms():
    generator = np.random.default_rng(0)
    labels = np.repeat([1, 2, 3], 40_000).reshape(300, 20, 20)
    image = np.choose(labels - 1, [100.0, 200.0, 40.0]) + generator.normal(0, 10, labels.shape)
    found = quality.contrasts(image, labels)
    assert found["cjv"] == pytest.approx(0.2, rel=0.03)
    assert found["cnr"] == pytest.approx(100 / np.sqrt(200), rel=0.03)
    assert found["snr_wm"] == pytest.approx(20, rel=0.03)
    one = np.zeros((8, 8, 8))
    one[1, 2, 3] = 5
    assert quality.entropy_focus(one) == pytest.approx(0, abs=1e-9)
    assert quality.entropy_focus(np.ones((8, 8, 8))) == pytest.approx(1)
    assert quality.energy_ratio(np.where(labels == 1, 3.0, 1.0), labels == 1) == pytest.approx(9)
    assert quality.dice(labels == 1, labels != 3) == pytest.approx(2 / 3)


def test_smoothness_is_that_of_the_kernel():
    from scipy import ndimage

    noise = np.random.default_rng(0).normal(size=(60, 60, 60))
    fwhm = np.array([6.0, 6.0, 6.0])
    smooth = ndimage.gaussian_filter(noise, fwhm / 2.0 / 2.3548)  # voxels of 2 mm
    found = quality.smoothness(smooth, np.ones(smooth.shape, dtype=bool), np.array([2.0, 2.0, 2.0]))
    assert found == pytest.approx(6.0, rel=0.05)


def test_regrid_keeps_places():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [-10, 5, 7]
    index = np.indices((20, 20, 20))
    places = np.moveaxis(index, 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    image = nib.Nifti1Image(places[..., 0].astype(np.float32) + 2 * places[..., 2].astype(np.float32), affine)
    other = np.diag([1.5, 1.5, 1.5, 1.0])
    other[:3, 3] = [0, 20, 30]
    moved = regrid(image, (8, 8, 8), other).get_fdata()
    x, _, z = np.moveaxis(np.moveaxis(np.indices((8, 8, 8)), 0, -1) * 1.5 + [0, 20, 30], -1, 0)
    assert np.allclose(moved, x + 2 * z, atol=1e-3)


def test_real_head_against_labels_of_others(real_data, tmp_path):
    """IXI with the labels of DLMUSE: a head with its skull, and where its brain is by another tool."""
    name = "IXI056-HH-1327"
    image = nib.load(real_data / f"anat-t1w-ixi/T1/{name}_T1.nii.gz")
    labels = nib.as_closest_canonical(nib.load(real_data / f"anat-t1w-ixi/DLMUSE/{name}_T1_DLMUSE.nii.gz"))
    (tmp_path / "raw/sub-01/anat").mkdir(parents=True)
    nib.save(image, tmp_path / "raw/sub-01/anat/sub-01_T1w.nii.gz")
    row = {"recording": "sub-01", "path": "sub-01/anat/sub-01_T1w.nii.gz", "suffix": "T1w", "datatype": "anat"}
    (tmp_path / "out").mkdir()
    NativeAnat(**{**NativeAnat.tiny, "mask_mm": 2.0}).preprocess(row, tmp_path / "raw", tmp_path / "out")
    mask = nib.load(tmp_path / "out/sub-01_desc-brain_mask.nii.gz")
    there = regrid(nib.Nifti1Image((labels.get_fdata() > 0).astype(np.float32), labels.affine), mask.shape, mask.affine)
    assert quality.dice(mask.get_fdata() > 0, there.get_fdata() > 0.5) > 0.93
