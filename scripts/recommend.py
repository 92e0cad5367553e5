"""Recommend memory and time for each rule from the benchmarks of a pilot run; --check compares a later run."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--out", type=Path, default=Path("results/recommended"), help="folder to write it to")
    arguments.add_argument("--margin", type=float, default=1.5, help="asked for, in multiples of what was measured")
    arguments.add_argument("--quantile", type=float, default=0.95, help="share of jobs that the measured value covers")
    arguments.add_argument("--check", action="store_true", help="write nothing; name rules that took more than that")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.recommend import recommend

    raise SystemExit(0 if recommend(**given) else 1)


run(main)
