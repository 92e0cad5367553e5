"""Write pin files of the conda environments: every package to the build. Needs conda, mamba or micromamba."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    envs = Path(__file__).resolve().parents[1] / "envs"
    arguments.add_argument("families", nargs="*", help="environments to pin, such as base; all by default")
    arguments.add_argument("--envs", type=Path, default=envs, help="folder of the environment files")
    arguments.add_argument("--conda", default="conda", help="conda, mamba or micromamba, with path if need be")
    given = parse(arguments)
    from replicortex.stages.pins import pin_environments

    pin_environments(**given)


run(main)
