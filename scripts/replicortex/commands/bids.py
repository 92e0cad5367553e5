"""Run studies on a BIDS dataset, as a BIDS App: no card has to be written into the project.

``participant`` preprocesses the subjects that are named and takes the features; ``group`` does all of it, to scores,
verdicts and figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..asking import add_configuration
from .check import add_meaning, card_of, changes
from .run import add_how, how_of

if TYPE_CHECKING:
    from ..cli import Context

GROUP = "run"
PASSES_ON = True
EPILOG = """\
Labels are given with or without sub-, ses-, task-. The configuration stays in OUTPUT_DIR/replicortex.yaml, so that
`replicortex status --directory OUTPUT_DIR`, `report` and all the others know it; the line that is printed does the same
by plain snakemake. What follows -- goes to snakemake as it is.

  replicortex /data/my_eeg out group --study augmented_covariance --classes left_hand=T1 right_hand=T2
  replicortex /data/my_mri out participant --participant-label 01 02 --study fc_benchmark \\
      --preprocessing native_func --feature dosenbach_correlations

status: 0 all is done, 1 jobs failed, 2 refused before any job ran"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, by the names that BIDS Apps use."""
    parser.usage = "replicortex BIDS_DIR OUTPUT_DIR participant|group --study NAME [...]"
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="the dataset; read, never written")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="folder of results/ and logs/")
    parser.add_argument("analysis_level", choices=["participant", "group"], help="as far as the features, or all")
    parser.add_argument("--study", "--studies", dest="studies", nargs="+", action="extend", default=[], metavar="NAME",
                        help="studies to run (default: those of the last call on this OUTPUT_DIR)")  # fmt: skip
    who = parser.add_argument_group("what of the dataset")
    for name, others in (("participant", ()), ("session", ()), ("task", ("id",)), ("run", ())):
        options = [f"--{name}{dash}{word}" for word in ("label", *others) for dash in "-_"]
        kind = "subjects" if name == "participant" else f"{name}s"
        text = f"{kind} to take (default: all)"
        who.add_argument(*options, dest=name, nargs="+", action="extend", default=[], metavar="LABEL", help=text)
    who.add_argument(
        "--skip-bids-validation", "--skip_bids_validation", action="store_true", help="run no BIDS validator"
    )
    add_meaning(parser)
    parser.add_argument("--scale", choices=["demo", "paper"], help="parameters of the studies (default: demo)")
    add_how(parser)
    add_configuration(parser)


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.apps import Asked, run_app
    from ..stages.datasets import filters_of, laid

    before = laid(None, given.output_dir)
    name, card = card_of(given.bids_dir, given, before)
    filters = filters_of(given.bids_dir, given.participant, given.session, given.task, given.run)
    if given.skip_bids_validation:
        card["validation"] = "skip"
    how = how_of(given)
    asked = Asked(
        bids=given.bids_dir,
        out=given.output_dir,
        level=given.analysis_level,
        dataset=name,
        card=card,
        filters=filters,
        studies=tuple(given.studies),
        change=changes(given),
        scale=given.scale,
        configuration=given.configuration,
        before=before,
    )
    return run_app(context.project, asked, how)
