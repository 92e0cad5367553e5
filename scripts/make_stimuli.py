"""Write which stimuli a dataset shows, and when, from its events."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=Path, required=True, help="table of recordings of the dataset")
    arguments.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    arguments.add_argument("--table", type=Path, required=True, help="table of stimuli to write")
    arguments.add_argument("--presentations", type=Path, required=True, help="table of presentations to write")
    arguments.add_argument("--rule", type=json_value, required=True, help="how events name stimuli, as JSON")
    given = parse(arguments)
    from replicortex.stages.stimuli import make_stimuli

    make_stimuli(**given)


run(main)
