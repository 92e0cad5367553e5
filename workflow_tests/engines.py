"""Real engines for tests: container images that are built once and kept, and what else several tests share.

A test module imports the fixtures it uses: ``from engines import images  # noqa: F401``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from caches import keep
from project import SOURCE, Project
from replicortex.images import PARTS

#: A build with a cold cache, on a busy machine (s).
BUILD_TIMEOUT = 1500


def images_folder() -> Path:
    """The folder that keeps images between runs of the tests."""
    return Path(os.environ.get("REPLICORTEX_IMAGES") or Path.home() / ".cache" / "replicortex" / "images")


def needs_apptainer() -> None:
    """Skip, with the reason, where no container can run."""
    if shutil.which("apptainer") is None:
        pytest.skip("apptainer is not installed")


def container_environment() -> dict[str, str]:
    """What a sandbox needs in the environment to run containers as root; nothing elsewhere."""
    return {"APPTAINER_USERNS": "1"} if os.geteuid() == 0 else {}


def image(family: str) -> Path:
    """Return the image of an environment, built if there is none of the same pins."""
    total = hashlib.sha256((SOURCE / "constraints.txt").read_bytes())
    for part in PARTS:
        total.update((SOURCE / part.format(family=family)).read_bytes())
    path = images_folder() / total.hexdigest()[:16] / f"{family}.sif"
    if path.is_file():
        keep(path.parent)
        return path
    images_folder().mkdir(parents=True, exist_ok=True)
    # One build at a time: tests may run in several processes, and the base is shared.
    with (images_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            base = ["--base-tree", str(debian_tree())] if shutil.which("mmdebstrap") else []
            command = [sys.executable, str(SOURCE / "scripts" / "build_images.py"), family, "--out", str(path.parent)]
            subprocess.run(
                [*command, *base], env={**os.environ, **container_environment()}, check=True, timeout=BUILD_TIMEOUT
            )
    keep(path.parent)
    return path


def debian_tree() -> Path:
    """Return a folder with a minimal Debian, made once from the mirror that apt knows."""
    tree = images_folder() / "bookworm"
    if not tree.is_dir():
        command = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)", "Created-By: Packages"]
        listed = subprocess.run([*command, "Component: main"], capture_output=True, text=True, check=True, timeout=60)
        mirrors = [line.partition("|")[0] for line in listed.stdout.splitlines() if line.endswith("|bookworm")]
        if not mirrors:
            pytest.skip("apt knows no mirror of Debian bookworm to make a base image from")
        part = tree.with_name("bookworm.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        packages = "--include=ca-certificates,python3,python3-venv"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, "--dpkgopt=force-unsafe-io"]
        archive = part.with_suffix(".tar")
        subprocess.run([*command, "bookworm", str(archive), mirrors[0]], check=True, timeout=BUILD_TIMEOUT)
        # Device nodes can not be made in a user namespace, and the folders of apt's downloads can not be read there.
        unreadable = ("dev/*", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial")
        command = ["tar", "-xf", str(archive), "-C", str(part), *(f"--exclude=./{name}" for name in unreadable)]
        subprocess.run(command, check=True, timeout=300)
        archive.unlink()
        part.rename(tree)
    return tree


@pytest.fixture(scope="session")
def images() -> Callable[..., None]:
    """Let a project use the images of some environments (by default base and signal): ``images(project, "torch")``."""
    needs_apptainer()

    def use(project: Project, *families: str) -> dict[str, Path]:
        found = {family: image(family) for family in families or ("base", "signal")}
        # What an image was built with is compared with it.
        shutil.copy2(SOURCE / "constraints.txt", project.folder)
        path = project.folder / "containers" / "images.yaml"
        entries = {**yaml.safe_load(path.read_text()), **{family: str(made) for family, made in found.items()}}
        path.write_text(yaml.safe_dump(entries))
        return found

    return use
