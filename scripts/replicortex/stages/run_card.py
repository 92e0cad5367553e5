"""Write down what a run is, beside its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text


def describe_run(card: Mapping[str, Any], out: Path) -> None:
    """Write a run with its cards, as they were resolved.

    Parameters
    ----------
    card : mapping
        As :func:`replicortex.described.described` has it.
    out : Path
        The document to write; its order is that of the cards.
    """
    write_text(out, json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
