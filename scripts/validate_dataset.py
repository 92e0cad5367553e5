"""Run the BIDS validator on a dataset: errors stop, warnings are listed."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    arguments.add_argument("--report-json", type=Path, required=True, help="summary to write")
    arguments.add_argument("--report-tsv", type=Path, required=True, help="table of issues to write")
    arguments.add_argument("--skip", action="store_true", help="do not run the validator; say so in the summary")
    given = parse(arguments)
    from replicortex.stages.validate import validate_dataset

    validate_dataset(**given)


run(main)
