"""Write down what a run is: its cards as they were resolved."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--card", type=json_value, required=True, help="JSON: the run with its cards")
    arguments.add_argument("--out", type=Path, required=True, help="document to write")
    given = parse(arguments)
    from replicortex.stages.run_card import describe_run

    describe_run(**given)


run(main)
