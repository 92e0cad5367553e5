"""Show where a configuration stands, also while it runs: every recording, stage by stage, with a plain reason."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--out", type=Path, help="table to write, a row for each recording and stage")
    arguments.add_argument("--all", dest="every", action="store_true", help="show every row, not a line a reason")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.overview import show_status

    show_status(**given)


run(main)
