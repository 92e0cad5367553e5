"""Run what config/config.yaml names, or some of it: what snakemake does, with a profile, a check first, and a bar."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..asking import add_configuration
from ..errors import InputError

if TYPE_CHECKING:
    from ..cli import Context
    from ..stages.launch import How

GROUP = "run"
PASSES_ON = True
EPILOG = """\
What follows -- goes to snakemake as it is: replicortex run figures -- --forcerun fit

status: 0 all is done, 1 jobs failed, 2 refused before any job ran"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("targets", nargs="*", help="rules or files of results (default: all)")
    add_configuration(parser)
    add_how(parser)
    parser.add_argument("--scale", choices=["demo", "paper"], help="parameters of the studies (default: as configured)")


def add_how(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a run is done, by the names that BIDS Apps use."""
    how = parser.add_argument_group("how it is done")
    how.add_argument(
        *("--n-cpus", "--n_cpus", "--nprocs", "--nthreads", "--cores"),
        type=int,
        metavar="N",
        help="cores to use at once (default: all, or what the profile says)",
    )
    how.add_argument(
        *("--mem-mb", "--mem_mb", "--mem"), type=_megabytes, metavar="MB", help="memory to use at once (MB, or 16G)"
    )
    how.add_argument(
        "--profile", default="local", metavar="NAME", help="folder of config/profiles, or a path (default: %(default)s)"
    )
    how.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="folder for temporary files")
    how.add_argument("-n", "--dry-run", "--dryrun", action="store_true", help="only show the jobs")
    how.add_argument(
        "--progress", choices=["auto", "bar", "plain"], default="auto", help="bar or lines (auto: bar in a terminal)"
    )


def _megabytes(text: str) -> int:
    """Return megabytes from ``16000``, ``16G`` or ``16GB``."""
    number, unit = text.rstrip("BbIi"), 1
    if number[-1:].upper() in ("G", "M"):
        unit, number = (1000 if number[-1].upper() == "G" else 1), number[:-1]
    if not number.isdigit() or not int(number):
        raise argparse.ArgumentTypeError(f"no amount of memory: {text!r}; write 16000 or 16G")
    return int(number) * unit


def how_of(given: argparse.Namespace) -> How:
    """Return how the run is to be done."""
    from ..stages.launch import How

    if given.n_cpus is not None and given.n_cpus < 1:
        raise InputError("--n-cpus", "less than one", "give at least one core")
    more = tuple(given.more)
    return How(given.profile, given.n_cpus, given.mem_mb, given.work_dir, given.dry_run, given.progress, more)


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.datasets import laid
    from ..stages.launch import launch

    configuration = laid(given.configuration)
    if given.scale:
        configuration["scale"] = given.scale
    return launch(context.project, configuration, given.targets, how_of(given))
