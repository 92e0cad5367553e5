"""Recommend memory and time for each rule from the benchmarks of a pilot run; --check compares a later run."""

from pathlib import Path

from replicortex.asking import asking
from replicortex.job import parse, run


def main():
    """Parse the arguments and call the stage."""
    arguments = asking(__doc__)
    arguments.add_argument("--out", type=Path, default=Path("results/recommended"), help="folder to write it to")
    arguments.add_argument("--margin", type=float, default=1.5, help="asked for, in multiples of what was measured")
    arguments.add_argument("--quantile", type=float, default=0.95, help="share of jobs that the measured value covers")
    arguments.add_argument("--check", action="store_true", help="write nothing; name rules that took more than that")
    given = parse(arguments)
    from replicortex.stages.recommend import recommend

    raise SystemExit(0 if recommend(**given) else 1)


run(main)
