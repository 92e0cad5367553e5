"""Show what preprocessing gave of a whole dataset: means, shares and numbers of quality, without anybody's name."""

from pathlib import Path

from replicortex.job import Paths, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--quality", type=Path, required=True, help="table of quality")
    arguments.add_argument("--manifests", action=Paths, nargs="+", required=True, help="what preprocessing wrote")
    arguments.add_argument("--derivatives", type=Path, required=True, help="preprocessed recordings")
    arguments.add_argument("--display", required=True, help="component of the modality")
    arguments.add_argument("--restricted", action="store_true", help="show only means, over ten people or more")
    arguments.add_argument("--most", type=int, help="recordings to look into, where there are more")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parse(arguments)
    from replicortex.stages.displays import show_quality

    show_quality(**given)


run(main)
