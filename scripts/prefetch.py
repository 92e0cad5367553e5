"""Fetch what the configured runs need and what is not there: images, files of cards, datasets by name."""

from replicortex.asking import asking
from replicortex.job import parse, run


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--list", dest="only_list", action="store_true", help="only show what is needed")
    arguments.add_argument("--containers", action="store_true", help="images too: the run will use --sdm apptainer")
    given = parse(arguments)
    from replicortex.stages.prefetch import prefetch

    raise SystemExit(0 if prefetch(**given) else 1)


run(main)
