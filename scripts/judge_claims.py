"""Judge the claims of a run by its scores, in every variant."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--card", type=json_value, required=True, help="names, paper and claims of the run, as JSON")
    arguments.add_argument("--scores", type=Path, required=True, help="scores of the run")
    arguments.add_argument("--out", type=Path, required=True, help="claims.json to write")
    arguments.add_argument("--truth", type=Path, help="what was planted, where it is known")
    arguments.add_argument("--folds", action=Paths, nargs="+", default=[], help="scores of every variant, by fold")
    given = parse(arguments)
    from replicortex.stages.claims import judge_claims

    judge_claims(**given)


run(main)
