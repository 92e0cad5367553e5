"""List the feature bundles of all blocks of a dataset, with what tells their content apart."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--tables", action=Paths, nargs="+", required=True, help="status tables of the blocks")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.blockwise import collect_features

    collect_features(**given)


run(main)
