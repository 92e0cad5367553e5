"""Extract the features of the recordings of one block of subjects."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="what preprocessing wrote")
    arguments.add_argument("--derivatives", type=Path, required=True, help="folder of the derivative dataset")
    arguments.add_argument("--block", required=True, help="block of subjects, such as 0of4")
    arguments.add_argument("--bundle", type=Path, required=True, help="bundle to write")
    arguments.add_argument("--status", type=Path, required=True, help="table of results to write")
    arguments.add_argument("--feature", required=True, help="component of the extractor")
    arguments.add_argument("--params", type=json_value, required=True, help="parameters of the extractor, as JSON")
    arguments.add_argument("--classes", type=json_value, required=True, help="trial_type values of each class, as JSON")
    arguments.add_argument("--files", type=json_value, default={}, help="parameters that are paths of files, as JSON")
    arguments.add_argument("--presentations", type=Path, help="when which stimulus was shown")
    given = parse(arguments, keep_code=True)
    from replicortex.stages.features import extract_block

    extract_block(**given)


run(main)
