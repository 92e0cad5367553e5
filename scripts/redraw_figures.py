"""Draw all figures of results or of a site again, from their tables and specs alone; status 1 if one differs."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "folders", type=Path, nargs="*", metavar="FOLDER", help="folders of results or of a site (default: results)"
    )
    arguments.add_argument(
        "--check", action="store_true", help="write nothing; name the figures that do not come out as they are"
    )
    arguments.add_argument("--out", type=Path, default=None, help="folder to write to, rather than in place")
    arguments.add_argument("--jobs", type=int, default=1, help="processes at a time (default: %(default)s)")
    given = parse(arguments)
    from replicortex.stages.redraw import redraw_figures

    raise SystemExit(1 if redraw_figures(**given) else 0)


run(main)
