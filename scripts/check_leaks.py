"""Compare what every fit of a run's variant has seen with what it predicted; stop on a leak."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--records", action=Paths, nargs="+", required=True, help="fit.json of every fit")
    arguments.add_argument("--splits", type=Path, required=True, help="table of folds")
    arguments.add_argument("--targets", type=Path, required=True, help="table of targets")
    arguments.add_argument("--schemes", type=json_value, required=True, help="splitters and their parameters, as JSON")
    arguments.add_argument("--report", type=Path, required=True, help="report to write if nothing leaked")
    given = parse(arguments)
    from replicortex.stages.guard import check_leaks

    check_leaks(**given)


run(main)
