"""Guard of the real data: after every test they are byte for byte what they were.

A pytest plugin. ``conftest.py`` registers it with ``from raw_guard import ...`` (see the names in ``__all__``). The
folder is that of ``REPLICORTEX_REAL_DATA``. Where the kernel lets it, all tests see it through a read-only mount, so
that a write is refused when it happens; anywhere else the header of the run says so. After each test module, sizes,
times and modes of all files are compared, and after the session also the content of everything that is small.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["guarded_module", "guarded_session", "pytest_report_header"]

#: Of the kernel: what is mounted elsewhere later is seen here too, and not the other way round.
_MS_BIND, _MS_REC, _MS_SLAVE, _MS_REMOUNT, _MS_RDONLY, _CLONE_NEWNS = 4096, 16384, 1 << 19, 32, 1, 0x20000
#: Larger files are compared by size and times only, but for a sample of their content.
_SMALL, _SAMPLE = 1 << 22, 1 << 16


def folder() -> Path | None:
    """Return the folder of real data, None if there is none."""
    path = os.environ.get("REPLICORTEX_REAL_DATA")
    return Path(path) if path and Path(path).is_dir() else None


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Return size, times of content and of the entry (ns), mode, owner and inode of everything below ``root``.

    A file that was replaced by an equal one has another inode; one whose time was set back, another time of the entry.
    """
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        size = 0 if path.is_dir() else status.st_size
        times = status.st_mtime_ns, status.st_ctime_ns
        found[path.relative_to(root).as_posix()] = (size, *times, status.st_mode, status.st_uid, status.st_ino)
    return found


def contents(root: Path) -> dict[str, str]:
    """Return the digest of the content of each file: of all of a small one, of the ends and some parts of others."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        digest, size = hashlib.blake2b(digest_size=16), path.stat().st_size
        with path.open("rb") as stream:
            if size <= _SMALL:
                digest.update(stream.read())
            else:
                places = random.Random(size).sample(range(size - _SAMPLE), 6)
                for place in [0, size - _SAMPLE, *sorted(places)]:
                    stream.seek(place)
                    digest.update(stream.read(_SAMPLE))
        found[path.relative_to(root).as_posix()] = digest.hexdigest()
    return found


def differences(before: dict, after: dict) -> list[str]:
    """Return what is new, gone or changed."""
    found = [f"{name} is gone" for name in sorted(before.keys() - after.keys())]
    found += [f"{name} is new" for name in sorted(after.keys() - before.keys())]
    return found + [f"{name} is changed" for name in sorted(before) if before[name] != after.get(name, before[name])]


def mount_read_only(root: Path) -> str | None:
    """Mount ``root`` over itself, read-only, for this process and what it starts; return why not, None if it is.

    The mount lies in a namespace of its own and ends with the last process in it, even one that is killed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    where = os.fsencode(root.resolve())
    steps = (
        lambda: libc.unshare(_CLONE_NEWNS),
        lambda: libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None),
        lambda: libc.mount(where, where, None, _MS_BIND, None),
        lambda: libc.mount(None, where, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None),
    )
    for step in steps:
        if step():
            return os.strerror(ctypes.get_errno())
    return None


def pytest_report_header() -> str:
    """Say whether the tests can see the real data through a read-only mount."""
    root = folder()
    if root is None:
        return "real data: none (REPLICORTEX_REAL_DATA)"
    child = os.fork()
    if child == 0:
        os._exit(mount_read_only(root) is not None)
    possible = os.waitpid(child, 0)[1] == 0
    return f"real data: {'mounted read-only' if possible else 'not mounted read-only here, compared after each module'}"


@pytest.fixture(scope="session", autouse=True)
def guarded_session() -> Iterator[dict[str, tuple[int, ...]] | None]:
    """Mount the real data read-only if that is possible; compare their content before and after all tests."""
    root = folder()
    if root is None:
        yield None
        return
    mount_read_only(root)
    before, read = snapshot(root), contents(root)
    yield before
    found = differences(read, contents(root)) or differences(before, snapshot(root))
    assert not found, f"a test changed the real data: {', '.join(found[:5])}"


@pytest.fixture(scope="module", autouse=True)
def guarded_module(guarded_session: dict | None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare sizes and times of the real data after each test module, so that the guilty one is named."""
    yield
    if guarded_session is not None:
        found = differences(guarded_session, snapshot(folder()))
        assert not found, f"{request.node.name} changed the real data: {', '.join(found[:5])}"
