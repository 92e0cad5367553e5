"""Preprocess the recordings of one block of subjects into BIDS derivatives."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=Path, required=True, help="table of recordings")
    arguments.add_argument("--root", type=Path, required=True, help="folder of the raw dataset")
    arguments.add_argument("--block", required=True, help="block of subjects, such as 0of4")
    arguments.add_argument("--derivatives", type=Path, required=True, help="folder of the derivative dataset")
    arguments.add_argument("--manifest", type=Path, required=True, help="table of results to write")
    arguments.add_argument("--engine", required=True, help="component of the engine")
    arguments.add_argument("--params", type=json_value, required=True, help="parameters of the engine, as JSON")
    arguments.add_argument("--filters", type=json_value, default={}, help="labels to take by entity, as JSON")
    arguments.add_argument("--files", type=json_value, default={}, help="parameters that are paths of files, as JSON")
    arguments.add_argument("--earlier", type=Path, help="derivative dataset of the recipe that this one builds on")
    arguments.add_argument("--earlier-manifests", action=Paths, nargs="*", default=[], help="its tables of results")
    given = parse(arguments, keep_code=True)
    from replicortex.stages.preprocess import preprocess_block

    preprocess_block(**given)


run(main)
