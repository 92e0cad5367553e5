"""Bring published tables and images that are not BIDS to BIDS.

A table of people and, for each of them, images, regional time series, connectivity matrices or tables of measures.
`config/datasets/` has examples; the keys of `gather` in the dataset schema explain the plan.
"""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("source", type=Path, metavar="SOURCE", help="folder with the files")
    arguments.add_argument("out", type=Path, metavar="OUT", help="BIDS dataset to write")
    arguments.add_argument("--plan", type=json_value, required=True, help="what is gathered, as JSON")
    given = parse(arguments)
    from replicortex.stages.gather import gather

    print(f"{given['out']}: {gather(**given)} people")


run(main)
