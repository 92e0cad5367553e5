"""Draw one figure of a run, and write beside it the table that it shows and how it was drawn."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--figure", required=True, help="component of the figure")
    arguments.add_argument("--params", type=json_value, default={}, help="its parameters, as JSON")
    arguments.add_argument("--scores", type=Path, required=True, help="scores of the run")
    arguments.add_argument("--summary", type=Path, required=True, help="means of the run")
    arguments.add_argument("--claims", type=Path, required=True, help="claims of the run")
    arguments.add_argument("--choices", type=Path, required=True, help="what its searches chose")
    arguments.add_argument("--generated", type=Path, help="what was generated in the run, if anything")
    arguments.add_argument(
        "--spec", type=Path, required=True, help="JSON file to write; table, SVG and PDF go beside it, under its name"
    )
    arguments.add_argument("--restricted", action="store_true", help="leave out what is about one subject alone")
    given = parse(arguments)
    from replicortex.stages.figures import draw_figure

    draw_figure(**given)


run(main)
