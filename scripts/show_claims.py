"""Show the verdicts of a table of claims; status 1 if a planted effect or a null did not come out as expected."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    table = Path("results/claims.tsv")
    arguments.add_argument("claims", type=Path, nargs="?", default=table, help="the table (default: %(default)s)")
    given = parse(arguments)
    from replicortex.stages.board import show_claims

    raise SystemExit(0 if show_claims(**given) else 1)


run(main)
