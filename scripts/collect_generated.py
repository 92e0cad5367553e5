"""Gather what the generators of a run made into one table: means, spreads and some examples, as slices."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--records", action=Paths, nargs="+", required=True, help="records of the fits")
    arguments.add_argument("--predictions", action=Paths, nargs="+", required=True, help="their predictions, in order")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.generated import collect_generated

    collect_generated(**given)


run(main)
