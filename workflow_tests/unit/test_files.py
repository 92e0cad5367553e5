"""Atomic writing and small tables."""

from __future__ import annotations

import errno
import os

import pytest

from replicortex import files
from replicortex.errors import InputError


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.tsv"
    target.write_text("old")

    def fail():
        with files.atomic(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]


def test_a_file_that_would_not_change_is_not_written(tmp_path):
    target = tmp_path / "a.tsv"
    assert files.write_text(target, "x", only_if_changed=True)
    before = target.stat().st_mtime_ns
    assert not files.write_text(target, "x", only_if_changed=True)
    assert target.stat().st_mtime_ns == before
    assert files.write_text(target, "y", only_if_changed=True)


def test_tables_come_back_as_written(tmp_path):
    rows = [{"a": 'quoted "text"', "b": None, "c": 0.1}, {"a": "tab\there\nline", "b": "", "c": float("nan")}]
    (tmp_path / "t.tsv").write_text(files.to_tsv(rows, ["a", "b", "c"]))
    assert files.read_tsv(tmp_path / "t.tsv") == [
        {"a": 'quoted "text"', "b": "n/a", "c": "0.1"},
        {"a": "tab here line", "b": "n/a", "c": "n/a"},
    ]


def test_columns_are_written_as_rows_are():
    columns = {
        "text": ["a\tb", "", "n/a", "a\tb", "line\nbreak", "true"],
        "number": [0.0, -0.0, float("nan"), 1e-17, 1.0, None],
        "mixed": ["1", 1, 1.0, True, None, "1"],
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert files.columns_to_tsv(columns) == files.to_tsv(rows, list(columns))
    assert files.columns_to_tsv({"a": [], "b": []}) == files.to_tsv([], ["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty table"), (b"a\tb\n1\t2\t3\n", "line 2 has more cells"), (b"\xff\xfea", "not UTF-8")],
)
def test_a_damaged_table_is_named(tmp_path, content, message):
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.tsv: {message}"):
        files.read_tsv(tmp_path / "t.tsv")


def test_byte_order_marks_are_allowed(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfa\tb\n1\t2\n")
    (tmp_path / "t.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_tsv(tmp_path / "t.tsv") == [{"a": "1", "b": "2"}]
    assert files.read_json(tmp_path / "t.json") == {"a": 1}


def test_a_tree_digest_follows_content_and_names_not_times(tmp_path):
    tree, cache = tmp_path / "tree", tmp_path / "cache.json"
    (tree / "s").mkdir(parents=True)
    (tree / "s" / "a.edf").write_bytes(b"1" * 100)
    first = files.digest_tree(tree, cache)
    os.utime(tree / "s" / "a.edf", (1, 1))
    assert files.digest_tree(tree, cache) == first
    (tree / "s" / "a.edf").write_bytes(b"1" * 99 + b"2")
    changed = files.digest_tree(tree, cache)
    assert changed != first
    (tree / "s" / "a.edf").rename(tree / "s" / "b.edf")
    assert files.digest_tree(tree, cache) not in (first, changed)
