"""Gather what became of every recording, stage by stage, into one table."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--preprocessed", action=Paths, nargs="+", required=True, help="tables of preprocessed blocks"
    )
    arguments.add_argument("--features", action=Paths, nargs="+", required=True, help="tables of feature blocks")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.status import collect_status

    collect_status(**given)


run(main)
