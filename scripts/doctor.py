"""Say what is missing on this machine before anything is queued; status 1 if the run could not succeed."""

from replicortex.asking import asking
from replicortex.job import parse, run

ENGINES = ["apptainer", "conda", "slurm"]


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--cores", type=int, help="cores that Snakemake will be given (default: all)")
    arguments.add_argument("--needs", nargs="*", default=[], choices=ENGINES, help="engines to be used")
    given = parse(arguments)
    from replicortex.stages.doctor import doctor

    raise SystemExit(0 if doctor(**given) else 1)


run(main)
