"""Remove what a storage policy does not keep; without --yes only show it. Raw data and results stay in any case."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--storage", choices=["lean", "standard", "full"], help="policy (default: as configured)")
    arguments.add_argument("--yes", action="store_true", help="remove, and not only show")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.clean import clean_results

    clean_results(**given)


run(main)
