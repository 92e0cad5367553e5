"""What the commands share that look at a configuration: options that say which."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .errors import InputError
from .job import json_value, parser

#: The configuration that a call on a BIDS dataset leaves in its output folder; later calls there lay it again.
LAID = "replicortex.yaml"


def asking(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of all commands that look at a configuration."""
    made = parser(description)
    project = Path(__file__).resolve().parents[2]
    made.add_argument("--project", type=Path, default=project, help="folder of the Snakefile (default: this one)")
    made.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    add_configuration(made)
    return made


def add_configuration(made: argparse.ArgumentParser) -> None:
    """Add the options that lay something over ``config.yaml``: what comes later lies on what came before."""
    laid = {"dest": "configuration", "action": Lay, "default": None}
    made.add_argument("--configfile", **laid, metavar="FILE", help="YAML or JSON file to lay over config/config.yaml")
    made.add_argument("--configuration", **laid, metavar="JSON", help="JSON to lay over it")
    made.add_argument("--config", **laid, nargs="+", metavar="KEY=VALUE", help="YAML values to lay over it")


class Lay(argparse.Action):
    """Lays a file, JSON or ``KEY=VALUE`` pairs over the configuration given so far."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the merged configuration."""
        # Only if something is laid: checking cards loads what most commands can do without.
        from .cards import lay, parse_yaml, read_yaml

        try:
            if option_string == "--configfile":
                given = read_yaml(Path(values))
            elif option_string == "--configuration":
                given = json_value(values)
            else:
                odd = [pair for pair in values if not pair.partition("=")[0] or "=" not in pair]
                if odd:
                    parser.error(f"{option_string} {odd[0]}: not KEY=VALUE")
                given = {key: parse_yaml(value, key) for key, _, value in (pair.partition("=") for pair in values)}
            setattr(namespace, self.dest, lay(getattr(namespace, self.dest) or {}, given, option_string))
        except (InputError, argparse.ArgumentTypeError) as error:
            parser.error(str(error))
