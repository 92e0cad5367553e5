"""Write config/README.md, the manual of the configuration, from the schemas."""

from pathlib import Path

from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and write the manual."""
    config = Path(__file__).resolve().parents[1] / "config"
    parse(parser(__doc__))
    from replicortex.files import write_text
    from replicortex.manual import manual

    write_text(config / "README.md", manual(config / "schemas"))


run(main)
