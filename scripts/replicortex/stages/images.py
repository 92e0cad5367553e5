"""Build container images with Apptainer from the definitions in ``containers/``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .. import images as library
from ..errors import InputError, did_you_mean
from ..images import LIST, program, read_images

#: What pip is told in a build by the caller's own variables: a mirror, a proxy.
_PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
#: Folders that every Debian has, empty: mounts of a build need a place that is there.
_CERTIFICATES, _WHEELS = "/mnt", "/media"
#: What Apptainer says, and what that step is for a reader.
_STEPS = {
    "Starting build": "takes the base image",
    "Running post scriptlet": "installs packages",
    "Running testscript": "runs its test",
    "Creating SIF file": "packs",
}
#: What a failed build says, the fault in words, the remedy; the first that fits.
_FAULTS = (
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "free space, or set APPTAINER_TMPDIR and APPTAINER_CACHEDIR to folders on a larger disk",
    ),
    (
        r"/etc/sub[ug]id|newuidmap|newgidmap|fakeroot|user namespace|unshare|setgroups|Requesting capability",
        "Apptainer may not build here",
        "ask for a range in /etc/subuid and /etc/subgid and for user namespaces, or build on another machine and copy"
        " the .sif file",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "pip does not trust the server's certificate",
        "name your bundle of certificates with --certificates",
    ),
    (
        r"No matching distribution found|ResolutionImpossible",
        "pip does not find the versions of constraints.txt",
        "check that the Python index is in reach (PIP_INDEX_URL), and the pins",
    ),
    (
        r"no such host|could not resolve|name resolution|connection refused|network is unreachable|i/o timeout",
        "a server is not in reach",
        "build where there is network and copy the .sif file, or name a local base with --base-tree",
    ),
    (r"no Python that can make environments", "the base image lacks python3-venv", "take a base image that has it"),
    (r"While performing build: while running engine: while running %test", "its test failed", "read the log"),
)
#: Free space below which a build is not begun, bytes.
_SPACE = 2 * 10**9


def build_images(
    project: Path,
    families: Sequence[str] = (),
    out: Path | None = None,
    force: bool = False,
    base_image: str | None = None,
    base_tree: Path | None = None,
    certificates: Path | None = None,
    wheels: Path | None = None,
) -> None:
    """Build the images of some environments, each under its final name only once its test has passed.

    Parameters
    ----------
    project : Path
        Folder of the Snakefile.
    families : sequence of str
        Names of environments; if there is none, all whose image is a path in ``containers/images.yaml``.
    out : Path, optional
        Folder to write ``<family>.sif`` to, instead of that path.
    force : bool
        Whether images that still fit their pins are built again.
    base_image : str, optional
        Image to start from, ``docker://`` and so on, or a path of one; by default that of the definition.
    base_tree : Path, optional
        Folder with a Debian that has ``python3-venv``, to start from instead.
    certificates : Path, optional
        Bundle of certificates that pip trusts while it builds; by default ``PIP_CERT`` of the environment.
    wheels : Path, optional
        Folder of wheels that pip takes too; by default ``PIP_FIND_LINKS``, if that is a folder.

    Raises
    ------
    InputError
        If an environment does not exist or its image is none to be built, there is no Apptainer, too little space,
        or a build fails; in the last case naming the reason and the log.

    """
    command = program()
    if command is None:
        raise InputError(
            "apptainer", "is not installed", "install Apptainer 1.2 or newer, or copy images made elsewhere"
        )
    known = sorted(path.stem for path in (project / "envs").glob("*.yaml"))
    for family in families:
        if family not in known:
            raise InputError(f"envs/{family}.yaml", "no such environment", did_you_mean(family, known))
    options = _base(base_image, base_tree)
    binds, environment = _pip(certificates, wheels)
    for family, image in _targets(project, families, known, out).items():
        if not force and image.is_file() and _fits(project, family, image):
            print(f"{family}: {image} is up to date", flush=True)
            continue
        _build(command, project, family, image, [*options, *binds], environment)


def _targets(project: Path, families: Sequence[str], known: list[str], out: Path | None) -> dict[str, Path]:
    if out is not None:
        return {family: out / f"{family}.sif" for family in families or known}
    images = read_images(project, known)
    remote = [family for family in families if "://" in str(images[family])]
    if remote:
        fault = f"{remote[0]} is {images[remote[0]]}, which is not built here"
        raise InputError(LIST, fault, "write a path there, or name a folder with --out")
    return {
        name: Path(str(image))
        for name, image in images.items()
        if name in (families or known) and "://" not in str(image)
    }


def _fits(project: Path, family: str, image: Path) -> bool:
    try:
        return library.fault(project, family, image) is None
    except InputError:
        return False


def _base(image: str | None, tree: Path | None) -> list[str]:
    if image is not None and tree is not None:
        raise InputError("--base-image and --base-tree", "are both given", "name one of them")
    if tree is not None:
        tree = tree.resolve()
        if not (tree / "usr" / "bin" / "python3").exists():
            raise InputError(tree, "is no folder with a Debian that has python3", "make it as docs/containers.md says")
        return ["--build-arg", "BOOTSTRAP=localimage", "--build-arg", f"FROM={tree}"]
    if image is None:
        return []
    if "://" not in image:
        if not Path(image).exists():
            raise InputError(image, "no such image", "write docker://NAME, or the path of an image")
        return ["--build-arg", "BOOTSTRAP=localimage", "--build-arg", f"FROM={Path(image).resolve()}"]
    kind, _, name = image.partition("://")
    return ["--build-arg", f"BOOTSTRAP={kind}", "--build-arg", f"FROM={name}"]


def _pip(certificates: Path | None, wheels: Path | None) -> tuple[list[str], dict[str, str]]:
    """Return what a build mounts and the variables that pip finds in it: Apptainer empties the environment."""
    binds: list[str] = []
    environment = {name: os.environ[name] for name in _PASSED if os.environ.get(name)}
    environment |= {name.lower(): os.environ[name.lower()] for name in _PASSED if os.environ.get(name.lower())}
    if certificates is None and os.environ.get("PIP_CERT"):
        certificates = Path(os.environ["PIP_CERT"])
    if certificates is not None:
        if not certificates.is_file():
            raise InputError(certificates, "no such file", "name a bundle of certificates")
        binds += ["--bind", f"{certificates.resolve().parent}:{_CERTIFICATES}:ro"]
        environment["PIP_CERT"] = f"{_CERTIFICATES}/{certificates.resolve().name}"
    found = os.environ.get("PIP_FIND_LINKS", "")
    if wheels is None and found and Path(found).is_dir():
        wheels = Path(found)
    if wheels is not None:
        if not wheels.is_dir():
            raise InputError(wheels, "no such folder", "name a folder of wheels")
        binds += ["--bind", f"{wheels.resolve()}:{_WHEELS}:ro"]
        environment["PIP_FIND_LINKS"] = _WHEELS
    for bind in binds[1::2]:
        if bind.count(":") != 2 or "," in bind:
            raise InputError(bind, "a path with a comma or a colon can not be mounted", "rename it")
    return binds, {f"APPTAINERENV_{name}": value for name, value in environment.items()}


def _build(
    command: str, project: Path, family: str, image: Path, options: list[str], environment: Mapping[str, str]
) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    temporary = os.environ.get("APPTAINER_TMPDIR") or tempfile.gettempdir()
    for folder in (temporary, image.parent):
        free = shutil.disk_usage(folder).free
        if free < _SPACE:
            remedy = "free space, or set APPTAINER_TMPDIR to a folder on a larger disk"
            raise InputError(
                folder, f"{free / 1e9:.1f} GB are free, a build needs {_SPACE / 1e9:.0f} GB or more", remedy
            )
    log, start = image.with_suffix(".build.log"), time.monotonic()
    # Beside its final place, so that the name is given in one step.
    with tempfile.TemporaryDirectory(prefix=f".{image.name}.", dir=image.parent) as folder:
        made = Path(folder).resolve() / image.name
        arguments = [command, "build", "--fakeroot", "--mksquashfs-args", "-comp zstd -Xcompression-level 3"]
        arguments += [*options, str(made), f"containers/{family}.def"]
        with log.open("w", encoding="utf-8", buffering=1) as stream:
            for line in (lines := _Lines(arguments, project, {**os.environ, **environment})):
                stream.write(line)
                for said, step in _STEPS.items():
                    if said in line:
                        print(f"{family}: {step} ({time.monotonic() - start:.0f} s)", flush=True)
        if lines.status != 0 or not made.is_file():
            raise _reason(family, log)
        made.replace(image)
    log.unlink()
    print(f"{family}: {image}, {image.stat().st_size / 1e6:.0f} MB in {time.monotonic() - start:.0f} s", flush=True)


class _Lines:
    """The output of a command, line by line; ``status`` afterwards. The command ends if reading does."""

    def __init__(self, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.arguments, self.folder, self.environment = arguments, folder, environment
        self.status: int | None = None

    def __iter__(self) -> Iterator[str]:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            self.arguments,
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            yield from process.stdout or ()
            self.status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def _reason(family: str, log: Path) -> InputError:
    """Return the fault and the remedy that the log of a failed build speaks of."""
    text = log.read_text(encoding="utf-8", errors="replace")
    # Its own warnings at the beginning are no reasons.
    lines = [line for line in text.splitlines() if not re.match(r"(INFO|WARNING): ", line)]
    where = f"the image of {family}"
    for pattern, fault, remedy in _FAULTS:
        for line in lines:
            if re.search(pattern, line, re.IGNORECASE):
                return InputError(where, f"{fault} ({line.strip()[:200]})", f"{remedy}; the log is {log}")
    last = lines[-1].strip()[:200] if lines else "it said nothing"
    return InputError(where, f"the build failed ({last})", f"read {log}")
