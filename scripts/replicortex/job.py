"""What every command in ``scripts/`` does around its one stage: arguments, isolation, threads, errors.

The only file that knows that its code runs as a job.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import InputError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def isolate() -> None:
    """Drop search paths outside this interpreter's own prefix and this library.

    A package that is missing from the job's environment must be an error. Without this, a container or a conda
    environment may find the host's copy through an inherited path, and the pin would mean nothing.
    """
    library = Path(__file__).resolve().parent.parent
    allowed = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), library]
    keep = []
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        # A folder the user added by PYTHONPATH or the per-user site lies under none of the three.
        if any(path.is_relative_to(root) for root in allowed) and ".local" not in path.parts:
            keep.append(entry)
    if str(library) not in keep:
        keep.insert(0, str(library))
    sys.path[:] = keep


def prefer_own_interpreter() -> None:
    """Put the folder of this interpreter first on the search path for commands.

    Jobs without conda or container then run in the environment that Snakemake itself runs in, also when that was
    started by its path and not activated.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def failures(logs: Path, since: float) -> list[str]:
    """Return a line for each log written after ``since`` (s, as of ``time.time``) that ends in an error.

    That is the line of a refused input, or the last line of a traceback; the name of the log comes with it.
    """
    found = []
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
            refused = [line for line in lines if line.startswith("error: ")]
            if refused or any(line.startswith("Traceback ") for line in lines):
                found.append(f"{path}: {(refused or lines)[-1].removeprefix('error: ')}")
    return found


def single_threaded() -> None:
    """Give each job one BLAS thread unless its rule says otherwise: results then do not depend on the cores."""
    names = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")]
    for name in [*names, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]:
        os.environ.setdefault(name, "1")


def silent() -> None:
    """Keep wrapped tools from calling home: nipype asks a server for its newest version when it is imported."""
    os.environ["NO_ET"] = "1"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser with the options that all commands share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    # Named in every command so that Snakemake sees an edit of the code as a changed job; not used inside.
    made.add_argument("--code", default="", help="digest of the code that this job runs; part of its identity")
    return made


def parse(arguments: argparse.ArgumentParser, *, keep_code: bool = False) -> dict[str, Any]:
    """Return the given arguments by name; ``code`` only for a stage that keeps its own store of results."""
    given = vars(arguments.parse_args())
    if not keep_code:
        del given["code"]
    return given


def json_value(text: str) -> Any:
    """Parse a JSON argument, such as the parameters of a component."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error}): {text[:80]}") from None


def run(main: Callable[[], None]) -> None:
    """Run a command: bad input and a full disk are one line and status 2, all else a traceback and status 1."""
    isolate()
    single_threaded()
    silent()
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = error.filename or "the disk of the results"
        print(f"error: {where}: {error.strerror}; free disk space, then run again", file=sys.stderr)
        raise SystemExit(2) from None
