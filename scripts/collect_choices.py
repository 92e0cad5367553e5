"""Gather what the nested searches chose in every fold of a run into one table."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--records", action=Paths, nargs="+", required=True, help="records of the fits")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.choices import collect_choices

    collect_choices(**given)


run(main)
