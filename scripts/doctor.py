"""Say what is missing on this machine before anything is queued; status 1 if the run could not succeed."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run

ENGINES = ["apptainer", "conda", "slurm"]


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    arguments.add_argument("--configuration", type=json_value, help="JSON to lay over config/config.yaml")
    arguments.add_argument("--cores", type=int, help="cores that Snakemake will be given (default: all)")
    arguments.add_argument("--needs", nargs="*", default=[], choices=ENGINES, help="engines to be used")
    arguments.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    given = parse(arguments)
    from replicortex.stages.doctor import doctor

    raise SystemExit(0 if doctor(**given) else 1)


run(main)
