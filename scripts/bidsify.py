"""Bring EEG files of any layout to BIDS.

The pattern says where subject, session, task, acquisition and run stand in the path of a recording.
EDF, BDF, BrainVision, EEGLAB, FIF, GDF and CNT files are read; BrainVision is written, without dates and
without information about subjects. The source is never changed.

Examples
--------
  PhysioNet motor imagery, two runs:
    bidsify.py eegmmidb data/eegmmidb --pattern '{subject}/{subject}R{run}.edf' --task imagery --runs 4 8
      --events T0=rest T1=left_hand T2=right_hand --line-frequency 60 --montage colin27_1005
      --name 'EEG Motor Movement/Imagery' --license ODC-By-1.0 --authors 'G. Schalk' 'D. McFarland'

  files that name their task themselves, with two eye channels:
    bidsify.py recordings data/mine --pattern '{subject}_{session}_{task}.bdf' --name 'My study'
      --types EXG1=eog EXG2=eog --line-frequency 50

"""

import argparse
from pathlib import Path

from replicortex.job import parse, parser, run


def pair(text: str) -> tuple[str, str]:
    """Return ``("T1", "left_hand")`` for ``"T1=left_hand"``."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r} is not like OLD=NEW")
    return old, new


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("source", type=Path, metavar="SOURCE", help="folder with the files")
    arguments.add_argument("out", type=Path, metavar="OUT", help="BIDS dataset to write")
    arguments.add_argument("--pattern", required=True, help="path of a recording below SOURCE, entities in braces")
    arguments.add_argument("--name", required=True, help="name of the dataset")
    arguments.add_argument("--task", help="task label, if the pattern names none")
    arguments.add_argument("--datatype", default="eeg", choices=["eeg"], help="BIDS datatype (default: eeg)")
    arguments.add_argument("--runs", nargs="+", default=[], metavar="RUN", help="only these runs")
    arguments.add_argument(
        "--events", nargs="+", default=[], type=pair, metavar="OLD=NEW",
        help="trial_type of annotation texts or trigger values; others keep their text",
    )  # fmt: skip
    arguments.add_argument(
        "--types",
        nargs="+",
        default=[],
        type=pair,
        metavar="CHANNEL=TYPE",
        help="types of channels that are not EEG",
    )
    arguments.add_argument("--montage", help="MNE montage that gives electrode positions, such as colin27_1005")
    arguments.add_argument("--line-frequency", type=float, metavar="HZ", help="frequency of the power line")
    arguments.add_argument("--license", help="licence of the dataset, such as CC0")
    arguments.add_argument("--authors", nargs="+", default=[], metavar="NAME", help="authors of the dataset")
    arguments.add_argument("--overwrite", action="store_true", help="replace OUT if it is a BIDS dataset")
    given = parse(arguments)
    source, out, overwrite = (given.pop(key) for key in ("source", "out", "overwrite"))
    given |= {"events": dict(given["events"]), "types": dict(given["types"])}
    from replicortex.stages.bidsify import Plan, bidsify

    count = bidsify(source, out, Plan(**given), overwrite)
    print(f"{out}: {count} recordings")


if __name__ == "__main__":
    run(main)
