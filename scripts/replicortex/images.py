"""Container images: which one an environment has, whether it still fits the pins, what a job in one sees of the host.

Imports nothing heavier than YAML: this code runs again in every job that a cluster starts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from .cards import FETCHED, Cards, expand, read_yaml
from .errors import InputError, did_you_mean

LIST = "containers/images.yaml"
BUILD = "python scripts/build_images.py"
#: What an image is made of, beside the versions of constraints.txt; below the project's folder.
PARTS = ("containers/{family}.def", "containers/install.sh", "envs/{family}.yaml")
_REMOTE = re.compile(r"(docker|oras)://[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
#: Snakemake writes the path of an image into a shell command as it is.
_PLAIN = re.compile(r"[A-Za-z0-9._/+@%=-]+")
#: Entries that this module added to the list of mounts; a job on a cluster inherits those of the machine it comes from.
_OWN = "REPLICORTEX_BIND"


def program() -> str | None:
    """Return the program that runs containers, the one that Snakemake takes; None where there is none."""
    return shutil.which("apptainer") or shutil.which("singularity")


def containers(
    project: Path, cards: Cards, datasets: Iterable[str], workflow: Any, failure: type[Exception]
) -> dict[str, str | None]:
    """Return the image of each environment; where jobs run in containers, say what these see and check the images.

    Parameters
    ----------
    project : Path
        Folder of the Snakefile.
    cards : Cards
        The cards of the runs.
    datasets : iterable of str
        Names of their datasets.
    workflow : snakemake.workflow.Workflow
        Tells whether jobs run in containers. Its ``execute`` is wrapped: there it is known whether jobs will run at
        all, or are only planned.
    failure : type of Exception
        Raised by ``execute``, with one line, if an image is missing or stale.

    Raises
    ------
    InputError
        As :func:`read_images` and :func:`mounts` do.

    """
    used = any(method.name == "APPTAINER" for method in workflow.deployment_settings.deployment_method)
    images = read_images(project, [path.stem for path in (project / "envs").glob("*.yaml")], used=used)
    if used:
        enter_containers(raw_paths(cards, datasets), project / "scripts", os.environ)
        if workflow.is_main_process:
            needed = cards.families
            _check_first(workflow, failure, lambda: check_images(project, images, needed))
    return images


def _check_first(workflow: Any, failure: type[Exception], check: Callable[[], None]) -> None:
    execute = workflow.execute

    @functools.wraps(execute)
    def checked(executor_plugin: Any, *arguments: Any, **named: Any) -> Any:
        try:
            check()
        except InputError as error:
            if not executor_plugin.common_settings.dryrun_exec:
                raise failure(str(error)) from None
            print(f"warning: {error}", file=sys.stderr)
        return execute(executor_plugin, *arguments, **named)

    workflow.execute = checked


def read_images(project: Path, families: Iterable[str], *, used: bool = True) -> dict[str, str | None]:
    """Return the image of each family, as Snakemake takes it: an address with a digest, or a path.

    Parameters
    ----------
    project : Path
        Folder of the Snakefile.
    families : iterable of str
        Names of the environments; one that ``containers/images.yaml`` does not name has ``containers/<family>.sif``.
    used : bool
        Whether jobs run in containers. If not, an image at a path that Snakemake would not take is None.

    Raises
    ------
    InputError
        If an entry names no environment, is an address without a digest, or a path that no shell command can hold.

    """
    families = sorted(families)
    entries = read_yaml(project / LIST) or {}
    if not isinstance(entries, Mapping):
        raise InputError(LIST, "is not a list of images by environment", "write a line `signal: path or address`")
    images: dict[str, str | None] = {}
    for family in [*families, *entries]:
        if family not in families:
            raise InputError(LIST, f"no environment {str(family)!r}", did_you_mean(str(family), families))
        images[family] = _image(project, family, entries.get(family, f"containers/{family}.sif"), used)
    return images


def _image(project: Path, family: str, entry: Any, used: bool) -> str | None:
    where = f"{LIST}, {family}"
    if not isinstance(entry, str) or not entry:
        raise InputError(where, "is not text", "write the path of a .sif file or docker://NAME@sha256:DIGEST")
    if "://" in entry:
        name, _, digest = entry.partition("@")
        if not digest:
            raise InputError(where, f"{entry} has no digest", f"write {name}@sha256:DIGEST; a tag may move")
        if not _REMOTE.fullmatch(entry):
            raise InputError(where, f"{entry!r} is no image", "write docker://NAME@sha256: and 64 hexadecimal digits")
        if ":" in name.rpartition("/")[2]:
            raise InputError(where, f"{entry} has both a tag and a digest", "leave out the tag")
        return entry
    path = Path(expand(entry, where))
    written = str(path) if path.is_absolute() else os.path.relpath(project / path)
    if _PLAIN.fullmatch(written):
        return written
    if used:
        raise InputError(where, f"the path {written!r} has other signs than letters, digits and ._/+@%=-", "rename it")
    return None


def definition_digest(project: Path, family: str) -> str:
    """Return the SHA-256 of what an image is made of; ``containers/install.sh`` writes the same into its labels."""
    total = hashlib.sha256()
    for part in PARTS:
        path = project / part.format(family=family)
        if not path.is_file():
            raise InputError(path, "no such file", f"restore it, or take {family} out of {LIST}")
        total.update(path.read_bytes())
    return total.hexdigest()


def pinned(project: Path) -> dict[str, str]:
    """Return the versions of constraints.txt by normalised name."""
    path = project / "constraints.txt"
    if not path.is_file():
        raise InputError(path, "no such file", "restore it: images are compared with it")
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {normal(name): version.strip() for name, version in pairs}


def normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def labels(image: str | Path) -> dict[str, str]:
    """Return the labels of a local image.

    Raises
    ------
    InputError
        If there is no program to read it with, or it is no image.

    """
    command = program()
    if command is None:
        raise InputError("apptainer", "is not installed", "install Apptainer, or run without containers")
    arguments = [command, "inspect", "--json", "--labels", str(image)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    try:
        return json.loads(done.stdout)["data"]["attributes"]["labels"] or {}
    except (ValueError, KeyError, TypeError):
        raise InputError(image, "can not be read as a container image", "remove it and build it again") from None


def fault(project: Path, family: str, image: str | Path) -> str | None:
    """Return what keeps a local image from being used: it is not there, or was made of something else; None if nothing.

    Raises
    ------
    InputError
        If the file is no image.

    """
    if not Path(image).is_file():
        return "no such image"
    found = labels(image)
    if "replicortex.definition" not in found:
        return "does not say what it was made of"
    if found.get("replicortex.family") != family:
        return f"is the image of {found.get('replicortex.family')}, not of {family}"
    versions = pinned(project)
    for entry in found.get("replicortex.packages", "").split():
        name, _, version = entry.partition("==")
        # A local version, as in 2.13.0+cpu, is a build of the same.
        pin = versions.get(normal(name), version)
        if version.partition("+")[0] != pin.partition("+")[0]:
            return f"was built with {name} {version}, constraints.txt pins {pin}"
    if found["replicortex.definition"] != definition_digest(project, family):
        return f"was built before envs/{family}.yaml or containers/{family}.def changed"
    return None


def check_images(project: Path, images: Mapping[str, str | None], families: Iterable[str]) -> None:
    """Check the local images of some families before any job is started.

    Raises
    ------
    InputError
        Naming the first image that is missing or stale, and how to build it.

    """
    for family in sorted(set(families)):
        image = images[family]
        if image is not None and "://" not in image and (found := fault(project, family, image)):
            raise InputError(image, found, f"build it: {BUILD} {family} (or name another in {LIST})")


def raw_paths(cards: Cards, datasets: Iterable[str]) -> list[str]:
    """Return what users own and jobs only read: linked datasets, what is not BIDS yet, files that cards name."""
    found = []
    for name in datasets:
        card = cards.dataset(name)
        where = f"config/datasets/{name}.yaml"
        found += [expand(card[origin]["source"], where) for origin in ("gather", "bidsify") if origin in card]
        # What is fetched by its name is written by a job that runs outside of containers.
        if not cards.is_made(name) or FETCHED & set(card):
            found.append(cards.root(name))
    for kind, name in cards.with_files():
        found += cards.files(kind, name, present=False).values()
        # A folder of derivatives that lies elsewhere, for one.
        values = cards.card(kind, name).get("params", {}).values()
        found += [value for value in values if isinstance(value, str) and value.startswith("/")]
    return found


def mounts(raw: Iterable[str], written: Iterable[str], work: Path) -> list[str]:
    """Return what containers are to see of the host beside the working directory, ``source:path:mode`` each.

    Parameters
    ----------
    raw : iterable of str
        Files and folders that are mounted read-only, also where they lie inside the working directory.
    written : iterable of str
        Folders that stay writable, such as results on another disk.
    work : Path
        The working directory, which containers see in any case.

    Raises
    ------
    InputError
        If raw data can not be kept apart from the working directory, or a path holds a comma or a colon.

    """
    work = work.resolve()
    _mountable(work)
    found: dict[Path, tuple[Path, str]] = {}
    for path in raw:
        absolute = work / path
        real = absolute.resolve()
        if not real.exists():
            continue
        if real == work:
            remedy = "run in another folder (snakemake --directory) to keep raw data apart from results"
            raise InputError(path, "is the working directory, so containers could write to raw data", remedy)
        found[real] = (real, "ro")
        # A link inside the working directory is seen there; one outside is not.
        if not absolute.parent.resolve().is_relative_to(work):
            found[Path(os.path.abspath(absolute))] = (real, "ro")  # noqa: PTH100 - links are kept
    if any(work.is_relative_to(path) for path in found):
        found[work] = (work, "rw")
    for path in written:
        real = (work / path).resolve()
        if real.is_dir() and not real.is_relative_to(work):
            found[real] = (real, "rw")
    # What lies deeper is mounted later, on top.
    ordered = sorted(found.items(), key=lambda entry: (len(entry[0].parts), entry[0]))
    return [f"{_mountable(source)}:{_mountable(path)}:{mode}" for path, (source, mode) in ordered]


def _mountable(path: Path) -> str:
    if re.search(r"[,:\n]", str(path)):
        raise InputError(repr(str(path)), "a comma or a colon in a path can not be mounted", "rename it")
    return str(path)


def enter_containers(
    raw: Iterable[str], scripts: Path, environment: MutableMapping[str, str], *, driver: str = "/dev/nvidiactl"
) -> None:
    """Say in the environment what the containers of this process's jobs see: raw data read-only, GPUs if there are any.

    Parameters
    ----------
    raw : iterable of str
        Files and folders that jobs only read.
    scripts : Path
        Folder of the commands that jobs run.
    environment : mapping
        The environment of the jobs, changed in place; mounts that a user asked for there stay.
    driver : str
        Device file that is there where NVIDIA's driver runs.

    """
    prefix = "APPTAINER" if shutil.which("apptainer") else "SINGULARITY"
    temporary = [] if tempfile.gettempdir() in ("/tmp", "/var/tmp") else [tempfile.gettempdir()]  # noqa: S108
    written = ["results", "logs", ".snakemake", *temporary]
    own = ",".join(mounts([*raw, str(scripts)], written, Path.cwd()))
    before = environment.get(_OWN, "").split(",")
    theirs = [entry for entry in environment.get(f"{prefix}_BIND", "").split(",") if entry and entry not in before]
    environment[_OWN] = own
    environment[f"{prefix}_BIND"] = ",".join([*theirs, *filter(None, [own])])
    # It tells of optional tools that it lacks once a job; errors are still shown.
    environment.setdefault(f"{prefix}_QUIET", "1")
    # The home folder of a container is the working directory; caches of libraries are to lie out of sight.
    kept = Path.cwd() / ".snakemake" / "replicortex"
    for name, folder in {"XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "settings"}.items():
        environment.setdefault(f"{prefix}ENV_{name}", str(kept / folder))
    if Path(driver).exists():
        environment.setdefault(f"{prefix}_NV", "1")
