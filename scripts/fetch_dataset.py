"""Fetch a published BIDS dataset: the files that are wanted of a git repository with git-annex (OpenNeuro, DataLad).

Interrupted, it goes on where it stopped when it is run again. Not for compute nodes: they rarely have a network.
"""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("url", help="repository: https, http, ssh or file, such as file:///data/my_dataset")
    arguments.add_argument("version", help="tag or commit, such as 1.0.0")
    arguments.add_argument("root", type=Path, help="folder to write the dataset to")
    arguments.add_argument("--wanted", type=json_value, help="datatypes, filters and folders as JSON (default: all)")
    arguments.add_argument("--record", type=Path, help="JSON file to write that says what was fetched")
    arguments.add_argument("--verify", action="store_true", help="check what is there already again, by its checksums")
    given = parse(arguments)
    from replicortex.stages.fetch import fetch_dataset

    fetch_dataset(**given)


run(main)
