"""Fitted values as bytes: what comes back is what was written, and plain values need no skops."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from replicortex import stored
from replicortex.digest import PACKAGE

PLAIN = {
    "none": None,
    "numbers": [True, 3, -0.5, float("nan"), float("inf"), 2**70, 1e-320],
    "text": "\u00e4 \u2192 \U0001f9e0",
    "nested": {"a": [], "b": {}, "c": (1, ("x", [2])), "list": ["array", 0]},
    "arrays": [np.arange(6, dtype=np.int16).reshape(2, 3), np.array(["a", "bcd"]), np.array(2.5), np.zeros((0, 4))],
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalars": (np.float32(0.1), np.int64(7), np.bool_(True), np.str_("u")),
}


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other), "order counts"
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other or (one != one and other != other)


def test_plain_values_come_back():
    content = stored.written(PLAIN)
    same(stored.read(content), PLAIN)
    assert stored.written(PLAIN) == content


@pytest.mark.parametrize("value", [{1: "a"}, {"x": np.array([object()])}, {1, 2}, np.datetime64("2026-01-01")])
def test_what_is_not_plain_goes_through_skops(value):
    content = stored.written({"x": value})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert "schema.json" in archive.namelist()


def test_an_estimator_comes_back_and_a_class_that_is_not_trusted_does_not():
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).standard_normal((20, 2))
    model = LogisticRegression().fit(x, x[:, 0] > 0)
    content = stored.written([model, 1])
    np.testing.assert_array_equal(stored.read(content)[0].coef_, model.coef_)
    assert stored.written([model, 1]) == content


def test_pickled_objects_in_an_array_are_not_read():
    content = stored.written({"x": np.arange(3)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as changed:
        changed.writestr("plain.json", archive.read("plain.json"))
        pickled = io.BytesIO()
        np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
        changed.writestr("0.npy", pickled.getvalue())
    with pytest.raises(ValueError, match="allow_pickle"):
        stored.read(buffer.getvalue())


def test_plain_values_do_not_import_skops():
    """It takes seconds, more than many a fit."""
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); from replicortex import stored;"
        "stored.read(stored.written({'a': [1.0, (2,)]})); print('skops' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
