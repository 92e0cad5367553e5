"""Draw one figure of a run, and write the table that it shows beside it."""

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
    arguments.add_argument("--table", type=Path, required=True, help="table to write")
    arguments.add_argument("--picture", type=Path, required=True, help="figure to write (SVG)")
    given = parse(arguments)
    from replicortex.stages.figures import draw_figure

    draw_figure(**given)


run(main)
