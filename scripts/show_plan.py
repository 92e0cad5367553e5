"""Show what a configuration will take: jobs, hours, disk and inodes, and what each storage policy leaves of it."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--cores", type=int, default=1, help="cores to spread the work over")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.plan import show_plan

    show_plan(**given)


run(main)
