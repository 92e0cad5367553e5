"""Digests of source code follow imports, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from replicortex import digest
from replicortex.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the library that can be edited."""
    copy = tmp_path / "replicortex"
    shutil.copytree(digest.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "PACKAGE", copy)

    def clear():
        for cached in (digest.imported, digest.closure, digest._content, digest._code_digest):
            cached.cache_clear()

    clear()
    yield lambda: (clear(), copy)[1]
    clear()


def digests():
    return {name: digest.code_digest(["stages.fit", f"methods.{name}"]) for name in ("acm_ts_svm", "mdm", "csp_lda")}


def edit(path):
    path.write_text(path.read_text() + "\n# edited\n")


def test_an_edited_method_changes_its_own_digest_only(package):
    before = digests()
    edit(package() / "methods" / "mdm.py")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"mdm"}


def test_an_edited_shared_module_changes_all_that_import_it_directly_or_not(package):
    before = digests(), digest.code_digest(["stages.splits", "splitters.within_session"])
    edit(package() / "shared" / "search.py")
    after = digests(), digest.code_digest(["stages.splits", "splitters.within_session"])
    assert all(before[0][name] != after[0][name] for name in before[0])
    assert before[1] == after[1]


def test_an_environment_file_is_part_of_it(tmp_path):
    (tmp_path / "signal.yaml").write_text("a")
    first = digest.code_digest(["stages.fit"], [tmp_path / "signal.yaml"])
    digest._content.cache_clear()
    digest._code_digest.cache_clear()
    (tmp_path / "signal.yaml").write_text("b")
    assert digest.code_digest(["stages.fit"], [tmp_path / "signal.yaml"]) != first


def test_an_unknown_component_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="methods/mdn: no such component; did you mean 'mdm'"):
        digest.code_digest(["methods.mdn"])
