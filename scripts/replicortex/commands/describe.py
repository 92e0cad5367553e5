"""Describe a study (paper, claims, methods at both scales, what it needs and costs), or any other card or component."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cli import Context

GROUP = "look"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("name", help="name of a study, of another card, or of a component; perhaps KIND/NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.catalogue import show_description

    show_description(context.project, given.name, as_json=given.json)
    return 0
