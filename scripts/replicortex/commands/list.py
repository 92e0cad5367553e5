"""List studies, datasets and all other cards, and methods, metrics and all other components, with their titles."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cli import Context

GROUP = "look"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="studies, datasets, methods, ... (default: all kinds)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.catalogue import show_list

    show_list(context.project, given.kinds, as_json=given.json)
    return 0
