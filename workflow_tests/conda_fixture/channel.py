"""Make a local conda channel from this interpreter and the distributions that are installed beside the tests.

What a wheel put into site-packages becomes a package with the wheel's requirements; tests and compiled files of
packages are left out. Run as a program: ``python channel.py FOLDER DISTRIBUTION...``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
NEXT = f"{sys.version_info[0]}.{sys.version_info[1] + 1}"
#: Names on the Python index of those distributions that conda-forge calls otherwise.
ON_PYPI = {"pytorch": "torch", "py-xgboost-cpu": "xgboost-cpu"}
ON_CONDA = {pypi: conda for conda, pypi in ON_PYPI.items()}
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "test", "tests", "__pycache__", "config-*", "idlelib", "ensurepip", "lib2to3", "*.a"
)


def normal(name: str) -> str:
    """Name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: list[str]) -> dict[str, list[str]]:
    """Return distributions and all that they require, each with what it requires, as conda writes it.

    ``names`` may be those of either index.
    """
    from packaging.requirements import Requirement

    found, todo = {}, [ON_PYPI.get(normal(name), normal(name)) for name in names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = []
        for text in importlib.metadata.distribution(name).requires or []:
            wanted = Requirement(text)
            if not wanted.marker or wanted.marker.evaluate({"extra": ""}):
                needed = normal(wanted.name)
                found[name].append(f"{ON_CONDA.get(needed, needed)} {wanted.specifier}".strip())
                todo.append(needed)
    return found


def package_python(work: Path, channel: Path) -> None:
    """Add the interpreter itself."""
    from rattler_build import assemble_package

    base, root = Path(sys.base_prefix), work / "python"
    (root / "bin").mkdir(parents=True)
    shutil.copy2((base / "bin" / f"python{PYTHON}").resolve(), root / "bin" / f"python{PYTHON}")
    for name in ("python", "python3"):
        (root / "bin" / name).symlink_to(f"python{PYTHON}")
    library = root / "lib" / f"python{PYTHON}"
    shutil.copytree(base / "lib" / f"python{PYTHON}", library, symlinks=True, ignore=LEFT_OUT)
    (library / "site-packages").mkdir()
    (library / "site-packages" / "README.txt").write_text("Third-party packages.\n")
    for shared in base.glob(f"lib/libpython{PYTHON}*.so*"):
        shutil.copy2(shared, root / "lib" / shared.name, follow_symlinks=False)
    version = ".".join(map(str, sys.version_info[:3]))
    assemble_package("python", version, "linux-64", "0_local", channel / "linux-64", files_dir=root,
                     compression_level=1)  # fmt: skip


def package(name: str, depends: list[str], work: Path, channel: Path) -> None:
    """Add one installed distribution."""
    from rattler_build import assemble_package

    found = importlib.metadata.distribution(name)
    root = work / name
    pure = f"lib/python{PYTHON}/site-packages"
    info = None
    for file in found.files or []:
        if {"tests", "__pycache__"} & set(file.parts[:-1]):
            continue
        # Programs and data files stand outside: "../../../bin/x", "../../../share/y".
        target = Path(os.path.normpath(root / pure / file))
        if not target.is_relative_to(root):
            raise SystemExit(f"{name}: {file} lies outside its environment")
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(found.locate_file(file))
        if not source.exists():
            continue
        shutil.copy2(source, target)
        if target.parent == root / "bin" and target.read_bytes()[:2] == b"#!":
            # What pip wrote there names the interpreter that it was run with.
            body = target.read_text().partition("\n")[2]
            target.write_text(f"#!/usr/bin/env python\n{body}")
        if file.parts[-1] == "METADATA" and file.parts[-2].endswith(".dist-info"):
            info = target.parent
    if info is None:
        raise SystemExit(f"{name} was not installed from a wheel")
    (info / "INSTALLER").write_text("conda\n")
    # An editable or local origin is not that of the package.
    (info / "direct_url.json").unlink(missing_ok=True)
    assemble_package(
        ON_CONDA.get(name, name),
        found.version.partition("+")[0],
        "linux-64",
        f"py{PYTHON.replace('.', '')}_local",
        channel / "linux-64",
        files_dir=root,
        depends=[f"python >={PYTHON},<{NEXT}.0a0", *depends],
        compression_level=1,
        detect_prefix=False,
    )
    shutil.rmtree(root)


def make(channel: Path, names: list[str]) -> None:
    """Write the packages of a channel and its index; an existing channel of the same content is kept.

    Written beside and renamed, so that a folder of this name is a whole channel.
    """
    if channel.is_dir():
        return
    import rattler.index

    channel.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=channel.parent, prefix=".making-") as folder:
        work, made = Path(folder), Path(folder) / "channel"
        for subdir in ("linux-64", "noarch"):
            (made / subdir).mkdir(parents=True)
        package_python(work, made)
        for name, depends in sorted(closure(names).items()):
            package(name, depends, work, made)
        asyncio.run(rattler.index.index_fs(made))
        try:
            made.rename(channel)
        except OSError:
            # Another test process was faster.
            if not channel.is_dir():
                raise


def folder_for(names: list[str]) -> Path:
    """Return where the channel of these distributions belongs: named after all that it is made of."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "replicortex" / "conda"
    versions = {name: importlib.metadata.version(name) for name in closure(names)}
    text = repr((sys.version, sorted(versions.items()), Path(__file__).read_text()))
    return cache / hashlib.sha256(text.encode()).hexdigest()[:16]


def cached(names: list[str]) -> Path:
    """Return the channel of these distributions, made in a process of its own where it is missing."""
    from caches import keep

    channel = folder_for(names)
    if not channel.is_dir():
        # py-rattler may crash when its interpreter ends.
        command = [sys.executable, __file__, str(channel), *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if not channel.is_dir():
            raise RuntimeError(f"no channel was made: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    keep(channel)
    return channel


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve(), sys.argv[2:])
    os._exit(0)
