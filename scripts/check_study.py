"""Check a run before anything is queued: parameters of its components, and what the dataset offers."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=Path, required=True, help="recordings.tsv of the dataset")
    arguments.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    arguments.add_argument("--card", type=json_value, required=True, help="what the run needs, as JSON")
    arguments.add_argument("--out", type=Path, required=True, help="resolved card to write")
    given = parse(arguments)
    from replicortex.stages.check import check_study

    check_study(**given)


run(main)
