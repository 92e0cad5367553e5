"""What benchmarks share that measure against packages in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def environment(folder: Path, packages: Sequence[str]) -> str:
    """Return the Python of an environment with the packages, made in ``folder`` if it is not there."""
    python = folder.resolve() / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # Not what lies on the path of this process.
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, env=clean)
    return str(python)


def timed(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Return the seconds on the clock of the fastest of some calls, and the result.

    Not CPU seconds: those of another thread of a process are known as of the kernel's last tick (milliseconds ago), so
    that the least of many short calls of a package with a pool of threads leaves most of its work out.
    """
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result
