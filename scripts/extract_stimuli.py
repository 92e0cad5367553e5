"""Write what the stimuli of a dataset are in numbers: the features of a provider."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--table", type=Path, required=True, help="table of stimuli")
    arguments.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    arguments.add_argument("--bundle", type=Path, required=True, help="bundle to write")
    arguments.add_argument("--provider", required=True, help="component that gives the features")
    arguments.add_argument("--params", type=json_value, required=True, help="its parameters, as JSON")
    arguments.add_argument("--files", type=json_value, default={}, help="parameters that are paths, as JSON")
    given = parse(arguments)
    from replicortex.stages.stimuli import extract_stimuli

    extract_stimuli(**given)


run(main)
