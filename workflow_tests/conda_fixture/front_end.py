"""The part of conda's command line that Snakemake and ``scripts/pin_environments.py`` use, over py-rattler.

Rattler, not conda: another solver and installer for the same packages, environment files and prefixes. The one channel
is that of CONDA_FIXTURE_CHANNEL, whichever the environment file names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rattler import Channel, Gateway, MatchSpec, Subdir, VirtualPackage, install, solve
from rattler.shell import ActivationVariables, Shell, activate

BASE = Path(os.environ["CONDA_FIXTURE_BASE"])
#: The lowest that Snakemake accepts.
VERSION = "24.7.1"


def channel(name: str) -> Channel:
    """Return the channel of a name or an address."""
    return Channel(name if "://" in name else os.environ["CONDA_FIXTURE_CHANNEL"])


async def explicit(lines: list[str]) -> list:
    """Return the records of the packages that an explicit file lists; refuse one that is not what its hash says."""
    records = []
    for line in lines:
        url, _, md5 = line.partition("#")
        base, subdir, file = url.rsplit("/", 2)
        spec = MatchSpec(file.rsplit("-", 2)[0])
        found = await Gateway().query([Channel(base)], [Subdir(subdir)], [spec], recursive=False)
        hits = [record for records in found for record in records if record.file_name == file]
        if not hits:
            sys.exit(f"PackagesNotFoundError: {url}")
        if md5 and hits[0].md5 and hits[0].md5.hex() != md5:
            sys.exit(f"ChecksumMismatchError: {url}")
        records.append(hits[0])
    return records


async def create(file: Path, prefix: Path, is_yaml: bool) -> None:
    """Make an environment from a YAML file, pip's section included, or from an explicit file."""
    by_pip: list[str] = []
    if is_yaml:
        content = yaml.safe_load(file.read_text())
        specs = [entry for entry in content["dependencies"] if isinstance(entry, str)]
        by_pip = [line for entry in content["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
        channels = [channel(name) for name in content["channels"] if name != "nodefaults"]
        records = await solve(channels, specs, virtual_packages=VirtualPackage.detect())
    else:
        lines = [line.strip() for line in file.read_text().splitlines()]
        records = await explicit([line for line in lines if line and line[0] not in "#@"])
    cache = os.environ.get("CONDA_PKGS_DIRS") or BASE / "pkgs"
    await install(records, target_prefix=prefix, show_progress=False, cache_dir=cache)
    if by_pip:
        # As conda does: the pip of the new environment, with the user's settings.
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
            listed.write("\n".join(by_pip))
            listed.flush()
            command = [prefix / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", listed.name]
            if subprocess.run(command, check=False, timeout=600, stdout=sys.stderr).returncode:
                sys.exit("CondaEnvException: Pip failed")


def main(given: list[str]) -> None:
    """Do what one command line says."""
    if given == ["--version"]:
        print("conda", VERSION)
    elif given[:1] == ["info"]:
        print(json.dumps({"conda_prefix": str(BASE), "platform": str(Subdir.current())}))
    elif given[:2] == ["config", "--get"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif given[:1] == ["activate-script"]:
        known = ActivationVariables(os.environ.get("CONDA_PREFIX"), os.environ["PATH"].split(":"))
        print(activate(Path(given[1]), known, Shell.bash).script)
    elif given[:1] == ["create"] or given[:2] == ["env", "create"]:
        is_yaml = given[0] == "env"
        parser = argparse.ArgumentParser()
        for flag in ("--quiet", "--no-default-packages", "--yes"):
            parser.add_argument(flag, action="store_true")
        parser.add_argument("--file", type=Path, required=True)
        parser.add_argument("--prefix", type=Path, required=True)
        options = parser.parse_args(given[2 if is_yaml else 1 :])
        try:
            asyncio.run(create(options.file, options.prefix, is_yaml))
        except Exception as error:
            sys.exit(f"{type(error).__name__}: {error}")
    elif given[:1] != ["clean"]:
        sys.exit(f"not in this fixture: {given}")


def end(status: int) -> None:
    """Leave without the interpreter's tidying up, in which py-rattler 0.28 may crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        end(stop.code if isinstance(stop.code, int) else bool(stop.code))
    end(0)
