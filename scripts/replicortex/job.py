"""What every command in ``scripts/`` does around its one stage: arguments, isolation, threads, errors.

The only file that knows that its code runs as a job.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import processes
from .damage import STATE, take_out
from .errors import DamagedError, InputError
from .numbered import expand
from .processes import DRIVER, JOB

#: What tells wrapped tools, and what they start, not to call home.
SILENT = {
    "DENO_NO_UPDATE_CHECK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_ET": "1",
    "TEMPLATEFLOW_AUTOUPDATE": "0",
}
#: Under which name a command was called, for its help.
CALLED_AS = "REPLICORTEX_CALLED_AS"
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
        if path.stat().st_mtime >= since and (fault := failure_of(path)) is not None:
            found.append(f"{path}: {fault}")
    return found


def failure_of(log: Path) -> str | None:
    """Return the line that says why the job of a log failed; None if the log ends in no error."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    refused = [line for line in lines if line.startswith("error: ")]
    if refused or any(line.startswith("Traceback ") for line in lines):
        return (refused or lines)[-1].removeprefix("error: ")
    return None


def single_threaded() -> None:
    """Give each job one BLAS thread unless its rule says otherwise: results then do not depend on the cores."""
    names = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")]
    for name in [*names, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]:
        os.environ.setdefault(name, "1")


def silent() -> None:
    """Keep wrapped tools from calling home.

    nipype asks a server for its newest version when it is imported, TemplateFlow for the newest templates, and
    Hugging Face counts what it serves; others keep to a common sign. fMRIPrep is told by an option of its own.
    """
    os.environ |= SILENT


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser with the options that all commands share."""
    made = argparse.ArgumentParser(
        # What `replicortex` starts shows the name that it was called by.
        prog=os.environ.pop(CALLED_AS, None),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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


class Paths(argparse.Action):
    """Takes paths, among them short forms of many (``{0..3}of4.tsv``, see :mod:`replicortex.numbered`)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"type": Path, **named})

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store all of them as a list of Path."""
        try:
            setattr(namespace, self.dest, [Path(path) for value in values for path in expand(str(value))])
        except InputError as error:
            parser.error(str(error))


def json_value(text: str) -> Any:
    """Parse a JSON argument, such as the parameters of a component."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error}): {text[:80]}") from None


def die_with_parent() -> None:
    """End this process as soon as the shell that Snakemake started it with is gone.

    If that shell alone is killed, Snakemake takes the job for failed and may start it again beside this one.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Note that this command runs; first end what an earlier run of the same command left when it was killed.

    The note of a job that is killed stays: the next driver then looks for litter.
    """
    digest = hashlib.blake2b("\0".join(sys.argv).encode(errors="replace"), digest_size=8).hexdigest()
    note = STATE / "running" / digest
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        if note.exists():
            processes.end(JOB, lambda told: _is_left(told[JOB], digest))
        note.touch()
    except OSError:  # a full disk is told of by what the job itself writes
        pass
    os.environ[JOB] = f"{digest}.{os.getpid()}.{processes.started(os.getpid())}"
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)


def _is_left(mark: str, digest: str) -> bool:
    command, _, rest = mark.partition(".")
    pid, _, start = rest.partition(".")
    return command == digest and pid.isdigit() and not processes.alive(int(pid), start)


def run(main: Callable[[], None]) -> None:
    """Run a command: bad input, too little memory and a full disk are one line, all else is a traceback.

    The status is 2 where running again helps only after a change, else 1.
    """
    isolate()
    single_threaded()
    silent()
    in_workflow = DRIVER in os.environ  # and not by hand
    if in_workflow:
        die_with_parent()
    try:
        with alone() if in_workflow else contextlib.nullcontext():
            main()
    except DamagedError as error:
        done = take_out(error, Path.cwd()) if in_workflow else []
        told = f"{str(error).rpartition(';')[0]}; kept as {done[0]}.damaged and made again" if done else error
        print(f"error: {told}", file=sys.stderr)
        raise SystemExit(2) from None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except MemoryError as error:
        fault = f"the job needs more than it may have{f' ({error})' if str(error) else ''}"
        print(f"error: memory: {fault}; give its rule more mem_mb, or run fewer at once", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = error.filename or "the disk of the results"
        print(f"error: {where}: {error.strerror}; free disk space, then run again", file=sys.stderr)
        raise SystemExit(2) from None
