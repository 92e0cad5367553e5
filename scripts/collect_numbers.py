"""Gather every number that a paper's text would quote of a run into one table."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--about", type=json_value, required=True, help="the run and its dataset, as JSON")
    arguments.add_argument("--scores", type=Path, required=True, help="scores of the run")
    arguments.add_argument("--summary", type=Path, required=True, help="means of the run")
    arguments.add_argument("--claims", type=Path, required=True, help="claims of the run")
    arguments.add_argument("--choices", type=Path, required=True, help="what its searches chose")
    arguments.add_argument("--targets", type=Path, required=True, help="targets of its observed variant")
    arguments.add_argument("--participants", type=Path, required=True, help="participants of the dataset")
    arguments.add_argument("--content", type=Path, required=True, help="what the index says of the dataset")
    arguments.add_argument("--validation", type=Path, required=True, help="what the BIDS validator says of it")
    arguments.add_argument("--checks", action=Paths, nargs="+", required=True, help="checks of the run")
    arguments.add_argument(
        "--preprocessed", action=Paths, nargs="+", required=True, help="tables of preprocessed blocks"
    )
    arguments.add_argument("--features", action=Paths, nargs="+", required=True, help="tables of feature blocks")
    arguments.add_argument("--out", type=Path, required=True, help="table to write")
    given = parse(arguments)
    from replicortex.stages.numbers import collect_numbers

    collect_numbers(**given)


run(main)
