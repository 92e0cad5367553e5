"""Remove what a storage policy does not keep; without --yes only show it. Raw data and results stay in any case."""

from replicortex.asking import asking
from replicortex.job import parse, run


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--storage", choices=["lean", "standard", "full"], help="policy (default: as configured)")
    arguments.add_argument("--yes", action="store_true", help="remove, and not only show")
    given = parse(arguments)
    from replicortex.stages.clean import clean_results

    clean_results(**given)


run(main)
