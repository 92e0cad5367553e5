"""Gather the numbers of quality that preprocessing gave for every recording."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--manifests", action=Paths, nargs="+", required=True, help="what preprocessing wrote")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.quality import collect_quality

    collect_quality(**given)


run(main)
