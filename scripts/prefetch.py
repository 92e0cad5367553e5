"""Fetch what the configured runs need and what is not there: images, files of cards, datasets by name."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--list", dest="only_list", action="store_true", help="only show what is needed")
    arguments.add_argument("--containers", action="store_true", help="images too: the run will use --sdm apptainer")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.prefetch import prefetch

    raise SystemExit(0 if prefetch(**given) else 1)


run(main)
