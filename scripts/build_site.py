"""Build pages about results, finished or not: the board of claims, a page a study and a dataset, and what ran.

The pages need no network and no server: open index.html.
"""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=Path, required=True, help="the results folder")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write; a site that is there is replaced")
    arguments.add_argument("--runs", nargs="+", help="names of runs to show (default: all that are there)")
    arguments.add_argument("--source", type=Path, help="folder of the Snakefile, for the commit that is checked out")
    given = parse(arguments)
    from replicortex.stages.site import build_site

    build_site(**given)


run(main)
