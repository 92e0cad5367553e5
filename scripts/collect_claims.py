"""Gather the claims of all runs into one table, and combine those of several datasets."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--documents", type=Path, nargs="+", required=True, help="claims.json of every run")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.claims import collect_claims

    collect_claims(**given)


run(main)
