"""Start Snakemake on a configuration, so that it does what the plain command does: same rules, folder and profile."""

from __future__ import annotations

import json
import logging
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..damage import STATE
from ..errors import InputError, did_you_mean
from ..files import digest_of, write_text
from .plan import read_cards

#: Snakemake's progress plugin that lies beside the library.
_BAR = "replicortex"
#: What its log says of a job that starts.
_STARTED = "job_info"


@dataclass(frozen=True)
class How:
    """How a run is to be done.

    Parameters
    ----------
    profile : str
        A folder of ``config/profiles``, or the path of another profile; ``none`` for none.
    cores : int or None
        Cores; None for all that there are, or what the profile says.
    mem_mb : int or None
        Memory of all jobs that run at once (MB); None for no limit.
    work_dir : Path or None
        Where temporary files go.
    dry_run : bool
        Only show what would be done.
    progress : {"auto", "bar", "plain"}
        A bar, or plain lines; ``auto`` is a bar in a terminal.
    more : sequence of str
        Further options of Snakemake.
    """

    profile: str = "local"
    cores: int | None = None
    mem_mb: int | None = None
    work_dir: Path | None = None
    dry_run: bool = False
    progress: str = "auto"
    more: Sequence[str] = ()


def launch(project: Path, configuration: Mapping[str, Any] | None, targets: Sequence[str], how: How) -> int:
    """Run Snakemake in this process, in the working directory; return the exit status.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``. It is kept below ``.snakemake``, where the jobs of a cluster find it.
    targets : sequence of str
        Rules or files to make; all if there is none.
    how : How
        Profile, cores, memory, progress.

    Returns
    -------
    int
        0 if all was done, 1 if jobs failed, 2 if it was refused before any job ran.

    Raises
    ------
    InputError
        If the cards, the profile or a target are refused.
    """
    read_cards(project, configuration)
    # What the user gives comes first: behind an option of ours, a target would be taken for its value.
    words = [*how.more, "--snakefile", str(project / "Snakefile"), *_options(project, how)]
    if configuration:
        # Named by its content: another call in this folder must not change it under a run that goes on.
        laid = STATE / "configurations" / f"{digest_of(configuration)[:16]}.json"
        # Not sorted: classes, methods and figures keep the order in which they were written.
        write_text(laid, json.dumps(configuration, indent=2, ensure_ascii=False), only_if_changed=True)
        words += ["--configfile", str(laid)]
    words += ["--", *targets] if targets else []
    if how.work_dir is not None:
        how.work_dir.mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"] = str(how.work_dir.resolve())
    return _snakemake(words)


def _snakemake(words: Sequence[str]) -> int:
    """Run Snakemake's own command in this process, so that Ctrl-C and the signals of a cluster reach it as always."""
    started = False

    def note(record: logging.LogRecord) -> bool:
        nonlocal started
        started = started or getattr(record, "event", None) == _STARTED
        return True

    # A filter, since Snakemake takes away handlers that are not its own.
    logging.getLogger("snakemake.logging").addFilter(note)
    sys.argv = ["snakemake", *words]
    # The driver repeats the command of its process where a damaged file was set aside.
    sys.orig_argv = [sys.executable, "-m", "snakemake", *words]
    scripts = str(Path(__file__).resolve().parents[2])
    if scripts not in sys.path:
        sys.path.insert(0, scripts)
    try:
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            return 1 if started else 2
    return 0


def _options(project: Path, how: How) -> list[str]:
    words = ["--workflow-profile", "none"]
    if how.profile != "none":
        words += ["--profile", str(profile(project, how.profile))]
    cores = how.cores
    if cores is None and not _is_on_cluster(project, how.profile):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores is not None:
        words += ["--cores", str(cores)]
    if how.mem_mb is not None:
        words += ["--resources", f"mem_mb={how.mem_mb}"]
    if how.dry_run:
        words += ["--dry-run"]
    elif how.progress == "bar" or (how.progress == "auto" and _in_terminal()):
        words += ["--logger", _BAR]
    return words


def _in_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ


def profile(project: Path, name: str) -> Path:
    """Return the folder of a profile.

    Raises
    ------
    InputError
        If there is none of that name or path.
    """
    shipped = project / "config" / "profiles"
    for folder in (shipped / name, Path(name)):
        if (folder / "config.yaml").is_file() or (folder / "profile.yaml").is_file():
            return folder.resolve()
    known = [path.parent.name for path in shipped.glob("*/config.yaml")]
    raise InputError(f"profile {name}", "no such profile", did_you_mean(name, [*known, "none"]))


def _is_on_cluster(project: Path, name: str) -> bool:
    """Return whether a profile names an executor: then ``jobs`` counts, and not the cores of this machine."""
    from ..cards import read_yaml

    if name == "none":
        return False
    path = profile(project, name) / "config.yaml"
    card = read_yaml(path) if path.is_file() else {}
    return isinstance(card, dict) and card.get("executor", "local") != "local"
