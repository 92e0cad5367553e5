"""Begin a study, method, feature, metric or dataset: its file, with the places to fill in."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cli import Context

GROUP = "add"
EPILOG = """\
The files are those of a component or card like any other; their places to fill in are refused until they are filled.

  replicortex new method my_method
  replicortex new feature my_feature --of func
  replicortex new study my_study"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from ..stages.scaffold import kinds

    known = kinds()
    of = "; ".join(f"{kind}: {', '.join(variants)}" for kind, variants in known.items() if variants)
    parser.add_argument("kind", metavar="KIND", help=", ".join(known))
    parser.add_argument("name", metavar="NAME", help="its name: a-z, 0-9 and _")
    parser.add_argument("--of", metavar="VARIANT", help=f"what it works on ({of}; default: the first)")


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.scaffold import show_begun

    show_begun(context.project, given.kind, given.name, given.of)
    return 0
