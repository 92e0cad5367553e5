"""Pin files: which packages, to the build, an environment was solved to, and of which environment file.

Snakemake installs ``envs/<family>.<platform>.pin.txt`` in place of solving ``envs/<family>.yaml``, whether or not they
belong together; their headers say so here. Read whenever Snakemake starts: standard library only.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .errors import InputError

#: What makes pin files; named in messages.
COMMAND = "python scripts/pin_environments.py"
_HEADER = re.compile(r"# sha256 of (\S+): ([0-9a-f]{64})")
_PIN = re.compile(r"\S+/[^/\s]+\.(?:conda|tar\.bz2)#[0-9a-f]{32}")


def header(path: Path) -> str:
    """Return the line by which a pin file says of which environment file it is."""
    return f"# sha256 of {path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}"


def check_pins(envs: Path) -> None:
    """Check that each pin file, and each script of what pip adds to it, belongs to its environment file as it is.

    Parameters
    ----------
    envs : Path
        Folder of ``<family>.yaml``, ``<family>.<platform>.pin.txt`` and ``<family>.post-deploy.sh``.

    Raises
    ------
    InputError
        If one is of another environment file or of an earlier state of it, or a package in it has no hash.
    """
    for path in sorted([*envs.glob("*.pin.txt"), *envs.glob("*.post-deploy.sh")]):
        family = path.name.partition(".")[0]
        environment = path.with_name(f"{family}.yaml")
        again = f"run {COMMAND} {family}, or remove it"
        if not environment.is_file():
            raise InputError(path, f"there is no {environment.name}", "remove it")
        lines = path.read_text(encoding="utf-8").splitlines()
        named = next((match for line in lines if (match := _HEADER.fullmatch(line))), None)
        if named is None:
            raise InputError(path, "does not say of which environment file it is", again)
        if named[0] != header(environment):
            raise InputError(path, f"is not of {environment.name} as it is now", again)
        if path.name.endswith(".pin.txt"):
            pins = [line for line in lines if line and line[0] not in "#@"]
            bare = next((line for line in pins if not _PIN.fullmatch(line)), None)
            if bare is not None or "@EXPLICIT" not in lines or not pins:
                fault = "has no packages" if bare is None else f"has a package without a hash: {bare}"
                raise InputError(path, fault, again)
