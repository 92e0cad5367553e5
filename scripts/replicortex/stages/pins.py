"""Solve environment files where conda is, and write down what they were solved to."""

from __future__ import annotations

import graphlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, did_you_mean
from ..files import write_text
from ..pins import COMMAND, header

#: An environment may be gigabytes on a slow line.
_TIMEOUT = 3 * 3600
#: What conda and the kernel call the same machines.
_UNAME = {
    "linux-64": "Linux-x86_64",
    "linux-aarch64": "Linux-aarch64",
    "osx-64": "Darwin-x86_64",
    "osx-arm64": "Darwin-arm64",
}


def pin_environments(envs: Path, families: Sequence[str] = (), conda: str = "conda") -> None:
    """Make each environment once, in a temporary folder, and write its pin file; say what was written.

    Parameters
    ----------
    envs : Path
        Folder of ``<family>.yaml``. Written beside it: ``<family>.<platform>.pin.txt``, the addresses and MD5 of all
        packages, which Snakemake installs instead of solving again; and where the file has a section for pip,
        ``<family>.post-deploy.sh``, by which Snakemake installs these at the versions and SHA-256 that pip chose.
    families : sequence of str
        All by default.
    conda : str
        Program, with path where it is not on the search path: conda, mamba or micromamba.

    Raises
    ------
    InputError
        If the program is not there, a family is unknown, or an environment can not be solved or made; its files are
        then as before.
    """
    program = shutil.which(conda)
    if program is None:
        raise InputError(
            conda, "no such program", "install conda, mamba or micromamba, or name one by --conda; pins need a channel"
        )
    known = {path.stem: path for path in sorted(envs.glob("*.yaml"))}
    for family in families:
        if family not in known:
            raise InputError(envs / f"{family}.yaml", "no such environment file", did_you_mean(family, known))
    for family in families or sorted(known):
        print(f"{family}: solving and installing, which downloads all of its packages", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="pins-") as folder:
            prefix = Path(folder) / "environment"
            create(program, known[family], prefix)
            records = installed(prefix)
            wheels = by_pip(prefix, known[family])
        for path in write_pins(known[family], records, wheels):
            print(f"{family}: wrote {path}", file=sys.stderr)


def create(program: str, environment: Path, prefix: Path) -> None:
    """Make an environment by conda, mamba or micromamba; what they say is shown where they fail."""
    name = Path(program).name
    command = [program, "create"] if name.startswith("micromamba") else [program, "env", "create"]
    command += ["--quiet", "--file", str(environment), "--prefix", str(prefix)]
    if not name.startswith("conda"):
        # The mambas ask; conda does not where the folder is new, and knows the option only of late.
        command.append("--yes")
    done = _call(command, environment)
    if done.returncode:
        told = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        print(*told, sep="\n", file=sys.stderr)
        reason = next((line for line in told if "Error" in line or "error" in line), told[-1] if told else "no reason")
        raise InputError(environment, reason.strip(), "change what it asks for, or the channels; see above")


def _call(command: list[str], environment: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InputError(environment, f"not made within {_TIMEOUT} s", "look at the network") from None


def installed(prefix: Path) -> list[dict[str, Any]]:
    """Return the records of an environment's packages, each after those that it depends on."""
    records = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        records[record["name"]] = record
    needs = {
        name: {spec.split()[0] for spec in record.get("depends", [])} & records.keys() - {name}
        for name, record in records.items()
    }
    # Python and pip may name each other; what is to be there first is Python.
    needs["python"] = needs.get("python", set()) - {"pip", "setuptools", "wheel"}
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError:
        order = sorted(records)
    return [records[name] for name in order if name in records]


def by_pip(prefix: Path, environment: Path) -> list[tuple[str, str, str]]:
    """Return name, version and SHA-256 of the wheels that pip brought into an environment."""
    python = prefix / "bin" / "python"
    if not python.is_file():
        return []
    done = _call([str(python), "-m", "pip", "inspect", "--local"], environment)
    if done.returncode:
        # Without pip in it, pip brought nothing.
        return []
    found = [entry for entry in json.loads(done.stdout)["installed"] if entry.get("installer") == "pip"]
    wanted = sorted(f"{entry['metadata']['name']}=={entry['metadata']['version']}" for entry in found)
    if not wanted:
        return []
    command = [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    done = _call([*command, "--report", "-", *wanted], environment)
    if done.returncode:
        raise InputError(environment, f"pip: {done.stderr.strip().splitlines()[-1]}", "look at the network")
    wheels = []
    for entry in json.loads(done.stdout)["install"]:
        digest = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        if digest is None:
            raise InputError(environment, f"pip's {name} {version} has no SHA-256", "take it from a package index")
        wheels.append((name, version, digest))
    return sorted(wheels)


def address(record: dict[str, Any], environment: Path) -> str:
    """Return the line of a package in a pin file: its address without credentials, and its MD5."""
    if not record.get("md5") or not record.get("url"):
        raise InputError(environment, f"package {record['name']} has no address or MD5", "take it from a channel")
    # Of a private channel: what lets this user in must not be handed on.
    url = re.sub(r"/t/[^/]+/", "/", re.sub(r"://[^/@]*@", "://", record["url"]), count=1)
    return f"{url}#{record['md5']}"


def write_pins(environment: Path, records: Sequence[dict[str, Any]], wheels: Sequence[tuple[str, str, str]]) -> list:
    """Write the files that Snakemake takes in place of solving; return their paths."""
    platforms = {record["subdir"] for record in records} - {"noarch"}
    if len(platforms) != 1:
        raise InputError(environment, f"packages of {', '.join(sorted(platforms)) or 'no platform'}", "name a python")
    (platform,) = platforms
    origin = [f"# Written by {COMMAND}; do not edit.", header(environment), f"# platform: {platform}"]
    pins = environment.with_name(f"{environment.stem}.{platform}.pin.txt")
    script = environment.with_name(f"{environment.stem}.post-deploy.sh")
    written = [pins]
    write_text(pins, "\n".join([*origin, "@EXPLICIT", *(address(record, environment) for record in records)]) + "\n")
    if wheels:
        lines = [f"{name}=={version} --hash=sha256:{digest}" for name, version, digest in wheels]
        body = [
            "#!/bin/sh",
            *origin,
            "# What pip adds: a pin file has no place for it. Elsewhere the environment file has seen to it.",
            "set -eu",
            f'[ "$(uname -s)-$(uname -m)" = {_UNAME.get(platform, platform)} ] || exit 0',
            "python -m pip install --quiet --no-deps --require-hashes --requirement /dev/stdin <<'END'",
            *lines,
            "END",
        ]
        write_text(script, "\n".join(body) + "\n")
        written.append(script)
    else:
        script.unlink(missing_ok=True)
    return written
