"""The bundle and its file."""

from __future__ import annotations

import numpy as np
import pytest

from replicortex.bundle import Bundle, concatenate
from replicortex.errors import InputError


def bundle(n=6, start=0):
    generator = np.random.default_rng(start)
    rows = {
        "row_id": np.array([f"r{start + i:03d}" for i in range(n)]),
        "subject": np.array([f"{i % 3}" for i in range(n)]),
        "onset": np.arange(n) / 4,
    }
    return Bundle({"x": generator.standard_normal((n, 3, 4)), "y": np.arange(n)}, rows, {"channel": ["a", "b", "c"]})


def test_a_file_gives_back_what_was_saved_and_equal_content_gives_equal_bytes(tmp_path):
    saved = bundle()
    saved.save(tmp_path / "a.npz")
    saved.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    opened = Bundle.open(tmp_path / "a.npz")
    for name in saved.arrays:
        np.testing.assert_array_equal(opened[name], saved[name])
        assert opened[name].dtype == saved[name].dtype
    for name in saved.rows:
        np.testing.assert_array_equal(opened.rows[name], saved.rows[name])
    assert opened.axes == saved.axes


def test_opening_maps_arrays_instead_of_reading_them(tmp_path):
    bundle().save(tmp_path / "a.npz")
    opened = Bundle.open(tmp_path / "a.npz")
    assert isinstance(opened["x"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        opened["x"][0] = 0
    np.testing.assert_array_equal(opened.take([4, 1])["x"], np.asarray(opened["x"])[[4, 1]])


def test_an_empty_bundle_is_valid(tmp_path):
    bundle().take([]).save(tmp_path / "a.npz")
    opened = Bundle.open(tmp_path / "a.npz")
    assert len(opened) == 0
    assert opened["x"].shape == (0, 3, 4)


def test_stacking_passes_over_empty_bundles_and_refuses_unlike_ones():
    stacked = concatenate([bundle().take([]), bundle(2), bundle(3, start=50)])
    assert stacked.rows["row_id"].tolist() == ["r000", "r001", "r050", "r051", "r052"]
    other = Bundle(bundle(2, 90).arrays, bundle(2, 90).rows, {"channel": ["a", "b", "z"]})
    with pytest.raises(ValueError, match="channel is"):
        concatenate([bundle(2), other])
    with pytest.raises(ValueError, match="row_id repeats"):
        concatenate([bundle(2), bundle(2)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onset": np.zeros(5)}, "differ in length"),
        ({"label": np.array([None] * 6)}, "not objects"),
        ({"row_id": np.array(["a"] * 6)}, "repeats"),
    ],
)
def test_rows_must_fit(change, message):
    with pytest.raises(ValueError, match=message):
        bundle().with_rows(**change)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no zip at all"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: not a readable bundle .*delete it and run again"):
        Bundle.open(tmp_path / "a.npz")


def test_a_truncated_file_is_named(tmp_path):
    bundle().save(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable bundle"):
        Bundle.open(tmp_path / "a.npz")


def test_a_pickle_in_a_bundle_is_never_loaded(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        **{
            "header": np.frombuffer(b'{"axes": {}, "meta": {}}', np.uint8),
            "row/row_id": np.array([{}], dtype=object),
        },
    )
    with pytest.raises(InputError, match="not a readable bundle"):
        Bundle.open(tmp_path / "a.npz")
