"""Put the front end where Snakemake looks for conda."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

CONDA = """#!/bin/sh
# Rattler, not conda.
export CONDA_FIXTURE_BASE={base} CONDA_FIXTURE_CHANNEL={channel}
exec {python} -P {front_end} "$@"
"""
ACTIVATE = 'eval "$("$(dirname "${BASH_SOURCE[0]}")/conda" activate-script "$1")"\n'


def install_front_end(base: Path, channel: Path) -> dict[str, str]:
    """Write ``base/bin/conda`` and ``base/bin/activate``; return the environment in which they are found.

    Parameters
    ----------
    base : Path
        Stands for conda's own folder; packages are unpacked below it.
    channel : Path
        Folder of the channel that stands in for every other one.
    """
    (base / "bin").mkdir(parents=True, exist_ok=True)
    conda = base / "bin" / "conda"
    values = {
        "base": base,
        "channel": channel.resolve().as_uri(),
        "python": sys.executable,
        "front_end": Path(__file__).with_name("front_end.py"),
    }
    conda.write_text(CONDA.format(**{name: shlex.quote(str(value)) for name, value in values.items()}))
    conda.chmod(0o755)
    (base / "bin" / "activate").write_text(ACTIVATE)
    # The machine's own conda, where there is one, must not mix in.
    return {"PATH": f"{base / 'bin'}{os.pathsep}{os.environ['PATH']}", "CONDA_PKGS_DIRS": str(base / "pkgs")}
