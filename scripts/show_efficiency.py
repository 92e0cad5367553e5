"""Show what the jobs of each rule used of what they asked for: time, processors, memory."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--benchmarks", type=Path, default=Path("results/benchmarks"), help="folder of benchmark tables"
    )
    arguments.add_argument(
        "--since", default="now-7days", help="oldest SLURM jobs to count, as sacct takes it (default: %(default)s)"
    )
    arguments.add_argument("--no-slurm", action="store_true", help="leave SLURM's accounting out")
    arguments.add_argument("--json", action="store_true", help="print JSON rather than a table")
    given = parse(arguments)
    from replicortex.stages.efficiency import show_efficiency

    show_efficiency(**given)


run(main)
