"""Build the container images of the environments: one .sif file for each, tested before it gets its name."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "families",
        nargs="*",
        metavar="ENVIRONMENT",
        help="names of files in envs/, such as signal; all if none is named",
    )
    arguments.add_argument("--out", type=Path, help="folder to write to, instead of what containers/images.yaml says")
    arguments.add_argument("--force", action="store_true", help="build also what still fits its pins")
    arguments.add_argument("--base-image", help="image to start from, such as docker://python@sha256:...")
    arguments.add_argument("--base-tree", type=Path, help="or a folder with a Debian that has python3-venv")
    arguments.add_argument("--certificates", type=Path, help="bundle that pip trusts while it builds (or PIP_CERT)")
    arguments.add_argument("--wheels", type=Path, help="folder where pip looks too (or PIP_FIND_LINKS)")
    arguments.add_argument(
        "--project", type=Path, default=Path(__file__).resolve().parents[1], help="folder of the Snakefile"
    )
    given = parse(arguments)
    from replicortex.stages.images import build_images

    build_images(**given)


run(main)
