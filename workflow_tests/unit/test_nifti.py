"""NIfTI images: what is refused, that bytes are the same, and that places are kept."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from replicortex.errors import InputError
from replicortex.files import digest_file
from replicortex.shared.nifti import SPACE, from_ants, open_image, read_image, save_image, template, to_ants

AFFINE = np.array([[0, 0, 3.0, -20], [-2.0, 0, 0, 30], [0, 2.5, 0, -10], [0, 0, 0, 1]])
PATH = "sub-01/anat/sub-01_T1w.nii.gz"


def _data(*shape):
    return np.random.default_rng(0).normal(100, 10, shape or (6, 7, 8)).astype(np.float32)


def _written(root, data, affine=AFFINE, path=PATH):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    save_image(data, affine, file)
    return file


def _refused(root, message, ndim=3, path=PATH):
    with pytest.raises(InputError, match=message) as caught:
        open_image(root, {"path": path}, ndim)
    assert str(root) not in str(caught.value)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_and_places_are_kept(tmp_path):
    data = _data()
    image = open_image(tmp_path, {"path": _written(tmp_path, data).relative_to(tmp_path).as_posix()}, 3)
    assert np.array_equal(image.get_fdata(dtype=np.float32), data)
    assert np.allclose(image.affine, AFFINE)


def test_series_keep_their_repetition_time(tmp_path):
    file = tmp_path / "x_bold.nii.gz"
    save_image(_data(5, 6, 7, 4), AFFINE, file, repetition_time=2.5)
    image = read_image(file, 4)
    assert image.header.get_zooms()[3] == pytest.approx(2.5)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_the_standard_space_is_told_in_the_header(tmp_path):
    for name, code in ((f"x_space-{SPACE}_T1w.nii.gz", 4), ("x_desc-preproc_T1w.nii.gz", 1)):
        save_image(_data(), AFFINE, tmp_path / name)
        assert int(nib.load(tmp_path / name).header["sform_code"]) == code


def test_integers_are_rounded(tmp_path):
    save_image(np.full((3, 3, 3), 1.9999) + np.eye(3), AFFINE, tmp_path / "x.nii.gz", dtype=np.uint8)
    assert np.asarray(nib.load(tmp_path / "x.nii.gz").dataobj).max() == 3


def test_same_values_give_same_bytes(tmp_path):
    files = [_written(tmp_path / name, _data()) for name in ("a", "b")]
    assert digest_file(files[0]) == digest_file(files[1])
    assert files[0].read_bytes()[3:8] == bytes(5)  # flags and time of the gzip header


@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path, share):
    file = _written(tmp_path, _data(20, 20, 20))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    _refused(tmp_path, "truncated or damaged|not readable|header")


def test_a_truncated_plain_file_is_refused(tmp_path):
    file = _written(tmp_path, _data(), path="x.nii")
    file.write_bytes(file.read_bytes()[:-10])
    _refused(tmp_path, "truncated", path="x.nii")


def test_a_header_that_demands_too_much_is_refused_before_memory_is_asked_for(tmp_path):
    file = _written(tmp_path, _data())
    content = bytearray(gzip.decompress(file.read_bytes()))
    struct.pack_into("<8h", content, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    file.write_bytes(gzip.compress(bytes(content)))
    _refused(tmp_path, "its header demands")


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    _refused(tmp_path, "is missing")
    file = _written(tmp_path, _data())
    file.write_bytes(b"")
    _refused(tmp_path, "is empty")
    file.write_bytes(gzip.compress(b"not an image" * 100))
    _refused(tmp_path, "header is not one of NIfTI")
    file.write_bytes(b"not gzip" * 100)
    _refused(tmp_path, "truncated or damaged")
    _refused(tmp_path, "leads out of the dataset", path="../outside.nii.gz")
    _refused(tmp_path, "leads out of the dataset", path="/etc/passwd")


def test_dimensions_are_checked_and_single_volumes_squeezed(tmp_path):
    _written(tmp_path, _data(5, 6, 7, 1))
    assert open_image(tmp_path, {"path": PATH}, 3).shape == (5, 6, 7)
    _written(tmp_path, _data(5, 6, 7, 3))
    _refused(tmp_path, r"has 4 dimensions \(3 volumes\), needs 3")
    _written(tmp_path, _data(5, 6, 7))
    _refused(tmp_path, "has 3 dimensions, needs 4", ndim=4)
    _written(tmp_path, _data(5, 6, 1))
    _refused(tmp_path, "5x6x1 voxels")


def test_values_are_checked(tmp_path):
    for value in (np.nan, np.inf):
        data = _data()
        data[1, 2, 3] = value
        _written(tmp_path, data)
        _refused(tmp_path, "not finite")
    _written(tmp_path, np.full((5, 5, 5), 3.0))
    _refused(tmp_path, "constant")
    series = _data(5, 6, 7, 3)
    series[..., 1] = 4
    _written(tmp_path, series)
    _refused(tmp_path, "volume 2 of 3 is constant", ndim=4)


def test_orientation_is_checked(tmp_path):
    file = _written(tmp_path, _data())
    image = nib.load(file)
    for change, message in (
        (lambda header: (header.set_sform(None, 0), header.set_qform(None, 0)), "has no orientation"),
        (lambda header: header.set_sform(np.diag([2.0, 0, 2, 1]), 1), "singular"),
        (
            lambda header: header.set_sform(AFFINE @ [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], 1),
            "sheared",
        ),
    ):
        header = image.header.copy()
        change(header)
        header.set_data_offset(352)
        raw = header.binaryblock + bytes(4) + _data().tobytes(order="F")
        file.write_bytes(gzip.compress(raw))
        _refused(tmp_path, message)


def test_conversion_to_ants_and_back_keeps_places(tmp_path):
    import ants

    file = _written(tmp_path, _data())
    image = read_image(file, 3)
    made, peer = to_ants(image), ants.image_read(str(file))
    assert np.allclose(made.direction, peer.direction)
    assert np.allclose(made.origin, peer.origin)
    assert np.allclose(made.spacing, peer.spacing)
    back = from_ants(made)
    assert np.allclose(back.affine, image.affine)
    assert np.array_equal(back.get_fdata(), image.get_fdata())


def test_the_template_is_that_of_nilearn_and_its_tissues_fill_the_mask():
    from nilearn.datasets import load_mni152_gm_template

    peer = load_mni152_gm_template(resolution=4)
    assert np.allclose(template("GM", 4).affine, peer.affine)
    assert np.abs(template("GM", 4).get_fdata() - np.clip(peer.get_fdata(), 0, 1)).max() < 1e-6
    mask = template("mask", 4).get_fdata() > 0
    total = sum(template(kind, 4).get_fdata() for kind in ("GM", "WM", "CSF"))
    assert total[mask].min() > 0.99
    assert template("mask", 2.5).shape == (80, 94, 77)


@pytest.mark.parametrize("mm", [1, 2, 3, 12])
def test_the_template_is_that_of_nilearn(mm):
    """Whose loaders interpolate between voxels of 1 mm; here those that lie at the same places are taken."""
    from nilearn import datasets

    loaders = {
        "brain": datasets.load_mni152_template,
        "mask": datasets.load_mni152_brain_mask,
        "GM": datasets.load_mni152_gm_template,
        "WM": datasets.load_mni152_wm_template,
    }
    for kind, load in loaders.items():
        ours, theirs = template(kind, mm), load(resolution=mm)
        assert np.array_equal(ours.affine, theirs.affine), kind
        expected = theirs.get_fdata(dtype=np.float32)
        assert ours.shape == expected.shape
        assert np.abs(ours.get_fdata(dtype=np.float32) - expected).max() <= 1e-7, kind
