"""Gather the scores of all methods and variants of a run, with intervals, chance and null."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--scores", type=Path, nargs="+", required=True, help="scores of every method and variant")
    arguments.add_argument("--out-scores", type=Path, required=True, help="table of scores a unit to write")
    arguments.add_argument("--out-summary", type=Path, required=True, help="table of means to write")
    given = parse(arguments)
    from replicortex.stages.summarize import summarize_run

    summarize_run(**given)


run(main)
