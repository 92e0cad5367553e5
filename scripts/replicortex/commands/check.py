"""Say which studies can run on a dataset, and exactly what the others lack."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..asking import add_configuration

if TYPE_CHECKING:
    from ..cli import Context

GROUP = "look"
EPILOG = """\
Nothing is written. Status 1 if none of the studies can run.

  replicortex check /data/ds004504
  replicortex check /data/my_eeg --study augmented_covariance --classes left_hand=left,T1 right_hand=right,T2"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("dataset", help="folder of a BIDS dataset, or name of a dataset card")
    parser.add_argument("--study", dest="studies", nargs="+", action="extend", default=[], help="ask these only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_configuration(parser)
    add_meaning(parser)


def add_meaning(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand for a dataset card, and those that change what a study takes."""
    meaning = parser.add_argument_group("what the dataset means (instead of a card)")
    meaning.add_argument("--dataset-name", metavar="NAME", help="what results call it (default: after its folder)")
    meaning.add_argument("--dataset-card", type=Path, metavar="FILE", help="YAML file, keys as in config/datasets")
    meaning.add_argument(
        "--classes", nargs="+", action="extend", default=[], metavar="CLASS=VALUE,...", help="trial_type of each class"
    )
    meaning.add_argument(
        "--variable", nargs="+", action="extend", default=[], metavar="NAME=COLUMN", help="column of participants.tsv"
    )
    meaning.add_argument(
        "--values",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME.CLASS=VALUE,...",
        help="values of that column by class",
    )
    meaning.add_argument("--preprocessing", metavar="CARD", help="recipe to take instead of the study's own")
    meaning.add_argument("--feature", metavar="CARD", help="feature to take instead of the study's own")


def card_of(folder: Path, given: argparse.Namespace, laid: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and card of a folder, from its description, what was laid before, and these options."""
    from ..stages.datasets import card_of_folder, slug

    name = slug(given.dataset_name or folder.resolve().name)
    before = laid.get("datasets", {}).get(name)
    told = {"classes": given.classes, "variables": given.variable, "values": given.values}
    return name, card_of_folder(folder, given.dataset_card, before=before, **told)


def changes(given: argparse.Namespace) -> dict[str, str]:
    """Return what is to be taken instead of the study's own."""
    return {key: getattr(given, key) for key in ("preprocessing", "feature") if getattr(given, key)}


def main(context: Context, given: argparse.Namespace) -> int:
    """Run the command."""
    from ..stages.datasets import laid, named
    from ..stages.plan import read_cards
    from ..stages.suits import check_dataset

    configuration, folder = laid(given.configuration), Path(given.dataset)
    if "/" in given.dataset or (folder / "dataset_description.json").is_file():
        name, card = card_of(folder, given, configuration)
    else:
        name, card, folder = named(read_cards(context.project, configuration), given.dataset)
    told = (given.studies, changes(given), configuration, given.json)
    return 0 if check_dataset(context.project, name, card, folder, *told) else 1
