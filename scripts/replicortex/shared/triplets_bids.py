"""How a BIDS dataset says which objects choices of the odd one out are among."""

from __future__ import annotations

from pathlib import Path

from ..files import to_json, write_text
from .triplets import POSITIONS

#: Label of the task in the names of files.
TASK = "oddoneout"


def describe(root: Path, objects: list[str], features: list[list[float]], what: str, **more: str) -> None:
    """Write the sidecar that all tables of choices inherit: which objects there are, and their features."""
    sidecar = {
        "TaskName": TASK,
        "TaskDescription": "Odd-one-out choices among three objects.",
        "Instructions": "Which of the three objects is the odd one?",
        **{f"object_{place}": {"Description": f"Object shown at place {place}."} for place in (1, 2, 3)},
        "response": {
            "Description": "Which of the three was named the odd one.",
            "Levels": {name: f"the {name} object" for name in POSITIONS},
        },
        **more,
        "Objects": objects,
        "ObjectFeatures": {"Description": f"Features of each object, {what}.", "Values": features},
    }
    write_text(root / f"task-{TASK}_beh.json", to_json(sidecar))
