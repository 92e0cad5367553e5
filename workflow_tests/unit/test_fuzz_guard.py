"""The guard of the real data sees what it is there for, in a pytest of its own too; on made data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raw_guard import contents, differences, snapshot

HERE = Path(__file__).parents[1]
CONFTEST = "from raw_guard import guarded_module, guarded_session, pytest_report_header\n"
NO_MOUNT = "import raw_guard\nraw_guard.mount_read_only = lambda root: 'not here'\n"
TEST = """
import os
from pathlib import Path

FILE = Path(os.environ["REPLICORTEX_REAL_DATA"], "a/b.txt")


def test_reads():
    assert FILE.read_text() == "content"


def test_writes():
    FILE.write_text("CONTENT")
"""


@pytest.fixture
def data(tmp_path) -> Path:
    (tmp_path / "real/a").mkdir(parents=True)
    (tmp_path / "real/a/b.txt").write_text("content")
    (tmp_path / "real/a/large.bin").write_bytes(bytes(range(256)) * (1 << 15))
    return tmp_path / "real"


def set_back(path: Path, text: str) -> None:
    """Write, and pretend that nothing was written."""
    status = path.stat()
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_text("CONTENT"), "b.txt is changed"),
        (lambda path: path.write_text("content"), "b.txt is changed"),
        (lambda path: path.touch(), "b.txt is changed"),
        (lambda path: path.chmod(0o700), "b.txt is changed"),
        (lambda path: set_back(path, "CONTENT"), "b.txt is changed"),
        (lambda path: path.unlink(), "b.txt is gone"),
        (lambda path: path.with_name("new").symlink_to("b.txt"), "new is new"),
    ],
)
def test_every_change_is_seen(data, harm, said):
    before = snapshot(data)
    assert differences(before, snapshot(data)) == []
    harm(data / "a/b.txt")
    assert f"a/{said}" in differences(before, snapshot(data))


def test_contents_tell_what_times_do_not(data):
    before = contents(data)
    set_back(data / "a/b.txt", "CONTENT")
    with (data / "a/large.bin").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    assert differences(before, contents(data)) == ["a/b.txt is changed", "a/large.bin is changed"]


def guarded(data: Path, conftest: str) -> str:
    """Run the tests above under the guard; return what pytest says."""
    (data.parent / "conftest.py").write_text(conftest)
    (data.parent / "test_it.py").write_text(TEST)
    environment = {"REPLICORTEX_REAL_DATA": str(data), "PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", data.parent, data.parent / "test_it.py"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_the_module_that_changes_real_data_is_named(data):
    said = guarded(data, NO_MOUNT + CONFTEST)
    assert "2 passed, 1 error" in said.replace("2 errors", "1 error")
    assert "test_it.py changed the real data: a/b.txt is changed" in said
    assert "real data: not mounted read-only here" in said


def test_a_write_is_refused_where_the_data_can_be_mounted(data):
    said = guarded(data, CONFTEST)
    if "real data: mounted read-only" not in said:
        assert "test_it.py changed the real data: a/b.txt is changed" in said
        pytest.skip("this user can not mount read-only; the change is found afterwards")
    assert "1 failed, 1 passed" in said
    assert "Read-only file system" in said
    assert (data / "a/b.txt").read_text() == "content"
