"""Show what a configuration will take: jobs, hours, disk and inodes, and what each storage policy leaves of it."""

from replicortex.asking import asking
from replicortex.job import parse, run


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--cores", type=int, default=1, help="cores to spread the work over")
    given = parse(arguments)
    from replicortex.stages.plan import show_plan

    show_plan(**given)


run(main)
