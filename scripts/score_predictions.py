"""Score the predictions of all methods of a run's variant."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--fits", action=Paths, nargs="+", required=True, help="fit.json of every fit")
    arguments.add_argument(
        "--predictions",
        action=Paths,
        nargs="+",
        required=True,
        help="predictions of every fit, in the same order",
    )
    arguments.add_argument("--targets", type=Path, required=True, help="table of targets")
    arguments.add_argument("--out", type=Path, required=True, help="table of scores to write")
    arguments.add_argument("--metrics", type=json_value, required=True, help="metrics and their parameters, as JSON")
    arguments.add_argument("--run", required=True, help="name of the run")
    arguments.add_argument("--variant", required=True, help="variant of the run")
    arguments.add_argument("--truth", type=Path, help="what was planted, where it is known")
    arguments.add_argument("--task", default="classify", help="what the methods do, such as classify")
    arguments.add_argument("--group", action="store_true", help="score subjects together: targets are of subjects")
    given = parse(arguments)
    from replicortex.stages.score import score_predictions

    score_predictions(**given)


run(main)
