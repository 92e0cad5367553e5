"""Write the folds of a run's variant and its targets, before anything is fitted."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--features", action=Paths, nargs="+", required=True, help="feature bundles; only their rows are read"
    )
    arguments.add_argument("--splits", type=Path, required=True, help="table of folds to write")
    arguments.add_argument("--targets", type=Path, required=True, help="table of targets to write")
    arguments.add_argument("--schemes", type=json_value, required=True, help="splitters and their parameters, as JSON")
    arguments.add_argument("--classes", type=json_value, required=True, help="labels that take part, as JSON")
    arguments.add_argument(
        "--exchangeable", type=json_value, required=True, help="columns of an exchangeability block, as JSON"
    )
    arguments.add_argument("--variant", required=True, help="observed, absent, or null-<k>")
    arguments.add_argument("--seed", type=int, required=True, help="seed of folds and permutations")
    arguments.add_argument("--task", default="classify", help="what the methods do, such as classify")
    arguments.add_argument("--target", help="variable of the participants to predict")
    arguments.add_argument("--exchange", default="rows", choices=["rows", "nodes"], help="what null variants exchange")
    arguments.add_argument("--covariates", type=json_value, default=[], help="variables for the methods, as JSON")
    arguments.add_argument("--participants", type=Path, help="table of participants")
    arguments.add_argument("--variables", type=json_value, default={}, help="what its columns mean, as JSON")
    given = parse(arguments)
    from replicortex.stages.splits import make_splits

    make_splits(**given)


run(main)
