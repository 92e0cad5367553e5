"""Show where a configuration stands, also while it runs: every recording, stage by stage, with a plain reason."""

from pathlib import Path

from replicortex.asking import asking
from replicortex.job import parse, run


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--out", type=Path, help="table to write, a row for each recording and stage")
    arguments.add_argument("--all", dest="every", action="store_true", help="show every row, not a line a reason")
    given = parse(arguments)
    from replicortex.stages.overview import show_status

    show_status(**given)


run(main)
