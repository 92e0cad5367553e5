"""Index a BIDS dataset: one directory scan to a table of files and a table of recordings."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write the tables to")
    arguments.add_argument(
        "--fingerprint", choices=["auto", "content", "stat"], default="auto", help="how a change is noticed"
    )
    given = parse(arguments)
    from replicortex.stages.index import index_dataset

    index_dataset(**given)


run(main)
